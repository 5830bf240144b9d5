"""The floor of what people do with tickets: the same rows by hand, in transactions of the same shape, no project code."""

import json
import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

Connection = psycopg.Connection | sqlite3.Connection

_COLUMNS = "id, title, description, requester, priority, status, sla_hours, created_at, updated_at, tags"
_CLOCK = "ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at, paused_for"


def moment(now: datetime) -> str:
    """Write a moment down as both databases read it."""
    return f"{now:%Y-%m-%d %H:%M:%S.%f}"


def create(connection: Connection, mark: str, title: str) -> str:
    """Store one ticket, its clock, its alarm and its event as four inserts in one transaction; returns its id."""
    ticket_id, now = str(uuid.uuid4()), datetime.now(UTC)
    at, due = moment(now), moment(now + timedelta(hours=72))
    opened = json.dumps({"status": "open", "priority": 3, "sla_hours": 72})
    connection.execute("BEGIN")
    connection.execute(
        f"INSERT INTO tickets ({_COLUMNS}) VALUES ({', '.join([mark] * 10)})",
        (ticket_id, title, "It is broken", "ada", 3, "open", 72, at, at, "[]"),
    )
    connection.execute(
        f"INSERT INTO clocks ({_CLOCK}) VALUES ({', '.join([mark] * 9)})",
        (ticket_id, "resolution", 1, "running", at, 259200, due, due, 0),
    )
    connection.execute(
        f"INSERT INTO alarms (ticket_id, target, cycle, step_id, repeat, at) VALUES ({', '.join([mark] * 6)})",
        (ticket_id, "resolution", 1, 1, 0, due),
    )
    connection.execute(
        f"INSERT INTO events (ticket_id, at, recorded_at, kind, actor, new) VALUES ({', '.join([mark] * 6)})",
        (ticket_id, at, at, "created", "ada", opened),
    )
    connection.execute("COMMIT")
    return ticket_id


def start(connection: Connection, mark: str, ticket_id: str) -> None:
    """Move an open ticket to `in_progress`: read it and its clocks locked, change it, write it down."""
    connection.execute("BEGIN")
    now = _locked(connection, mark, ticket_id)
    _moved(connection, mark, ticket_id, "open", "in_progress", now, None)
    connection.execute("COMMIT")


def resolve(connection: Connection, mark: str, ticket_id: str) -> None:
    """Move it on to `resolved`: its clock stops, and no alarm is ahead of it any more."""
    connection.execute("BEGIN")
    now = _locked(connection, mark, ticket_id)
    connection.execute(f"DELETE FROM alarms WHERE ticket_id = {mark} AND raised_at IS NULL", (ticket_id,))
    connection.execute(
        f"UPDATE clocks SET state = 'met', next_check_at = NULL, stopped_at = {mark}, worked = {mark} WHERE ticket_id = {mark}",
        (now, 1000, ticket_id),
    )
    _moved(connection, mark, ticket_id, "in_progress", "resolved", now, now)
    connection.execute("COMMIT")


def _locked(connection: Connection, mark: str, ticket_id: str) -> str:
    locks = ("", "") if mark == "?" else (" FOR NO KEY UPDATE OF tickets", " FOR UPDATE")
    clock = "" if mark == "?" else ", clock_timestamp()"
    row = connection.execute(
        f"""SELECT {_TICKET}, (SELECT min(next_check_at) FROM clocks WHERE ticket_id = tickets.id){clock}
            FROM tickets WHERE id = {mark}{locks[0]}""",
        (ticket_id,),
    ).fetchone()
    assert row is not None
    connection.execute(f"SELECT {_CLOCKS} FROM clocks c WHERE ticket_id = {mark}{locks[1]}", (ticket_id,)).fetchall()
    return moment(datetime.now(UTC) if mark == "?" else row[-1])


def _moved(
    connection: Connection, mark: str, ticket_id: str, old: str, new: str, now: str, resolved: str | None
) -> None:
    connection.execute(
        f"UPDATE tickets SET status = {mark}, updated_at = {mark}, resolved_at = {mark} WHERE id = {mark}",
        (new, now, resolved, ticket_id),
    )
    connection.execute(
        f"INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new) VALUES ({', '.join([mark] * 7)})",
        (ticket_id, now, now, "status", "system", old, new),
    )


_TICKET = (
    "id, title, description, requester, priority, status, assignee, sla_hours, tickets.created_at, updated_at,"
    ' resolved_at, tags, customer, plan, "group"'
)
_CLOCKS = (
    "c.ticket_id, c.target, c.cycle, c.state, c.started_at, c.target_seconds, c.due_at, c.next_check_at, c.paused_at,"
    " c.paused_for, c.remaining, c.stopped_at, c.breached_at, c.detected_at, c.cause, c.policy, c.rules,"
    " c.acknowledged_at, c.rearms_at, c.held_for, c.waived_at, c.worked"
)
_ACTIVE = "('open', 'in_progress', 'review', 'on_hold')"


def queue(connection: Connection, mark: str, limit: int) -> list[str]:
    """Read the head of the queue, with the clocks; returns the ids."""
    rows = connection.execute(
        f"""SELECT {_TICKET}, {_CLOCKS} FROM tickets LEFT JOIN clocks c
                ON c.ticket_id = tickets.id AND c.target = 'resolution' AND c.cycle = tickets.cycle
            WHERE status IN {_ACTIVE} ORDER BY priority, tickets.created_at, id LIMIT {mark}""",
        (limit,),
    )
    return [row[0] for row in rows.fetchall()]


def report(connection: Connection, mark: str, since: datetime, until: datetime) -> dict[str, Any]:
    """Count what `generate_report` counts, a query for each index."""
    took = (
        "extract(epoch FROM resolved_at - created_at)"
        if mark == "%s"
        else "(julianday(resolved_at) - julianday(created_at)) * 86400.0"
    )
    span, within = (moment(since), moment(until)), f">= {mark} AND {{0}} <= {mark}"

    def asked(query: str, given: tuple[str, ...] = ()) -> list[Any]:
        return connection.execute(query, given).fetchall()

    connection.execute("BEGIN")
    resolved = asked(
        f"""SELECT priority, count(*), sum({took}) FROM tickets
            WHERE resolved_at {within.format("resolved_at")} GROUP BY priority""",
        span,
    )
    opened = asked(
        f"SELECT priority, count(*) FROM tickets WHERE created_at {within.format('created_at')} GROUP BY priority", span
    )
    [met] = asked(
        f"""SELECT count(*) FROM clocks WHERE target = 'resolution' AND state = 'met'
            AND stopped_at {within.format("stopped_at")}""",
        span,
    )
    [breached] = asked(
        f"""SELECT count(*) FROM (
            SELECT 1 FROM clocks WHERE state = 'breached' AND target = 'resolution' AND waived_at IS NULL
                AND breached_at {within.format("breached_at")}
            UNION ALL SELECT 1 FROM clocks WHERE state = 'running' AND target = 'resolution' AND waived_at IS NULL
                AND due_at >= {mark} AND due_at < {mark} AND next_check_at < {mark}) AS late""",
        (*span, *span, span[1]),
    )
    active = asked(f"SELECT assignee, count(*) FROM tickets WHERE status IN {_ACTIVE} GROUP BY assignee")
    connection.execute("ROLLBACK")
    return {
        "opened": sum(number for _, number in opened),
        "resolved": sum(number for _, number, _ in resolved),
        "met": met[0],
        "breached": breached[0],
        "active": sum(number for _, number in active),
    }


_PAST = (
    """SELECT id, created_at, requester, priority, customer, plan, "group", tags FROM tickets
        WHERE created_at >= {0} ORDER BY created_at, id""",
    """SELECT ticket_id, target, cycle, state, due_at, stopped_at, breached_at, waived_at FROM clocks
        WHERE ticket_id IN (SELECT id FROM tickets WHERE created_at >= {0})""",
    """SELECT ticket_id, id, at, kind, actor, old, new, key, detail FROM events
        WHERE ticket_id IN (SELECT id FROM tickets WHERE created_at >= {0}) ORDER BY ticket_id, id""",
)


def read_past(connection: Connection, mark: str, since: datetime) -> int:
    """Read what a simulation reads, all at once, and do nothing with it; returns for how many tickets."""
    execute: Any = connection.execute
    tickets, *_ = [len(execute(query.format(mark), (moment(since),)).fetchall()) for query in _PAST]
    return tickets
