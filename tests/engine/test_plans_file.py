"""The sections [plans] and [billing] of a policy file: what they mean, and each mistake with its key."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ticket_system.errors import PolicyError
from ticket_system.sla.plans import FREE, Billing, Plan, bought
from ticket_system.sla.policies import Facts
from ticket_system.sla.policy_file import parse

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
FOR_ALL = "[policies.all.targets.resolution]\nwithin = { low = '100h' }\n"
SILVER = "[plans.silver]\nhours = 48\nprices = ['p1']\n"


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse(text, now=NOW, folder=Path())
    return str(caught.value).splitlines()


def test_without_plans_nothing_is_sold() -> None:
    book = parse(FOR_ALL, now=NOW)
    assert (dict(book.plans), book.billing) == ({}, Billing())
    assert [one.name for one in book.policies] == ["all"]


def test_a_plan_and_the_free_one_get_a_policy_each_ahead_of_that_for_all() -> None:
    book = parse(FOR_ALL + SILVER, now=NOW)
    assert book.plans["silver"] == Plan("silver", frozenset({"p1"}), hours=48)
    assert book.plans[FREE].hours == 168
    assert [(one.name, one.rank) for one in book.policies] == [("plan free", 999), ("plan silver", 999), ("all", 1000)]
    hours = {plan: book.pick(Facts(4, plan=plan)).targets["resolution"].seconds[4] // 3600 for plan in (FREE, "silver")}
    assert hours == {FREE: 168, "silver": 48}
    assert book.pick(Facts(4)).name == "all"


def test_a_free_plan_that_is_written_down_is_the_one() -> None:
    book = parse(f"{FOR_ALL}{SILVER}[plans.free]\nhours = 5\n", now=NOW)
    assert book.plans[FREE].hours == 5


def test_what_is_not_said_of_billing_is_as_built_in() -> None:
    text = "[billing]\ncurrency = 'usd'\nmeters = { ticket_opened = 'mine' }\namounts = { critical_ticket = 9 }\n"
    billing = parse(f"{FOR_ALL}{text}grace = '24h'\n", now=NOW).billing
    assert dict(billing.meters) == {"ticket_opened": "mine", "critical_ticket": "critical_tickets"}
    assert dict(billing.amounts) == {"ticket_opened": 0, "critical_ticket": 9}
    assert (billing.currency, billing.grace_seconds) == ("usd", 86_400)


def test_a_price_means_its_plan_before_a_product_does() -> None:
    plans = {
        "a": Plan("a", products=frozenset({"prod"})),
        "b": Plan("b", frozenset({"key"})),
        "c": Plan("c", frozenset({"price"})),
    }
    assert bought(plans, price="x", lookup_key="key", product="prod") is plans["b"]
    assert bought(plans, price="x", lookup_key=None, product="prod") is plans["a"]
    assert bought(plans, price="price", lookup_key=None, product=None) is plans["c"]
    assert bought(plans, price=None, lookup_key=None, product=None) is None


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("[plans.a]\nprices = ['p1']\n", "plans.a: nothing is promised to this plan; expected `hours`, or a policy"),
        (f"{SILVER}[plans.b]\nhours = 1\nprices = ['p0', 'p1']\n", "plans.b.prices.2: 'p1' means the plan 'silver'"),
        (f"{SILVER}[plans.b]\nhours = 1\nproducts = ['p1']\n", "plans.b.products.1: 'p1' means the plan 'silver'"),
        ("[plans.a]\nhours = 0\n", "plans.a.hours: expected"),
        ("[plans.a]\nhours = 'many'\n", "plans.a.hours: expected a whole number, not 'many'"),
        ("[plans.a]\nhours = 1\nprice = 'p'\n", "plans.a.price: there is no such key; expected one of prices"),
        ("[plans.a]\nhours = 1\ncritical = 'meterd'\n", "plans.a.critical: expected"),
        (
            "[plans.a]\nhours = 1\ncritical = 'invoice_item'\n",
            "plans.a.critical: an invoice item needs `critical_ticket`",
        ),
        ("[plans.a]\nhours = 1\ncancelled = 'drop'\n", "plans.a.cancelled: expected"),
        ("[billing]\ncurrency = 'EURO'\n", "billing.currency: "),
        ("[billing]\nmeters = { tickets = 'x' }\n", "billing.meters.tickets: "),
        ("[billing]\nmeters = { ticket_opened = '' }\n", "billing.meters.ticket_opened: "),
        ("[billing]\namounts = { ticket_opened = -1 }\n", "billing.amounts.ticket_opened: expected"),
        ("[billing]\namounts = { ticket_opened = 0.5 }\n", "billing.amounts.ticket_opened: expected"),
        ("[billing]\ngrace = '7'\n", "billing.grace: expected"),
        ("[billing]\nmeters = { ticket_opened = 'invoice items' }\n", "billing.meters.ticket_opened: "),
    ),
)
def test_each_mistake_is_named_with_its_key(text: str, said: str) -> None:
    found = problems(FOR_ALL + text)
    assert len(found) == 1, found
    assert said in found[0], found


def test_a_plan_is_promised_by_hours_or_by_a_policy_and_not_by_both() -> None:
    targets = "[policies.p.targets.resolution]\nwithin = { low = '1h' }\n"
    policy = f"[policies.p]\nrank = 1\nmatch = {{ plans = ['silver'] }}\n{targets}"
    [found] = problems(FOR_ALL + policy + SILVER)
    assert "plans.silver.hours: a policy says what this plan is promised; expected one of the two" in found
    assert parse(FOR_ALL + policy + "[plans.silver]\nprices = ['p1']\n", now=NOW).plans["silver"].hours is None


def test_plans_need_room_ahead_of_the_policy_for_all() -> None:
    first = FOR_ALL.replace("[policies.all.t", "[policies.all]\nrank = 0\n[policies.all.t")
    [found] = problems(first + SILVER)
    assert "plans: the policy for all has rank 0; expected a higher one, so that plans come before it" in found
