"""What a fleet depends on goes away under it, and comes back: its processes live on, and nothing is lost."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from structlog.testing import capture_logs

from tests.support.fleet import Fleet, a_fleet, wait_until
from tests.support.proxy import wire_to_broker
from tests.support.trial import COME_AGAIN, LAST, held, send, waiting
from tests.support.valkey import Valkey, mortal_valkey
from ticket_tasks import names, registry
from ticket_worker.app import celery_settings
from ticket_worker.settings import read_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with mortal_valkey() as server:
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
