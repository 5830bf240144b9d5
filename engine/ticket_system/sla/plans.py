"""Plans: which price buys which promise, and what usage costs. Pure.

A plan is a name that policies match by (`match = { plans = ["gold"] }`). A plan that names hours, and that no policy
of the file is for, gets a policy of its own that promises a resolution within them, around the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ticket_system.billing.usage import CRITICAL_TICKET, METERED, TICKET_OPENED, Route
from ticket_system.sla.mappings import Frozen

#: The plan of a customer who pays for none.
FREE: Final = "free"
FREE_HOURS: Final = 168
#: How long a subscription that is overdue keeps its plan.
GRACE_HOURS: Final = 7 * 24


@dataclass(frozen=True)
class Plan:
    """What a subscription buys."""

    name: str
    #: Prices by their id or lookup key, and products by their id, that mean this plan.
    prices: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    #: Hours to a resolution, whatever the priority; None where policies say everything.
    hours: int | None = None
    #: How critical tickets are billed; each in one way, so never twice.
    critical: Route = METERED
    #: What becomes of open tickets when the subscription ends: they move to the free plan, or keep their promise.
    cancelled: Literal["replan", "keep"] = "replan"


@dataclass(frozen=True)
class Billing:
    """What usage is called where it is billed, and what it costs in the smallest unit of the currency."""

    currency: str = "eur"
    meters: Mapping[str, str] = field(
        default_factory=lambda: {TICKET_OPENED: "tickets_opened", CRITICAL_TICKET: "critical_tickets"}
    )
    #: By kind. An invoice item charges this; for metered usage it tells how much money is at stake.
    amounts: Mapping[str, int] = field(default_factory=lambda: {TICKET_OPENED: 0, CRITICAL_TICKET: 0})
    grace_seconds: int = GRACE_HOURS * 3600

    def __post_init__(self) -> None:
        object.__setattr__(self, "meters", Frozen(self.meters))
        object.__setattr__(self, "amounts", Frozen(self.amounts))


DEFAULT_BILLING = Billing()


def bought(plans: Mapping[str, Plan], *, price: str | None, lookup_key: str | None, product: str | None) -> Plan | None:
    """Return the plan that a price means, by its id, its lookup key, or its product; None: nobody said."""
    by_price = (plan for plan in plans.values() if plan.prices & {price, lookup_key})
    return next(by_price, None) or next((plan for plan in plans.values() if product in plan.products), None)
