"""Invoice items, subscriptions, periods and what ends up on an invoice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.support.stripe import Side, double_side
from ticket_worker.demo.stripe_double import StripeDouble

START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 31, 23, 0, tzinfo=UTC)


@pytest.fixture
def side() -> Iterator[Side]:
    with double_side(NOW) as side:
        yield side


@pytest.fixture
def double(side: Side) -> StripeDouble:
    assert side.double
    return side.double


@pytest.fixture
def gold(double: StripeDouble) -> str:
    product = double.add_product("Gold", metadata={"sla_policy": "gold"})
    return double.add_price("gold_monthly", product, unit_amount=9900)


@pytest.fixture
def subscription(side: Side, double: StripeDouble, gold: str) -> str:
    return double.subscribe(side.customer, gold, start=START, end=END)


def use(side: Side, value: str, moment: datetime) -> None:
    side.report(value, timestamp=int(moment.timestamp()))


def test_an_item_by_price_costs_its_quantity(side: Side, gold: str) -> None:
    item = side.client.v1.invoice_items.create(
        {"customer": side.customer, "pricing": {"price": gold}, "quantity": 3, "metadata": {"ledger_id": "7"}}
    )
    assert (item.amount, item.currency, item.quantity) == (29700, "usd", 3)
    assert item.pricing is not None
    assert item.pricing.price_details is not None
    assert item.pricing.price_details.price == gold
    assert side.client.v1.invoice_items.retrieve(item.id).metadata == item.metadata


def test_the_251st_pending_item_is_refused_until_there_is_room(side: Side, double: StripeDouble) -> None:
    items = side.client.v1.invoice_items
    made = [items.create({"customer": side.customer, "amount": 1, "currency": "usd"}) for _ in range(250)]
    with pytest.raises(stripe.InvalidRequestError, match="250"):
        items.create({"customer": side.customer, "amount": 1, "currency": "usd"})
    items.create({"customer": double.add_customer(), "amount": 1, "currency": "usd"})
    items.delete(made[0].id)
    items.create({"customer": side.customer, "amount": 1, "currency": "usd"})
    assert len(list(items.list({"customer": side.customer, "limit": 100}).auto_paging_iter())) == 250


def test_items_have_no_identifier_but_their_key(side: Side, double: StripeDouble) -> None:
    for key in ("k", "k", "k2"):
        side.client.v1.invoice_items.create(
            {"customer": side.customer, "amount": 500, "currency": "usd"}, {"idempotency_key": key}
        )
    assert len(double.journal.invoice_items) == 2


def test_items_are_listed_from_a_moment_on(side: Side, double: StripeDouble) -> None:
    items = side.client.v1.invoice_items
    items.create({"customer": side.customer, "amount": 1, "currency": "usd"})
    double.advance(timedelta(hours=1))
    late = items.create({"customer": side.customer, "amount": 2, "currency": "usd"})
    since = int(NOW.timestamp()) + 1
    assert [one.id for one in items.list({"customer": side.customer, "created": {"gte": since}}).data] == [late.id]
    assert items.list({"customer": double.add_customer()}).data == []


def test_an_item_needs_a_subscription_that_goes_on(side: Side, double: StripeDouble, subscription: str) -> None:
    create = side.client.v1.invoice_items.create
    item = create({"customer": side.customer, "amount": 1, "currency": "usd", "subscription": subscription})
    assert item.parent is not None
    assert item.parent.subscription_details is not None
    assert item.parent.subscription_details.subscription == subscription
    with pytest.raises(stripe.InvalidRequestError, match="another customer"):
        create({"customer": double.add_customer(), "amount": 1, "currency": "usd", "subscription": subscription})
    double.cancel(subscription)
    with pytest.raises(stripe.InvalidRequestError, match="canceled"):
        create({"customer": side.customer, "amount": 1, "currency": "usd", "subscription": subscription})


@pytest.mark.parametrize("absent", ("customer", "amount", "currency"))
def test_an_item_says_who_and_how_much(side: Side, absent: str) -> None:
    full = {"customer": side.customer, "amount": 1, "currency": "usd"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        side.client.raw_request("post", "/v1/invoiceitems", **{k: v for k, v in full.items() if k != absent})
    assert (caught.value.code, caught.value.param) == ("parameter_missing", absent)


@pytest.mark.parametrize(
    ("params", "code"),
    (
        ({"amount": "much"}, "parameter_invalid_integer"),
        ({"period": {"start": 1}}, "parameter_missing"),
        ({"period": {"start": 1, "end": 2, "middle": 3}}, "parameter_unknown"),
        ({"period": {"start": 2, "end": 1}}, "parameter_invalid"),
        ({"discountable": "perhaps"}, "parameter_invalid_boolean"),
        ({"tax_code": "txcd_1"}, "not_in_the_double"),
    ),
)
def test_the_sdks_own_types_are_the_contract(side: Side, params: dict[str, object], code: str) -> None:
    full = {"customer": side.customer, "amount": 1, "currency": "usd", **params}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        side.client.raw_request("post", "/v1/invoiceitems", **full)
    assert caught.value.code == code


def test_periods_stand_on_the_items_and_products_can_be_expanded(side: Side, subscription: str) -> None:
    found = side.client.v1.subscriptions.retrieve(subscription, {"expand": ["items.data.price.product"]})
    assert "current_period_start" not in found.to_dict()
    item = found["items"].data[0]
    assert (item.current_period_start, item.current_period_end) == (int(START.timestamp()), int(END.timestamp()))
    assert item.price.lookup_key == "gold_monthly"
    assert item.price.product.metadata["sla_policy"] == "gold"
    plain = side.client.v1.subscriptions.retrieve(subscription)
    product = plain["items"].data[0].price.product
    assert side.client.v1.products.retrieve(product).name == "Gold"
    assert side.client.v1.prices.retrieve(item.price.id, {"expand": ["product"]}).product.id == product  # type: ignore[union-attr]


def test_five_levels_are_too_deep_and_nonsense_is_refused(side: Side, subscription: str) -> None:
    listed = side.client.v1.subscriptions.list({"expand": ["data.customer"]})
    assert listed.data[0].customer.id == side.customer  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError, match="4 levels"):
        side.client.v1.subscriptions.list({"expand": ["data.items.data.price.product"]})
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        side.client.v1.subscriptions.retrieve(subscription, {"expand": ["nonsense"]})


def test_subscriptions_are_listed_by_customer_and_status(
    side: Side, double: StripeDouble, gold: str, subscription: str
) -> None:
    listed = side.client.v1.subscriptions.list
    gone = double.subscribe(side.customer, gold)
    double.cancel(gone)
    late = double.subscribe(double.add_customer(), gold)
    double.set_status(late, "past_due")
    assert [one.id for one in listed({"status": "all", "limit": 1}).auto_paging_iter()] == [late, gone, subscription]
    assert [one.id for one in listed().data] == [late, subscription]
    assert [one.id for one in listed({"customer": side.customer, "status": "all"}).data] == [gone, subscription]
    assert [one.id for one in listed({"status": "canceled"}).data] == [gone]
    assert [one.id for one in listed({"status": "past_due"}).data] == [late]


def test_plans_change_and_end(side: Side, double: StripeDouble, subscription: str) -> None:
    silver = double.add_price("silver_monthly", double.add_product("Silver"))
    double.change_plan(subscription, silver)
    double.cancel(subscription, at_period_end=True)
    found = side.client.v1.subscriptions.retrieve(subscription)
    assert found["items"].data[0].price.lookup_key == "silver_monthly"
    assert (found.status, found.cancel_at_period_end) == ("active", True)
    double.finalize(subscription)
    assert side.client.v1.subscriptions.retrieve(subscription).status == "canceled"
    kinds = [event.type.removeprefix("customer.subscription.") for event in double.events if "sub" in event.type]
    assert kinds == ["created", "updated", "updated", "deleted"]


def test_a_final_invoice_holds_the_usage_of_its_period_and_the_pending_items(
    side: Side, double: StripeDouble, gold: str
) -> None:
    ticket = double.add_price(None, double.add_product("Tickets"), unit_amount=200, meter=side.meter)
    subscription = double.subscribe(side.customer, gold, ticket, start=START, end=END)
    use(side, "5", START)
    use(side, "2", NOW)
    double.advance(timedelta(hours=1))
    use(side, "11", END)
    item = side.client.v1.invoice_items.create({"customer": side.customer, "amount": -300, "currency": "usd"})

    made = double.finalize(subscription)

    invoice = side.client.v1.invoices.retrieve(made.id)
    assert (made.quantity(side.event_name), invoice.total, invoice.status) == (7, 7 * 200 - 300, "open")
    assert (invoice.period_start, invoice.period_end) == (int(START.timestamp()), int(END.timestamp()))
    assert [one.id for one in side.client.v1.invoices.list({"customer": side.customer}).data] == [made.id]
    assert side.client.v1.invoice_items.retrieve(item.id).invoice == made.id
    with pytest.raises(stripe.InvalidRequestError, match="attached"):
        side.client.v1.invoice_items.delete(item.id)
    moved = side.client.v1.subscriptions.retrieve(subscription)["items"].data
    assert {one.current_period_start for one in moved} == {int(END.timestamp())}
    assert [event.type for event in double.events if event.type.startswith("invoice.")] == [
        "invoice.created",
        "invoice.finalized",
    ]
    # The other side of the boundary is on the next one, and the item is not.
    following = double.finalize(subscription)
    assert (following.quantity(side.event_name), following.total) == (11, 11 * 200)


def test_a_period_below_nothing_costs_nothing(side: Side, double: StripeDouble, subscription: str) -> None:
    use(side, "-5", NOW)
    assert double.finalize(subscription).quantity(side.event_name) == 0
    assert double.journal.billed(side.customer, side.event_name) == -5


def test_usage_is_late_once_the_invoice_is_final_and_not_before(
    side: Side, double: StripeDouble, subscription: str
) -> None:
    use(side, "1", NOW)
    draft = double.close_period(subscription)
    assert side.client.v1.invoices.retrieve(draft.id).status == "draft"
    use(side, "2", NOW)
    assert double.finalize_invoice(draft.id).quantity(side.event_name) == 3
    use(side, "4", NOW)
    assert [event.value for event in double.journal.unbilled] == [4]
    assert double.journal.billed(side.customer, side.event_name) == 3
    assert double.journal.billed(side.customer, side.event_name, START, NOW) == 0
    assert double.journal.billed(side.customer, side.event_name, NOW, END) == 3
