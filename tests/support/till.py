"""A help desk that bills: its ledger, the jobs and the double of Stripe, living through days by the clock of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from ticket_system import Ticket, TicketSystem, accounts
from ticket_system.billing.deliveries import STUCK, SUPERSEDED, State
from ticket_system.billing.usage import CRITICAL_TICKET, TICKET_OPENED
from ticket_system.changes import Changes
from ticket_system.storage import billing_tables as tables
from ticket_system.storage.database import Database
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.usage import reconcile_usage, report_usage
from ticket_worker.billing.client import Account
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.billing.pace import Pace
from ticket_worker.billing.shop import StripeShop
from ticket_worker.demo.stripe_double import TEST_KEY, Fault, StripeDouble, running_double
from ticket_worker.lifecycle import build_mailer, build_notifier
from ticket_worker.settings import Settings

#: A Monday.
START = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
METERS = {TICKET_OPENED: "tickets_opened", CRITICAL_TICKET: "critical_tickets"}
ACME, CUS_ACME = "acme", "cus_acme"


class Till:
    """What a test does and sees."""

    def __init__(self, database_url: str, double: StripeDouble, url: str) -> None:
        self.now = START
        self.double, self.url = double, url
        double.clock = lambda: self.now
        self.database = Database(database_url, clock=lambda: self.now)
        self.database.upgrade()
        self.system = TicketSystem(self.database)
        self.account = Account(TEST_KEY, livemode=False, url=url, timeout_seconds=0.5)
        self.toolbox = self.a_toolbox(self.system, self.account)
        self.meters = {kind: double.add_meter(name) for kind, name in METERS.items()}
        self._opened = 0

    def a_toolbox(self, system: TicketSystem, account: Account) -> Toolbox:
        """What another worker would have."""
        settings, pace = Settings(), Pace(100)
        return Toolbox(
            system,
            build_mailer(settings),
            build_notifier(settings),
            meter=StripeMeter(account, pace),
            shop=StripeShop(account, pace),
        )

    def links(self, name: str = ACME, stripe_customer: str = CUS_ACME, *, there: bool = True) -> None:
        """A customer of ours becomes one of theirs."""
        if there:
            self.double.add_customer(stripe_customer)
        accounts.link(self.database, name, stripe_customer, livemode=False, actor="lead")

    def opens(self, number: int = 1, *, customer: str = ACME, at: datetime | None = None, **more: Any) -> list[Ticket]:
        """So many tickets are opened, now or at another moment."""
        made = []
        for _ in range(number):
            self._opened += 1
            ticket = a_ticket(id=f"t{self._opened}", customer=customer, created_at=at or self.now, **more)
            made.append(self.system.create_ticket(ticket))
        return made

    def changes(self, verb: str, *arguments: Any) -> None:
        """A ticket changes now."""
        with self.database.write() as connection:
            getattr(Changes(connection, self.system.rules), verb)(*arguments, now=self.now)

    def passes(self, length: timedelta) -> None:
        """Time goes on; nobody works."""
        self.now += length

    def works(self, length: timedelta = timedelta(0), *, every: timedelta = 5 * MINUTE) -> None:
        """The jobs run now, and again and again for so long."""
        until = self.now + length
        while True:
            report_usage(self.toolbox)
            reconcile_usage(self.toolbox)
            if self.now >= until:
                return
            self.passes(min(every, until - self.now))

    def reports(self) -> None:
        """One run of the report."""
        report_usage(self.toolbox)

    def syncs(self) -> None:
        """One run of the synchronisation."""
        sync_subscriptions(self.toolbox)

    def breaks(self, *kinds: str, path: str = "/v1/billing/meter_events", times: int | None = 1, **more: Any) -> None:
        """The next calls go wrong, one after the other."""
        self.double.faults.add(*(Fault(kind, path=path, times=times, **more) for kind in kinds))  # type: ignore[arg-type]

    def mends(self) -> None:
        """Nothing goes wrong any more."""
        self.double.faults.clear()

    def facts(self, kind: str = TICKET_OPENED, *, customer: str = ACME, route: str = "metered") -> int:
        """How many there are to bill; what was void before it was sealed is none."""
        rows = rows_of(self.database, tables.usage_facts)
        mine = [row for row in rows if (row["customer"], row["kind"]) == (customer, kind)]
        live = [row for row in mine if row["batch_id"] is not None or row["forgiven_at"] is None]
        return sum(row["quantity"] for row in live if row["route"] in {route, None})

    def billed(self, kind: str = TICKET_OPENED, *, customer: str = CUS_ACME) -> int:
        """How many Stripe would bill."""
        return self.double.journal.billed(customer, METERS[kind])

    def deliveries(self, *states: str) -> list[dict[str, Any]]:
        """Deliveries in these states, oldest first; all that no other generation replaced, where none is named."""
        rows = rows_of(self.database, tables.usage_deliveries)
        return [row for row in rows if (row["state"] in states if states else row["state"] not in SUPERSEDED)]

    def states(self) -> list[str]:
        """The states of all deliveries, oldest first."""
        return [row["state"] for row in rows_of(self.database, tables.usage_deliveries)]

    def waiting(self, kind: str = TICKET_OPENED) -> int:
        """How many are not billed, and shown: unsealed, on their way, unknown or stuck."""
        batches = {row["id"]: row for row in rows_of(self.database, tables.usage_batches) if row["kind"] == kind}
        shown = {*STUCK, State.SEALED, State.SENDING, State.UNKNOWN}
        held = [row for row in self.deliveries() if row["state"] in shown and row["batch_id"] in batches]
        unsealed = [
            row
            for row in rows_of(self.database, tables.usage_facts)
            if row["kind"] == kind and row["batch_id"] is None and row["forgiven_at"] is None and row["route"] != "none"
        ]
        return sum(row["quantity"] for row in [*held, *unsealed])

    def balances(self, kind: str = TICKET_OPENED, *, waiting: int = 0) -> None:
        """Billed is what happened, or the difference is exactly what is shown as waiting."""
        assert self.waiting(kind) == waiting, self.deliveries()
        assert self.billed(kind) + waiting == self.facts(kind), (self.states(), self.double.journal.events)
        assert max(self.double.in_flight_peak.values(), default=0) <= 1

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


@contextmanager
def a_till(database_url: str) -> Iterator[Till]:
    """A till with the customer acme linked, and the meters there."""
    with running_double(StripeDouble()) as running:
        till = Till(database_url, running.double, running.url)
        try:
            till.links()
            yield till
        finally:
            till.close()
