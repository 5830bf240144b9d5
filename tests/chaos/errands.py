"""What people do meanwhile: customers change their plans, organisations want reports. Written down in orders.json."""

import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.chaos.load import CUSTOMERS
from tests.chaos.plan import Options
from ticket_system import accounts, recipients
from ticket_system.billing.usage import KINDS
from ticket_system.errors import StorageError
from ticket_system.sla.plans import DEFAULT_BILLING
from ticket_system.storage.database import Database
from ticket_worker.demo.stripe_double import StripeDouble

PLANS = ("silver", "gold", "platinum")
ORDERS = "orders.json"
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Auckland")
#: One report for each series of an organisation: two each.
_ORGANISATIONS_PER_MINUTE = 1.3
_PLAN_CHANGES_PER_MINUTE = 5
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that somebody does at a moment of the run."""

    second: float
    what: str
    who: str
    given: dict[str, Any]


def errands(options: Options) -> list[Errand]:
    """What is done in a run, in order."""
    lot = Random(f"errands {options.seed}")
    last = max(options.seconds - 5, 1.0)
    made = [
        Errand(
            lot.uniform(0, last),
            "organisation",
            f"readers-{number}",
            {
                "zone": lot.choice(_ZONES),
                "customer": lot.choice((None, *CUSTOMERS)),
                "readers": [f"reader-{number}-{one}@example.net" for one in range(lot.randint(1, 3))],
            },
        )
        for number in range(max(round(options.minutes * _ORGANISATIONS_PER_MINUTE), 2))
    ]
    made += [
        Errand(lot.uniform(0, last), "plan", lot.choice(CUSTOMERS), {"plan": lot.choice(PLANS)})
        for _ in range(max(round(options.minutes * _PLAN_CHANGES_PER_MINUTE), 3))
    ]
    return sorted(made, key=lambda one: one.second)


class People:
    """Who does it, and what they write down."""

    def __init__(self, database: Database, double: StripeDouble, folder: Path) -> None:
        self._database, self._double, self._folder = database, double, folder
        self._prices: dict[str, str] = {}
        self._subscriptions: dict[str, str] = {}
        #: Of each customer also the plan that it has bought by now, and in the end.
        self.orders: dict[str, Any] = {"customers": [], "organisations": [], "reports": []}
        self.orders["meters"] = {kind: DEFAULT_BILLING.meters[kind] for kind in KINDS}

    def prepare(self) -> None:
        """Customers are linked, and have bought something; the first organisation has its readers."""
        now = datetime.now(UTC)
        for meter in DEFAULT_BILLING.meters.values():
            self._double.add_meter(meter)
        for plan in PLANS:
            product = self._double.add_product(f"{plan} support", metadata={"sla_plan": plan})
            self._prices[plan] = self._double.add_price(f"{plan}-monthly", product)
        for customer in CUSTOMERS:
            theirs, prices = self._double.add_customer(f"cus_{customer}"), self._prices
            # Its period has begun before any ticket that the load will open.
            starts, ends = now - timedelta(days=20), now + timedelta(days=10)
            self._subscriptions[customer] = self._double.subscribe(theirs, prices[PLANS[0]], start=starts, end=ends)
            accounts.link(self._database, customer, theirs, livemode=False, actor="chaos")
            self.orders["customers"].append({"name": customer, "stripe_customer": theirs, "plan": PLANS[0]})
        self._write()

    def run(self, one: Errand) -> None:
        """Do an errand; when the database is away, again, as people do."""
        if one.what == "plan":
            self._double.change_plan(self._subscriptions[one.who], self._prices[one.given["plan"]])
            [customer] = [known for known in self.orders["customers"] if known["name"] == one.who]
            customer["plan"] = one.given["plan"]
        else:
            self._organise(one)
        self._write()

    def _organise(self, one: Errand) -> None:
        """Readers come first, then an hour that has just been: a daily and a weekly report are due at once.

        Reports are due on the hour. As if it had been set yesterday, one of each series is due, neither less nor more.
        """
        zone = ZoneInfo(one.given["zone"])
        local = (datetime.now(UTC) - timedelta(minutes=61)).astimezone(zone)
        due = local.replace(minute=0, second=0, microsecond=0)
        named = {"customer": one.given["customer"], "zone": one.given["zone"], "weekday": local.weekday()}
        # Half a day away, until everybody is in.
        self._insist(recipients.set_organisation, one.who, **named, hour=(local.hour + 12) % 24)
        for address in one.given["readers"]:
            self._insist(recipients.add, one.who, address, actor="chaos", weekly=True, daily=True)
        yesterday = due.astimezone(UTC) - timedelta(hours=20)
        self._insist(recipients.set_organisation, one.who, hour=local.hour, now=yesterday)
        people = [{"address": address, "weekly": True, "daily": True} for address in one.given["readers"]]
        self.orders["organisations"].append({"name": one.who, **named, "hour": local.hour, "recipients": people})
        self.orders["reports"] += [
            {
                "organisation": one.who,
                "kind": kind,
                "sent_on": local.date().isoformat(),
                "due_at": due.astimezone(UTC).isoformat(),
                "ordered_at": datetime.now(UTC).isoformat(),
                "recipients": one.given["readers"],
            }
            for kind in ("daily", "weekly")
        ]

    def _insist(self, verb: Any, *words: Any, **given: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                verb(self._database, *words, **given)
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    def _write(self) -> None:
        path = self._folder / ORDERS
        path.with_suffix(".part").write_text(json.dumps(self.orders, indent=2), "utf-8")
        path.with_suffix(".part").rename(path)


def deliver_events(double: StripeDouble, options: Options, calm: threading.Event) -> None:
    """Post what happened at Stripe's until it is taken, and then until the run is over: twice, and in no order."""
    lot = Random(f"events {options.seed}")
    while not calm.wait(2):
        double.deliver(copies=lot.choice((1, 1, 2)), order="shuffled", seed=lot.randrange(2**32))
