"""Random lives of a desk that bills, the whole way down to the wire: what Stripe would bill is what happened, once."""

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from tests.support.contents import rows_of
from tests.support.till import HOUR, MINUTE, Till, a_till
from ticket_system.billing.deliveries import COUNTED
from ticket_system.billing.usage import CRITICAL_TICKET, TICKET_OPENED
from ticket_system.changes import Changes
from ticket_system.sla import policy_file
from ticket_system.storage import billing_tables as tables
from ticket_worker.demo.stripe_double import Fault
from ticket_worker.demo.stripe_double.faults import FaultKind

#: What may befall a call; nothing that takes real time.
KINDS = [kind for kind in FaultKind if kind not in {FaultKind.HANG_AFTER, FaultKind.HANG_BEFORE, FaultKind.SLOW}]
ITEMS = """
[policies.all.targets.resolution]
within = { critical = "4h", high = "24h", medium = "72h", low = "168h" }
[plans.gold]
prices = ["gold"]
hours = 24
critical = "invoice_item"
[billing]
amounts = { critical_ticket = 1500 }
"""


def lives(till: Till, rng: Random) -> None:
    """A day and a half of tickets, changes of mind, faults and gaps."""
    troubled = till.now + timedelta(hours=rng.choice((3, 20, 30)))
    share = rng.choice((0.1, 0.5, 0.95))
    till.double.faults.chooser = lambda _: (
        Fault(rng.choice(KINDS)) if till.now < troubled and rng.random() < share else None
    )
    till.double.rules.summary_lag = timedelta(minutes=rng.choice((0, 10, 360, 1200)))
    tickets = []
    for _ in range(rng.randrange(8, 16)):
        for customer in ("acme", "beta"):
            late = timedelta(minutes=rng.choice((0, 0, 30, 200)))
            tickets += till.opens(rng.randrange(3), customer=customer, at=till.now - late, priority=rng.choice((1, 3)))
        if tickets and rng.random() < 0.4:
            verb, *more = rng.choice((("set_priority", 1), ("set_priority", 3), ("escalate", "louder")))
            till.changes(str(verb), rng.choice(tickets).id, *more)
        if tickets and rng.random() < 0.2:
            forgives(till, rng.choice(tickets).id)
        till.works()
        till.syncs()
        till.passes(rng.choice((10 * MINUTE, HOUR, 3 * HOUR, 26 * HOUR)))
    till.works(timedelta(hours=100), every=2 * HOUR)


def forgives(till: Till, ticket_id: str) -> None:
    """A ticket costs nothing."""
    with till.database.write() as connection:
        changes = Changes(connection, till.system.rules)
        ticket, now = changes.lock(ticket_id, till.now)
        assert ticket is not None
        changes.forgive(ticket, "our own fault", now)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(16))
def test_a_random_life(seed: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Facts, credits and invoice items of two customers add up, and nothing is left over."""
    url = request.getfixturevalue("postgres_url") if seed % 4 == 3 else str(tmp_path / "till.db")
    rng = Random(seed)
    with a_till(url) as till:
        till.links("beta", "cus_beta")
        if seed % 2:
            till.system.put_in_force(policy_file.parse(ITEMS, now=till.now), actor="lead")
            price = till.double.add_price("gold", till.double.add_product())
            for customer in ("cus_acme", "cus_beta"):
                till.double.subscribe(
                    customer, price, start=till.now - timedelta(days=1), end=till.now + timedelta(days=60)
                )
        lives(till, rng)
        assert {row["state"] for row in till.deliveries()} <= {*COUNTED, "voided"}, till.deliveries("unknown")
        for kind in (TICKET_OPENED, CRITICAL_TICKET):
            for customer in ("acme", "beta"):
                assert till.billed(kind, customer=f"cus_{customer}") == till.facts(kind, customer=customer)
        charged = sum(item.amount for item in till.double.journal.invoice_items)
        voided = {row["batch_id"] for row in till.deliveries("voided")}
        items = [
            row for row in rows_of(till.database, tables.usage_batches)
            if row["route"] == "invoice_item" and row["id"] not in voided
        ]  # fmt: skip
        assert charged == sum(row["quantity"] * row["amount"] for row in items)
        assert len(till.double.journal.invoice_items) == len(items)
        assert max(till.double.in_flight_peak.values(), default=0) <= 1
