"""From what a file says of plans to plans, with a policy for each that promises hours of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ticket_system.billing.usage import INVOICE_ITEM, ITEMS
from ticket_system.errors import shown
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.sla.plans import DEFAULT_BILLING, FREE, FREE_HOURS, Billing, Plan
from ticket_system.sla.policies import Match, Policy, TargetRule
from ticket_system.sla.policy_forms import FileForm
from ticket_system.sla.policy_sense import Problem
from ticket_system.tickets import PRIORITY_LABELS


def plans_of(form: FileForm) -> dict[str, Plan]:
    """Return the plans of a file; where there are any, the free one is among them."""
    plans = {
        name: Plan(name, frozenset(one.prices), frozenset(one.products), one.hours, one.critical, one.cancelled)
        for name, one in form.plans.items()
    }
    return plans if FREE in plans or not plans else {**plans, FREE: Plan(FREE, hours=FREE_HOURS)}


def billing_of(form: FileForm) -> Billing:
    """Return what usage is called and costs; what is not said is as built in."""
    usual, said = DEFAULT_BILLING, form.billing
    return Billing(said.currency, {**usual.meters, **said.meters}, {**usual.amounts, **said.amounts}, said.grace)


def policies_of(plans: dict[str, Plan], policies: list[Policy]) -> list[Policy]:
    """Return a policy for each plan that promises hours and that no policy is for, just ahead of the one for all."""
    named = frozenset().union(*(one.match.plans for one in policies))
    everybody = min((one.rank for one in policies if one.match == Match()), default=1)
    return [
        Policy(
            f"plan {plan.name}",
            rank=max(everybody - 1, 0),
            match=Match(plans=frozenset({plan.name})),
            targets={RESOLUTION: TargetRule(dict.fromkeys(PRIORITY_LABELS, plan.hours * 3600))},
        )
        for plan in plans.values()
        if plan.hours is not None and plan.name not in named
    ]


def of_plans(form: FileForm, plans: dict[str, Plan], policies: list[Policy]) -> Iterator[Problem]:
    """Find prices that mean two plans, plans that promise nothing of their own, and charges without a price."""
    bought: dict[str, str] = {}
    named = frozenset().union(*(one.match.plans for one in policies))
    for name, one in form.plans.items():
        for key, values in (("prices", one.prices), ("products", one.products)):
            for number, value in enumerate(values):
                if bought.setdefault(value, name) != name:
                    said = f"{shown(value)} means the plan {shown(bought[value])} already; expected it in one plan"
                    yield Problem(("plans", name, key, number), said)
        if one.hours is None and name not in named:
            expected = "expected `hours`, or a policy with this plan in its `match`"
            yield Problem(("plans", name), f"nothing is promised to this plan; {expected}")
        if one.hours is not None and name in named:
            yield Problem(("plans", name, "hours"), "a policy says what this plan is promised; expected one of the two")
        if one.critical == INVOICE_ITEM and not form.billing.amounts.get("critical_ticket"):
            yield Problem(("plans", name, "critical"), "an invoice item needs `critical_ticket` in [billing.amounts]")
    yield from _of_meters(form)
    added = policies_of(plans, policies)
    if added and all(one.rank != added[0].rank + 1 for one in policies if one.match == Match()):
        yield Problem(("plans",), "the policy for all has rank 0; expected a higher one, so that plans come before it")


def _of_meters(form: FileForm) -> Iterator[Problem]:
    """Find meters that are called what invoices are called in the ledger."""
    for kind, meter in form.billing.meters.items():
        if meter == ITEMS:
            said = f"{shown(meter)} stands for invoices; expected the event name of a meter"
            yield Problem(("billing", "meters", kind), said)
