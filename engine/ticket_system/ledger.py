"""The ledger of usage: facts are sealed into batches, batches are delivered, and what was counted is compared.

Nothing here talks to anybody. A caller takes a lane, has its intent committed by `begin`, makes the call with no
transaction open, and has the outcome committed by `settle`. Whatever is killed in between is taken up again: the same
delivery, under the same identifier. What each step means stands in `billing.course`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.billing import course
from ticket_system.billing.deliveries import TO_SEND, Delivery, Said, State
from ticket_system.billing.usage import HOUR, INVOICE_ITEM, ITEMS, SEAL_AFTER, Window, batch_id, mode, stamp, windows
from ticket_system.rulebook import Rulebook
from ticket_system.sla.plans import Billing
from ticket_system.storage import customers, deliveries, lanes, outbox, usage
from ticket_system.storage.database import Database
from ticket_system.storage.deliveries import Batch, Row, Sum
from ticket_system.storage.lanes import Lane
from ticket_system.storage.moments import moment
from ticket_system.storage.usage import Fact, Group
from ticket_system.tickets import storable

__all__ = ["Batch", "Lane", "Row", "Sealed", "Sum"]

LEASE = timedelta(seconds=90)
_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one run of `seal` did."""

    facts: int = 0
    batches: int = 0
    #: Windows whose minutes are used up: their facts wait for a person.
    full: int = 0


class Held(NamedTuple):
    """A lane that is ours for a while, and what is to be sent by it."""

    lane: Lane
    holder: str
    rows: list[Row]
    #: By the database's clock.
    since: datetime


def seal(
    database: Database, rules: Rulebook, *, livemode: bool, customers_at_once: int = 200, now: datetime | None = None
) -> Sealed:
    """Put facts of windows that are over into batches, customer by customer; repeated until nothing is found."""
    with database.write() as connection:
        return _seal(connection, rules, now or moment(connection), customers_at_once, livemode=livemode)


def preview(database: Database, rules: Rulebook, *, livemode: bool, now: datetime | None = None) -> list[Row]:
    """Return what would be sent now, sealing included, oldest first; nothing is changed."""
    with database.write() as connection:
        # The name of the installation is in every identifier: made for the look, it is kept.
        usage.installation(connection)
        at, undo = now or moment(connection), connection.begin_nested()
        while _seal(connection, rules, at, 1000, livemode=livemode).batches:
            pass
        rows = deliveries.listed(connection, TO_SEND, limit=1_000_000, livemode=livemode)
        undo.rollback()
    return rows


def release_backoff(database: Database) -> int:
    """Have everything that waits for another attempt tried at the next tick; returns how many there are."""
    with database.write() as connection:
        return deliveries.release_backoff(connection, moment(connection))


def _seal(connection: sa.Connection, rules: Rulebook, at: datetime, limit: int, *, livemode: bool) -> Sealed:
    names = usage.to_seal(connection, at, livemode=livemode, limit=limit)
    if not names:
        return Sealed()
    usage.lock(connection, names)
    usage.settle_routes(connection, names)
    known, periods = customers.known(connection, names), customers.periods(connection, names)
    _, book = rules.current(connection)
    sealing = _Sealing(connection, book.billing, at, livemode=livemode)
    for group in usage.groups(connection, names, at - SEAL_AFTER):
        boundaries = {edge for period in periods.get(group.customer, []) for edge in period}
        for window in windows(group.hour, boundaries):
            if window.end <= at - SEAL_AFTER:
                sealing.window(group, window, known[group.customer].stripe_customer)
    return Sealed(usage.count(connection, sealing.batches), len(sealing.batches), sealing.full)


class _Sealing:
    """Makes batches of windows, in one transaction."""

    def __init__(self, connection: sa.Connection, billing: Billing, now: datetime, *, livemode: bool) -> None:
        self.connection, self.billing, self.now, self.livemode = connection, billing, now, livemode
        self.batches: list[str] = []
        self.full = 0
        self._installation = usage.installation(connection)
        self._lanes: dict[tuple[str, str], int] = {}

    def window(self, group: Group, window: Window, stripe_customer: str) -> None:
        """Make a batch of a window's facts; of each, where each is an item of its own."""
        if group.route == INVOICE_ITEM:
            for fact in usage.single(self.connection, group, window):
                self._item(group, window, self._lane(stripe_customer, ITEMS), fact)
            return
        event_name = self.billing.meters[group.kind]
        lane_id = self._lane(stripe_customer, event_name)
        event_at = stamp(window, deliveries.taken(self.connection, lane_id, window))
        if event_at is None:
            self.full += 1
            return
        seq = usage.next_seq(self.connection, group.customer, event_name, window)
        name = self._name(group.customer, event_name, window.start.isoformat(), str(seq))
        quantity = usage.gather(self.connection, group, window, name)
        if quantity or usage.count(self.connection, [name]):
            self._add(self._row(group, window, name, quantity, event_name, seq), lane_id, event_at)

    def _item(self, group: Group, window: Window, lane_id: int, fact: Fact) -> None:
        name = self._name(fact.key)
        quantity = usage.gather(self.connection, group, window, name, fact_id=fact.id)
        if quantity:
            row = self._row(group, window, name, quantity, ITEMS, 0) | {"charges": fact.key}
            self._add(row, lane_id, fact.occurred_at)

    def _name(self, *parts: str) -> str:
        return batch_id(self._installation, mode(self.livemode), *parts)

    def _row(
        self, group: Group, window: Window, name: str, quantity: int, event_name: str, seq: int
    ) -> dict[str, object]:
        return {
            "id": name, "customer": group.customer, "kind": group.kind, "route": group.route,
            "event_name": event_name, "seq": seq, "window_start": window.start, "window_end": window.end,
            "quantity": quantity, "amount": self.billing.amounts.get(group.kind, 0),
            "currency": self.billing.currency, "sealed_at": self.now,
        }  # fmt: skip

    def _add(self, row: Mapping[str, object], lane_id: int, event_at: datetime) -> None:
        usage.add_batch(self.connection, row, lane_id=lane_id, event_at=event_at)
        self.batches.append(str(row["id"]))

    def _lane(self, stripe_customer: str, event_name: str) -> int:
        key = (stripe_customer, event_name)
        if key not in self._lanes:
            self._lanes[key] = lanes.lane(self.connection, *key, livemode=self.livemode)
        return self._lanes[key]


# --- sending -------------------------------------------------------------------------------------------------------


def claim(database: Database, *, livemode: bool, limit: int = 50, now: datetime | None = None) -> Held | None:
    """Take a lane by which something is to be sent and nothing is under way; None: there is none."""
    with database.write() as connection:
        at, holder = now or moment(connection), str(uuid.uuid4())
        lane = lanes.claim(connection, at, livemode=livemode, holder=holder, until=at + LEASE)
        return lane and Held(lane, holder, deliveries.due_in_lane(connection, lane.id, at, limit), at)


def begin(database: Database, held: Held, row: Row, *, now: datetime | None = None) -> Delivery | None:
    """Commit that a delivery is about to be sent. None: it must not be; it has changed, ended, or is not ours."""
    with database.write() as connection:
        at = now or moment(connection)
        if not lanes.hold(connection, held.lane.id, holder=held.holder, until=at + LEASE):
            return None
        begun = course.too_late(row.delivery, at) if row.is_final else course.begun(row.delivery, at, LEASE)
        saved = deliveries.save(connection, row.delivery, begun)
        return begun if saved and begun.state == State.SENDING else None


def settle(
    database: Database, row: Row, begun: Delivery, said: Said, *, luck: float | None = None, now: datetime | None = None
) -> Delivery:
    """Commit what a call came to; returns the delivery as it stands now, whoever else has taken it over."""
    with database.write() as connection:
        at = now or moment(connection)
        spread = random.uniform(0.5, 1.0) if luck is None else luck  # noqa: S311 - a wait, not a secret
        after = course.answered(begun, _storable(said), at, spread)
        if not deliveries.save(connection, begun, after):
            found = deliveries.get(connection, begun.id)
            return found.delivery if found else begun
        if after.state == State.ACCEPTED and not row.is_item:
            lanes.compare_soon(connection, row.lane.id, at + HOUR)
        return after


def adopt(database: Database, row: Row, made: Sequence[str], *, now: datetime | None = None) -> Delivery:
    """Commit that the invoice item of a delivery was found to be there; more than one is a matter for a person."""
    with database.write() as connection:
        at = now or moment(connection)
        after = course.found_there(row.delivery, made, at)
        return after if deliveries.save(connection, row.delivery, after) else row.delivery


def put_off(database: Database, row: Row, why: str, *, now: datetime | None = None) -> None:
    """Have a delivery tried later, without an attempt: it could not be looked for."""
    with database.write() as connection:
        at = now or moment(connection)
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - a wait, not a secret
        deliveries.save(
            connection, row.delivery, course.put_off(row.delivery, storable(why[:_LONGEST_ERROR]), at, spread)
        )


def release(database: Database, held: Held) -> None:
    """Give a lane back."""
    with database.write() as connection:
        lanes.hold(connection, held.lane.id, holder=held.holder, until=None)


def rests(database: Database, channel: str) -> bool:
    """Tell whether nothing is sent at the moment, because they did not know us."""
    with database.read() as connection:
        at = moment(connection)
        return any(one.until > at for one in outbox.resting(connection, channel))


def _storable(said: Said) -> Said:
    return replace(said, message=storable(said.message[:_LONGEST_ERROR]) if said.message else None)
