"""The floor of breaches: the same work as hand-written SQL through the bare driver, no project code."""

import sqlite3
import uuid
from datetime import UTC, datetime

import psycopg

#: Spelt out in the statements too.
BATCH = 1000

#: What each way of running out writes, by hand: a clock, an event and a message (`plain`, what any such system has to
#: write); that and its level with remark, raised priority and alarm taken off the list (`built in`); the same with more
#: levels ahead (`chain`).
_CLAIM = """
WITH due AS (
    SELECT c.ticket_id, c.target, c.cycle, c.due_at, c.next_check_at{ticket}
    WHERE c.next_check_at < statement_timestamp() AND c.next_check_at >= %(since)s
    ORDER BY c.next_check_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE clocks SET state = 'breached', breached_at = clocks.due_at, detected_at = statement_timestamp(),
        next_check_at = {ahead}, cause = 'deadline'
    FROM due WHERE (clocks.ticket_id, clocks.target, clocks.cycle) = (due.ticket_id, due.target, due.cycle)
    RETURNING due.next_check_at
), noted AS (
    INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
    {events}
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING ticket_id, key, kind, old, new
), sent AS (
    INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, next_attempt_at)
    SELECT key || '/mail', kind, ticket_id, 'pending', 0, statement_timestamp(), statement_timestamp()
    FROM noted WHERE kind = '{told}' ON CONFLICT (key) DO NOTHING
){more}
SELECT count(*), max(next_check_at) FROM marked
"""
_TICKET = ", t.priority FROM clocks c JOIN tickets t ON t.id = c.ticket_id"
_BREACHED = """SELECT ticket_id, due_at, statement_timestamp(), 'breached', 'system', 'running', 'breached',
        target || ' deadline', ticket_id || '/' || target || '/' || cycle || '/breached/0/0' FROM due"""
_ESCALATED = """ UNION ALL SELECT ticket_id, statement_timestamp(), statement_timestamp(), 'escalated', 'system',
        priority::text, greatest(priority - 1, 1)::text, target || ' level 1',
        ticket_id || '/' || target || '/' || cycle || '/escalated/1/0' FROM due"""
_RAISED = """, gone AS (
    DELETE FROM alarms a USING due WHERE (a.ticket_id, a.target, a.cycle) = (due.ticket_id, due.target, due.cycle)
        AND a.at < statement_timestamp()
), raised AS (
    UPDATE tickets SET priority = noted.new::smallint, updated_at = statement_timestamp() FROM noted
    WHERE id = ticket_id AND kind = 'escalated'
), said AS (
    INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
    SELECT gen_random_uuid()::text, ticket_id, 'system', 'Escalated: the resolution deadline has passed; priority '
        || old || ' → ' || new, true, statement_timestamp() FROM noted WHERE kind = 'escalated'
)"""
_AHEAD = """(SELECT min(a.at) FROM alarms a WHERE a.at >= statement_timestamp()
            AND (a.ticket_id, a.target, a.cycle) = (due.ticket_id, due.target, due.cycle))"""
_STATEMENTS = {
    "plain": _CLAIM.format(ticket=" FROM clocks c", ahead="NULL", events=_BREACHED, told="breached", more=""),
    "built in": _CLAIM.format(
        ticket=_TICKET, ahead="NULL", events=_BREACHED + _ESCALATED, told="escalated", more=_RAISED
    ),
    "chain": _CLAIM.format(ticket=_TICKET, ahead=_AHEAD, events=_BREACHED + _ESCALATED, told="escalated", more=_RAISED),
}


def drain(connection: psycopg.Connection, way: str) -> int:
    """Handle all that is due, a batch a statement; returns how many."""
    since, total = datetime(1, 1, 1, tzinfo=UTC), 0
    while True:
        found: int
        found, until = connection.execute(_STATEMENTS[way].encode(), {"since": since}).fetchone() or (0, since)
        total += found
        if found < BATCH:
            return total
        since = until


_SQLITE_MARK = """UPDATE clocks SET state = 'breached', breached_at = due_at, detected_at = :now, next_check_at = {ahead},
    cause = 'deadline' WHERE rowid IN (SELECT row FROM mine)"""
_SQLITE_NOTE = """INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
    SELECT ticket_id, due_at, :now, 'breached', 'system', 'running', 'breached', target || ' deadline',
        ticket_id || '/' || target || '/' || cycle || '/breached/0/0' FROM mine WHERE true ON CONFLICT DO NOTHING"""
_SQLITE_SEND = """INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, next_attempt_at)
    SELECT ticket_id || '/' || target || '/' || cycle || '/{told}/mail', 'breach', ticket_id, 'pending', 0, :now, :now
    FROM mine WHERE true ON CONFLICT DO NOTHING"""
_SQLITE_RAISE = (
    """INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
       SELECT ticket_id, :now, :now, 'escalated', 'system', priority, max(priority - 1, 1), target || ' level 1',
        ticket_id || '/' || target || '/' || cycle || '/escalated/1/0' FROM mine WHERE true ON CONFLICT DO NOTHING""",
    """UPDATE tickets SET priority = max(priority - 1, 1), updated_at = :now WHERE id IN (SELECT ticket_id FROM mine)""",
    """INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
       SELECT new_uuid(), ticket_id, 'system', 'Escalated: the resolution deadline has passed; priority ' || priority
        || ' → ' || max(priority - 1, 1), 1, :now FROM mine""",
    """DELETE FROM alarms WHERE rowid IN (SELECT a.rowid FROM mine CROSS JOIN alarms a ON a.ticket_id = mine.ticket_id
        AND a.target = mine.target AND a.cycle = mine.cycle AND a.at < :now)""",
)
_SQLITE_AHEAD = """(SELECT min(a.at) FROM alarms a WHERE a.at >= :now AND a.ticket_id = clocks.ticket_id
    AND a.target = clocks.target AND a.cycle = clocks.cycle)"""
_SQLITE = {
    "plain": (_SQLITE_MARK.format(ahead="NULL"), _SQLITE_NOTE, _SQLITE_SEND.format(told="breached/0/0")),
    "built in": (
        _SQLITE_MARK.format(ahead="NULL"), _SQLITE_NOTE, _SQLITE_SEND.format(told="escalated/1/0"), *_SQLITE_RAISE,
    ),
    "chain": (
        _SQLITE_MARK.format(ahead=_SQLITE_AHEAD), _SQLITE_NOTE, _SQLITE_SEND.format(told="escalated/1/0"),
        *_SQLITE_RAISE,
    ),
}  # fmt: skip
_SQLITE_CLAIM = """INSERT INTO mine SELECT c.rowid, ticket_id, target, c.cycle, due_at, next_check_at, priority
    FROM clocks c CROSS JOIN tickets t ON t.id = c.ticket_id WHERE next_check_at < :now AND next_check_at >= :since
    ORDER BY next_check_at LIMIT 1000"""


def drain_sqlite(connection: sqlite3.Connection, way: str) -> int:
    """Handle all that is due, through one temporary table kept between batches; returns how many."""
    since, total = "", 0
    connection.create_function("new_uuid", 0, lambda: str(uuid.uuid4()))
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS mine (row INTEGER PRIMARY KEY, ticket_id, target, cycle, due_at, next_check_at, priority)"
    )
    while True:
        given = {"now": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}", "since": since}
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM mine")
        found = connection.execute(_SQLITE_CLAIM, given).rowcount
        for statement in _SQLITE[way]:
            connection.execute(statement, given)
        (since,) = connection.execute("SELECT max(next_check_at) FROM mine").fetchone()
        connection.execute("COMMIT")
        total += found
        if found < BATCH:
            return total


def drain_any(connection: psycopg.Connection | sqlite3.Connection, way: str) -> int:
    """Handle all that is due, in whichever database."""
    if isinstance(connection, sqlite3.Connection):
        return drain_sqlite(connection, way)
    return drain(connection, way)
