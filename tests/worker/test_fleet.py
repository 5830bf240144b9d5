import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.support.factories import a_ticket_due_in
from tests.support.processes import running
from ticket_system import TicketSystem, outbox
from ticket_tasks import TicketClient, names
from ticket_worker.fleet import beat_child, environment, worker_children
from ticket_worker.settings import read_settings

COMMAND = [sys.executable, "-m", "ticket_worker"]


def until(find: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not find():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_children_get_the_database_and_the_broker_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("redis://elsewhere/0")
    monkeypatch.setenv("TICKETS_REDIS_URL_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("TICKETS_MAIL_FROM", "desk@example.com")
    given = environment(read_settings(database_url="/tmp/x.db", redis_url="redis://broker/0"))
    assert given["TICKETS_DATABASE_URL"] == "/tmp/x.db"
    assert given["TICKETS_REDIS_URL"] == "redis://broker/0"
    assert given["TICKETS_MAIL_FROM"] == "desk@example.com"
    assert "TICKETS_REDIS_URL_FILE" not in given


def test_each_child_has_a_port_for_metrics_of_its_own() -> None:
    given = environment(read_settings(database_url="x.db", redis_url="redis://broker/0", metrics_port=9101))
    children = [*worker_children(given), beat_child(given)]
    ports = {child.name: (child.environ or {})["TICKETS_METRICS_PORT"] for child in children}
    assert ports == {
        "clock": "9101",
        "desk": "9102",
        "intake": "9103",
        "money": "9104",
        "reports": "9105",
        "beat": "9106",
    }
    off = environment(read_settings(database_url="x.db", redis_url="redis://broker/0"))
    assert {(one.environ or {})["TICKETS_METRICS_PORT"] for one in worker_children(off)} == {"0"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_fleet_in_one_folder_from_start_to_stop(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    with log.open("wb") as output, running([*COMMAND, "up"], cwd=tmp_path, log=output) as fleet:
        until((data / "broker.url").exists)
        family = psutil.Process(fleet.pid)
        until(lambda: log.read_text().count("ready.") >= len(names.QUEUES))
        with (
            TicketSystem(data / "tickets.db") as system,
            TicketClient((data / "broker.url").read_text().strip()) as client,
        ):
            stored = system.create_ticket(a_ticket_due_in(1, priority=2)).id
            created_at = datetime.now(UTC) - timedelta(hours=24, seconds=-1)
            sent = client.open_ticket("Sent", "", "shop", priority=2, created_at=created_at)

            def is_handled(ticket_id: str) -> bool:
                ticket = system.get_ticket(ticket_id)
                return ticket is not None and ticket.is_breached() and ticket.priority == 1

            until(lambda: is_handled(stored) and is_handled(sent))
            until(lambda: outbox.count(system.database) == {"sent": 2})

            # A worker that is killed is replaced, and its successor works.
            clock = next(child for child in family.children() if "clock" in child.cmdline())
            clock.kill()
            late = system.create_ticket(a_ticket_due_in(1, priority=2)).id
            until(lambda: is_handled(late))
            assert '"child": "clock", "pid"' in log.read_text()

            second = subprocess.run([*COMMAND, "up"], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert f"process {fleet.pid}" in second.stderr

        everybody = family.children(recursive=True)
        assert len(everybody) >= 5
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait(20) == 0
        assert psutil.wait_procs(everybody, timeout=1)[1] == []
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_worker_says_that_the_broker_is_away_and_still_stops_when_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environ = os.environ | {"TICKETS_REDIS_URL": "redis://:hush@127.0.0.1:1/0"}
    with (
        log.open("wb") as output,
        running([*COMMAND, "worker", "--queues", "clock"], cwd=tmp_path, env=environ, log=output) as worker,
    ):
        (tmp_path / "data").mkdir()
        until(lambda: "broker.unreachable" in log.read_text())
        until(lambda: "Trying again" in log.read_text())
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0
    told = log.read_text()
    assert "Traceback" not in told
    assert "hush" not in told
