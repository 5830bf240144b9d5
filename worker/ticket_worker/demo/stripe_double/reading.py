"""Everything that can only be looked at: meters, subscriptions, prices, invoices, events."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ticket_worker.demo.stripe_double.answers import Json, Refusal, missing
from ticket_worker.demo.stripe_double.billing import OVER
from ticket_worker.demo.stripe_double.events import Event
from ticket_worker.demo.stripe_double.forms import Params
from ticket_worker.demo.stripe_double.shapes import is_within, page, page_v2
from ticket_worker.demo.stripe_double.things import Subscription
from ticket_worker.demo.stripe_double.world import World, newest_first, one_of

#: How long an event can be fetched.
RETRIEVABLE = timedelta(days=30)


def retrieve(world: World, kind: str, object_id: str, *, livemode: bool) -> Json:
    """Return one object of any kind."""
    shelves: dict[str, dict[str, Any]] = {
        "customer": world.customers,
        "invoice": world.invoices,
        "invoiceitem": world.items,
        "meter": world.meters,
        "price": world.prices,
        "product": world.products,
        "subscription": world.subscriptions,
    }
    found: Json = one_of(shelves[kind], kind, object_id, livemode=livemode).json()
    return found


def list_meters(world: World, params: Params, *, livemode: bool) -> Json:
    """List meters, archived ones too."""
    status = params.get("status")
    found = [meter.json() for meter in newest_first(world.meters.values(), livemode=livemode)]
    return page([one for one in found if status in {None, one["status"]}], params, "/v1/billing/meters")


def list_subscriptions(world: World, params: Params, *, livemode: bool) -> Json:
    """List subscriptions; those that are over only where they are asked for."""
    if customer := params.get("customer"):
        one_of(world.customers, "customer", customer, livemode=livemode, param="customer")
    price = params.get("price")
    found = [
        subscription.json()
        for subscription in newest_first(world.subscriptions.values(), livemode=livemode)
        if customer in {None, subscription.customer}
        and _has_status(subscription, params.get("status"))
        and (price is None or price in {item.price.id for item in subscription.items})
        and is_within(int(subscription.created.timestamp()), params.get("created"))
    ]
    return page(found, params, "/v1/subscriptions")


def _has_status(subscription: Subscription, wanted: str | None) -> bool:
    match wanted:
        case None:
            return subscription.status != "canceled"
        case "all":
            return True
        case "ended":
            return subscription.status in OVER
        case _:
            return subscription.status == wanted


def list_invoices(world: World, params: Params, *, livemode: bool) -> Json:
    """List invoices."""
    customer, subscription, status = (params.get(name) for name in ("customer", "subscription", "status"))
    if customer:
        one_of(world.customers, "customer", customer, livemode=livemode, param="customer")
    found = [invoice.json() for invoice in newest_first(world.invoices.values(), livemode=livemode)]
    chosen = [
        one
        for one in found
        if customer in {None, one["customer"]}
        and status in {None, one["status"]}
        and subscription in {None, one["parent"]["subscription_details"]["subscription"]}
        and is_within(one["created"], params.get("created"))
    ]
    return page(chosen, params, "/v1/invoices")


def _events(world: World, *, livemode: bool, is_thin: bool) -> list[Event]:
    """The events of one kind that can still be fetched, newest first."""
    oldest = world.now() - RETRIEVABLE
    return [
        event
        for event in reversed(world.events)
        if event.livemode is livemode and event.is_thin is is_thin and event.created >= oldest
    ]


def retrieve_event(world: World, event_id: str, *, livemode: bool, is_thin: bool) -> Json:
    """Return one event; snapshots live under v1, thin ones under v2."""
    for event in _events(world, livemode=livemode, is_thin=is_thin):
        if event.id == event_id:
            return event.json()
    raise missing("event", event_id) if not is_thin else Refusal(404, f"Event '{event_id}' not found.", "not_found")


def list_events(world: World, params: Params, *, livemode: bool) -> Json:
    """List snapshot events, by whether their webhooks were taken, by type and by time."""
    types, wanted = params.get("types") or [], params.get("delivery_success")
    if kind := params.get("type"):
        types = [*types, kind]
    found = [
        event.json()
        for event in _events(world, livemode=livemode, is_thin=False)
        if (not types or any(_is_of(event.type, kind) for kind in types))
        and wanted in {None, event.is_delivered}
        and is_within(int(event.created.timestamp()), params.get("created"))
    ]
    return page(found, params, "/v1/events")


def _is_of(kind: str, wanted: str) -> bool:
    return kind == wanted or (wanted.endswith("*") and kind.startswith(wanted[:-1]))


def list_thin_events(world: World, params: Params, *, livemode: bool) -> Json:
    """List thin events, as v2 lists."""
    types, about = params.get("types") or [], params.get("object_id")
    bounds = {name: datetime.fromisoformat(at).timestamp() for name, at in params.get("created", {}).items()}
    found = [
        event.json()
        for event in _events(world, livemode=livemode, is_thin=True)
        if (not types or event.type in types)
        and about in {None, (event.related or {}).get("id")}
        and is_within(event.created.timestamp(), bounds)
    ]
    return page_v2(found, params, "/v2/core/events")
