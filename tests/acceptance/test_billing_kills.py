"""Real processes, killed without warning: what Stripe would bill is what happened, once (fault matrix 1, 2, 18, 22)."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
import redis

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from tests.support.processes import running
from tests.support.reporter import LEASE_SECONDS, POINTS
from ticket_system import TicketSystem, accounts
from ticket_system.billing.usage import hour_of
from ticket_system.storage import billing_tables as tables
from ticket_worker.demo.stripe_double import TEST_KEY, Fault, StripeDouble, running_double
from ticket_worker.demo.stripe_double.faults import FaultKind
from ticket_worker.demo.stripe_double.server import Running

PATIENCE_SECONDS = 60.0
CUSTOMERS = ("acme", "beta", "gamma")


@pytest.fixture
def stripe() -> Iterator[Running]:
    """The other side: two meters, three customers, and calls that take long enough to overlap."""
    double = StripeDouble()
    for name in ("tickets_opened", "critical_tickets"):
        double.add_meter(name)
    for name in CUSTOMERS:
        double.add_customer(f"cus_{name}")
    double.rules.work_seconds = 0.02
    with running_double(double) as running_one:
        yield running_one


@pytest.fixture(params=("sqlite", "postgresql"))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each database in turn."""
    found: str = str(tmp_path / "till.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return found


def environment(url: str, stripe: Running, **more: str) -> dict[str, str]:
    """The settings of a worker that bills."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")},
        "TICKETS_DATABASE_URL": url,
        "TICKETS_BILLING": "stripe",
        "TICKETS_STRIPE_API_KEY": TEST_KEY,
        "TICKETS_STRIPE_API_URL": stripe.url,
        "TICKETS_STRIPE_CALLS_PER_SECOND": "100",
        "TICKETS_STRIPE_TIMEOUT_SECONDS": "3",
        **more,
    }


def fill(system: TicketSystem, hours: int = 2) -> dict[str, int]:
    """Usage of some hours that are over; returns how much of it each customer has."""
    now = hour_of(datetime.now(UTC))
    for customer in CUSTOMERS:
        accounts.link(system.database, customer, f"cus_{customer}", livemode=False, actor="lead")
    wanted = {
        customer: [
            a_ticket(customer=customer, created_at=now - timedelta(hours=hour + 1, minutes=-minute), priority=1)
            for hour in range(1, hours + 1)
            for minute in range(number + 1)
        ]
        for number, customer in enumerate(CUSTOMERS)
    }
    for mine in wanted.values():
        system.create_tickets(mine)
    return {customer: len(mine) for customer, mine in wanted.items()}


def report(url: str, stripe: Running, *point: str, **more: str) -> int:
    """Run a worker once; returns its exit status."""
    command = [sys.executable, "-m", "tests.support.reporter", *point]
    return subprocess.run(
        command, env=environment(url, stripe, **more), check=False, timeout=PATIENCE_SECONDS, capture_output=True
    ).returncode


def is_done(system: TicketSystem) -> bool:
    """Whether everything is accepted."""
    deliveries = rows_of(system.database, tables.usage_deliveries)
    facts = rows_of(system.database, tables.usage_facts)
    return all(row["state"] == "accepted" for row in deliveries) and all(row["batch_id"] for row in facts)


def finish(system: TicketSystem, url: str, stripe: Running) -> None:
    """Run workers until there is nothing left to do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_done(system):
        assert time.monotonic() < deadline, rows_of(system.database, tables.usage_deliveries)
        # What was put off is tried at once: nobody waits half a minute in a test.
        with system.database.write() as connection:
            connection.execute(tables.usage_deliveries.update().values(next_attempt_at=datetime.now(UTC)).where(
                tables.usage_deliveries.c.state.in_(["sealed", "sending"])
            ))  # fmt: skip
        assert report(url, stripe) == 0
        time.sleep(0.3)


def balances(stripe: Running, wanted: dict[str, int]) -> None:
    """What would be billed is what happened, and no two calls for one customer and meter overlapped."""
    for meter in ("tickets_opened", "critical_tickets"):
        billed = {name: stripe.double.journal.billed(f"cus_{name}", meter) for name in wanted}
        assert billed == wanted, meter
    assert max(stripe.double.in_flight_peak.values()) == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point(url: str, stripe: Running, point: str) -> None:
    """1: no loss, one count, wherever the power is cut."""
    with TicketSystem(url) as system:
        wanted = fill(system, hours=1)
        for _ in range(2):
            # Nobody else is there, so that its lease may be short.
            assert report(url, stripe, point, TRIAL_LEASE_SECONDS="1") == -signal.SIGKILL
            time.sleep(1.1)  # its lease runs out
        finish(system, url, stripe)
        balances(stripe, wanted)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_at_any_moment_beside_others(url: str, stripe: Running) -> None:
    """1, 2: several workers at the same ledger, killed at random, while calls fail at random."""
    rng = random.Random(4)
    kinds = [FaultKind(name) for name in ("reset_after", "reset_before", "error_after", "junk", "lock_timeout")]
    stripe.double.faults.chooser = lambda _: Fault(rng.choice(kinds)) if rng.random() < 0.3 else None
    command = [sys.executable, "-m", "tests.support.reporter"]
    with TicketSystem(url) as system:
        wanted = fill(system, hours=4)
        for _ in range(4):
            workers = [
                subprocess.Popen(
                    command, env=environment(url, stripe), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )
                for _ in range(3)
            ]
            time.sleep(rng.uniform(1.0, 2.5))
            for worker in workers:
                worker.kill()
                worker.wait()
        stripe.double.faults.chooser = None
        time.sleep(LEASE_SECONDS + 0.1)
        finish(system, url, stripe)
        balances(stripe, wanted)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_task_delivered_five_times_at_once(url: str, stripe: Running) -> None:
    """2: five workers begin at the same moment: at most one call at a time for each customer and meter, one count."""
    command = [sys.executable, "-m", "tests.support.reporter"]
    with TicketSystem(url) as system:
        wanted = fill(system, hours=6)
        workers = [subprocess.Popen(command, env=environment(url, stripe)) for _ in range(5)]
        assert [worker.wait(PATIENCE_SECONDS) for worker in workers] == [0] * 5
        assert is_done(system)
        balances(stripe, wanted)
        identifiers = [one.identifier for one in stripe.double.journal.events]
        assert len(identifiers) == len(set(identifiers)) == 6 * 2 * len(CUSTOMERS)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_fleet_with_two_beats_whose_broker_forgets_everything(
    postgres_url: str, redis_url: str, stripe: Running, tmp_path: Path
) -> None:
    """2, 18: two beats, two workers, one of them killed, the broker emptied in the middle: one count."""
    more = {
        "TICKETS_REDIS_URL": redis_url, "TICKETS_DATA_DIR": str(tmp_path), "TICKETS_STOP_SECONDS": "3",
        "TICKETS_REPORT_INTERVAL_SECONDS": "0.5", "TICKETS_CONCURRENCY": "2",
    }  # fmt: skip
    stripe.double.rules.work_seconds = 0.1
    with TicketSystem(postgres_url) as system, ExitStack() as fleet, (tmp_path / "log").open("wb") as log:
        wanted = fill(system, hours=8)

        def start(*words: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "ticket_worker", *words]
            output: IO[bytes] = log
            return fleet.enter_context(running(command, env=environment(postgres_url, stripe, **more), log=output))

        victim = start("worker", "--queues", "money")
        for words in (("worker", "--queues", "money"), ("beat",), ("beat",)):
            start(*words)
        wait_for(lambda: len(stripe.double.journal.events) >= 5)
        os.killpg(victim.pid, signal.SIGKILL)
        with redis.Redis.from_url(redis_url) as broker:
            broker.flushall()
        # What the dead worker was at is due again when its lease is over: sooner in this test, told by its age.
        time.sleep(7)
        with system.database.write() as connection:
            past = datetime.now(UTC) - timedelta(seconds=1)
            connection.execute(tables.usage_lanes.update().values(lease=None, lease_until=None).where(
                tables.usage_lanes.c.lease_until < datetime.now(UTC) + timedelta(seconds=84)
            ))  # fmt: skip
            connection.execute(tables.usage_deliveries.update().values(next_attempt_at=past).where(
                tables.usage_deliveries.c.state == "sending"
            ))  # fmt: skip
        wait_for(lambda: is_done(system))
        time.sleep(2)  # whoever wants to do something twice has the time for it
        balances(stripe, wanted)


def wait_for(reached: object) -> None:
    """Return when it is so; fail when it does not come to be."""
    assert callable(reached)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.2)
