"""Tickets with everything that becomes of one, by the hundred thousand: what a database holds after years.

A ticket of the mean: 400 letters of description, three comments of 250, two clocks, an assignee, a customer who is billed,
four moves of its status; one in ten was late, which was noted, escalated and told. One in twenty is open. One in ten
belongs to nobody who is billed, and was closed long ago. Their ids are as random as those of the real ones: that is what
half-fills the pages of an index.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ticket_system.storage.database import Database

#: Tickets per transaction.
_AT_ONCE = 100_000
#: How many events each has; one in ten has two more.
EVENTS = 9

_ID = "CAST(CAST(md5('life' || n) AS uuid) AS text)"
_OPEN = "n % 20 = 7"
_OLD = "n % 10 = 3"
_LATE = "n % 10 = 5"
#: Over two years, in no order; those that were closed long ago over the half year before.
_AT = f"(CAST(:start AS timestamptz) - ((n * CAST(7919 AS bigint)) % 63072000 + CASE WHEN {_OLD} THEN 43200000 ELSE 0 END) * interval '1 second')"
_WORDS = "repeat(md5('word' || n) || ' ', {0})"

_TICKETS = f"""
INSERT INTO tickets (id, title, description, requester, priority, status, assignee, sla_hours, created_at, updated_at, resolved_at,
    tags, customer, "group")
SELECT {_ID}, 'Ticket number ' || n || ' of somebody', {_WORDS.format(12)}, 'somebody' || n % 5000 || '@example.org', 1 + n % 4,
    CASE WHEN {_OPEN} THEN 'in_progress' ELSE 'closed' END, 'agent' || n % 200 || '@example.org', 72, {_AT},
    {_AT} + interval '2 days', CASE WHEN {_OPEN} THEN NULL ELSE {_AT} + interval '1 day' END, '["printer"]',
    CASE WHEN {_OLD} THEN NULL ELSE 'customer' || n % 1000 END, 'network'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n)
"""
_COMMENTS = f"""
INSERT INTO comments (id, ticket_id, author, body, is_internal, created_at)
SELECT CAST(CAST(md5(n || '-' || k) AS uuid) AS text), {_ID}, 'agent' || n % 200 || '@example.org', {_WORDS.format(8)}, false, {_AT} + k * interval '2 hours'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n), generate_series(1, 3) AS h(k)
"""
_CLOCKS = f"""
INSERT INTO clocks (ticket_id, target, cycle, state, started_at, target_seconds, due_at, next_check_at, paused_for, stopped_at, worked,
    breached_at, detected_at, cause)
SELECT {_ID}, target, 1, CASE WHEN {_LATE} AND target = 'resolution' THEN 'breached' WHEN going THEN 'running' ELSE 'met' END, {_AT},
    seconds, due, CASE WHEN going THEN due END, 0, CASE WHEN going THEN NULL ELSE {_AT} + interval '1 day' END,
    CASE WHEN going THEN NULL ELSE 3600000000 END, CASE WHEN {_LATE} AND target = 'resolution' THEN due END,
    CASE WHEN {_LATE} AND target = 'resolution' THEN due END, CASE WHEN {_LATE} AND target = 'resolution' THEN 'deadline' END
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n), (VALUES ('first_response', 14400), ('resolution', 259200)) AS h(target, seconds),
    LATERAL (SELECT {_OPEN} AND target = 'resolution') AS i(going),
    LATERAL (SELECT CASE WHEN going THEN CAST(:start AS timestamptz) + (86400 + n % 2592000) * interval '1 second'
        ELSE {_AT} + seconds * interval '1 second' END) AS j(due)
"""
_ALARMS = f"""
INSERT INTO alarms (ticket_id, target, cycle, step_id, repeat, at)
SELECT {_ID}, 'resolution', 1, 1, 0, CAST(:start AS timestamptz) + (86400 + n % 2592000) * interval '1 second'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n) WHERE {_OPEN}
"""
_EVENTS = f"""
INSERT INTO events (ticket_id, at, recorded_at, kind, actor, old, new, note, key)
SELECT {_ID}, {_AT} + k * interval '2 hours', {_AT} + k * interval '2 hours', kind, 'agent' || n % 200 || '@example.org', old, new, note,
    CASE WHEN kind IN ('breached', 'escalated') THEN {_ID} || '/resolution/1/' || kind || '/1/0' END
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n), (VALUES
    (0, 'created', NULL, '{{"status": "open", "priority": 3, "sla_hours": 72}}', NULL), (1, 'assigned', NULL, 'grace@example.org', NULL),
    (1, 'status', 'open', 'in_progress', NULL), (2, 'commented', NULL, 'public', NULL), (3, 'status', 'in_progress', 'on_hold', NULL),
    (4, 'commented', NULL, 'public', NULL), (5, 'status', 'on_hold', 'in_progress', NULL), (6, 'commented', NULL, 'public', NULL),
    (12, 'status', 'in_progress', 'resolved', NULL), (36, 'breached', 'running', 'breached', 'resolution deadline'),
    (36, 'escalated', '3', '2', 'resolution level 1')) AS h(k, kind, old, new, note)
WHERE kind NOT IN ('breached', 'escalated') OR {_LATE}
"""
_OUTBOX = f"""
INSERT INTO outbox (key, kind, ticket_id, state, attempts, created_at, sent_at, destination)
SELECT {_ID} || '/resolution/1/escalated/1/0/mail', 'escalated', {_ID}, 'sent', 1, {_AT}, {_AT}, 'mail'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n) WHERE {_LATE}
"""
_FACTS = f"""
INSERT INTO usage_facts (key, kind, ticket_id, customer, occurred_at, recorded_at, quantity, route)
SELECT 'ticket_opened/' || {_ID} || '/1', 'ticket_opened', {_ID}, 'customer' || n % 1000, {_AT}, {_AT}, 1, 'metered'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS g(n) WHERE NOT {_OLD}
"""
_DUE = """
WITH these AS (
    UPDATE clocks SET due_at = due, next_check_at = due
    FROM (SELECT ticket_id AS id, now() - row_number() OVER () * interval '1 millisecond' AS due FROM clocks
        WHERE state = 'running' AND next_check_at > now() LIMIT CAST(:number AS int)) AS chosen
    WHERE ticket_id = chosen.id AND target = 'resolution' RETURNING ticket_id, due
)
UPDATE alarms SET at = due FROM these WHERE alarms.ticket_id = these.ticket_id
"""


def fill(database: Database, first: int, last: int, start: datetime) -> None:
    """Store tickets number first to last, with all that became of them until `start`. PostgreSQL only."""
    for begin in range(first, last + 1, _AT_ONCE):
        given = {"first": begin, "last": min(begin + _AT_ONCE - 1, last)}
        with database.write() as connection:
            for statement in (_TICKETS, _COMMENTS, _CLOCKS, _ALARMS, _EVENTS, _OUTBOX, _FACTS):
                dated = {"start": start} if ":start" in statement else {}
                connection.execute(sa.text(statement), given | dated)


def run_out(database: Database, number: int) -> int:
    """Have so many of the open ones run out now, one a millisecond; returns how many did."""
    with database.write() as connection:
        return int(connection.execute(sa.text(_DUE), {"number": number}).rowcount)
