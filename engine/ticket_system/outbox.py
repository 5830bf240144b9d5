"""Deliveries: what a breach sends out, taken by lease, and what became of it.

    pending ──claim──► leased ──begin_sending──► sending ──► sent
       ▲                  │                         ├──────► parked      refused, or tried too often
       └── postpone ──────┴─────────────────────────┴──────► uncertain   it may have arrived; nobody knows

Intent is committed before the outside is touched, the outcome after; no transaction is open in between. A lease that
runs out before `begin_sending` is taken up again; after it, nobody can know whether the message arrived, so it is
shown and not repeated.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.errors import TicketNotFound
from ticket_system.storage import outbox, tickets
from ticket_system.storage.database import Database, moment
from ticket_system.storage.outbox import STATES, STUCK, OutboxRow
from ticket_system.tickets import Ticket, storable

__all__ = [
    "STATES", "STUCK", "OutboxRow", "begin_sending", "claim", "count", "delivered", "drop", "park", "postpone",
    "retry", "rows", "ticket_of", "uncertain",
]  # fmt: skip

#: About two days of trying.
MAX_ATTEMPTS = 18
_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 4 * 3600.0


def claim(
    database: Database, *, limit: int = 20, lease_seconds: float = 60, now: datetime | None = None
) -> list[OutboxRow]:
    """Take messages that are due, oldest first; they are ours until the lease runs out."""
    with database.write() as connection:
        at = now or moment(connection)
        outbox.give_up_lost(connection, at)
        until = at + timedelta(seconds=lease_seconds)
        return outbox.claim(connection, lease=str(uuid.uuid4()), until=until, now=at, limit=limit)


def ticket_of(database: Database, row: OutboxRow) -> Ticket:
    """Return the ticket a message is about, as it stands now."""
    with database.read() as connection:
        ticket = tickets.get(connection, row.ticket_id)
    if ticket is None:
        raise TicketNotFound(row.ticket_id)
    return ticket


def begin_sending(
    database: Database, row: OutboxRow, *, lease_seconds: float = 60, now: datetime | None = None
) -> bool:
    """Commit that the message is about to be handed over. False: the lease was lost, and it must not be sent."""
    with database.write() as connection:
        until = (now or moment(connection)) + timedelta(seconds=lease_seconds)
        return _move(connection, row, ("leased",), "sending", next_attempt_at=until)


def delivered(database: Database, row: OutboxRow, *, now: datetime | None = None) -> bool:
    """Record that the message was accepted."""
    with database.write() as connection:
        at = now or moment(connection)
        return _move(connection, row, _HELD, "sent", sent_at=at, next_attempt_at=None, error=None)


def postpone(database: Database, row: OutboxRow, error: str, *, now: datetime | None = None) -> datetime | None:
    """Try again later, after a wait that doubles; after too many attempts park it, and return None."""
    if row.attempts >= MAX_ATTEMPTS:
        park(database, row, f"given up after {row.attempts} attempts: {error}")
        return None
    with database.write() as connection:
        again = (now or moment(connection)) + backoff(row.attempts)
        _move(connection, row, _HELD, "pending", next_attempt_at=again, lease=None, error=storable(error[:_MAX_ERROR]))
    return again


def park(database: Database, row: OutboxRow, error: str) -> bool:
    """Set a message aside for a person to look at."""
    return _set_aside(database, row, "parked", error)


def uncertain(database: Database, row: OutboxRow, error: str) -> bool:
    """Record that the message may or may not have arrived; a person decides."""
    return _set_aside(database, row, "uncertain", error)


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: doubling, with jitter so that many do not come back at once."""
    longest = min(_FIRST_WAIT_SECONDS * 2 ** (attempts - 1), _LONGEST_WAIT_SECONDS)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - nothing secret


def rows(database: Database, states: Sequence[str] = STUCK, *, limit: int = 100) -> list[OutboxRow]:
    """Return messages in these states, oldest first; by default those a person has to look at."""
    with database.read() as connection:
        return outbox.rows(connection, states, limit)


def count(database: Database) -> dict[str, int]:
    """Count the messages by state."""
    with database.read() as connection:
        return outbox.count(connection)


def retry(database: Database, ids: Sequence[int]) -> int:
    """Send stuck messages again, at once; returns how many there were."""
    with database.write() as connection:
        return outbox.settle_by_hand(connection, ids, "pending", moment(connection))


def drop(database: Database, ids: Sequence[int]) -> int:
    """Decide that stuck messages are not sent; the rows stay. Returns how many there were."""
    with database.write() as connection:
        return outbox.settle_by_hand(connection, ids, "dropped", moment(connection))


_HELD = ("leased", "sending")
_MAX_ERROR = 500


def _set_aside(database: Database, row: OutboxRow, state: str, error: str) -> bool:
    with database.write() as connection:
        return _move(connection, row, _HELD, state, next_attempt_at=None, error=storable(error[:_MAX_ERROR]))


def _move(connection: sa.Connection, row: OutboxRow, held: tuple[str, ...], state: str, **values: Any) -> bool:
    return outbox.move(connection, row.id, holder=row.lease or "", held=held, state=state, **values)
