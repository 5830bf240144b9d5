"""All that the double knows: its clock, its settings, its objects."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeVar

from ticket_worker.demo.stripe_double.answers import Json, missing, unfit
from ticket_worker.demo.stripe_double.events import Event
from ticket_worker.demo.stripe_double.invoices import Invoice
from ticket_worker.demo.stripe_double.things import (
    Customer,
    InvoiceItem,
    Meter,
    MeterEvent,
    Price,
    Product,
    Subscription,
    Thing,
)

T = TypeVar("T", bound=Thing)


@dataclass(slots=True)
class Rules:
    """Where the real Stripe is not known exactly, or may change: each can be set."""

    #: The refusal of a second event with one identifier.
    duplicate_wording: str = "An event already exists with identifier {identifier}."
    identifier_window: timedelta = timedelta(hours=24)
    #: How long an event takes to show in a summary.
    summary_lag: timedelta = timedelta(0)
    #: Whether a summary of no events at all is listed, with 0, or left out.
    lists_empty_summaries: bool = False
    #: Whether an unknown customer, or an unknown meter, is found out only after a 200.
    customers_are_checked_later: bool = False
    meters_are_checked_later: bool = False
    #: Whether a second call at a time for one customer and meter is refused, not only counted.
    refuses_concurrent_calls: bool = False
    #: Real seconds that every call takes.
    work_seconds: float = 0.0


@dataclass(slots=True)
class Rejection:
    """Events that are answered with 200 and rejected all the same."""

    which: Callable[[MeterEvent], bool]
    code: str
    is_sampled: bool


@dataclass(slots=True)
class World:
    """The state. Whoever reads or changes it holds the lock."""

    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    #: What was added to the clock by hand.
    ahead: timedelta = timedelta(0)
    rules: Rules = field(default_factory=Rules)
    #: The valid keys, and whether each is a live one.
    keys: dict[str, bool] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    items: dict[str, InvoiceItem] = field(default_factory=dict)
    usage: list[MeterEvent] = field(default_factory=list)
    #: The last event of each identifier, by mode.
    identified: dict[tuple[bool, str], MeterEvent] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: Tells the ids of this double from those of one before it.
    _stamp: str = field(default_factory=lambda: secrets.token_hex(4))
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def now(self) -> datetime:
        """The double's time."""
        return self.clock() + self.ahead

    def new_id(self, prefix: str) -> str:
        """An id that no other object has."""
        return f"{prefix}_{self._stamp}{next(self._numbers):08d}"

    def customer(self, customer_id: str, *, livemode: bool, param: str = "customer") -> Customer:
        """Return a customer who can be billed."""
        customer = one_of(self.customers, "customer", customer_id, livemode=livemode, param=param)
        if customer.is_deleted:
            raise missing("customer", customer_id, param=param)
        return customer

    def meter_named(self, event_name: str, *, livemode: bool) -> Meter:
        """Return the meter that counts these events."""
        for meter in self.meters.values():
            if meter.event_name == event_name and meter.livemode is livemode:
                if meter.archived_at:
                    raise unfit(f"The meter for event name {event_name} is archived.", "archived_meter", "event_name")
                return meter
        raise unfit(f"No active meter found for event name: {event_name}", "no_meter", "event_name")

    def emit(self, kind: str, data: Json, *, livemode: bool) -> Event:
        """A snapshot event happens."""
        event = Event(id=self.new_id("evt"), type=kind, created=self.now(), livemode=livemode, data=data)
        self.events.append(event)
        return event

    def emit_thin(self, kind: str, data: Json, *, livemode: bool, related: Json | None = None) -> Event:
        """A thin event happens."""
        event = Event(
            id=self.new_id("evt"),
            type=kind,
            created=self.now(),
            livemode=livemode,
            data=data,
            related=related,
            is_thin=True,
        )
        self.events.append(event)
        return event

    def look_up(self, object_id: str, *, livemode: bool) -> Json | None:
        """Return any object that an id can be expanded to."""
        for shelf in (self.customers, self.products, self.prices, self.subscriptions, self.invoices):
            found: Customer | Product | Price | Subscription | Invoice | None = shelf.get(object_id)
            if found and found.livemode is livemode:
                return found.json()
        return None


def one_of(shelf: dict[str, T], kind: str, object_id: str, *, livemode: bool, param: str = "id") -> T:
    """Return an object of the caller's mode; one of the other mode is as good as none."""
    found = shelf.get(object_id)
    if found is None or found.livemode is not livemode:
        raise missing(kind, object_id, param=param)
    return found


def newest_first(shelf: Iterable[T], *, livemode: bool) -> list[T]:
    """The objects of one mode as lists show them."""
    return [thing for thing in reversed(list(shelf)) if thing.livemode is livemode]
