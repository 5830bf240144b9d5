"""What customers have bought, and what events ask for. Nothing of a state is taken from an event."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from stripe import StripeError

from ticket_system.billing.subscriptions import Subscription
from ticket_system.billing.usage import Window
from ticket_system.inbox import Effects, InboxEvent, Refusal
from ticket_worker.billing.client import Account, translated
from ticket_worker.billing.pace import Pace

log = structlog.stdlib.get_logger(__name__)

#: Thin events that tell of usage which was taken, and thrown away later.
REPORTED = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"
_OURS = ("customer.", "invoice.finalized", "price.", "product.")
#: Between the end of a period and its final invoice, reconciliation has to be over: 23 and 24 hours.
_HOURS_NEEDED = 47
_KNOWN_SECONDS = 60.0


@dataclass(slots=True)
class StripeShop:
    """Subscriptions and events of Stripe, through its SDK."""

    account: Account
    pace: Pace
    _products: dict[str, tuple[float, dict[str, str]]] = field(default_factory=dict, init=False, repr=False)

    @property
    def livemode(self) -> bool:
        """Whether it is about real money."""
        return self.account.livemode

    def subscriptions(self, stripe_customer: str) -> list[Subscription]:
        """Return what a customer has bought, ended subscriptions among them."""
        self.pace.take_turn()
        wanted: Any = {"customer": stripe_customer, "status": "all", "limit": 100}
        try:
            found = [
                _subscription(one.to_dict())
                for one in self.account.client.v1.subscriptions.list(wanted).auto_paging_iter()
            ]
            # A list expands four levels, and a product lies one deeper.
            return [replace(one, metadata=self._said_of(one.product)) for one in found]
        except StripeError as error:
            raise translated(error) from error

    def undelivered(self, since: datetime) -> Iterator[InboxEvent]:
        """Return events since then that did not get through to us."""
        wanted: Any = {"created": {"gte": int(since.timestamp())}, "delivery_success": False, "limit": 100}
        try:
            self.pace.take_turn()
            for one in self.account.client.v1.events.list(wanted).auto_paging_iter():
                if one.livemode == self.livemode and one.type.startswith(_OURS):
                    yield InboxEvent(one.id, "snapshot", one.type, one.livemode, json.dumps(one.to_dict(), default=str))
        except StripeError as error:
            raise translated(error) from error

    def effects(self, event: InboxEvent) -> Effects:
        """Return what follows from an event."""
        if event.form == "thin":
            return self._thin(event)
        told: dict[str, Any] = json.loads(event.body)["data"]["object"]
        if event.type.startswith(("price.", "product.")):
            return Effects(everybody=True)
        if event.type == "invoice.finalized":
            return _finalised(told)
        if event.type.startswith("customer.subscription."):
            return Effects(dirty=[_id(told["customer"])])
        if event.type in {"customer.updated", "customer.deleted"}:
            return Effects(dirty=[told["id"]])
        return Effects()

    def _said_of(self, product: str | None) -> dict[str, str]:
        """Return what a product says of itself, asked for once a minute at most."""
        if product is None:
            return {}
        known = self._products.get(product)
        if known is None or known[0] < time.monotonic():
            self.pace.take_turn()
            told = self.account.client.v1.products.retrieve(product).to_dict()
            known = self._products[product] = (time.monotonic() + _KNOWN_SECONDS, told.get("metadata") or {})
        return known[1]

    def _thin(self, event: InboxEvent) -> Effects:
        if event.type not in {REPORTED, NO_METER}:
            return Effects()
        self.pace.take_turn()
        try:
            fetched = self.account.client.v2.core.events.retrieve(event.id).to_dict()
            meter = (fetched.get("related_object") or {}).get("id") if event.type == REPORTED else None
            event_name = self.account.client.v1.billing.meters.retrieve(meter).event_name if meter else None
        except StripeError as error:
            raise translated(error) from error
        reason = (fetched.get("data") or {}).get("reason") or {}
        samples = tuple(
            (identifier, str(kind.get("code")))
            for kind in reason.get("error_types") or []
            for sample in kind.get("sample_errors") or []
            if (identifier := ((sample.get("request") or {}).get("identifier")))
        )
        return Effects(refusal=Refusal(event_name, samples, int(reason.get("error_count") or len(samples))))


def _finalised(invoice: dict[str, Any]) -> Effects:
    until = datetime.fromtimestamp(invoice["period_end"], UTC)
    at = (invoice.get("status_transitions") or {}).get("finalized_at") or invoice["created"]
    hours = (at - invoice["period_end"]) / 3600
    if hours < _HOURS_NEEDED:
        log.warning(
            "invoice.final_early",
            invoice=invoice.get("id"),
            hours=round(hours, 1),
            hint=f"usage whose fate is unknown takes up to {_HOURS_NEEDED} hours to settle: let drafts wait 72 hours",
        )
    customer = invoice.get("customer")
    # An invoice over no time, the first of a subscription, ends no period.
    ends_one = customer and invoice["period_end"] > invoice["period_start"]
    return Effects(finalised=(_id(customer), until) if ends_one else None)


def _subscription(told: dict[str, Any]) -> Subscription:
    items: list[dict[str, Any]] = (told.get("items") or {}).get("data") or []
    # The item that says what was bought: the first whose price is no usage of a meter.
    prices: list[dict[str, Any]] = [price for one in items if (price := one.get("price"))]
    licensed = [one for one in prices if (one.get("recurring") or {}).get("usage_type") != "metered"]
    price = (licensed or prices or [{}])[0]
    product = price.get("product")
    return Subscription(
        id=told["id"],
        status=told["status"],
        created=datetime.fromtimestamp(told["created"], UTC),
        price=price.get("id"),
        lookup_key=price.get("lookup_key"),
        product=_id(product) if product else None,
        periods=tuple(
            Window(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
            for one in items
            if (start := one.get("current_period_start")) and (end := one.get("current_period_end")) and start < end
        ),
    )


def _id(thing: Any) -> str:
    return str(thing["id"] if isinstance(thing, dict) else thing)
