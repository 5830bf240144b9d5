"""Invoices: what a period comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ticket_worker.demo.stripe_double.answers import Json
from ticket_worker.demo.stripe_double.things import InvoiceItem, Thing, unix


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What was used of one meter in the period, never less than nothing."""

    event_name: str
    quantity: int
    unit_amount: int

    @property
    def amount(self) -> int:
        """What it costs."""
        return self.quantity * self.unit_amount


@dataclass(kw_only=True, slots=True)
class Invoice(Thing):
    """One period of one subscription: a draft until it is finalized."""

    customer: str
    subscription: str
    currency: str
    start: datetime
    end: datetime
    items: list[InvoiceItem] = field(default_factory=list)
    usage: list[UsageLine] = field(default_factory=list)
    finalized_at: datetime | None = None

    @property
    def total(self) -> int:
        """What is to be paid; less than nothing where a credit outweighs the rest."""
        return sum(line.amount for line in self.usage) + sum(item.amount for item in self.items)

    def quantity(self, event_name: str) -> int:
        """How much of a meter was billed."""
        return sum(line.quantity for line in self.usage if line.event_name == event_name)

    def json(self) -> Json:
        """As it stands in an answer."""
        period = {"start": unix(self.start), "end": unix(self.end)}
        lines = [
            {
                "id": f"il_{self.id}_{line.event_name}",
                "object": "line_item",
                "amount": line.amount,
                "description": line.event_name,
                "metadata": {},
                "period": period,
                "quantity": line.quantity,
            }
            for line in self.usage
        ]
        lines += [
            {
                "id": f"il_{item.id}",
                "object": "line_item",
                "amount": item.amount,
                "description": item.description,
                "metadata": item.metadata,
                "period": {"start": unix(item.period_start), "end": unix(item.period_end)},
                "quantity": item.quantity,
                "parent": {"type": "invoice_item_details", "invoice_item_details": {"invoice_item": item.id}},
            }
            for item in self.items
        ]
        return self._head("invoice") | {
            "amount_due": max(0, self.total),
            "billing_reason": "subscription_cycle",
            "currency": self.currency,
            "customer": self.customer,
            "lines": {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{self.id}/lines"},
            "metadata": {},
            "parent": {
                "type": "subscription_details",
                "subscription_details": {"subscription": self.subscription, "metadata": {}},
            },
            "period_end": period["end"],
            "period_start": period["start"],
            "status": "open" if self.finalized_at else "draft",
            "status_transitions": {"finalized_at": unix(self.finalized_at) if self.finalized_at else None},
            "total": self.total,
        }
