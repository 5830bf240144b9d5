"""What a test or a demo does to Stripe by hand: customers come and go, plans change, periods end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypedDict

from ticket_worker.demo.stripe_double import billing, usage
from ticket_worker.demo.stripe_double.invoices import Invoice
from ticket_worker.demo.stripe_double.things import (
    Customer,
    Meter,
    MeterEvent,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
)
from ticket_worker.demo.stripe_double.world import Rejection, World

_MONTH = timedelta(days=30)


class _Head(TypedDict):
    """What every object begins with."""

    id: str
    created: datetime
    livemode: bool


class Stage:
    """The side of the double that faces whoever runs it. Everything is named by its id."""

    def __init__(self, world: World) -> None:
        self.world = world

    def add_key(self, key: str, *, livemode: bool = False) -> None:
        """From here on this key is valid."""
        with self.world.lock:
            self.world.keys[key] = livemode

    def revoke_key(self, key: str) -> None:
        """From here on this key is answered with 401."""
        with self.world.lock:
            self.world.keys.pop(key, None)

    def advance(self, by: timedelta) -> datetime:
        """Move the double's time, and return it."""
        with self.world.lock:
            self.world.ahead += by
            return self.world.now()

    def set_clock(self, clock: Callable[[], datetime]) -> None:
        """Take the time from somewhere else."""
        with self.world.lock:
            self.world.clock, self.world.ahead = clock, timedelta(0)

    def add_customer(
        self, customer_id: str | None = None, *, livemode: bool = False, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Return a new customer."""
        with self.world.lock:
            new = Customer(**self._head("cus", customer_id, livemode=livemode), metadata=dict(metadata or {}))
            self.world.customers[new.id] = new
            self.world.emit("customer.created", new.json(), livemode=livemode)
            return new.id

    def delete_customer(self, customer_id: str) -> None:
        """Delete a customer; Stripe ends their subscriptions with them."""
        with self.world.lock:
            customer = self.world.customers[customer_id]
            before = customer.json()
            customer.is_deleted = True
            for subscription in self.world.subscriptions.values():
                if subscription.customer == customer_id and subscription.status not in billing.OVER:
                    billing.end_subscription(self.world, subscription)
            self.world.emit("customer.deleted", before, livemode=customer.livemode)

    def add_meter(self, event_name: str, *, livemode: bool = False) -> str:
        """Return a new meter."""
        with self.world.lock:
            new = Meter(**self._head("mtr", None, livemode=livemode), event_name=event_name)
            self.world.meters[new.id] = new
            return new.id

    def archive_meter(self, meter_id: str) -> None:
        """From here on the meter takes no events."""
        with self.world.lock:
            self.world.meters[meter_id].archived_at = self.world.now()

    def reactivate_meter(self, meter_id: str) -> None:
        """The opposite."""
        with self.world.lock:
            self.world.meters[meter_id].archived_at = None

    def add_product(
        self, name: str = "Help desk", *, metadata: Mapping[str, str] | None = None, livemode: bool = False
    ) -> str:
        """Return a new product."""
        with self.world.lock:
            new = Product(**self._head("prod", None, livemode=livemode), name=name, metadata=dict(metadata or {}))
            self.world.products[new.id] = new
            return new.id

    def add_price(
        self,
        lookup_key: str | None,
        product: str,
        *,
        unit_amount: int = 0,
        currency: str = "usd",
        meter: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Return a new price of a product; with a meter, it is the price of one unit used."""
        with self.world.lock:
            new = Price(
                **self._head("price", None, livemode=self.world.products[product].livemode),
                product=product,
                lookup_key=lookup_key,
                unit_amount=unit_amount,
                currency=currency,
                meter=meter,
                metadata=dict(metadata or {}),
            )
            self.world.prices[new.id] = new
            return new.id

    def subscribe(
        self,
        customer: str,
        *prices: str,
        start: datetime | None = None,
        end: datetime | None = None,
        status: str = "active",
    ) -> str:
        """Return a new subscription, whose first period is from `start` to `end`: now and 30 days, unless told."""
        with self.world.lock:
            world = self.world
            start = start or world.now()
            end = end or start + _MONTH
            items = [
                SubscriptionItem(
                    id=world.new_id("si"), created=world.now(), price=world.prices[price], start=start, end=end
                )
                for price in prices
            ]
            head = self._head("sub", None, livemode=world.customers[customer].livemode)
            new = Subscription(**head, customer=customer, items=items, status=status)
            world.subscriptions[new.id] = new
            world.emit("customer.subscription.created", new.json(), livemode=new.livemode)
            return new.id

    def change_plan(self, subscription_id: str, price: str, *, item: int = 0) -> None:
        """Put another price in place of one; the period goes on."""
        with self.world.lock:
            subscription = self.world.subscriptions[subscription_id]
            changed = replace(subscription.items[item], price=self.world.prices[price])
            subscription.items[item] = changed
            self._updated(subscription)

    def cancel(self, subscription_id: str, *, at_period_end: bool = False) -> None:
        """End a subscription, at once or with its current period."""
        with self.world.lock:
            subscription = self.world.subscriptions[subscription_id]
            if at_period_end:
                subscription.cancel_at_period_end = True
                self._updated(subscription)
            else:
                billing.end_subscription(self.world, subscription)

    def set_status(self, subscription_id: str, status: str) -> None:
        """Say that a subscription is past due, unpaid, active again."""
        with self.world.lock:
            subscription = self.world.subscriptions[subscription_id]
            subscription.status = status
            self._updated(subscription)

    def close_period(self, subscription_id: str, *, next_end: datetime | None = None) -> Invoice:
        """End the current period; its invoice is a draft, to which late usage is still added."""
        with self.world.lock:
            return billing.close_period(self.world, self.world.subscriptions[subscription_id], next_end)

    def finalize_invoice(self, invoice_id: str) -> Invoice:
        """Make a draft final; usage of its period that comes later is not billed."""
        with self.world.lock:
            invoice = self.world.invoices[invoice_id]
            billing.finalize_invoice(self.world, invoice)
            return invoice

    def finalize(self, subscription_id: str, *, next_end: datetime | None = None) -> Invoice:
        """End the current period and make its invoice final at once."""
        with self.world.lock:
            return self.finalize_invoice(self.close_period(subscription_id, next_end=next_end).id)

    def reject_async(
        self,
        which: str | Callable[[MeterEvent], bool],
        code: str = "meter_event_invalid_value",
        *,
        is_sampled: bool = True,
    ) -> int:
        """Reject events that are, or will be, answered with 200; return how many there were already.

        A report names the identifiers only of those that are sampled.
        """
        chosen = (lambda event: event.identifier == which) if isinstance(which, str) else which
        rejection = Rejection(chosen, code, is_sampled)
        with self.world.lock:
            found = [event for event in self.world.usage if event.counts and chosen(event)]
            usage.reject(self.world, found, rejection)
            self.world.rejections.append(rejection)
            return len(found)

    def stop_rejecting(self) -> None:
        """From here on what is answered with 200 counts."""
        with self.world.lock:
            self.world.rejections.clear()

    def _updated(self, subscription: Subscription) -> None:
        self.world.emit("customer.subscription.updated", subscription.json(), livemode=subscription.livemode)

    def _head(self, prefix: str, object_id: str | None, *, livemode: bool) -> _Head:
        return {"id": object_id or self.world.new_id(prefix), "created": self.world.now(), "livemode": livemode}
