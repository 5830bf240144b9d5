"""Customers are linked by a person, and kept up with what they have bought. On every database."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.billing import REFUSED, SEALED, Till, a_subscription
from tests.support.promises import at
from ticket_system import accounts, settlements
from ticket_system.billing.deliveries import Answer, Said
from ticket_system.billing.subscriptions import Subscription
from ticket_system.errors import BillingError, InvalidTicket
from ticket_system.sla.plans import Plan
from ticket_system.storage import customers

GOLD = Plan("gold", frozenset({"gold-monthly", "price_9"}), frozenset({"prod_gold"}), hours=8)


def customer(till: Till, name: str = "acme") -> accounts.Customer:
    found = accounts.get(till.database, name)
    assert found is not None
    return found


def bought(till: Till, *found: Subscription, hours: float = 1) -> tuple[str | None, int | None, str | None]:
    till.fetches(*found, hours=hours)
    mine = customer(till)
    return mine.plan, mine.hours, mine.problem


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "theirs", ("", "cus_", "sub_1", "cus_A ", " cus_A", "cus_A B", "cus_A\n", "cus_é", "cus_\u0663", "cus_" + "x" * 300)
)
def test_what_is_no_customer_of_theirs_is_refused(till: Till, theirs: str) -> None:
    with pytest.raises(BillingError, match="expected an id such as cus_"):
        till.links("new", theirs)
    assert accounts.get(till.database, "new") is None


def test_a_customer_has_a_name(till: Till) -> None:
    with pytest.raises(InvalidTicket, match="customer must not be empty"):
        till.links(" ", "cus_B")


def test_one_of_theirs_is_one_of_ours_in_each_mode(till: Till) -> None:
    with pytest.raises(BillingError, match="cus_A is linked to another customer already"):
        till.links("umbrella", "cus_A")
    till.links("umbrella", "cus_B")
    with pytest.raises(BillingError, match="cus_A is linked"):
        till.links("umbrella", "cus_A")
    assert customer(till, "umbrella").stripe_customer == "cus_B"
    till.links("real", "cus_A", livemode=True)
    assert [one.name for one in accounts.listed(till.database)] == ["acme", "real", "umbrella"]


def test_a_link_is_on_record_and_fetched(till: Till) -> None:
    till.links(theirs="cus_B", hours=1)
    [second, first] = accounts.history(till.database, "acme")
    assert (first["note"], second["note"], second["actor"]) == ("cus_A (test)", "cus_A → cus_B (test)", "boss")
    assert [one.name for one in accounts.to_sync(till.database, livemode=False, now=at(1))] == ["acme"]
    assert accounts.to_sync(till.database, livemode=True, now=at(1)) == []


def test_a_corrected_link_sends_again_what_was_refused_and_moves_what_was_not_sent(till: Till) -> None:
    for number, said in enumerate((REFUSED, Said(Answer.ACCEPTED), Said(Answer.LOST))):
        till.opens(str(number), hours=number)
        till.seals(number + SEALED)
        till.sends(number + SEALED, said)
    till.opens("unsent", hours=4)
    till.seals(4 + SEALED)
    assert till.links(theirs="cus_B", hours=6) == 2
    found = [(row.delivery.state, row.lane.stripe_customer, row.delivery.generation) for row in till.rows()]
    assert found == [
        ("replaced", "cus_A", 1),
        ("accepted", "cus_A", 1),
        ("sending", "cus_A", 1),
        ("replaced", "cus_A", 1),
        ("sealed", "cus_B", 2),
        ("sealed", "cus_B", 2),
    ]
    assert till.links(theirs="cus_B", hours=7) == 0, "the same once more changes nothing"
    assert {one.identifier[-2:] for one in till.sends(6)} == {"g1", "g2"}


def test_a_link_that_is_taken_back_finds_another_minute_where_its_own_is_taken(till: Till) -> None:
    """One minute, one delivery: what is counted in it is an answer about that one."""
    till.opens("t")
    till.seals(SEALED)
    till.sends(SEALED)
    till.links(theirs="cus_wrong", hours=2)
    till.opens("late")
    till.seals(2)
    till.sends(2, REFUSED)
    assert till.links(theirs="cus_A", hours=3) == 1
    [first, _, again] = till.rows()
    assert first.lane == again.lane
    assert (first.delivery.event_at, again.delivery.event_at) == (at(0), at(1 / 60))
    assert [one.state for one in till.sends(3)] == ["accepted"]


def test_a_refused_delivery_that_is_retried_after_a_new_link_finds_a_minute(till: Till) -> None:
    till.opens("t")
    till.seals(SEALED)
    till.sends(SEALED, Said(Answer.LOST))
    till.links(theirs="cus_B", hours=1.3)
    till.opens("late")
    till.seals(1.3)
    till.sends(2, REFUSED)
    till.sends(30)
    [lost, new] = till.rows()
    assert (lost.delivery.state, new.delivery.state, lost.delivery.event_at) == ("unknown", "rejected", at(0))
    settlements.retry(till.database, new.delivery.id, actor="boss", now=at(31))
    assert till.rows()[-1].delivery.event_at == new.delivery.event_at, "its own, where it is free"


@pytest.mark.parametrize("way", ("sealed", "lost", "refused", "sent"))
def test_the_mode_is_not_changed_while_usage_is_under_way(till: Till, way: str) -> None:
    till.opens()
    till.seals(SEALED)
    if way != "sealed":
        answers = {"lost": Said(Answer.LOST), "refused": REFUSED, "sent": Said(Answer.ACCEPTED)}
        till.sends(SEALED, answers[way])
    if way == "sent":
        assert till.links(theirs="cus_L", livemode=True, hours=2) == 0
        assert customer(till).livemode
        return
    with pytest.raises(BillingError, match="acme has usage under way in test mode: settle it first"):
        till.links(theirs="cus_L", livemode=True, hours=2)
    assert (customer(till).livemode, customer(till).stripe_customer) == (False, "cus_A")


def test_a_final_invoice_of_the_wrong_customer_says_nothing_of_the_right_one(till: Till) -> None:
    with till.database.write() as connection:
        customers.update(connection, "acme", finalised_until=at(100))
    till.links(theirs="cus_A", hours=1)
    assert customer(till).finalised_until == at(100)
    till.links(theirs="cus_B", hours=2)
    assert customer(till).finalised_until is None


# --- what was bought -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    (
        {"price": "price_9"},
        {"price": "price_x", "lookup_key": "gold-monthly"},
        {"price": "price_x", "product": "prod_gold"},
        {"price": "price_x", "metadata": {"sla_plan": " gold "}},
    ),
)
def test_a_plan_is_known_by_its_price_its_product_or_what_that_says(till: Till, changes: dict[str, Any]) -> None:
    till.promises(GOLD)
    assert bought(till, a_subscription(**{"price": None} | changes)) == ("gold", 8, None)


def test_a_product_says_what_it_promises_where_no_file_does(till: Till) -> None:
    assert bought(till, a_subscription(metadata={"sla_plan": "bronze", "sla_hours": "12"})) == ("bronze", 12, None)
    assert bought(till, a_subscription(product="prod_7", metadata={"sla_hours": "12"}), hours=2) == ("prod_7", 12, None)
    for strange in ("0", "-1", "1.5", "many", "9" * 30, ""):
        plan, hours, _ = bought(till, a_subscription(metadata={"sla_plan": "bronze", "sla_hours": strange}), hours=3)
        assert (plan, hours) == ("bronze", None)
    till.promises(GOLD)
    said = {"sla_plan": "gold", "sla_hours": "4"}
    assert bought(till, a_subscription("price_x", metadata=said), hours=4) == ("gold", 4, None)


def test_an_unknown_price_keeps_what_there_was_and_warns(till: Till) -> None:
    till.promises(GOLD)
    bought(till, a_subscription())
    plan, hours, problem = bought(till, a_subscription("price_new", lookup_key="new-key"), hours=2)
    assert (plan, hours) == ("gold", 8)
    assert problem == "the price price_new (new-key) is in no plan; it keeps what it had"
    assert bought(till, a_subscription(), hours=3)[2] is None


def test_of_several_subscriptions_the_newest_that_is_paid_for_counts(till: Till) -> None:
    till.promises(GOLD, Plan("silver", frozenset({"silver"}), hours=48))
    old = a_subscription("silver", id="sub_old", created=at(-100))
    new = a_subscription("gold-monthly", "canceled", id="sub_new", created=at(-1))
    assert bought(till, old, new)[0] == "silver"
    trial = a_subscription("gold-monthly", "trialing", id="sub_trial", created=at(0))
    overdue = a_subscription("silver", "past_due", id="sub_due", created=at(1))
    assert bought(till, overdue, trial, old, hours=2)[0] == "gold"
    assert customer(till).subscription == "sub_trial"


@pytest.mark.parametrize("status", ("canceled", "unpaid", "incomplete", "incomplete_expired", "paused"))
def test_what_is_not_paid_for_is_the_free_plan(till: Till, status: str) -> None:
    till.promises(GOLD)
    bought(till, a_subscription())
    till.fetches(a_subscription(status=status), hours=2)
    assert (customer(till).plan, customer(till).status, customer(till).price) == (None, status, None)


def test_who_is_late_with_paying_keeps_the_plan_for_a_while(till: Till) -> None:
    till.promises(GOLD, grace_seconds=24 * 3600)
    overdue = a_subscription(status="past_due")
    bought(till, a_subscription())
    assert bought(till, overdue, hours=10)[0] == "gold"
    assert bought(till, overdue, hours=33.9)[0] == "gold"
    assert bought(till, overdue, hours=34)[0] is None
    assert customer(till).past_due_since == at(10)
    assert bought(till, a_subscription(), hours=40)[0] == "gold"
    assert customer(till).past_due_since is None
    assert bought(till, overdue, hours=50)[0] == "gold", "a new delay begins anew"


def test_what_was_marked_after_the_fetch_began_is_fetched_again(till: Till) -> None:
    till.now = at(5)
    accounts.mark(till.database, livemode=False, stripe_customer="cus_A")
    till.fetches(a_subscription(), seen=4.9, hours=5.1)
    assert customer(till).dirty_at == at(5)
    till.fetches(a_subscription(), seen=5, hours=5.2)
    assert customer(till).dirty_at is None
    assert accounts.mark(till.database, livemode=True) == 0


def test_what_was_fetched_earlier_and_comes_later_changes_nothing(till: Till) -> None:
    till.promises(GOLD)
    till.fetches(a_subscription(), seen=2, hours=2.1)
    late = till.fetches(a_subscription(status="canceled"), seen=1, hours=3)
    assert (late.old_plan, late.new_plan, customer(till).plan) == ("gold", "gold", "gold")
    assert customer(till).synced_at == at(2)


def test_what_cannot_be_fetched_is_put_off_and_said(till: Till) -> None:
    accounts.postpone(till.database, "acme", "no\x00 answer" + "x" * 999, now=at(1))
    assert (customer(till).problem or "")[:2] == "no"
    assert accounts.to_sync(till.database, livemode=False, now=at(1)) == []
    assert len(accounts.to_sync(till.database, livemode=False, now=at(1) + timedelta(minutes=5))) == 1


def test_nobody_is_kept_up_who_is_not_there(till: Till) -> None:
    assert accounts.apply(till.database, till.system.rules, "nobody", [], seen_at=at(0)) is None


def test_what_is_done_now_and_then_is_due_once(till: Till) -> None:
    hour = timedelta(hours=1)
    due = [accounts.is_time(till.database, "sweep", hour, now=at(hours)) for hours in (0, 0.5, 1, 1.5)]
    assert due == [True, False, True, False]
    assert accounts.last_time(till.database, "sweep") == at(1)
