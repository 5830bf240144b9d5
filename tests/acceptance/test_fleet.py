"""The promise, kept by real processes: every breach is found, escalated and told once, whoever is killed meanwhile."""

import os
import signal
import statistics
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import IO

import psycopg
import pytest

from tests.support.factories import a_ticket_due_in
from tests.support.processes import running
from tests.support.smtp import PostOffice
from ticket_system import TicketSystem
from ticket_system.storage.database import Database

TICKETS = 1000
#: Long enough for six processes to start on two cores.
FIRST_DUE_SECONDS = 8.0
ALL_DUE_WITHIN_SECONDS = 10.0
PATIENCE_SECONDS = 90.0


@pytest.fixture
def environment(postgres_url: str, redis_url: str, post_office: PostOffice, tmp_path: Path) -> dict[str, str]:
    """The settings of a fleet on PostgreSQL that sends real mail."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")},
        "TICKETS_DATABASE_URL": postgres_url,
        "TICKETS_REDIS_URL": redis_url,
        "TICKETS_DATA_DIR": str(tmp_path),
        "TICKETS_MAIL": "smtp",
        "TICKETS_MAIL_TO": "desk@example.org",
        "TICKETS_SMTP_HOST": post_office.host,
        "TICKETS_SMTP_PORT": str(post_office.port),
        "TICKETS_STOP_SECONDS": "5",
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_each_of_a_thousand_breaches_counts_once_with_a_worker_killed_and_two_beats(
    postgres_url: str,
    environment: dict[str, str],
    post_office: PostOffice,
    log: IO[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as fleet, TicketSystem(postgres_url) as system:

        def start(*words: str) -> Popen[bytes]:
            command = [sys.executable, "-m", "ticket_worker", *words]
            return fleet.enter_context(running(command, env=environment, log=log))

        # A process for each queue, as a fleet has them: two of each, of which one is killed.
        victims = [start("worker", "--queues", queue, "--concurrency", "1") for queue in ("clock", "desk")]
        for queue in ("clock", "desk"):
            start("worker", "--queues", queue, "--concurrency", "1")
        start("beat")
        start("beat")
        step = ALL_DUE_WITHIN_SECONDS / TICKETS
        tickets = [a_ticket_due_in(FIRST_DUE_SECONDS + number * step, priority=2) for number in range(TICKETS)]
        system.create_tickets(tickets)
        ids = {ticket.id for ticket in tickets}

        half = TICKETS // 2
        wait_until(lambda: count(system.database, "SELECT count(*) FROM clocks WHERE state = 'breached'") >= half)
        found_by_then = count(system.database, "SELECT count(*) FROM clocks WHERE state = 'breached'")
        for victim in victims:
            os.killpg(victim.pid, signal.SIGKILL)
        assert found_by_then < TICKETS, "the worker was to be killed in the middle, not at the end"

        wait_until(
            lambda: (
                count(system.database, "SELECT count(*) FROM events WHERE kind = 'escalated'") >= TICKETS
                and len(post_office.delivered) >= TICKETS * 0.9
            )
        )
        time.sleep(3)  # whoever wants to do something twice has the time for it

        once = dict.fromkeys(ids, 1)
        assert per_ticket(system.database, "events WHERE kind = 'breached'") == once
        assert per_ticket(system.database, "events WHERE kind = 'escalated'") == once
        assert per_ticket(system.database, "comments") == once
        assert per_ticket(system.database, "outbox") == once
        assert count(system.database, "SELECT count(*) FROM tickets WHERE priority = 1") == TICKETS
        assert count(system.database, "SELECT count(*) FROM clocks WHERE breached_at <> due_at") == 0
        sent = Counter(letter.message["Message-ID"] for letter in post_office.delivered)
        assert max(sent.values()) == 1, "a letter went out twice"

        latencies = sorted(latencies_of(system.database))
        with capsys.disabled():
            print(
                f"\n  {TICKETS:,} breaches, from deadline to detection: p50 {statistics.median(latencies):.2f} s, "
                f"p99 {latencies[int(len(latencies) * 0.99)]:.2f} s, longest {latencies[-1]:.2f} s "
                f"(one of two workers of each queue killed after {found_by_then})"
            )
        assert latencies[0] >= 0, "a breach was found before it happened"


def wait_until(reached: object, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when it is so; fail when it does not come to be."""
    assert callable(reached)
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)


def count(database: Database, query: str) -> int:
    """One number, asked by a connection of its own."""
    with connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def per_ticket(database: Database, source: str) -> dict[str, int]:
    """How many rows each ticket has there."""
    table, _, condition = source.partition(" WHERE ")
    query = f"SELECT ticket_id, count(*) FROM {table} WHERE {condition or 'true'} GROUP BY ticket_id"
    with connect(database) as connection:
        return dict(connection.execute(query.encode()).fetchall())


def latencies_of(database: Database) -> list[float]:
    """Seconds from each deadline to its detection."""
    query = b"SELECT extract(epoch FROM detected_at - breached_at)::float8 FROM clocks WHERE state = 'breached'"
    with connect(database) as connection:
        return [seconds for (seconds,) in connection.execute(query)]


def connect(database: Database) -> psycopg.Connection:
    """A connection without any of our code."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)
