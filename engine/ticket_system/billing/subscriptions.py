"""What a customer has bought, as it was fetched, and what it comes to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ticket_system.billing.usage import Window

#: Paid for, or about to be.
ENTITLED = ("active", "trialing")
#: Late with paying: entitled for a while.
PAST_DUE = "past_due"
#: What a product may say of itself: the plan it buys, and hours to a resolution.
PLAN_KEY = "sla_plan"
HOURS_KEY = "sla_hours"
_MOST_HOURS = 87_600


@dataclass(frozen=True)
class Subscription:
    """A subscription, as far as it matters here."""

    id: str
    status: str
    created: datetime
    price: str | None = None
    lookup_key: str | None = None
    product: str | None = None
    #: What the product says of itself.
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: The billing periods of its items.
    periods: tuple[Window, ...] = ()

    @property
    def plan(self) -> str | None:
        """The plan that its product names."""
        return (self.metadata.get(PLAN_KEY) or "").strip()[:200] or None

    @property
    def hours(self) -> int | None:
        """The hours to a resolution that its product names; None where it names none, or none that make sense."""
        text = (self.metadata.get(HOURS_KEY) or "").strip()
        hours = int(text) if text.isdecimal() and len(text) < 9 else 0  # noqa: PLR2004 - more digits than any hours
        return hours if 1 <= hours <= _MOST_HOURS else None


def newest(found: Collection[Subscription], statuses: Sequence[str] | None = None) -> Subscription | None:
    """Return the newest subscription, or the newest in one of these statuses."""
    wanted = [one for one in found if statuses is None or one.status in statuses]
    return max(wanted, key=lambda one: (one.created, one.id), default=None)


def that_counts(
    found: Collection[Subscription], now: datetime, *, past_due_since: datetime | None, grace: timedelta
) -> Subscription | None:
    """Return the subscription that entitles a customer at this moment; None: there is none."""
    paid = newest(found, ENTITLED)
    if paid is not None:
        return paid
    overdue = newest(found, (PAST_DUE,))
    return overdue if overdue is not None and now - (past_due_since or now) < grace else None
