"""What a weekly report costs over all that is stored, against one statement by hand that returns the same numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from tests.benchmarks.results import Results
from ticket_system import TicketSystem, figures
from ticket_system.reports.contents import Period, Scope, Weekly
from ticket_system.storage.database import Database

DAY = timedelta(days=1)
WEEKS = 8


def weekly_reports(database: Database, results: Results, size: int, rounds: int) -> None:
    """Measure a weekly report over everything, in turns with its floor; PostgreSQL only."""
    _remember(database)
    # Up to now: a small stock is a few hours old.
    system, end = TicketSystem(database), datetime.now(UTC)
    ends = [end - (WEEKS - 1 - number) * 7 * DAY for number in range(WEEKS)]
    week = Period(
        zone="UTC", starts_on=(end - 7 * DAY).date(), ends_on=(end - DAY).date(), starts_at=end - 7 * DAY, ends_at=end
    )

    def ours() -> Weekly:
        return figures.weekly(
            database,
            system.rules,
            organisation="bench",
            scope=Scope(),
            period=week,
            week_ends=[(one, (one - DAY).date()) for one in ends],
            before=None,
            as_of=end,
        )

    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        given = {"now": end, "first": ends[0] - 7 * DAY, "since": week.starts_at, "until": week.ends_at, "ends": ends}

        def raw() -> dict[str, Any]:
            [told] = connection.execute(_BY_HAND.encode(), given).fetchone() or ({},)
            return dict(told)

        if (told := _told(ours())) != (by_hand := raw()):
            differ = {name for name in told.keys() | by_hand.keys() if told.get(name) != by_hand.get(name)}
            results.missed.append(f"the weekly report and its floor differ in {', '.join(sorted(differ))}")
        taken: dict[str, list[float]] = {"ours": [], "raw": []}
        for _ in range(rounds):
            taken["ours"].append(_milliseconds(ours))
            taken["raw"].append(_milliseconds(raw))
    name = f"{database.dialect}: weekly report, {size:,} stored"
    results.add(name, taken["ours"], "ms", taken["raw"], over="one statement", wanted=("≤", 1.5), in_pairs=True)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _told(told: Weekly) -> dict[str, Any]:
    """Return a report in the form in which the statement says the same."""
    [took] = told.took
    return {
        "totals": told.totals.model_dump(),
        "kept": [[one.priority, one.met, one.breached, one.waived, one.cancelled] for one in told.kept],
        "without_promise": told.without_promise,
        "worst": [[one.ticket_id, one.title, round(one.over_seconds)] for one in told.worst],
        "due": [told.due_soon, [[one.ticket_id, one.title, round(one.left_seconds)] for one in told.at_risk]],
        "weeks": [[one.opened, one.backlog] for one in told.weeks],
        "took": [took.count, took.wall_p50, took.wall_p90, took.working_p50, took.working_p90],
        "ages": [one.tickets for one in told.ages],
        "loads": [[one.agent, one.open, one.solved, one.breached] for one in told.loads],
        "agents": told.agents,
    }


def _remember(database: Database) -> None:
    """Give stored tickets a past: moves to a solution, one in twenty done late, and some that still are late."""
    with database.write() as connection:
        for statement in _PAST:
            connection.execute(sa.text(statement))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


_PAST = (
    *(
        f"""INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new)
            SELECT id, {at}, {at}, 'status', 'grace', '{old}', '{new}' FROM tickets WHERE id LIKE 'stock-%' AND {which}"""
        for at, old, new, which in (
            ("created_at", "open", "in_progress", "status = 'closed'"),
            ("created_at + interval '20 minutes'", "in_progress", "resolved", "id LIKE '%7' AND status = 'closed'"),
            ("created_at + interval '30 minutes'", "resolved", "open", "id LIKE '%7' AND status = 'closed'"),
            ("created_at + interval '30 minutes'", "open", "in_progress", "id LIKE '%7' AND status = 'closed'"),
            ("resolved_at", "in_progress", "resolved", "status = 'closed'"),
            ("resolved_at + interval '1 hour'", "resolved", "closed", "status = 'closed'"),
        )
    ),
    """UPDATE clocks SET state = 'breached', cause = 'deadline', target_seconds = 3000 - length(ticket_id),
        due_at = stopped_at - interval '10 minutes', breached_at = stopped_at - interval '10 minutes',
        detected_at = stopped_at - interval '9 minutes', worked = 3600000000 + abs(hashtext(ticket_id)) % 100000
        WHERE ticket_id LIKE 'stock-%13' AND stopped_at IS NOT NULL""",
    """UPDATE clocks SET state = 'breached', cause = 'deadline', due_at = started_at + interval '6 hours',
        target_seconds = 21600, breached_at = started_at + interval '6 hours', detected_at = started_at + interval '6 hours',
        next_check_at = NULL WHERE ticket_id LIKE 'stock-%50' AND stopped_at IS NULL""",
)

_ACTIVE = "('open', 'in_progress', 'review', 'on_hold')"
_BY_HAND = f"""
WITH active AS MATERIALIZED (
    SELECT assignee, width_bucket(created_at, %(ends)s) AS created,
        CASE WHEN created_at > %(now)s - interval '3 days' THEN 0 WHEN created_at > %(now)s - interval '8 days' THEN 1
            WHEN created_at > %(now)s - interval '31 days' THEN 2 ELSE 3 END AS age, count(*) AS n
    FROM tickets WHERE status IN {_ACTIVE} GROUP BY 1, 2, 3
), moves AS MATERIALIZED (
    SELECT width_bucket(t.created_at, %(ends)s) AS created, width_bucket(e.at, %(ends)s) AS moved,
        e.new IN {_ACTIVE} AS came, count(*) AS n
    FROM events e JOIN tickets t ON t.id = e.ticket_id
    WHERE e.kind = 'status' AND (e.old IN {_ACTIVE}) <> (e.new IN {_ACTIVE}) AND e.at >= %(first)s GROUP BY 1, 2, 3
), opened AS MATERIALIZED (
    SELECT width_bucket(created_at, %(ends)s) AS created, count(*) AS n FROM tickets
    WHERE created_at >= %(first)s GROUP BY 1
), weeks AS (
    SELECT k, coalesce((SELECT n FROM opened WHERE created = k - 1), 0) AS opened,
        coalesce((SELECT sum(n) FROM active WHERE created < k), 0)
        - coalesce((SELECT sum(CASE WHEN came THEN n ELSE -n END) FROM moves WHERE created < k AND moved >= k), 0) AS backlog
    FROM generate_series(1, {WEEKS}) AS k
), done AS MATERIALIZED (
    SELECT ticket_id, state, date_part('epoch', stopped_at - started_at) AS wall, worked FROM clocks
    WHERE stopped_at >= %(since)s AND stopped_at < %(until)s
), late AS MATERIALIZED (
    SELECT c.ticket_id, c.state, c.stopped_at, c.waived_at, c.breached_at AS since,
        coalesce(c.worked / 1e6, date_part('epoch', %(now)s - c.started_at) - c.paused_for / 1e6) - c.target_seconds AS beyond,
        t.priority, t.assignee, t.title
    FROM clocks c JOIN tickets t ON t.id = c.ticket_id
    WHERE c.state = 'breached' AND c.breached_at >= %(since)s AND c.breached_at < %(until)s
    UNION ALL
    SELECT c.ticket_id, c.state, c.stopped_at, c.waived_at, c.due_at,
        date_part('epoch', %(now)s - c.started_at) - c.paused_for / 1e6 - c.target_seconds, t.priority, t.assignee, t.title
    FROM clocks c JOIN tickets t ON t.id = c.ticket_id
    WHERE c.state = 'running' AND c.due_at >= %(since)s AND c.due_at < %(until)s AND c.next_check_at < %(until)s
), kept AS (
    SELECT priority, sum(met) AS met, sum(breached) AS breached, sum(waived) AS waived, sum(cancelled) AS cancelled FROM (
        SELECT t.priority, count(*) FILTER (WHERE d.state = 'met') AS met, 0 AS breached, 0 AS waived,
            count(*) FILTER (WHERE d.state = 'cancelled') AS cancelled
        FROM done d JOIN tickets t ON t.id = d.ticket_id WHERE d.state IN ('met', 'cancelled') GROUP BY 1
        UNION ALL
        SELECT priority, 0, count(*) FILTER (WHERE waived_at IS NULL), count(waived_at), 0 FROM late GROUP BY 1
    ) AS both_of_them GROUP BY 1
), solved AS MATERIALIZED (
    SELECT assignee, count(*) AS n FROM tickets WHERE resolved_at >= %(since)s AND resolved_at < %(until)s GROUP BY 1
), loads AS MATERIALIZED (
    SELECT assignee, sum(opened)::int AS opened, sum(solved)::int AS solved, sum(breached)::int AS breached FROM (
        SELECT assignee, n AS opened, 0 AS solved, 0 AS breached FROM active
        UNION ALL SELECT assignee, 0, n, 0 FROM solved
        UNION ALL SELECT assignee, 0, 0, count(*) FROM late WHERE waived_at IS NULL GROUP BY 1
    ) AS of_agent GROUP BY 1
), took AS (
    SELECT count(*) AS n, percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY wall) AS wall,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY worked / 1e6::float8) AS working
    FROM done WHERE state IN ('met', 'breached')
), due AS MATERIALIZED (
    SELECT few.*, t.title FROM (
        SELECT ticket_id, due_at, count(*) OVER () AS n FROM clocks
        WHERE state = 'running' AND due_at >= %(now)s AND due_at <= %(now)s + interval '24 hours'
            AND next_check_at <= %(now)s + interval '24 hours'
        ORDER BY due_at, ticket_id LIMIT 5) AS few JOIN tickets t ON t.id = few.ticket_id
)
SELECT json_build_object(
    'totals', json_build_object(
        'opened', (SELECT opened FROM weeks WHERE k = {WEEKS}),
        'solved', (SELECT sum(n) FROM solved),
        'reopened', (SELECT coalesce(sum(n), 0) FROM moves WHERE came AND moved = {WEEKS - 1}),
        'met', (SELECT sum(met) FROM kept),
        'breached', (SELECT sum(breached) FROM kept),
        'backlog', (SELECT backlog FROM weeks WHERE k = {WEEKS})),
    'kept', (SELECT json_agg(json_build_array(priority, met, breached, waived, cancelled) ORDER BY priority) FROM kept),
    'without_promise', (SELECT count(*) FROM tickets t WHERE created_at >= %(since)s AND created_at < %(until)s
        AND NOT EXISTS (SELECT FROM clocks c WHERE c.ticket_id = t.id)),
    'worst', (SELECT json_agg(json_build_array(ticket_id, title, round(beyond::numeric)) ORDER BY place) FROM (
        SELECT ticket_id, title, beyond, row_number() OVER (ORDER BY beyond DESC, since, ticket_id) AS place
        FROM late WHERE waived_at IS NULL ORDER BY beyond DESC, since, ticket_id LIMIT 5) AS worst),
    'due', (SELECT json_build_array(max(n), json_agg(
        json_build_array(ticket_id, title, round(date_part('epoch', due_at - %(now)s)::numeric)) ORDER BY due_at, ticket_id))
        FROM due),
    'weeks', (SELECT json_agg(json_build_array(opened, backlog) ORDER BY k) FROM weeks),
    'took', (SELECT json_build_array(n, wall[1], wall[2], working[1], working[2]) FROM took),
    'ages', (SELECT json_agg(coalesce(n, 0) ORDER BY g) FROM generate_series(0, 3) AS g
        LEFT JOIN (SELECT age, sum(n) AS n FROM active GROUP BY 1) AS aged ON age = g),
    'loads', (SELECT json_agg(json_build_array(assignee, opened, solved, breached) ORDER BY opened DESC, solved DESC, breached DESC, assignee)
        FROM (SELECT * FROM loads ORDER BY opened DESC, solved DESC, breached DESC, assignee COLLATE "C" LIMIT 20) AS busiest),
    'agents', (SELECT count(*) FROM loads)
)
"""
