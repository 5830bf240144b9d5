"""Workers that are stopped, killed, cut short and left alone for a day: nothing is lost, and nothing happens twice."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket_due_in
from tests.support.fleet import Fleet, a_fleet, children, count, rows, wait_until
from tests.support.smtp import PostOffice, Reply
from tests.support.trial import COME_AGAIN, GROW, LAST, held, send, waiting
from ticket_system import TicketSystem, monitor
from ticket_system.sla.books import PolicyBook
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TICKETS = "SELECT count(*) FROM tickets"


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with Database(postgres_url) as database:
        yield database


@pytest.fixture
def fleet(postgres_url: str, redis_url: str, post_office: PostOffice, tmp_path: Path) -> Iterator[Fleet]:
    settings = {
        "TICKETS_DATABASE_URL": postgres_url,
        "TICKETS_REDIS_URL": redis_url,
        "TICKETS_MAIL": "smtp",
        "TICKETS_MAIL_TO": "desk@example.org",
        "TICKETS_SMTP_HOST": post_office.host,
        "TICKETS_SMTP_PORT": post_office.port,
    }
    with a_fleet(tmp_path, **settings) as fleet:
        yield fleet


def ask_for_tickets(redis_url: str, many: int) -> set[str]:
    with TicketClient(redis_url) as client:
        return {client.open_ticket("Printer prints stars", "on every page", "ada") for _ in range(many)}


# --- stopped and killed ----------------------------------------------------------------------------------------------


def test_a_worker_that_is_stopped_under_load_finishes_or_returns_every_message(
    fleet: Fleet, database: Database, redis_url: str
) -> None:
    """What runs is finished within the grace time; what waits, even for its own time, is left to the next worker."""
    first = fleet.trial(names.INTAKE)
    fleet.wait_ready()
    send(redis_url, COME_AGAIN, names.INTAKE, seconds=20, mark="late")
    wait_until(lambda: fleet.diary["begun late"] == 1)
    asked_for = ask_for_tickets(redis_url, 300)
    send(redis_url, LAST, names.INTAKE, seconds=3, mark="long")
    wait_until(lambda: count(database, TICKETS) >= 100)
    first.send_signal(signal.SIGTERM)
    stopped_after = wait_until(lambda: first.poll() is not None, seconds=30)
    assert first.returncode == 0
    assert held(redis_url) == 0, "a message went down with its worker"
    opened, left = count(database, TICKETS), waiting(redis_url, names.INTAKE)
    long_left = 1 - fleet.diary["done long"]
    assert left == 300 - opened + long_left + 1
    fleet.trial(names.INTAKE)
    wait_until(lambda: fleet.diary["done late"] == 1 and fleet.diary["done long"] == 1)
    wait_until(lambda: waiting(redis_url, names.INTAKE) == held(redis_url) == 0)
    assert {ticket_id for (ticket_id,) in rows(database, "SELECT id FROM tickets")} == asked_for
    print(f"stopped within {stopped_after:.1f} s after {opened} tickets, {left} messages left to the next worker")


def test_a_job_that_does_not_end_in_time_goes_back_into_its_queue(fleet: Fleet, redis_url: str) -> None:
    worker = fleet.trial(names.DESK, TICKETS_STOP_SECONDS=2)
    fleet.wait_ready()
    send(redis_url, LAST, seconds=60, mark="endless")
    wait_until(lambda: fleet.diary["begun endless"] == 1)
    worker.send_signal(signal.SIGTERM)
    stopped_after = wait_until(lambda: worker.poll() is not None, seconds=30)
    assert (waiting(redis_url, names.DESK), held(redis_url)) == (1, 0)
    print(f"stopped within {stopped_after:.1f} s")


def test_a_worker_that_is_killed_under_load_loses_nothing_of_a_client_with_a_journal(
    fleet: Fleet, database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the worker held comes back; what was between the broker and the worker at that moment is sent again."""
    monkeypatch.setattr("ticket_tasks.journal._FIRST_PAUSE_SECONDS", 2.0)
    first = fleet.trial(names.INTAKE, TRIAL_VISIBILITY=8)
    fleet.wait_ready()
    with TicketClient(redis_url, journal="memory") as client:
        asked_for = {client.open_ticket("Printer prints stars", "on every page", "ada") for _ in range(300)}
        wait_until(lambda: count(database, TICKETS) >= 100)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        fleet.trial(names.INTAKE, TRIAL_VISIBILITY=8)
        assert client.flush(120) == 0
    wait_until(lambda: waiting(redis_url, names.INTAKE) == held(redis_url) == 0)
    opened = [ticket_id for (ticket_id,) in rows(database, "SELECT id FROM tickets")]
    assert len(opened) == 300
    assert set(opened) == asked_for


# --- cut short -------------------------------------------------------------------------------------------------------


def test_a_soft_limit_in_the_middle_of_a_letter_leaves_one_to_a_person_and_sends_the_others_once(
    fleet: Fleet, database: Database, redis_url: str, post_office: PostOffice
) -> None:
    post_office.answer("DATA", Reply(after_seconds=15))
    letters_due(database, 3)
    worker = fleet.trial(names.DESK, TRIAL_LIMITS=json.dumps({names.DELIVER_OUTBOX: [6, 60]}))
    fleet.wait_ready()
    tick(redis_url, names.DELIVER_OUTBOX)
    wait_until(lambda: ("uncertain", 1) in rows(database, STATES))
    # On a slow machine the time for the others may be over as well.
    tick(redis_url, names.DELIVER_OUTBOX)
    wait_until(lambda: rows(database, STATES) == [("sent", 2), ("uncertain", 1)])
    wait_until(lambda: held(redis_url) == 0)
    assert worker.poll() is None
    assert "ran out of time halfway" in fleet.said
    assert_once(post_office, at_most=3)


def test_a_hard_limit_in_the_middle_of_a_letter_costs_one_process_and_doubles_nothing(
    fleet: Fleet, database: Database, redis_url: str, post_office: PostOffice
) -> None:
    post_office.answer("DATA", Reply(after_seconds=20))
    letters_due(database, 3)
    worker = fleet.trial(names.DESK, TRIAL_LIMITS=json.dumps({names.DELIVER_OUTBOX: KILLED}))
    fleet.wait_ready()
    before = children(worker)
    tick(redis_url, names.DELIVER_OUTBOX)
    wait_until(lambda: "Hard time limit" in fleet.said)
    wait_until(lambda: held(redis_url) == waiting(redis_url, names.DESK) == 0)
    wait_until(lambda: len(children(worker) - before) == 1)
    send(redis_url, LAST, seconds=0, mark="next")
    wait_until(lambda: fleet.diary["done next"] == 1)
    # As long as its lease runs nobody else takes it; then it is one for a person.
    assert ("sending", 1) in rows(database, STATES)
    assert_once(post_office, at_most=1)


@pytest.mark.parametrize("limits", ([2, 60], [0, 2]), ids=("asked to stop", "killed"))
def test_a_wish_that_takes_too_long_is_granted_once_it_does_not(
    fleet: Fleet, database: Database, redis_url: str, limits: list[int]
) -> None:
    """Somebody holds the table for some seconds: the job that waits for it is cut short, and its message comes back."""
    worker = fleet.trial(names.INTAKE, TRIAL_LIMITS=json.dumps({names.OPEN_TICKET: limits}))
    fleet.wait_ready()
    with database.write() as connection:
        connection.execute(sa.text("LOCK TABLE tickets IN ACCESS EXCLUSIVE MODE"))
        asked_for = ask_for_tickets(redis_url, 1)
        wait_until(lambda: "job.failed" in fleet.said or "Hard time limit" in fleet.said)
    wait_until(lambda: count(database, TICKETS) == 1)
    wait_until(lambda: held(redis_url) == waiting(redis_url, names.INTAKE) == 0)
    assert {ticket_id for (ticket_id,) in rows(database, "SELECT id FROM tickets")} == asked_for
    assert worker.poll() is None


def test_a_process_that_grew_is_replaced_when_its_job_is_done(fleet: Fleet, redis_url: str) -> None:
    worker = fleet.trial(names.DESK, TICKETS_CHILD_MEMORY_MB=300)
    fleet.wait_ready()
    before = children(worker)
    send(redis_url, GROW, megabytes=5, mark="little")
    wait_until(lambda: any(line.endswith("little") for line in fleet.diary))
    assert children(worker) == before
    send(redis_url, GROW, megabytes=400, mark="much")
    wait_until(lambda: len(children(worker) - before) == 1)
    send(redis_url, LAST, seconds=0, mark="next")
    wait_until(lambda: fleet.diary["done next"] == 1)
    assert worker.poll() is None


STATES = "SELECT state, count(*)::int FROM outbox GROUP BY state ORDER BY state"


def letters_due(database: Database, many: int) -> None:
    """Tickets that are late already, and the letters about it."""
    with TicketSystem(database.url.render_as_string(hide_password=False)) as system:
        system.create_tickets([a_ticket_due_in(-5, priority=2) for _ in range(many)])
        monitor.scan_breaches(system.database, policy=system.policy)


# A soft limit of 0 is none: so does a job end that does not listen.
KILLED = [0, 6]


def tick(redis_url: str, name: str) -> None:
    with TicketClient(redis_url) as client:
        client.tick(name, names.DESK, expires_seconds=60)


def assert_once(post_office: PostOffice, *, at_most: int) -> None:
    sent = [letter.message["Message-ID"] for letter in post_office.delivered]
    assert len(sent) == len(set(sent)) <= at_most


# --- left alone ------------------------------------------------------------------------------------------------------


def test_a_day_without_a_fleet_is_caught_up_without_a_storm(
    fleet: Fleet, database: Database, redis_url: str, post_office: PostOffice
) -> None:
    """Breaches are found at their true moments; the letters are few; nothing is done again for every missed tick."""
    late, stale_ticks, storm_cap = 2000, 500, 20
    with TicketSystem(database.url.render_as_string(hide_password=False)) as system:
        system.put_in_force(PolicyBook(storm_cap=storm_cap))
        # What the fleet found before it went down, and did not get round to tell.
        system.create_tickets([a_ticket_due_in(-DAY - 60) for _ in range(100)])
        monitor.scan_breaches(system.database, policy=system.policy)
        backlog = count(database, "SELECT count(*) FROM outbox")
        system.create_tickets([a_ticket_due_in(-DAY * number / late) for number in range(1, late + 1)])
    with TicketClient(redis_url) as client:
        for _ in range(stale_ticks):
            client.tick(names.SCAN_BREACHES, names.CLOCK, expires_seconds=0.001)
    worker = fleet.start("worker", "--queues", "clock,desk,intake", TICKETS_LOG_LEVEL="debug")
    fleet.wait_ready()
    began = time.monotonic()
    fleet.start("beat")
    memory: list[int] = []
    connections: list[int] = []

    def is_told() -> bool:
        memory.append(max(psutil.Process(pid).memory_info().rss for pid in children(worker)) // 2**20)
        connections.append(count(database, CONNECTIONS))
        return count(database, BREACHED) == late + 100 and count(database, UNTOLD) == 0

    told_after = wait_until(is_told, seconds=90)
    wait_until(lambda: waiting(redis_url, names.CLOCK) < 5, seconds=90)
    drained_after = time.monotonic() - began
    scans = fleet.said.count('"breaches.scanned"')
    assert count(database, "SELECT count(*) FROM clocks WHERE breached_at <> due_at") == 0
    assert count(database, "SELECT count(*) FROM events WHERE kind = 'breached'") == late + 100
    # Each delivery bundles what it finds beyond the cap; how many find some depends on how fast the machine is.
    assert_once(post_office, at_most=(late + 100) // 10)
    assert scans <= drained_after * 1.5 + 5, "ticks of the past were done again"
    assert max(connections) <= 10
    print(
        f"{late:,} breaches of a day and {backlog} letters of before: all told {told_after:.1f} s after the start "
        f"in {len(post_office.delivered)} letters, by {scans} scans; {stale_ticks} stale ticks gone after "
        f"{drained_after:.1f} s; {memory[0]} to {max(memory)} MB, at most {max(connections)} connections"
    )


DAY = 86_400.0
BREACHED = "SELECT count(*) FROM clocks WHERE state = 'breached'"
UNTOLD = "SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'bundled')"
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ticket_system' AND datname = current_database()
"""
