"""The objects that the double keeps, and how each of them stands in an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from ticket_worker.demo.stripe_double.answers import Json

Metadata = dict[str, str]


def unix(moment: datetime) -> int:
    """Seconds since 1970, as v1 writes a moment."""
    return int(moment.timestamp())


def moment(seconds: float) -> datetime:
    """The moment that v1 wrote."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(kw_only=True, slots=True)
class Thing:
    """What every object has."""

    id: str
    created: datetime
    livemode: bool

    def _head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": unix(self.created), "livemode": self.livemode}


@dataclass(kw_only=True, slots=True)
class Customer(Thing):
    """Someone who pays."""

    metadata: Metadata = field(default_factory=dict)
    is_deleted: bool = False

    def json(self) -> Json:
        """As it stands in an answer."""
        if self.is_deleted:
            return {"id": self.id, "object": "customer", "deleted": True}
        return self._head("customer") | {"metadata": self.metadata, "name": None, "email": None}


@dataclass(kw_only=True, slots=True)
class Meter(Thing):
    """What is counted."""

    event_name: str
    archived_at: datetime | None = None

    def json(self) -> Json:
        """As it stands in an answer."""
        archived = unix(self.archived_at) if self.archived_at else None
        return self._head("billing.meter") | {
            "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
            "default_aggregation": {"formula": "sum"},
            "display_name": self.event_name,
            "event_name": self.event_name,
            "event_time_window": None,
            "status": "inactive" if archived else "active",
            "status_transitions": {"deactivated_at": archived},
            "updated": archived or unix(self.created),
            "value_settings": {"event_payload_key": "value"},
        }


@dataclass(kw_only=True, slots=True)
class MeterEvent:
    """Usage that was reported and answered with 200."""

    identifier: str
    event_name: str
    customer: str
    value: int
    timestamp: datetime
    received_at: datetime
    livemode: bool
    #: Why it does not count after all.
    rejected: str | None = None
    is_cancelled: bool = False
    #: It came when the invoice of its period was final.
    is_unbilled: bool = False

    @property
    def counts(self) -> bool:
        """Whether it is part of the usage, billed or not."""
        return self.rejected is None and not self.is_cancelled

    def json(self) -> Json:
        """As it stands in an answer."""
        return {
            "object": "billing.meter_event",
            "created": unix(self.received_at),
            "event_name": self.event_name,
            "identifier": self.identifier,
            "livemode": self.livemode,
            "payload": {"stripe_customer_id": self.customer, "value": str(self.value)},
            "timestamp": unix(self.timestamp),
        }


@dataclass(kw_only=True, slots=True)
class Product(Thing):
    """What is sold."""

    name: str
    metadata: Metadata = field(default_factory=dict)

    def json(self) -> Json:
        """As it stands in an answer."""
        return self._head("product") | {"name": self.name, "active": True, "metadata": self.metadata}


@dataclass(kw_only=True, slots=True)
class Price(Thing):
    """What it costs."""

    product: str
    lookup_key: str | None = None
    unit_amount: int = 0
    currency: str = "usd"
    #: The meter whose usage it charges for; None is a flat fee.
    meter: str | None = None
    metadata: Metadata = field(default_factory=dict)

    def json(self) -> Json:
        """As it stands in an answer."""
        return self._head("price") | {
            "active": True,
            "billing_scheme": "per_unit",
            "currency": self.currency,
            "lookup_key": self.lookup_key,
            "metadata": self.metadata,
            "nickname": None,
            "product": self.product,
            "recurring": {
                "interval": "month",
                "interval_count": 1,
                "meter": self.meter,
                "usage_type": "metered" if self.meter else "licensed",
            },
            "type": "recurring",
            "unit_amount": self.unit_amount,
            "unit_amount_decimal": str(self.unit_amount),
        }


@dataclass(kw_only=True, slots=True)
class SubscriptionItem:
    """One price of a subscription, and its current period."""

    id: str
    created: datetime
    price: Price
    start: datetime
    end: datetime

    def json(self, subscription: str) -> Json:
        """As it stands in an answer."""
        return {
            "id": self.id,
            "object": "subscription_item",
            "created": unix(self.created),
            "current_period_end": unix(self.end),
            "current_period_start": unix(self.start),
            "metadata": {},
            "price": self.price.json(),
            "subscription": subscription,
        }


@dataclass(kw_only=True, slots=True)
class Subscription(Thing):
    """Who pays for what, from when to when."""

    customer: str
    items: list[SubscriptionItem]
    status: str = "active"
    cancel_at_period_end: bool = False
    ended_at: datetime | None = None
    latest_invoice: str | None = None
    metadata: Metadata = field(default_factory=dict)

    def json(self) -> Json:
        """As it stands in an answer; periods are the items', as the pinned version has it."""
        ended = unix(self.ended_at) if self.ended_at else None
        return self._head("subscription") | {
            "billing_mode": {"type": "flexible"},
            "cancel_at": unix(self.items[0].end) if self.cancel_at_period_end else None,
            "cancel_at_period_end": self.cancel_at_period_end,
            "canceled_at": ended,
            "collection_method": "charge_automatically",
            "currency": self.items[0].price.currency,
            "customer": self.customer,
            "ended_at": ended,
            "items": {
                "object": "list",
                "data": [item.json(self.id) for item in self.items],
                "has_more": False,
                "url": f"/v1/subscription_items?subscription={self.id}",
            },
            "latest_invoice": self.latest_invoice,
            "metadata": self.metadata,
            "start_date": unix(self.created),
            "status": self.status,
        }


@dataclass(kw_only=True, slots=True)
class InvoiceItem(Thing):
    """Something to pay once, on the next invoice."""

    customer: str
    amount: int
    currency: str
    quantity: int = 1
    price: Price | None = None
    subscription: str | None = None
    description: str | None = None
    period_start: datetime
    period_end: datetime
    metadata: Metadata = field(default_factory=dict)
    invoice: str | None = None

    def json(self) -> Json:
        """As it stands in an answer. It is the one object whose moment of creation is called `date`."""
        unit = self.amount // self.quantity if self.quantity else self.amount
        details = {"price": self.price.id, "product": self.price.product} if self.price else None
        head = self._head("invoiceitem")
        date = head.pop("created")
        return head | {
            "amount": self.amount,
            "currency": self.currency,
            "customer": self.customer,
            "date": date,
            "description": self.description,
            "discountable": self.amount >= 0,
            "discounts": [],
            "invoice": self.invoice,
            "metadata": self.metadata,
            "parent": {
                "type": "subscription_details",
                "subscription_details": {"subscription": self.subscription, "subscription_item": None},
            }
            if self.subscription
            else None,
            "period": {"start": unix(self.period_start), "end": unix(self.period_end)},
            "pricing": {"type": "price_details", "price_details": details, "unit_amount_decimal": str(unit)},
            "proration": False,
            "quantity": self.quantity,
            "tax_rates": [],
        }
