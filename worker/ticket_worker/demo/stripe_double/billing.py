"""Invoice items, and the invoices that they and the usage end up on."""

from __future__ import annotations

from datetime import datetime

from ticket_worker.demo.stripe_double.answers import Json, malformed, unfit
from ticket_worker.demo.stripe_double.forms import Params
from ticket_worker.demo.stripe_double.invoices import Invoice, UsageLine
from ticket_worker.demo.stripe_double.shapes import is_within, page
from ticket_worker.demo.stripe_double.things import InvoiceItem, Price, Subscription, moment
from ticket_worker.demo.stripe_double.world import World, newest_first, one_of

MOST_PENDING = 250
#: Subscriptions that no invoice will be made for.
OVER = frozenset({"canceled", "incomplete_expired"})
#: What the SDK would send and the double understands.
UNDERSTOOD = frozenset(
    {
        "amount",
        "currency",
        "customer",
        "description",
        "discountable",
        "expand",
        "metadata",
        "period",
        "pricing",
        "quantity",
        "subscription",
    }
)


def check_form(params: Params) -> None:
    """Refuse what is no invoice item at all; nothing of this is kept under an Idempotency-Key."""
    for name in params:
        if name not in UNDERSTOOD:
            raise malformed(f"This double of Stripe does not understand {name}.", "not_in_the_double", name)
    for name in ("customer",) if "pricing" in params else ("customer", "amount", "currency"):
        if name not in params:
            raise malformed(f"Missing required param: {name}.", "parameter_missing", name)
    if "pricing" in params and "amount" in params:
        raise malformed("Give an amount or a price, not both.", "parameter_invalid", "amount")
    period = params.get("period")
    if period and period["start"] > period["end"]:
        raise malformed("The period ends before it starts.", "parameter_invalid", "period[end]")


def add_item(world: World, params: Params, *, livemode: bool) -> Json:
    """Add something to the customer's next invoice."""
    customer = world.customer(params["customer"], livemode=livemode).id
    if subscription_id := params.get("subscription"):
        _check_subscription(world, subscription_id, customer, livemode=livemode)
    waiting = [item for item in world.items.values() if item.customer == customer and item.invoice is None]
    if len(waiting) >= MOST_PENDING:
        raise unfit(f"A customer can have at most {MOST_PENDING} pending invoice items.", "invoice_too_many_items")
    price: Price | None = None
    quantity = params.get("quantity", 1)
    if pricing := params.get("pricing"):
        price = one_of(world.prices, "price", pricing.get("price", ""), livemode=livemode, param="pricing[price]")
    now = world.now()
    period = params.get("period")
    item = InvoiceItem(
        id=world.new_id("ii"),
        created=now,
        livemode=livemode,
        customer=customer,
        amount=price.unit_amount * quantity if price else params["amount"],
        currency=price.currency if price else params["currency"].lower(),
        quantity=quantity,
        price=price,
        subscription=subscription_id,
        description=params.get("description"),
        period_start=moment(period["start"]) if period else now,
        period_end=moment(period["end"]) if period else now,
        metadata=params.get("metadata") or {},
    )
    world.items[item.id] = item
    return item.json()


def _check_subscription(world: World, subscription_id: str, customer: str, *, livemode: bool) -> None:
    subscription = one_of(world.subscriptions, "subscription", subscription_id, livemode=livemode, param="subscription")
    if subscription.customer != customer:
        raise unfit("The subscription is another customer's.", "resource_missing", "subscription")
    if subscription.status in OVER:
        raise unfit(f"The subscription {subscription_id} is {subscription.status}.", None, "subscription")


def list_items(world: World, params: Params, *, livemode: bool) -> Json:
    """List invoice items, pending and billed. There is no filter by metadata, as in Stripe."""
    customer, pending, invoice = (params.get(name) for name in ("customer", "pending", "invoice"))
    if customer:
        one_of(world.customers, "customer", customer, livemode=livemode, param="customer")
    found = [
        item.json()
        for item in newest_first(world.items.values(), livemode=livemode)
        if customer in {None, item.customer}
        and invoice in {None, item.invoice}
        and pending in {None, item.invoice is None}
        and is_within(int(item.created.timestamp()), params.get("created"))
    ]
    return page(found, params, "/v1/invoiceitems")


def delete_item(world: World, item_id: str, *, livemode: bool) -> Json:
    """Take an item back that is on no invoice yet."""
    item = one_of(world.items, "invoiceitem", item_id, livemode=livemode)
    if item.invoice is not None:
        raise unfit(f"The invoice item {item_id} is attached to an invoice.", "invoice_item_attached", "id")
    del world.items[item_id]
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def close_period(world: World, subscription: Subscription, next_end: datetime | None) -> Invoice:
    """End the current period: a draft of its invoice takes the pending items, and the next period begins."""
    first = subscription.items[0]
    invoice = Invoice(
        id=world.new_id("in"),
        created=world.now(),
        livemode=subscription.livemode,
        customer=subscription.customer,
        subscription=subscription.id,
        currency=first.price.currency,
        start=first.start,
        end=first.end,
    )
    for pending in world.items.values():
        is_ours = pending.customer == invoice.customer and pending.subscription in {None, subscription.id}
        if is_ours and pending.invoice is None:
            pending.invoice = invoice.id
            invoice.items.append(pending)
    world.invoices[invoice.id] = invoice
    subscription.latest_invoice = invoice.id
    length = first.end - first.start
    if subscription.cancel_at_period_end:
        end_subscription(world, subscription)
    else:
        for item in subscription.items:
            item.start, item.end = item.end, next_end or item.end + length
        world.emit("customer.subscription.updated", subscription.json(), livemode=subscription.livemode)
    world.emit("invoice.created", invoice.json(), livemode=invoice.livemode)
    return invoice


def end_subscription(world: World, subscription: Subscription) -> None:
    """Nothing comes after the current period, or not even that."""
    subscription.status = "canceled"
    subscription.ended_at = world.now()
    world.emit("customer.subscription.deleted", subscription.json(), livemode=subscription.livemode)


def finalize_invoice(world: World, invoice: Invoice) -> None:
    """Count the usage of the period; what comes from here on is not billed."""
    subscription = world.subscriptions[invoice.subscription]
    amounts = {item.price.meter: item.price.unit_amount for item in subscription.items if item.price.meter}
    totals: dict[str, int] = {}
    for event in world.usage:
        if event.counts and event.customer == invoice.customer and invoice.start <= event.timestamp < invoice.end:
            totals[event.event_name] = totals.get(event.event_name, 0) + event.value
    by_name = {meter.event_name: amounts.get(meter.id, 0) for meter in world.meters.values()}
    invoice.usage = [UsageLine(name, max(0, total), by_name.get(name, 0)) for name, total in sorted(totals.items())]
    invoice.finalized_at = world.now()
    world.emit("invoice.finalized", invoice.json(), livemode=invoice.livemode)
