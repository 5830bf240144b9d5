"""Tickets by the million, written by the database itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa

from ticket_system import TicketSystem
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.policies import Level, Policy, Warn
from ticket_system.storage.database import Database

# One ticket in five is active, due over the coming month; the others were resolved in time.
_SERIES = {
    "postgresql": "generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n)",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM s WHERE n < :last) SELECT n FROM s) AS g",
}
_LATER = {
    "postgresql": "CAST(:start AS timestamptz) + ({}) * interval '1 second'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', :start, ({}) || ' seconds') || '000'",
}


def fill(database: Database, first: int, last: int, start: datetime) -> None:
    """Store tickets number first to last, opened over the month before `start`; none is due soon."""
    later, series = _LATER[database.dialect], _SERIES[database.dialect]
    opened, resolved, due = (
        later.format("-(n % 2592000)"),
        later.format("-(n % 2592000) + 3600"),
        later.format("3600 + n % 2592000"),
    )
    active = "n % 5 = 0"
    _run(
        database,
        f"""INSERT INTO tickets (id, title, description, requester, priority, status, assignee, sla_hours,
                created_at, updated_at, resolved_at, tags)
            SELECT 'stock-' || n, 'Ticket ' || n, 'Something is wrong with number ' || n, 'ada', 1 + n % 4,
                CASE WHEN {active} THEN 'open' ELSE 'closed' END, 'agent ' || n % 200, 72, {opened}, {opened},
                CASE WHEN {active} THEN NULL ELSE {resolved} END, '[]'
            FROM {series}""",
        first=first, last=last, start=start,
    )  # fmt: skip
    _run(
        database,
        f"""INSERT INTO clocks (ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at,
                paused_for, stopped_at, worked)
            SELECT 'stock-' || n, 'resolution', 1, CASE WHEN {active} THEN 'running' ELSE 'met' END, {opened}, 259200,
                {due}, CASE WHEN {active} THEN {due} END, 0, CASE WHEN {active} THEN NULL ELSE {resolved} END,
                CASE WHEN {active} THEN NULL ELSE 3600000000 END
            FROM {series}""",
        first=first, last=last, start=start,
    )  # fmt: skip
    _run(
        database,
        f"""INSERT INTO alarms (ticket_id, target, cycle, step_id, repeat, at)
            SELECT 'stock-' || n, 'resolution', 1, 1, 0, {due} FROM {series} WHERE {active}""",
        first=first, last=last, start=start,
    )  # fmt: skip


@contextmanager
def without_indexes(database: Database) -> Iterator[None]:
    """Make indexes after the rows, not along with them: a third less to wait for. Keys stay; what refers is right."""
    if database.dialect != "postgresql":
        yield
        return
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('tickets', 'clocks', 'alarms')"
    with database.read() as connection:
        found = [(name, how) for name, how in connection.execute(sa.text(indexes)) if not name.endswith("_pk")]
    with database.write() as connection:
        for name, _ in found:
            connection.execute(sa.text(f'DROP INDEX "{name}"'))
    yield
    with database.write() as connection:
        for _, how in found:
            connection.execute(sa.text(how))


def live(database: Database, number: int, start: datetime) -> None:
    """Store tickets that were opened, worked on, put on hold for an hour, talked about and solved: six events each."""
    later, series = _LATER[database.dialect], _SERIES[database.dialect]
    opened = "-(n % 2592000) - 864000"
    at = {hours: later.format(f"{opened} + {int(hours * 3600)}") for hours in (0, 1, 2, 3, 4, 5, 73)}
    given: dict[str, object] = {"first": 1, "last": number, "start": start}
    _run(
        database,
        f"""INSERT INTO tickets (id, title, description, requester, priority, status, assignee, sla_hours,
                created_at, updated_at, resolved_at, tags)
            SELECT 'life-' || n, 'Ticket ' || n, 'Something is wrong', 'ada', 3, 'resolved', 'grace', 72, {at[0]}, {at[5]},
                {at[5]}, '[]' FROM {series}""",
        **given,
    )
    _run(
        database,
        f"""INSERT INTO clocks (ticket_id, target, cycle, state, started_at, target_seconds, due_at, paused_for, stopped_at, worked)
            SELECT 'life-' || n, 'resolution', 1, 'met', {at[0]}, 259200, {at[73]}, 3600000000, {at[5]}, 14400000000 FROM {series}""",
        **given,
    )
    detail = '{"status":"open","priority":3,"sla_hours":72}'
    for hours, kind, old, new in (
        (0, "created", None, detail),
        (1, "status", "open", "in_progress"),
        (2, "status", "in_progress", "on_hold"),
        (3, "status", "on_hold", "in_progress"),
        (4, "commented", None, "public"),
        (5, "status", "in_progress", "resolved"),
    ):
        _run(
            database,
            f"""INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new)
                SELECT 'life-' || n, {at[hours]}, {at[hours]}, '{kind}', '{"ada" if kind == "created" else "grace"}',
                    CAST(:old AS TEXT), CAST(:new AS TEXT) FROM {series}""",
            old=old, new=new, **given,
        )  # fmt: skip


def chain_of(database: Database) -> int:
    """Put in force: two warnings, and three levels of which the first raises the priority; returns the version."""
    levels = (Level(raise_priority=True, notify=("assignee-or-desk",)), Level(3600, notify=("desk",)))
    policy = Policy(
        "chain",
        warnings=(Warn(percent=50), Warn(percent=75)),
        chain=(*levels, Level(7200, notify=("desk",))),
    )
    return TicketSystem(database).put_in_force(PolicyBook((policy,)))


def add_due(database: Database, name: str, number: int, start: datetime, *, rules: int | None = None) -> None:
    """Store open tickets that have been due, one a millisecond, for a while; under stored rules with all levels ahead.

    Their warnings were given long ago.
    """
    later, series = _LATER[database.dialect], _SERIES[database.dialect]
    due = later.format("-(n * 0.001)")
    given = {"first": 1, "last": number, "start": start - timedelta(seconds=1), "name": name}
    _run(
        database,
        f"""INSERT INTO tickets (id, title, description, requester, priority, status, assignee, sla_hours,
                created_at, updated_at, tags)
            SELECT CAST(:name AS TEXT) || '-' || n, 'Late ' || n, 'Nobody has looked at this one', 'ada', 3, 'open', 'agent ' || n % 200,
                72, {due}, {due}, '[]'
            FROM {series}""",
        **given,
    )
    _run(
        database,
        f"""INSERT INTO clocks (ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at, paused_for,
                policy, rules)
            SELECT CAST(:name AS TEXT) || '-' || n, 'resolution', 1, 'running', {due}, 259200, {due}, {due}, 0,
                'chain', CAST(:rules AS INTEGER) FROM {series}""",
        rules=rules, **given,
    )  # fmt: skip
    for number_of_level, offset in ((1, 0),) if rules is None else ((1, 0), (2, 3600), (3, 7200)):
        step = "rules IS NULL" if rules is None else "rules = :rules AND kind = 'escalated' AND number = :number"
        at = later.format(f"-(n * 0.001) + {offset}")
        which = {} if rules is None else {"rules": rules, "number": number_of_level}
        _run(
            database,
            f"""INSERT INTO alarms (ticket_id, target, cycle, step_id, repeat, at)
                SELECT CAST(:name AS TEXT) || '-' || n, 'resolution', 1, (SELECT id FROM steps WHERE {step}), 0, {at}
                FROM {series}""",
            **which, **given,
        )  # fmt: skip


def settle_down(database: Database, *tables: str) -> None:
    """Let the database take note of what it holds, as its own upkeep would; in these tables, or in all."""
    if database.dialect == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"VACUUM (ANALYZE) {', '.join(tables)}"))
            connection.execute(sa.text("CHECKPOINT"))
        # What the system has yet to write to the disk it would write meanwhile.
        os.sync()
    else:
        with database.write() as connection:
            connection.execute(sa.text("ANALYZE"))


def _run(database: Database, statement: str, **given: object) -> None:
    given["start"] = given["start"] if database.dialect == "postgresql" else f"{given['start']:%Y-%m-%d %H:%M:%S}"
    with database.write() as connection:
        connection.execute(sa.text(statement), given)
