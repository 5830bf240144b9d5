"""The floor: the same work as hand-written SQL through the bare driver, no project code."""

import json
import sqlite3
import uuid
from datetime import UTC, datetime

import psycopg

#: Spelt out in the statements too.
BATCH = 1000

_BREACH = """
WITH due AS (
    SELECT ticket_id, target, cycle, due_at, next_check_at FROM clocks
    WHERE state = 'running' AND next_check_at < statement_timestamp() AND next_check_at >= %(since)s
    ORDER BY next_check_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE clocks SET state = 'breached', breached_at = clocks.due_at, detected_at = statement_timestamp(),
        next_check_at = statement_timestamp(), cause = 'deadline'
    FROM due WHERE (clocks.ticket_id, clocks.target, clocks.cycle) = (due.ticket_id, due.target, due.cycle)
    RETURNING due.next_check_at
), noted AS (
    INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
    SELECT ticket_id, due_at, statement_timestamp(), 'breached', 'system', 'running', 'breached', target || ' deadline',
        ticket_id || '/' || target || '/' || cycle || '/breached/0/0' FROM due
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING ticket_id, key
), sent AS (
    INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, next_attempt_at)
    SELECT key || '/mail', 'breach', ticket_id, 'pending', 0, statement_timestamp(), statement_timestamp() FROM noted
    ON CONFLICT (key) DO NOTHING
)
SELECT count(*), max(next_check_at) FROM marked
"""

_ESCALATE = """
WITH due AS (
    SELECT c.ticket_id, c.target, c.cycle, c.next_check_at, t.priority FROM clocks c JOIN tickets t ON t.id = c.ticket_id
    WHERE c.state = 'breached' AND c.next_check_at <= statement_timestamp() AND c.next_check_at >= %(since)s
        AND t.status IN ('open', 'in_progress', 'review', 'on_hold')
    ORDER BY c.next_check_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE clocks SET next_check_at = NULL FROM due
    WHERE (clocks.ticket_id, clocks.target, clocks.cycle) = (due.ticket_id, due.target, due.cycle)
    RETURNING due.next_check_at
), noted AS (
    INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
    SELECT ticket_id, statement_timestamp(), statement_timestamp(), 'escalated', 'system', priority::text,
        greatest(priority - 1, 1)::text, target || ' deadline', ticket_id || '/' || target || '/' || cycle || '/escalated/1/0'
    FROM due ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING ticket_id, old, new
), raised AS (
    UPDATE tickets SET priority = noted.new::smallint, updated_at = statement_timestamp() FROM noted WHERE id = ticket_id
), said AS (
    INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
    SELECT gen_random_uuid()::text, ticket_id, 'system',
        'Escalated: the resolution deadline has passed; priority ' || old || ' → ' || new, true, statement_timestamp() FROM noted
)
SELECT count(*), max(next_check_at) FROM marked
"""


def drain(connection: psycopg.Connection, kind: str) -> int:
    """Handle all that is due, a batch a statement; returns how many."""
    statement = {"breached": _BREACH, "escalated": _ESCALATE}[kind]
    since, total = datetime(1, 1, 1, tzinfo=UTC), 0
    while True:
        found: int
        found, until = connection.execute(statement.encode(), {"since": since}).fetchone() or (0, since)
        total += found
        if found < BATCH:
            return total
        since = until


_SQLITE = {
    "breached": (
        """UPDATE clocks SET state = 'breached', breached_at = due_at, detected_at = :now, next_check_at = :now,
            cause = 'deadline' WHERE rowid IN (SELECT row FROM mine)""",
        """INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
           SELECT ticket_id, due_at, :now, 'breached', 'system', 'running', 'breached', target || ' deadline',
            ticket_id || '/' || target || '/' || cycle || '/breached/0/0' FROM mine WHERE true ON CONFLICT DO NOTHING""",
        """INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, next_attempt_at)
           SELECT ticket_id || '/' || target || '/' || cycle || '/breached/0/0/mail', 'breach', ticket_id, 'pending', 0,
            :now, :now FROM mine WHERE true ON CONFLICT DO NOTHING""",
    ),
    "escalated": (
        "UPDATE clocks SET next_check_at = NULL WHERE rowid IN (SELECT row FROM mine)",
        """INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
           SELECT ticket_id, :now, :now, 'escalated', 'system', priority, max(priority - 1, 1), target || ' deadline',
            ticket_id || '/' || target || '/' || cycle || '/escalated/1/0' FROM mine WHERE true ON CONFLICT DO NOTHING""",
        """UPDATE tickets SET priority = max(priority - 1, 1), updated_at = :now
            WHERE id IN (SELECT ticket_id FROM mine)""",
        """INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
           SELECT new_uuid(), ticket_id, 'system', 'Escalated: the resolution deadline has passed; priority ' || priority
            || ' → ' || max(priority - 1, 1), 1, :now FROM mine""",
    ),
}  # fmt: skip
_SQLITE_CLAIM = {
    "breached": """INSERT INTO mine SELECT rowid, ticket_id, target, cycle, due_at, next_check_at, NULL FROM clocks
        WHERE state = 'running' AND next_check_at < :now AND next_check_at >= :since ORDER BY next_check_at LIMIT 1000""",
    "escalated": """INSERT INTO mine SELECT c.rowid, ticket_id, target, c.cycle, due_at, next_check_at, priority
        FROM clocks c CROSS JOIN tickets t ON t.id = c.ticket_id WHERE state = 'breached' AND next_check_at <= :now
        AND next_check_at >= :since AND t.status IN ('open', 'in_progress', 'review', 'on_hold')
        ORDER BY next_check_at LIMIT 1000""",
}


def drain_sqlite(connection: sqlite3.Connection, kind: str) -> int:
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
        found = connection.execute(_SQLITE_CLAIM[kind], given).rowcount
        for statement in _SQLITE[kind]:
            connection.execute(statement, given)
        (since,) = connection.execute("SELECT max(next_check_at) FROM mine").fetchone()
        connection.execute("COMMIT")
        total += found
        if found < BATCH:
            return total


_COLUMNS = "id, title, description, requester, priority, status, sla_hours, created_at, updated_at, tags"
_CLOCK = "ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at, paused_for"


def create(connection: psycopg.Connection | sqlite3.Connection, mark: str, title: str, due_in: str) -> None:
    """Store one ticket, its clock and its event as three inserts in one transaction."""
    ticket_id, now = str(uuid.uuid4()), datetime.now(UTC)
    at = f"{now:%Y-%m-%d %H:%M:%S.%f}"
    opened = json.dumps({"status": "open", "priority": 3, "sla_hours": 72})
    connection.execute("BEGIN")
    connection.execute(
        f"INSERT INTO tickets ({_COLUMNS}) VALUES ({', '.join([mark] * 10)})",
        (ticket_id, title, "It is broken", "ada", 3, "open", 72, at, at, "[]"),
    )
    connection.execute(
        f"INSERT INTO clocks ({_CLOCK}) VALUES ({', '.join([mark] * 9)})",
        (ticket_id, "resolution", 1, "running", at, 259200, due_in, due_in, 0),
    )
    connection.execute(
        f"INSERT INTO events (ticket_id, at, recorded_at, kind, actor, new) VALUES ({', '.join([mark] * 6)})",
        (ticket_id, at, at, "created", "ada", opened),
    )
    connection.execute("COMMIT")
