"""Files as the earlier library wrote them, built with nothing but sqlite3."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

SCHEMA = """
CREATE TABLE tickets (id TEXT PRIMARY KEY, title TEXT NOT NULL, description TEXT, requester TEXT, priority INTEGER,
    status TEXT, assignee TEXT, sla_hours INTEGER, tags TEXT, created_at TEXT, updated_at TEXT, resolved_at TEXT);
CREATE TABLE comments (id TEXT PRIMARY KEY, ticket_id TEXT REFERENCES tickets(id), author TEXT, body TEXT,
    is_internal INTEGER, created_at TEXT);
CREATE TABLE sla_history (id TEXT PRIMARY KEY, ticket_id TEXT REFERENCES tickets(id), event TEXT, occurred_at TEXT,
    sla_hours INTEGER, was_breached INTEGER);
CREATE INDEX idx_tickets_status ON tickets(status);
"""
# The same without a declared type or key: what a row holds is then all there is.
BARE_SCHEMA = """
CREATE TABLE tickets (id, title, description, requester, priority, status, assignee, sla_hours, tags, created_at,
    updated_at, resolved_at);
CREATE TABLE comments (id, ticket_id, author, body, is_internal, created_at);
CREATE TABLE sla_history (id, ticket_id, event, occurred_at, sla_hours, was_breached);
"""

Rows = Iterable[Mapping[str, object]]


def ago(hours: float) -> str:
    """A moment as the earlier library wrote it: UTC without saying so."""
    return (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None).isoformat()


def old_ticket(ticket_id: object = "T1", **changes: object) -> dict[str, object]:
    """A row of its tickets, an hour old and open, with the columns that are named changed."""
    row: dict[str, object] = {
        "id": ticket_id,
        "title": "Printer prints stars",
        "description": "Since Monday.",
        "requester": "ada",
        "priority": 3,
        "status": "open",
        "assignee": None,
        "sla_hours": 72,
        "tags": "",
        "created_at": ago(1),
        "updated_at": ago(1),
        "resolved_at": None,
    }
    return row | changes


def old_comment(comment_id: object, ticket_id: object = "T1", **changes: object) -> dict[str, object]:
    """A row of its comments."""
    row: dict[str, object] = {"id": comment_id, "ticket_id": ticket_id, "author": "grace", "body": "Another tray?"}
    return row | {"is_internal": 0, "created_at": ago(0.5)} | changes


def old_event(event_id: object, ticket_id: object, event: str, at: str, **changes: object) -> dict[str, object]:
    """A row of its sla_history."""
    row: dict[str, object] = {"id": event_id, "ticket_id": ticket_id, "event": event, "occurred_at": at}
    return row | {"sla_hours": 72, "was_breached": 0} | changes


def old_file(path: Path, tickets: Rows = (), comments: Rows = (), history: Rows = (), schema: str = SCHEMA) -> Path:
    """A file of the earlier library with these rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(schema)
        for table, rows in (("tickets", tickets), ("comments", comments), ("sla_history", history)):
            for row in rows:
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
    return path
