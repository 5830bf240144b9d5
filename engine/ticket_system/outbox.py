"""Deliveries: what a breach sends out, taken by lease, and what became of it.

    pending ──claim──► leased ──begin_sending──► sending ──► sent
       ▲                  │                         ├──────► parked      refused, or tried too often
       └── postpone ──────┴─────────────────────────┴──────► uncertain   it may have arrived; nobody knows

Intent is committed before the outside is touched, the outcome after; no transaction is open in between. A lease that
runs out before `begin_sending` is taken up again; after it, nobody can know whether the message arrived, so it is
shown and not repeated.

More alarms for one recipient than the rules allow at once are `bundled`: they go out in one message of their own.

Destinations do not wait for each other: a claim takes one of each in turn, and one through which nothing gets rests,
longer every time, without its queue being touched.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ticket_system.errors import TicketNotFound
from ticket_system.storage import outbox, tickets
from ticket_system.storage.database import Database
from ticket_system.storage.moments import later, moment
from ticket_system.storage.outbox import ALARMS, BUNDLE, MAIL, STATES, STUCK, Crowd, OutboxRow, Rest, channel
from ticket_system.tickets import Ticket, storable
from ticket_system.waits import backoff

__all__ = [
    "ALARMS", "BUNDLE", "MAIL", "STATES", "STUCK", "About", "OutboxRow", "Rest", "about", "begin_sending", "bundle",
    "bundled", "channel", "claim", "count", "delivered", "drop", "park", "postpone", "release", "rest", "resting",
    "retry", "rows", "ticket_of", "tickets_of", "uncertain",
]  # fmt: skip

#: Most of a day of trying; a place that is away altogether rests instead, and uses up none.
MAX_ATTEMPTS = 18
_FIRST_WAIT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 4 * 3600.0
# A destination that is away costs its timeout once in so long, and whoever waits for it no longer than that.
_LONGEST_REST_SECONDS = 300.0
_MANY = 30


def claim(
    database: Database, *, limit: int = 20, lease_seconds: float = 60, now: datetime | None = None
) -> list[OutboxRow]:
    """Take messages that are due, each destination in turn; they are ours until the lease runs out."""
    with database.write() as connection:
        at = now or moment(connection)
        outbox.give_up_lost(connection, at)
        until = at + timedelta(seconds=lease_seconds)
        return outbox.claim(connection, lease=str(uuid.uuid4()), until=until, now=at, limit=limit)


class About(NamedTuple):
    """What a message is about: a warning or a level of one clock."""

    target: str
    cycle: int
    kind: str
    number: int
    repeat: int


def about(row: OutboxRow) -> About | None:
    """Read the key: ticket/target/cycle/kind/number/repeat/destination; the ticket's own id may hold anything."""
    parts = row.key.removesuffix(f"/{row.destination}").rsplit("/", 5)
    if len(parts) != 6 or not all(parts[place].isdecimal() for place in (2, 4, 5)):  # noqa: PLR2004 - as spelt out
        return None
    return About(parts[1], int(parts[2]), parts[3], int(parts[4]), int(parts[5]))


def ticket_of(database: Database, row: OutboxRow) -> Ticket:
    """Return the ticket a message is about, as it stands now, with the clock that the message is about."""
    with database.glance() as connection:
        return _ticket_of(connection, row)


def tickets_of(database: Database, rows: Sequence[OutboxRow]) -> list[Ticket]:
    """Return the tickets that messages are about, in their order, each with its clock; TicketNotFound for one gone."""
    with database.read() as connection:
        return [_ticket_of(connection, row) for row in rows]


def bundle(database: Database, more_than: int, place: Callable[[str, str | None], str | None]) -> int:
    """Where more alarms than that wait for one recipient, let them go out as one message (rule 23); returns how many.

    `place` tells where a message really goes, from its destination and the person on the ticket; None leaves it alone.
    """
    with database.read() as connection:
        now = moment(connection)
        crowds = outbox.crowds(connection, now, more_than)
    waiting: dict[str, list[Crowd]] = {}
    for crowd in crowds:
        if (where := place(crowd.destination, crowd.person)) is not None:
            waiting.setdefault(where, []).append(crowd)
    done = 0
    for where, mine in waiting.items():
        if sum(one.number for one in mine) > more_than:
            with database.write() as connection:
                key = f"bundle/{uuid.uuid4()}"
                done += outbox.bundle(connection, mine, where, key=key, now=now, more_than=more_than)
    return done


def bundled(database: Database, row: OutboxRow, limit: int) -> tuple[list[OutboxRow], int]:
    """Return what goes out in a bundle, the most urgent first, and how many there are in all."""
    with database.read() as connection:
        return outbox.bundled(connection, row.id, limit)


def begin_sending(
    database: Database, row: OutboxRow, *, lease_seconds: float = 60, now: datetime | None = None
) -> bool:
    """Commit that the message is about to be handed over. False: the lease was lost, and it must not be sent."""
    with database.statement() as connection:
        until = later(connection, now, timedelta(seconds=lease_seconds))
        return _move(connection, row, ("leased",), "sending", next_attempt_at=until)


def delivered(database: Database, row: OutboxRow, *, now: datetime | None = None) -> bool:
    """Record that the message was accepted; whatever kept its destination from answering is over."""
    with database.statement() as connection:
        told = {"sent_at": later(connection, now), "next_attempt_at": None, "error": None}
        return _move(connection, row, _HELD, "sent", wakes=channel(row.destination), **told)


def release(database: Database, rows: Sequence[OutboxRow]) -> int:
    """Give back messages of one claim that were not begun: due again at once, the attempt not counted."""
    if not rows:
        return 0
    with database.write() as connection:
        return outbox.release(connection, [row.id for row in rows], holder=rows[0].lease or "")


def rest(
    database: Database,
    destination: str,
    error: str | None,
    *,
    seconds: float = 0,
    now: datetime | None = None,
) -> datetime:
    """Let nobody try a destination for a while: longer with every failure in a row, `seconds` at least.

    Without an error it only was slow: it rests for just those seconds. Returns when it is tried again.
    """
    name = outbox.channel(destination)
    with database.write() as connection:
        at = now or moment(connection)
        before = next(iter(outbox.resting(connection, name)), None)
        failures = 0 if before is None else before.failures
        # Whoever fails while it rests had begun before: many workers that find it away at once have met one failure.
        if error is not None and (before is None or not before.failures or before.until <= at):
            failures += 1
        wait = timedelta(seconds=min(seconds, _LONGEST_WAIT_SECONDS))
        if error is not None:
            wait = max(wait, _backoff(failures, _LONGEST_REST_SECONDS))
            error = storable(error[:_MAX_ERROR])
        until = at + wait if before is None else max(at + wait, before.until)
        outbox.rest(connection, name, failures=min(failures, _MANY), until=until, error=error)
        return until


def resting(database: Database) -> list[Rest]:
    """Return the channels through which nothing got at the last attempt."""
    with database.read() as connection:
        return [one for one in outbox.resting(connection) if one.failures]


def postpone(
    database: Database, row: OutboxRow, error: str, *, wait_seconds: float = 0, now: datetime | None = None
) -> datetime | Literal[False] | None:
    """Try again later, after a wait that doubles, `wait_seconds` at least; after too many attempts park it: None.

    False: the lease was lost, and whoever has it now says what becomes of the message.
    """
    if row.attempts >= MAX_ATTEMPTS:
        return None if park(database, row, f"given up after {row.attempts} attempts: {error}") else False
    with database.write() as connection:
        wait = max(
            _backoff(row.attempts, _LONGEST_WAIT_SECONDS), timedelta(seconds=min(wait_seconds, _LONGEST_WAIT_SECONDS))
        )
        again = (now or moment(connection)) + wait
        told = {"next_attempt_at": again, "lease": None, "error": storable(error[:_MAX_ERROR])}
        return again if _move(connection, row, _HELD, "pending", **told) else False


def park(database: Database, row: OutboxRow, error: str) -> bool:
    """Set a message aside for a person to look at."""
    return _set_aside(database, row, "parked", error)


def uncertain(database: Database, row: OutboxRow, error: str) -> bool:
    """Record that the message may or may not have arrived; a person decides."""
    return _set_aside(database, row, "uncertain", error)


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


def _backoff(attempts: int, longest_seconds: float) -> timedelta:
    return backoff(attempts, first_seconds=_FIRST_WAIT_SECONDS, longest_seconds=longest_seconds)


def _set_aside(database: Database, row: OutboxRow, state: str, error: str) -> bool:
    with database.statement() as connection:
        return _move(connection, row, _HELD, state, next_attempt_at=None, error=storable(error[:_MAX_ERROR]))


def _move(connection: sa.Connection, row: OutboxRow, held: tuple[str, ...], state: str, **values: Any) -> bool:
    return outbox.move(connection, row.id, holder=row.lease or "", held=held, state=state, **values)


def _ticket_of(connection: sa.Connection, row: OutboxRow) -> Ticket:
    of = about(row)
    if of is None:
        ticket = tickets.get(connection, row.ticket_id)
    else:
        ticket = tickets.get_with(connection, row.ticket_id, of.target, of.cycle)
    if ticket is None:
        raise TicketNotFound(row.ticket_id)
    return ticket
