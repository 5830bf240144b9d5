"""How a fleet stands, as its database knows it: how much waits, how long already, and what was done last.

Reads only, each part by itself and in milliseconds: what is asked every few seconds must not slow down what it watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ticket_system.storage import audits, state
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.state import Pile
from ticket_system.tickets import utc_now

#: Reports that were missed longer ago are history.
_MISSED_DAYS = 7


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one state: how many, and the age of the oldest; 0 where there is none."""

    state: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class LastAudit:
    """What the last finished audit came to."""

    finished_at: datetime
    differences: int


def open_tickets(database: Database) -> int:
    """Count the tickets that somebody still has to work on."""
    with database.glance() as connection:
        return state.open_tickets(connection)


def clocks_due(database: Database, *, now: datetime | None = None) -> Waiting:
    """Count the clocks that wait for a scan."""
    with database.read() as connection:
        now = now or moment(connection)
        return _waiting(state.due_clocks(connection, now), now)


def jobs_done(database: Database) -> dict[str, datetime]:
    """Return when each job of the schedule last came to its end; one that never did is left out."""
    with database.glance() as connection:
        return state.last_done(connection)


def notices(database: Database, *, now: datetime | None = None) -> list[Waiting]:
    """Count the notices that wait, are on their way, or want a person, by state."""
    with database.read() as connection:
        return _all(state.NOTICES, state.notices(connection), now or moment(connection))


def usage(database: Database, *, now: datetime | None = None) -> list[Waiting]:
    """Count the deliveries of usage that wait, are unknown, or want a person, by state."""
    with database.read() as connection:
        return _all(state.USAGE, state.usage(connection), now or moment(connection))


def reports(database: Database, *, now: datetime | None = None) -> list[Waiting]:
    """Count the reports that are to be made, and those that were missed in the last week, by state."""
    with database.read() as connection:
        now = now or moment(connection)
        return _all(state.REPORTS, state.reports(connection, now - timedelta(days=_MISSED_DAYS)), now)


def report_letters(database: Database, *, now: datetime | None = None) -> list[Waiting]:
    """Count the letters of reports that wait, are on their way, or want a person, by state."""
    with database.read() as connection:
        return _all(state.LETTERS, state.report_letters(connection), now or moment(connection))


def destinations_resting(database: Database, *, now: datetime | None = None) -> int:
    """Count the places that nobody tries for a while, because nothing gets through."""
    with database.read() as connection:
        return state.resting(connection, now or moment(connection))


def parked_messages(database: Database, *, now: datetime | None = None) -> Waiting:
    """Count the messages that nobody could understand."""
    with database.read() as connection:
        return _waiting(state.parked_messages(connection), now or moment(connection))


def last_audit(database: Database) -> LastAudit | None:
    """Return what the last finished audit came to; None: there was none yet."""
    with database.glance() as connection:
        last = audits.last_run(connection)
    return LastAudit(last.finished_at, last.differences) if last else None


def clock_skew(database: Database) -> float:
    """Return how many seconds this machine's clock is ahead of the database's; the way there and back is halved."""
    with database.read() as connection:
        before = utc_now()
        there = moment(connection)
        after = utc_now()
    return (before + (after - before) / 2 - there).total_seconds()


def _waiting(pile: Pile, now: datetime) -> Waiting:
    age = (now - pile.oldest).total_seconds() if pile.oldest else 0.0
    return Waiting(pile.state, pile.number, max(age, 0.0))


def _all(states: Sequence[str], piles: list[Pile], now: datetime) -> list[Waiting]:
    """Tell of every state, also where nothing lies in it: a figure that comes and goes cannot be compared."""
    found = {pile.state: pile for pile in piles}
    return [_waiting(found.get(name, Pile(name, 0, None)), now) for name in map(str, states)]
