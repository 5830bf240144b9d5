"""Deliveries of usage: the lanes they leave by, one call at a time, and how each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.billing.deliveries import STUCK, SUPERSEDED, TO_SEND, Delivery, State, identifier
from ticket_system.billing.usage import INVOICE_ITEM, METERED, Window
from ticket_system.storage.billing_tables import customers, usage_batches, usage_deliveries, usage_lanes
from ticket_system.storage.lanes import Lane
from ticket_system.storage.tables import named, one_of

_COLUMNS = [usage_deliveries.c[field.name] for field in fields(Delivery)]
_STATES = [field.name for field in fields(Delivery) if field.name not in {"id", "batch_id", "generation", "identifier"}]
# What a minute belongs to, in the words of the index.
_HAS_MINUTE = (
    usage_deliveries.c.route == named(METERED),
    sa.not_(one_of(usage_deliveries.c.state, SUPERSEDED)),
)


class Batch(NamedTuple):
    """What a delivery carries."""

    id: str
    customer: str
    kind: str
    event_name: str
    window_start: datetime
    window_end: datetime
    seq: int
    amount: int
    currency: str
    charges: str | None
    sealed_at: datetime


class Row(NamedTuple):
    """A delivery with what it carries, by which lane, and the subscription of its customer."""

    delivery: Delivery
    batch: Batch
    lane: Lane
    subscription: str | None
    finalised_until: datetime | None

    @property
    def money(self) -> int:
        """What it is about, in the smallest unit of the currency."""
        return self.delivery.quantity * self.batch.amount

    @property
    def is_item(self) -> bool:
        """Whether it is an item of an invoice, and no usage of a meter."""
        return self.delivery.route == INVOICE_ITEM

    @property
    def is_final(self) -> bool:
        """Whether the invoice on which it belongs is final: what arrives now is counted, and never billed."""
        is_past = self.finalised_until is not None and self.delivery.event_at < self.finalised_until
        return is_past and not self.is_item


def due_in_lane(connection: sa.Connection, lane_id: int, now: datetime, limit: int) -> list[Row]:
    """Return what is to be sent by a lane, oldest first."""
    due = (usage_deliveries.c.lane_id == lane_id, usage_deliveries.c.next_attempt_at <= now)
    query = _rows().where(one_of(usage_deliveries.c.state, TO_SEND), *due)
    return _read(connection, query.order_by(usage_deliveries.c.next_attempt_at, usage_deliveries.c.id).limit(limit))


def to_look_for(connection: sa.Connection, now: datetime, limit: int, *, livemode: bool) -> list[Row]:
    """Return what may or may not have arrived, and is to be looked for."""
    due = (usage_deliveries.c.state == named(State.UNKNOWN), usage_deliveries.c.next_attempt_at <= now)
    query = _rows().where(*due, usage_lanes.c.livemode == livemode)
    return _read(connection, query.order_by(usage_deliveries.c.next_attempt_at).limit(limit))


def counted_in(connection: sa.Connection, lane_id: int, start: datetime, end: datetime) -> list[Row]:
    """Return what a lane has sent, or may have, with a moment between two; oldest first."""
    mine = (
        usage_deliveries.c.lane_id == lane_id,
        usage_deliveries.c.event_at >= start,
        usage_deliveries.c.event_at < end,
        usage_deliveries.c.quantity != 0,
        *_HAS_MINUTE,
    )
    return _read(connection, _rows().where(*mine).order_by(usage_deliveries.c.event_at))


def taken(connection: sa.Connection, lane_id: int, window: Window) -> set[datetime]:
    """Return the minutes of a window that belong to deliveries of a lane."""
    mine = (
        usage_deliveries.c.lane_id == lane_id,
        usage_deliveries.c.event_at >= window.start,
        usage_deliveries.c.event_at < window.end,
        *_HAS_MINUTE,
    )
    return set(connection.scalars(sa.select(usage_deliveries.c.event_at).where(*mine)))


def save(connection: sa.Connection, before: Delivery, after: Delivery) -> bool:
    """Store what became of a delivery; False: it was changed meanwhile, and nothing is stored."""
    mine = sa.update(usage_deliveries).where(
        usage_deliveries.c.id == before.id,
        usage_deliveries.c.state == before.state,
        usage_deliveries.c.attempts == before.attempts,
        usage_deliveries.c.last_attempt_at.is_not_distinct_from(before.last_attempt_at),
    )
    values = {name: getattr(after, name) for name in _STATES}
    return connection.execute(mine.values(**values)).rowcount == 1


def add_generation(
    connection: sa.Connection, row: Row, now: datetime, *, lane_id: int | None = None, event_at: datetime | None = None
) -> str:
    """Have a batch sent once more, under a new identifier; the generation before is over. Returns the identifier."""
    before = row.delivery
    name = identifier(before.batch_id, before.generation + 1)
    values = {
        "batch_id": before.batch_id, "lane_id": lane_id or row.lane.id, "generation": before.generation + 1,
        "identifier": name, "event_at": event_at or before.event_at, "route": before.route, "quantity": before.quantity,
        "state": State.SEALED, "next_attempt_at": now,
    }  # fmt: skip
    connection.execute(sa.insert(usage_deliveries).values(values))
    return name


def get(connection: sa.Connection, delivery_id: int, *, lock: bool = False) -> Row | None:
    """Return a delivery."""
    query = _rows().where(usage_deliveries.c.id == delivery_id)
    found = _read(connection, query.with_for_update(of=usage_deliveries) if lock else query)
    return found[0] if found else None


def by_identifier(connection: sa.Connection, name: str) -> Row | None:
    """Return the delivery of an identifier."""
    found = _read(connection, _rows().where(usage_deliveries.c.identifier == name))
    return found[0] if found else None


def of_customer(connection: sa.Connection, customer: str, states: Sequence[str]) -> list[Row]:
    """Return a customer's deliveries in these states, oldest first."""
    query = _rows().where(usage_batches.c.customer == customer, one_of(usage_deliveries.c.state, tuple(states)))
    return _read(connection, query.order_by(usage_deliveries.c.id).with_for_update(of=usage_deliveries))


def listed(
    connection: sa.Connection,
    states: Sequence[str],
    limit: int,
    *,
    customer: str | None = None,
    livemode: bool | None = None,
) -> list[Row]:
    """Return deliveries in these states, oldest first."""
    query = _rows().where(one_of(usage_deliveries.c.state, tuple(states)))
    for indexed in (TO_SEND, STUCK):
        # In the words of its index; SQLite does not see that some of them are among them.
        if set(states) <= set(indexed):
            query = query.where(one_of(usage_deliveries.c.state, indexed))
    if customer is not None:
        query = query.where(usage_batches.c.customer == customer)
    if livemode is not None:
        query = query.where(usage_lanes.c.livemode == livemode)
    return _read(connection, query.order_by(usage_deliveries.c.id).limit(limit))


class Sum(NamedTuple):
    """How much of one state there is: deliveries, what they count, what that costs, and the oldest."""

    state: str
    currency: str
    deliveries: int
    quantity: int
    money: int
    oldest: datetime


def sums(connection: sa.Connection) -> list[Sum]:
    """Add up what waits or is stuck, by state and currency. What is done is left out: there is ever more of it."""
    # Spelt out by index: what is to be sent, to be looked for, and stuck.
    columns = [usage_deliveries.c[name] for name in ("id", "batch_id", "state", "quantity")]
    state = usage_deliveries.c.state
    each = (one_of(state, TO_SEND), state == named(State.UNKNOWN), one_of(state, STUCK))
    parts = [sa.select(*columns).where(one) for one in each]
    some = sa.union_all(*parts).subquery("some")
    query = (
        sa.select(
            some.c.state,
            usage_batches.c.currency,
            sa.func.count(),
            sa.func.sum(some.c.quantity),
            sa.func.sum(some.c.quantity * usage_batches.c.amount),
            sa.func.min(usage_batches.c.sealed_at),
        )
        .join(usage_batches, usage_batches.c.id == some.c.batch_id)
        .group_by(some.c.state, usage_batches.c.currency)
        .order_by(some.c.state)
    )
    return [Sum(a, b, int(c), int(d), int(e), f) for a, b, c, d, e, f in connection.execute(query)]


def release_backoff(connection: sa.Connection, now: datetime) -> int:
    """Have everything that waits for another attempt tried now, where nothing is under way; returns how many."""
    is_held = sa.exists().where(usage_lanes.c.id == usage_deliveries.c.lane_id, usage_lanes.c.lease_until > now)
    waiting = (one_of(usage_deliveries.c.state, TO_SEND), usage_deliveries.c.next_attempt_at > now)
    hurried = sa.update(usage_deliveries).where(*waiting, sa.not_(is_held)).values(next_attempt_at=now)
    return connection.execute(hurried).rowcount


def _rows() -> sa.Select[Any]:
    return (
        sa.select(
            *_COLUMNS,
            *[usage_batches.c[name].label(f"batch_{name}") for name in Batch._fields],
            *[usage_lanes.c[name].label(f"lane_{name}") for name in Lane._fields],
            customers.c.subscription,
            customers.c.finalised_until,
        )
        .join_from(usage_deliveries, usage_batches, usage_batches.c.id == usage_deliveries.c.batch_id)
        .join(usage_lanes, usage_lanes.c.id == usage_deliveries.c.lane_id)
        .join(customers, customers.c.name == usage_batches.c.customer)
    )


def _read(connection: sa.Connection, query: sa.Select[Any]) -> list[Row]:
    first, second = len(_COLUMNS), len(_COLUMNS) + len(Batch._fields)
    third = second + len(Lane._fields)
    return [
        Row(Delivery(*row[:first]), Batch(*row[first:second]), Lane(*row[second:third]), row[third], row[third + 1])
        for row in connection.execute(query)
    ]
