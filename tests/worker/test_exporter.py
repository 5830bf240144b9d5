import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.metrics_core import Metric
from redis import Redis
from typer.testing import CliRunner

from tests.support.factories import a_ticket_due_in
from tests.support.processes import running
from ticket_system import TicketSystem, state
from ticket_system.audit import audit_clocks
from ticket_tasks import TicketClient, names
from ticket_worker.__main__ import app
from ticket_worker.broker import glance_at
from ticket_worker.exporter import FleetMetrics
from ticket_worker.settings import read_settings

pytestmark = pytest.mark.usefixtures("own_logging")

#: What alerts and dashboards rely on: the name, and its label.
SERVED = {
    "tickets_database_up": (),
    "tickets_broker_up": (),
    "tickets_schema_current": (),
    "tickets_clock_skew_seconds": (),
    "tickets_open_tickets": (),
    "tickets_clocks_due": (),
    "tickets_clocks_late_seconds": (),
    "tickets_job_last_done_timestamp_seconds": ("job",),
    "tickets_job_interval_seconds": ("job",),
    "tickets_outbox_messages": ("state",),
    "tickets_outbox_oldest_seconds": ("state",),
    "tickets_usage_deliveries": ("state",),
    "tickets_usage_oldest_seconds": ("state",),
    "tickets_report_runs": ("state",),
    "tickets_report_letters": ("state",),
    "tickets_report_letters_oldest_seconds": ("state",),
    "tickets_destinations_resting": (),
    "tickets_parked_messages": (),
    "tickets_parked_oldest_seconds": (),
    "tickets_audit_differences": (),
    "tickets_audit_last_timestamp_seconds": (),
    "tickets_queue_messages": ("queue",),
    "tickets_queue_oldest_seconds": ("queue",),
    "tickets_unacked_messages": (),
    "tickets_scrape_errors": ("part",),
}
AWAY = "redis://:hush@127.0.0.1:1/0"


@pytest.fixture(params=("sqlite", "postgresql"))
def url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    if request.param == "sqlite":
        return str(shutil.copy(sqlite_template, tmp_path / "tickets.db"))
    found: str = request.getfixturevalue("postgres_url")
    return found


def read(database: str, broker: str, **more: float) -> dict[str, Metric]:
    settings = read_settings(database_url=database, redis_url=broker)
    with closing(FleetMetrics(settings, **more)) as fleet:
        return {metric.name: metric for metric in fleet.collect()}


def values(metric: Metric) -> dict[str, float]:
    return {next(iter(sample.labels.values()), ""): sample.value for sample in metric.samples}


def test_every_metric_has_its_name_its_label_and_a_meaning(url: str, redis_url: str) -> None:
    with TicketSystem(url) as system:
        audit_clocks(system.database)
    found = read(url, redis_url)
    assert set(found) == set(SERVED)
    for name, metric in found.items():
        assert len(metric.documentation.split()) > 2, name
        assert {tuple(sample.labels) for sample in metric.samples} <= {SERVED[name]}, name
    assert set(values(found["tickets_scrape_errors"]).values()) == {0}


def test_what_waits_is_told(url: str, redis_url: str) -> None:
    with TicketSystem(url) as system, TicketClient(redis_url) as client:
        system.create_tickets([a_ticket_due_in(-30), a_ticket_due_in(600)])
        client.tick(names.DELIVER_OUTBOX, names.DESK, expires_seconds=60)
        found = read(url, redis_url)
    assert values(found["tickets_open_tickets"]) == {"": 2}
    assert values(found["tickets_clocks_due"]) == {"": 1}
    assert values(found["tickets_clocks_late_seconds"])[""] == pytest.approx(30, abs=20)
    assert values(found["tickets_queue_messages"]) == {"clock": 0, "desk": 1, "intake": 0, "money": 0, "reports": 0}
    assert values(found["tickets_job_interval_seconds"])[names.SCAN_BREACHES] == 1
    assert values(found["tickets_database_up"]) == values(found["tickets_broker_up"]) == {"": 1}
    assert values(found["tickets_schema_current"]) == {"": 1}
    assert abs(values(found["tickets_clock_skew_seconds"])[""]) < 5


def test_of_a_broker_that_is_away_the_database_still_tells(url: str) -> None:
    found = read(url, AWAY)
    assert values(found["tickets_broker_up"]) == {"": 0}
    assert values(found["tickets_database_up"]) == {"": 1}
    assert [part for part, broken in values(found["tickets_scrape_errors"]).items() if broken] == ["broker"]
    assert "tickets_open_tickets" in found
    assert "tickets_queue_messages" not in found


def test_of_a_database_that_is_away_the_broker_still_tells_and_it_is_tried_once(redis_url: str) -> None:
    began = time.monotonic()
    found = read("postgresql://u:hush@127.0.0.1:1/x", redis_url)
    assert time.monotonic() - began < 10
    assert values(found["tickets_database_up"]) == {"": 0}
    assert values(found["tickets_broker_up"]) == {"": 1}
    assert "tickets_open_tickets" not in found
    assert [part for part, broken in values(found["tickets_scrape_errors"]).items() if not broken] == ["broker"]


def test_one_part_that_fails_takes_none_with_it(
    url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_database: object) -> int:
        raise RuntimeError("what a customer wrote")

    monkeypatch.setattr(state, "parked_messages", broken)
    found = read(url, redis_url)
    assert [part for part, is_broken in values(found["tickets_scrape_errors"]).items() if is_broken] == ["parked"]
    assert {"tickets_open_tickets", "tickets_destinations_resting", "tickets_unacked_messages"} <= set(found)
    assert "tickets_parked_messages" not in found
    assert "wrote" not in "".join(capsys.readouterr())


def test_a_file_that_is_not_there_is_not_made_by_looking(tmp_path: Path, redis_url: str) -> None:
    found = read(str(tmp_path / "none.db"), redis_url)
    assert values(found["tickets_database_up"]) == {"": 0}
    assert not (tmp_path / "none.db").exists()


def test_two_that_ask_at_once_cost_one_look(url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []

    def look(database: object) -> int:
        looks.append(database)
        return len(looks)

    monkeypatch.setattr(state, "open_tickets", look)
    settings = read_settings(database_url=url, redis_url=redis_url)
    with (
        closing(FleetMetrics(settings, kept_seconds=60)) as kept,
        closing(FleetMetrics(settings, kept_seconds=0)) as new,
    ):
        assert [list(kept.collect()) and len(looks) for _ in range(3)] == [1, 1, 1]
        assert [list(new.collect()) and len(looks) for _ in range(2)] == [2, 3]


def put(url: str, message: bytes) -> None:
    with closing(Redis.from_url(url)) as client:
        client.lpush(names.KEY_PREFIX + names.CLOCK, message)


@pytest.mark.parametrize(
    ("message", "age"),
    (
        (json.dumps({"headers": {"sent_at": 100.0}}).encode(), 30.0),
        (json.dumps({"headers": {"sent_at": 500.0}}).encode(), 0.0),
        (json.dumps({"headers": {"sent_at": "x"}}).encode(), 0.0),
        (b'{"headers": null}', 0.0),
        (b"\xff not JSON", 0.0),
    ),
)
def test_the_oldest_message_says_itself_how_long_it_waits(redis_url: str, message: bytes, age: float) -> None:
    put(redis_url, message)
    put(redis_url, json.dumps({"headers": {"sent_at": 129.0}}).encode())
    clock = glance_at(redis_url, now=130.0).queues[0]
    assert (clock.name, clock.messages, clock.oldest_seconds) == ("clock", 2, age)


def test_looking_takes_no_message_out(redis_url: str) -> None:
    put(redis_url, b"{}")
    assert [glance_at(redis_url, now=0).queues[0].messages for _ in range(2)] == [1, 1]


def test_they_can_be_printed(url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", url)
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    printed = CliRunner().invoke(app, ["metrics", "--once"])
    assert printed.exit_code == 0
    assert re.search(r"(?m)^tickets_database_up 1\.0$", printed.stdout)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
    return number


def test_a_process_serves_them_and_ends_when_asked(postgres_url: str, redis_url: str, port: int) -> None:
    environment = {"TICKETS_DATABASE_URL": postgres_url, "TICKETS_REDIS_URL": redis_url, "PATH": ""}
    command = [sys.executable, "-m", "ticket_worker", "metrics", "--port", str(port)]
    with running(command, env=environment) as process:
        until(lambda: b"tickets_database_up 1.0" in asked(port))
        process.terminate()
        assert process.wait(20) == 0


def test_a_port_that_is_taken_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "ticket_worker", "metrics", "--port", str(taken.getsockname()[1])]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "metrics.unavailable" in found.stderr


def asked(port: int) -> bytes:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text: bytes = answer.read()
            return text
    except (URLError, ConnectionError):
        return b""


def until(reached: Callable[[], object], *, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)
