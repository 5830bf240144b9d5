"""The inbox: events that were signed for us, each stored once, until something has followed from it.

An event is stored before its sender is answered, and whatever follows is done later: nothing depends on the sender's
patience. What follows is marks only (fetch this customer, compare this meter), in the transaction that calls the event
handled.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from ticket_system.billing.course import thrown_away
from ticket_system.billing.deliveries import COUNTED, State
from ticket_system.storage import customers, deliveries, lanes
from ticket_system.storage.customers import InboxEvent, Waiting
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.tickets import storable

__all__ = ["InboxEvent", "Waiting"]

#: So often an event is tried before a person has to look.
MAX_ATTEMPTS = 10
#: Events are kept for so long after they were handled (`retention`); nobody sends them again later.
KEPT = timedelta(days=35)
_FIRST_WAIT = timedelta(seconds=30)


class Refusal(NamedTuple):
    """Usage that was taken, and thrown away later: what was told about it. The samples are not all there are."""

    event_name: str | None
    #: Identifiers of deliveries, each with why.
    samples: tuple[tuple[str, str], ...] = ()
    total: int = 0


class Effects(NamedTuple):
    """What follows from an event."""

    #: Fetch these customers of theirs anew.
    dirty: Collection[str] = ()
    #: Fetch everybody anew: what prices mean may have changed.
    everybody: bool = False
    #: What was used before is on an invoice that is final: whose, and until when.
    finalised: tuple[str, datetime] | None = None
    refusal: Refusal | None = None


def receive(database: Database, event: InboxEvent, *, ignored: str | None = None, now: datetime | None = None) -> bool:
    """Store an event; False: it is here already. What is `ignored`, and why, is kept, and nothing follows from it."""
    with database.write() as connection:
        return customers.receive(connection, event, now or moment(connection), ignored=ignored)


def waiting(database: Database, *, livemode: bool, limit: int = 100, now: datetime | None = None) -> list[Waiting]:
    """Return events that nothing has followed from yet, the oldest first."""
    with database.read() as connection:
        return customers.waiting(connection, now or moment(connection), limit, livemode=livemode)


def handle(database: Database, event: InboxEvent, effects: Effects, *, now: datetime | None = None) -> None:
    """Do what follows from an event, and call it handled, in one transaction. A second time changes nothing more."""
    with database.write() as connection:
        at = now or moment(connection)
        for stripe_customer in effects.dirty:
            customers.mark_dirty(connection, at, livemode=event.livemode, stripe_customer=stripe_customer)
        if effects.everybody:
            customers.mark_dirty(connection, at, livemode=event.livemode)
        if effects.finalised is not None:
            stripe_customer, until = effects.finalised
            mine = customers.of_stripe(connection, stripe_customer, livemode=event.livemode)
            if mine is not None and (mine.finalised_until is None or mine.finalised_until < until):
                customers.update(connection, mine.name, finalised_until=until)
        if effects.refusal is not None:
            for identifier, why in effects.refusal.samples:
                row = deliveries.by_identifier(connection, identifier)
                if row is not None and row.delivery.state in {*COUNTED, State.UNKNOWN}:
                    deliveries.save(connection, row.delivery, thrown_away(row.delivery, why))
            # The samples are not all there are: what is counted tells which others are missing.
            lanes.compare_meter(connection, effects.refusal.event_name, at, livemode=event.livemode)
        customers.settle_event(connection, event.id, "handled", at)


def failed(database: Database, one: Waiting, error: str, *, now: datetime | None = None) -> bool:
    """Put an event off after a failure; False: it was tried too often, and a person has to look."""
    with database.write() as connection:
        at, attempts = now or moment(connection), one.attempts + 1
        dead = attempts >= MAX_ATTEMPTS
        values = {"attempts": attempts, "error": storable(error[:500])}
        again = {} if dead else {"next_attempt_at": at + _FIRST_WAIT * 2**attempts}
        customers.settle_event(connection, one.event.id, "dead" if dead else "new", at, **values, **again)
        return not dead


def revive(database: Database, *, now: datetime | None = None) -> int:
    """Try events again that were given up; returns how many."""
    with database.write() as connection:
        return customers.revive_events(connection, now or moment(connection))
