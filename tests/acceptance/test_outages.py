"""What a fleet depends on goes away under it, and comes back: its processes live on, and nothing is lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from tests.support.fleet import Fleet, a_fleet, count, rows, wait_until
from tests.support.postgres import Postgres, mortal_postgres
from tests.support.proxy import wire_to_broker, wire_to_database
from tests.support.smtp import PostOffice
from tests.support.trial import COME_AGAIN, LAST, held, send, waiting
from tests.support.valkey import Valkey, mortal_valkey
from ticket_system import TicketSystem
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, names, registry
from ticket_worker.app import celery_settings
from ticket_worker.settings import read_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with mortal_valkey() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL server that keeps what it confirmed, with our schema."""
    with mortal_postgres(synchronous_commit="on") as server:
        with Database(server.url) as database:
            database.upgrade()
        yield server


@pytest.fixture
def fleet(tmp_path: Path, sqlite_template: Path, broker: Valkey) -> Iterator[Fleet]:
    with a_fleet(tmp_path, TICKETS_DATABASE_URL=tmp_path / "tickets.db", TICKETS_REDIS_URL=broker.url) as fleet:
        yield fleet


# --- the broker ------------------------------------------------------------------------------------------------------


def test_a_worker_that_holds_messages_outlives_its_broker(fleet: Fleet, broker: Valkey) -> None:
    """One message is being worked on, and one waits for its time; both are done after the broker came back."""
    worker = fleet.trial(names.DESK)
    fleet.wait_ready()
    send(broker.url, LAST, seconds=4, mark="long")
    send(broker.url, COME_AGAIN, seconds=8, mark="late")
    wait_until(lambda: {"begun long", "begun late"} <= set(fleet.diary))
    wait_until(lambda: held(broker.url) == 2)
    broker.kill()
    wait_until(lambda: "done long" in fleet.diary)
    broker.start()
    send(broker.url, LAST, seconds=0, mark="next")
    took = wait_until(lambda: "done next" in fleet.diary)
    assert worker.poll() is None
    assert "Unrecoverable" not in fleet.said
    print(f"consumes {took:.1f} s after the broker came back")


def test_without_the_guard_it_ends_with_its_broker(fleet: Fleet, broker: Valkey) -> None:
    """Fails with the first Celery that needs no guard."""
    worker = fleet.trial(names.DESK, TRIAL_UNGUARDED=1)
    fleet.wait_ready()
    send(broker.url, LAST, seconds=3, mark="long")
    wait_until(lambda: "begun long" in fleet.diary)
    broker.kill()
    wait_until(lambda: worker.poll() is not None)
    assert worker.returncode == 1
    assert "Unrecoverable error: AttributeError" in fleet.said


def test_a_line_to_the_broker_that_goes_silent_costs_seconds(fleet: Fleet, broker: Valkey) -> None:
    """Nobody hangs up, nothing answers: the worker and the ticker notice, and come back by a new connection."""
    with wire_to_broker(broker.url) as (wire, url):
        worker = fleet.trial(f"{names.DESK},{names.CLOCK}", TICKETS_REDIS_URL=url, TICKETS_LOG_LEVEL="debug")
        beat = fleet.start("beat", TICKETS_REDIS_URL=url, TICKETS_LOG_LEVEL="debug")
        fleet.wait_ready()
        wait_until(lambda: "breaches.scanned" in fleet.said)
        wire.cut()
        time.sleep(1)
        send(broker.url, LAST, seconds=0, mark="next")
        scans = fleet.said.count("breaches.scanned")
        wire.mend()
        took = wait_until(lambda: "done next" in fleet.diary, seconds=30)
        ticked = wait_until(lambda: fleet.said.count("breaches.scanned") > scans, seconds=30)
        assert (worker.poll(), beat.poll()) == (None, None)
        print(f"consumes after {took:.1f} s, ticks after {ticked + took:.1f} s")


def test_a_nudge_into_a_silent_line_keeps_its_job_for_seconds(broker: Valkey) -> None:
    with wire_to_broker(broker.url) as (wire, url):
        app = Celery(broker=url, set_as_current=False)
        app.conf.update(celery_settings(read_settings(redis_url=url)))
        registry._nudge(app, (names.DELIVER_OUTBOX,))
        assert waiting(broker.url, names.DESK) == 1
        wire.cut()
        with capture_logs() as lines:
            began = time.monotonic()
            registry._nudge(app, (names.DELIVER_OUTBOX,))
            took = time.monotonic() - began
        assert [line["event"] for line in lines] == ["nudge.lost"]
        print(f"given up after {took:.1f} s")
        assert took < 15
        app.close()


@pytest.mark.parametrize("is_refused", (True, False), ids=("while a job runs", "while nothing happens"))
def test_a_broker_whose_disk_is_full_costs_no_worker(fleet: Fleet, is_refused: bool) -> None:
    """It refuses everything, a ping as well, and says so: the worker waits, as for one that is away."""
    with mortal_valkey(fsync="everysec") as broker:
        worker = fleet.trial(names.DESK, TICKETS_REDIS_URL=broker.url)
        beat = fleet.start("beat", TICKETS_REDIS_URL=broker.url)
        fleet.wait_ready()
        if is_refused:
            send(broker.url, LAST, seconds=4, mark="long")
            wait_until(lambda: "begun long" in fleet.diary)
        broker.fill_disk()
        wait_until(lambda: refuses(broker.url))
        wait_until(lambda: "Trying to re-establish" in fleet.said)
        if is_refused:
            wait_until(lambda: "done long" in fleet.diary)
        broker.empty_disk()
        wait_until(lambda: not refuses(broker.url))
        send(broker.url, LAST, seconds=0, mark="next")
        took = wait_until(lambda: "done next" in fleet.diary)
        assert (worker.poll(), beat.poll()) == (None, None)
        assert "Unrecoverable" not in fleet.said
        print(f"consumes {took:.1f} s after the disk has room again")


def refuses(url: str) -> bool:
    """Whether a broker takes nothing."""
    with Redis.from_url(url) as client:
        try:
            client.set("is it full?", "x" * 100)
        except ResponseError as error:
            return "MISCONF" in str(error)
        return False


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_a_database_that_is_killed_under_load_costs_no_worker_and_no_breach(
    fleet: Fleet, server: Postgres, post_office: PostOffice
) -> None:
    """What was confirmed is kept, what was not is done again; nobody is started anew, and nobody is told twice."""
    tickets, wishes = 200, 40
    settings: dict[str, Any] = {
        "TICKETS_DATABASE_URL": server.url,
        "TICKETS_MAIL": "smtp",
        "TICKETS_MAIL_TO": "desk@example.org",
        "TICKETS_SMTP_HOST": post_office.host,
        "TICKETS_SMTP_PORT": post_office.port,
    }
    broker_url = fleet.environ["TICKETS_REDIS_URL"]
    fleet_is = [fleet.start("worker", "--queues", "clock,desk,intake", **settings), fleet.start("beat", **settings)]
    fleet.wait_ready()
    with Database(server.url) as database, TicketSystem(database) as system, TicketClient(broker_url) as client:
        system.create_tickets([a_ticket_due_in(1 + number * 8 / tickets, priority=2) for number in range(tickets)])
        wait_until(lambda: count(database, BREACHED) >= tickets / 4)
        for number in range(wishes // 2):
            client.open_ticket("Printer prints stars", "on every page", "ada", ticket_id=f"before-{number}")
        server.kill()
        for number in range(wishes // 2):
            client.open_ticket("Printer prints stars", "on every page", "ada", ticket_id=f"while-{number}")
        time.sleep(3)
        server.start()
        back_after = wait_until(lambda: count(database, BREACHED) == tickets)
        wait_until(lambda: count(database, "SELECT count(*) FROM tickets") == tickets + wishes, seconds=90)
        wait_until(lambda: len(post_office.delivered) >= tickets * 0.9)
        time.sleep(2)  # whoever wants to do something twice has the time for it
        assert [process.poll() for process in fleet_is] == [None, None]
        twice = "SELECT ticket_id FROM events WHERE kind = 'breached' GROUP BY ticket_id HAVING count(*) > 1"
        assert rows(database, twice) == []
        assert count(database, "SELECT count(*) FROM clocks WHERE breached_at <> due_at") == 0
        sent = [letter.message["Message-ID"] for letter in post_office.delivered]
        assert len(sent) == len(set(sent)), "a letter went out twice"
        print(f"{tickets} breaches, all found {back_after:.1f} s after the database came back; {len(sent)} letters")


BREACHED = "SELECT count(*) FROM clocks WHERE state = 'breached'"


def test_a_line_to_the_database_that_goes_silent_costs_what_one_statement_may_take(
    fleet: Fleet, server: Postgres
) -> None:
    broker_url = fleet.environ["TICKETS_REDIS_URL"]
    with wire_to_database(server.url) as (wire, url), Database(server.url) as database:
        worker = fleet.start("worker", "--queues", "intake", TICKETS_DATABASE_URL=url, TICKETS_STATEMENT_SECONDS=2)
        fleet.wait_ready()
        with TicketClient(broker_url) as client:
            client.open_ticket("Printer prints stars", "on every page", "ada")
            wait_until(lambda: count(database, "SELECT count(*) FROM tickets") == 1)
            wire.cut()
            client.open_ticket("Printer prints stars", "on every page", "grace")
        wait_until(lambda: "job.postponed" in fleet.said, seconds=30)
        wire.mend()
        took = wait_until(lambda: count(database, "SELECT count(*) FROM tickets") == 2, seconds=30)
        assert worker.poll() is None
        print(f"opened {took:.1f} s after the line was there again")


def test_a_fleet_that_starts_before_its_database_waits_for_it(fleet: Fleet, server: Postgres) -> None:
    server.kill()
    worker = fleet.start("worker", "--queues", "desk", TICKETS_DATABASE_URL=server.url)
    wait_until(lambda: "database.awaited" in fleet.said)
    server.start()
    wait_until(lambda: "ready." in fleet.said)
    assert worker.poll() is None
    assert fleet.said.count("database.awaited") <= 2, "once for a server that is away, once for one that is starting"


def test_a_fleet_that_finds_no_database_gives_up_when_its_patience_is_over(fleet: Fleet) -> None:
    nowhere = "postgresql://u:hush@127.0.0.1:1/x"
    worker = fleet.start("worker", "--queues", "desk", TICKETS_DATABASE_URL=nowhere, TICKETS_START_PATIENCE_SECONDS=2)
    wait_until(lambda: worker.poll() is not None, seconds=30)
    assert worker.returncode == 1
    assert "worker.refused" in fleet.said
    assert "hush" not in fleet.said
