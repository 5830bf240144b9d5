"""What leaves the system: rows with a state, taken by lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.tables import named, one_of, outbox

#: Somebody has to look at these by hand.
STUCK = ("parked", "uncertain")
STATES = ("pending", "leased", "sending", "sent", "parked", "uncertain", "dropped")


# The conditions of the two partial indexes, word for word: SQLite uses them for nothing less.
_TO_SEND = one_of(outbox.c.state, ("pending", "leased", "sending"))
_STUCK = one_of(outbox.c.state, STUCK)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message: why it goes out, how far it came, and what went wrong."""

    id: int
    key: str
    kind: str
    ticket_id: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    lease: str | None
    error: str | None
    sent_at: datetime | None


def add(connection: sa.Connection, *, key: str, kind: str, ticket_id: str, now: datetime) -> None:
    """Put a message beside its cause; a second one under the same key is not written."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(outbox).on_conflict_do_nothing(index_elements=[outbox.c.key])
    row = {"key": key, "kind": kind, "ticket_id": ticket_id, "state": "pending", "attempts": 0}
    connection.execute(new, row | {"created_at": now, "next_attempt_at": now})


def give_up_lost(connection: sa.Connection, now: datetime) -> int:
    """Mark what was being sent when its sender vanished: it may have arrived, so it is shown and not repeated."""
    lost = sa.update(outbox).where(_TO_SEND, outbox.c.state == named("sending"), outbox.c.next_attempt_at < now)
    note = "the sender vanished while the message was being handed over; it may have arrived"
    return connection.execute(lost.values(state="uncertain", lease=None, next_attempt_at=None, error=note)).rowcount


def claim(connection: sa.Connection, *, lease: str, until: datetime, now: datetime, limit: int) -> list[OutboxRow]:
    """Take messages that are due, oldest first: new ones, and ones whose holder let the lease run out."""
    due = (
        sa.select(outbox.c.id)
        .where(_TO_SEND, outbox.c.state != named("sending"), outbox.c.next_attempt_at <= now)
        .order_by(outbox.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = (
        sa.update(outbox)
        .where(outbox.c.id.in_(due.scalar_subquery()))
        .values(state="leased", attempts=outbox.c.attempts + 1, lease=lease, next_attempt_at=until)
        .returning(*outbox.c)
    )
    rows = [_row(row) for row in connection.execute(taken)]
    return sorted(rows, key=lambda row: row.id)


def move(
    connection: sa.Connection, row_id: int, *, holder: str, held: Sequence[str], state: str, **values: Any
) -> bool:
    """Change the state of a message we hold; False: the lease was lost, and nothing was changed."""
    mine = sa.update(outbox).where(outbox.c.id == row_id, outbox.c.lease == holder, outbox.c.state.in_(held))
    return connection.execute(mine.values(state=state, **values)).rowcount == 1


def rows(connection: sa.Connection, states: Sequence[str], limit: int) -> list[OutboxRow]:
    """Return messages in these states, oldest first."""
    query = sa.select(*outbox.c).where(one_of(outbox.c.state, tuple(states))).order_by(outbox.c.id).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def count(connection: sa.Connection) -> dict[str, int]:
    """Count the messages by state."""
    return dict(connection.execute(sa.select(outbox.c.state, sa.func.count()).group_by(outbox.c.state)).all())


def settle_by_hand(connection: sa.Connection, ids: Sequence[int], state: str, now: datetime) -> int:
    """Send stuck messages again, or drop them; others are left alone. Returns how many were changed."""
    retried = {"attempts": 0, "next_attempt_at": now} if state == "pending" else {"next_attempt_at": None}
    stuck = sa.update(outbox).where(outbox.c.id.in_(ids), _STUCK)
    return connection.execute(stuck.values(state=state, lease=None, **retried)).rowcount


def _row(row: sa.Row[Any]) -> OutboxRow:
    return OutboxRow(**row._mapping)  # noqa: SLF001 - the underscore is SQLAlchemy's way of not clashing with columns
