"""The floor of intake: what somebody would write who has Celery, psycopg and an afternoon, and none of our code.

    python -m celery -A tests.benchmarks.bare_intake worker -Q bare

One task writes by hand what our intake writes for a new ticket, in one transaction, acknowledged when it is done; the
other does nothing. BARE_BROKER and BARE_DATABASE say where.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from celery import Celery

OPEN, NOTHING, QUEUE = "bare.open", "bare.nothing", "bare"

app = Celery("bare", broker=os.environ.get("BARE_BROKER"), set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": "bare:", "visibility_timeout": 3600},
)

_HOURS = 72
_TICKET = """INSERT INTO tickets (id, title, description, requester, priority, status, sla_hours, created_at, updated_at, tags)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_CLOCK = """INSERT INTO clocks (ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at, paused_for)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_ALARM = "INSERT INTO alarms (ticket_id, target, cycle, step_id, repeat, at) VALUES (%s, %s, %s, %s, %s, %s)"
_EVENT = "INSERT INTO events (ticket_id, at, recorded_at, kind, actor, new) VALUES (%s, %s, %s, %s, %s, %s)"
_WISH = """INSERT INTO wishes (key, kind, ticket_id, outcome, taken_at) VALUES (%s, %s, %s, %s, clock_timestamp())
    ON CONFLICT (key) DO NOTHING RETURNING key"""

_connections: list[psycopg.Connection] = []


@app.task(name=OPEN, shared=False)
def open_ticket(payload: dict[str, Any]) -> None:
    """Store one ticket, under its key."""
    if not _connections:
        # Of this process: made after the fork.
        _connections.append(psycopg.connect(os.environ["BARE_DATABASE"]))
    ticket_id, at = payload["ticket_id"], datetime.fromisoformat(payload["created_at"])
    now, due_at = datetime.now(UTC), at + timedelta(hours=_HOURS)
    told = json.dumps({"status": "open", "priority": 3, "sla_hours": _HOURS})
    with _connections[0].transaction():
        if _connections[0].execute(_WISH, (payload["key"], OPEN, ticket_id, "done")).fetchone() is None:
            return
        said = (ticket_id, payload["title"], payload["description"], payload["requester"])
        _connections[0].execute(_TICKET, (*said, 3, "open", _HOURS, at, at, "[]"))
        clock = (ticket_id, "resolution", 1)
        _connections[0].execute(_CLOCK, (*clock, "running", at, _HOURS * 3600, due_at, due_at, 0))
        _connections[0].execute(_ALARM, (*clock, 1, 0, due_at))
        _connections[0].execute(_EVENT, (ticket_id, at, now, "created", payload["requester"], told))


@app.task(name=NOTHING, shared=False)
def nothing(payload: dict[str, Any]) -> None:
    """Do nothing: what Celery alone takes."""
