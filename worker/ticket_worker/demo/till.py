"""What the demo bills: to a double of Stripe that runs in the demo's own process, and loses some of its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ticket_system import TicketSystem, accounts, ledger, settlements
from ticket_system.billing.usage import KINDS
from ticket_system.sla.plans import DEFAULT_BILLING
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_worker.demo.cast import CUSTOMERS
from ticket_worker.demo.stripe_double import TEST_KEY, Fault, FaultKind, StripeDouble, running_double
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.settings import PREFIX, Settings

#: What goes wrong with the first calls: each was accepted, and the worker does not learn of it.
_FAULTS = (FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.JUNK)
_EVENTS = "/v1/billing/meter_events"


@dataclass(slots=True)
class Bill:
    """What was used, what Stripe would bill, and what is still to be sent."""

    used: Counter[str] = field(default_factory=Counter)
    billed: Counter[str] = field(default_factory=Counter)
    #: Of this hour: it is sealed when the hour is over.
    unsealed: int = 0
    on_their_way: int = 0
    lost_answers: int = 0
    calls: int = 0

    @property
    def is_right(self) -> bool:
        """Whether everything that was used is billed once, or is to be reported when its hour is over."""
        is_once = self.used.total() == self.billed.total() + self.unsealed and self.billed.total() > 0
        return is_once and not self.on_their_way


@dataclass(slots=True)
class Till:
    """The double as the demo knows it."""

    double: StripeDouble
    url: str

    def variables(self) -> dict[str, str]:
        """Return what the fleet has to know of it."""
        settings = {
            "BILLING": "stripe", "STRIPE_API_KEY": TEST_KEY, "STRIPE_API_URL": self.url, "REPORT_INTERVAL_SECONDS": "1",
        }  # fmt: skip
        return {PREFIX + name: value for name, value in settings.items()}

    def open(self, settings: Settings, system: TicketSystem) -> None:
        """Link the customers, and fetch what they have bought."""
        for customer in CUSTOMERS:
            accounts.link(system.database, customer, f"cus_{customer}", livemode=False, actor="demo")
        toolbox = build_toolbox(settings)
        with toolbox.database:
            sync_subscriptions(toolbox)
        self.double.faults.add(*(Fault(kind, path=_EVENTS) for kind in _FAULTS))

    def hurry(self, system: TicketSystem) -> None:
        """Have what went wrong tried again at the next tick, as `tickets usage report` does."""
        ledger.release_backoff(system.database)

    def bill(self, system: TicketSystem, ticket_ids: list[str]) -> Bill:
        """Compare what happened with what Stripe would bill."""
        bill = Bill(lost_answers=len(_FAULTS) - self.double.faults.left)
        for ticket_id in ticket_ids:
            for fact in settlements.of_ticket(system.database, ticket_id):
                bill.used[fact["kind"]] += fact["quantity"]
        for kind in KINDS:
            meter = DEFAULT_BILLING.meters[kind]
            bill.billed[kind] = sum(self.double.journal.billed(f"cus_{one}", meter) for one in CUSTOMERS)
        for row in settlements.outstanding(system.database).rows:
            if row.what.startswith("unsealed"):
                bill.unsealed += row.quantity
            else:
                bill.on_their_way += row.quantity
        bill.calls = sum(one.path == _EVENTS for one in self.double.journal.requests)
        return bill


@contextmanager
def a_till() -> Iterator[Till]:
    """Run a double with two meters, and a customer for each name in the cast."""
    double, now = StripeDouble(), datetime.now(UTC)
    for meter in DEFAULT_BILLING.meters.values():
        double.add_meter(meter)
    price = double.add_price("gold-monthly", double.add_product("Gold support", metadata={"sla_plan": "gold"}))
    for name in CUSTOMERS:
        double.add_customer(f"cus_{name}")
        # The month began before any ticket of the play was opened.
        double.subscribe(f"cus_{name}", price, start=now - timedelta(days=20), end=now + timedelta(days=10))
    with running_double(double) as running:
        yield Till(double, running.url)
