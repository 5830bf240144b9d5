"""What a customer has bought is what its tickets are promised. On every database."""

import pytest

from tests.support.billing import Till, a_subscription
from tests.support.promises import at
from ticket_system import accounts
from ticket_system.audit import audit_clocks
from ticket_system.sla.plans import FREE, Plan
from ticket_system.sla.policies import Match, Policy, TargetRule
from ticket_system.sla.policy_file import parse

PRICES = {"gold": "gold-monthly", "silver": "silver-monthly"}


def a_plan(name: str, hours: int | None, **more: object) -> Plan:
    return Plan(name, frozenset({PRICES[name]}), hours=hours, **more)  # type: ignore[arg-type]


def for_plan(name: str, hours: int, **changes: object) -> Policy:
    targets = {"resolution": TargetRule(dict.fromkeys(range(1, 5), hours * 3600))}
    return Policy(name, rank=1, match=Match(plans=frozenset({name})), targets=targets, chain=(), **changes)  # type: ignore[arg-type]


def promised(till: Till, ticket_id: str = "t") -> tuple[str | None, int, float]:
    """The plan of a ticket, its hours, and how many hours after Monday nine it is due."""
    ticket = till.system.get_ticket(ticket_id)
    assert ticket is not None
    assert ticket.clock is not None
    assert ticket.clock.due_at is not None
    return ticket.plan, ticket.sla_hours, (ticket.clock.due_at - at(0)).total_seconds() / 3600


@pytest.fixture
def gold(till: Till) -> Till:
    """A customer with a plan of eight hours, under policies that know it, and a free plan of a week."""
    till.promises(a_plan("gold", 8), policies=[for_plan("gold", 8), for_plan(FREE, 168)])
    till.fetches(a_subscription())
    return till


def test_without_rules_from_a_file_the_hours_of_the_product_are_promised(till: Till) -> None:
    till.opens("before", priority=1)
    assert promised(till, "before") == (FREE, 168, 168), "whoever is linked and pays for nothing has the free plan"
    till.fetches(a_subscription(metadata={"sla_plan": "gold", "sla_hours": "8"}))
    till.opens("after", priority=1)
    assert promised(till, "after") == ("gold", 8, 8)
    till.opens("stranger", customer="somebody", priority=1)
    assert promised(till, "stranger")[0] is None
    assert promised(till, "before") == (FREE, 168, 168), "what was promised stays"


def test_rules_from_a_file_say_what_a_plan_is_promised(gold: Till) -> None:
    gold.opens("t")
    gold.opens("stranger", customer="somebody")
    gold.opens("named", plan="gold", customer="somebody")
    gold.opens("nobody", customer=None)
    assert promised(gold, "t") == ("gold", 8, 8)
    assert promised(gold, "stranger") == (FREE, 168, 168)
    assert promised(gold, "named") == ("gold", 8, 8), "what somebody named stays"
    assert promised(gold, "nobody") == (None, 100, 100)


def test_a_plan_with_hours_that_no_policy_is_for_has_one_of_its_own(till: Till) -> None:
    text = """
[policies.all.targets.resolution]
within = { low = "100h" }
[plans.silver]
prices = ["silver-monthly"]
hours = 48
"""
    till.system.put_in_force(parse(text, now=at(0)))
    till.fetches(a_subscription("silver-monthly"))
    till.opens("t")
    till.opens("stranger", customer="somebody")
    assert (promised(till), promised(till, "stranger")) == (("silver", 48, 48), (FREE, 168, 168))
    ticket = till.system.get_ticket("t")
    assert ticket is not None
    assert ticket.clock is not None
    assert ticket.clock.policy == "plan silver"


def test_another_plan_is_for_the_tickets_that_come(till: Till) -> None:
    till.promises(a_plan("gold", 8), a_plan("silver", 48), policies=[for_plan("gold", 8), for_plan("silver", 48)])
    till.fetches(a_subscription())
    till.opens("old")
    done = till.fetches(a_subscription("silver-monthly"), hours=1)
    till.opens("new")
    assert (done.old_plan, done.new_plan, done.replanned) == ("gold", "silver", 0)
    assert (promised(till, "old")[0], promised(till, "new")[0]) == ("gold", "silver")


def test_a_subscription_that_ends_moves_open_tickets_to_the_free_plan(gold: Till) -> None:
    gold.opens("t", assignee="ada", status="in_progress")
    gold.opens("done", status="in_progress")
    gold.does("set_status", "done", "resolved", hours=1)
    gold.opens("other", plan="silver")
    done = gold.fetches(a_subscription(status="canceled"), hours=2)
    assert (done.old_plan, done.new_plan, done.replanned) == ("gold", None, 1)
    assert promised(gold) == (FREE, 168, 168)
    [event] = [one for one in gold.system.get_history("t") if one.kind == "classified"]
    assert (event.at, event.old, event.new) == (at(2), '{"plan":"gold"}', '{"plan":"free"}')
    [comment] = gold.system.get_comments("t")
    assert (comment.is_internal, comment.author) == (True, "system")
    assert comment.body == "The subscription has ended: plan gold → free. The promise follows the new plan."
    left = {name: gold.system.get_ticket(name) for name in ("done", "other")}
    assert {name: one and one.plan for name, one in left.items()} == {"done": "gold", "other": "silver"}
    assert audit_clocks(gold.database, everything=True).differences == []
    assert gold.fetches(a_subscription(status="canceled"), hours=3).replanned == 0, "once"


def test_without_rules_from_a_file_the_deadline_follows_as_well(till: Till) -> None:
    till.fetches(a_subscription(metadata={"sla_plan": "gold", "sla_hours": "8"}))
    till.opens("t", priority=1)
    assert till.fetches(a_subscription(status="canceled"), hours=2).replanned == 1
    assert promised(till) == (FREE, 168, 168)
    assert audit_clocks(till.database, everything=True).differences == []


def test_a_plan_may_let_open_tickets_keep_their_promise(till: Till) -> None:
    till.promises(a_plan("gold", 8, cancelled="keep"), policies=[for_plan("gold", 8)])
    till.fetches(a_subscription())
    till.opens("t")
    done = till.fetches(a_subscription(status="canceled"), hours=2)
    assert (done.new_plan, done.replanned, promised(till)) == (None, 0, ("gold", 8, 8))
    assert till.system.get_comments("t") == []
    till.opens("new")
    assert promised(till, "new")[0] == FREE


def test_a_change_of_plan_is_on_record(gold: Till) -> None:
    gold.fetches(a_subscription(), hours=1)
    gold.fetches(hours=2)
    told = [(one["kind"], one["note"]) for one in accounts.history(gold.database, "acme")]
    assert told == [("planned", "gold → free"), ("planned", "free → gold"), ("linked", "cus_A (test)")]
