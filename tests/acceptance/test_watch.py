"""A fleet can be watched: what it counts, whether it lives, and one trace and one id from the asking to the letter."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from celery import Celery
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.factories import a_ticket_due_in
from tests.support.http import WebServer, running_web_server
from tests.support.processes import running
from tests.support.valkey import running_valkey
from ticket_system import TicketSystem
from ticket_tasks import names

PATIENCE_SECONDS = 60.0
WORKER = [sys.executable, "-m", "ticket_worker"]


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two ports that were free just now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def environment(postgres_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")},
        "TICKETS_DATABASE_URL": postgres_url,
        "TICKETS_DATA_DIR": str(tmp_path),
        "TICKETS_STOP_SECONDS": "3",
    }


def until(reached: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """What is served there: by name and the values of its labels."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except (URLError, ConnectionError):
        return {}
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_the_processes_of_a_worker_count_is_served_by_the_worker(
    postgres_url: str,
    redis_url: str,
    environment: dict[str, str],
    ports: tuple[int, int],
    log: IO[bytes],
    tmp_path: Path,
) -> None:
    """Forked processes count into shared files; who takes the place of a killed one goes on with its file."""
    environment |= {"TICKETS_REDIS_URL": redis_url, "TICKETS_METRICS_PORT": str(ports[0]), "TMPDIR": str(tmp_path)}
    with ExitStack() as fleet, TicketSystem(postgres_url) as system:
        worker = fleet.enter_context(
            running([*WORKER, "worker", "--queues", "clock,desk,intake"], env=environment, log=log)
        )
        beat_environment = environment | {"TICKETS_METRICS_PORT": str(ports[1])}
        fleet.enter_context(running([*WORKER, "beat"], env=beat_environment, log=log))
        system.create_tickets([a_ticket_due_in(-1, priority=2) for _ in range(3)])

        until(lambda: scraped(ports[0]).get(("tickets_breaches_total",)) == 3)
        until(lambda: scraped(ports[0]).get(("tickets_deliveries_total", "mail", "sent")) == 3)
        before = scraped(ports[0])
        assert before["tickets_alarms_total",] == 3
        assert before["tickets_detection_seconds_count",] == 3
        assert before["tickets_detection_seconds_sum",] >= 3
        assert before["tickets_task_seconds_count", "done", names.SCAN_BREACHES] >= 1
        assert before["tickets_queue_wait_seconds_count", "clock"] >= 1
        assert [name for name in before if name[0] == "tickets_build_info"]
        until(lambda: scraped(ports[1]).get(("tickets_build_info", *version(ports[1]))) == 1)

        children = subprocess.run(["pgrep", "-P", str(worker.pid)], capture_output=True, text=True, check=True)
        for pid in children.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        system.create_tickets([a_ticket_due_in(-1, priority=2)])
        until(lambda: scraped(ports[0]).get(("tickets_breaches_total",)) == 4)
        places = {path.stem.rpartition("_")[2] for path in tmp_path.glob("ticket-worker-metrics-*/*.db")}
        assert places <= {"worker", "0", "1"}


def version(port: int) -> tuple[str, ...]:
    found = [name[1:] for name in scraped(port) if name[0] == "tickets_build_info"]
    return found[0] if found else ()


def probe(environment: dict[str, str], what: str) -> tuple[int, str]:
    command = [*WORKER, "health", what, "--within", "8"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return found.returncode, found.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_worker_without_its_broker_lives_and_one_that_hangs_does_not(
    environment: dict[str, str], log: IO[bytes], tmp_path: Path
) -> None:
    with ExitStack() as fleet:
        broker = ExitStack()
        environment["TICKETS_REDIS_URL"] = broker.enter_context(running_valkey())
        worker: Popen[bytes] = fleet.enter_context(
            running([*WORKER, "worker", "--queues", "clock"], env=environment, log=log)
        )
        beat: Popen[bytes] = fleet.enter_context(running([*WORKER, "beat"], env=environment, log=log))
        fleet.callback(broker.close)
        until(lambda: len(list((tmp_path / "health").glob("*"))) == 2)
        until(lambda: probe(environment, "ready")[0] == 0)

        broker.close()
        lost_at = time.monotonic()
        until(lambda: time.monotonic() - lost_at > 10)
        assert probe(environment, "live") == (0, "")
        status, said = probe(environment, "ready")
        assert status == 1
        assert "the broker at" in said

        worker.send_signal(signal.SIGSTOP)
        until(lambda: probe(environment, "live")[0] == 1)
        assert "worker-clock" in probe(environment, "live")[1]
        worker.send_signal(signal.SIGCONT)
        until(lambda: probe(environment, "live")[0] == 0)

        beat.send_signal(signal.SIGSTOP)
        until(lambda: probe(environment, "live")[0] == 1)
        assert "beat" in probe(environment, "live")[1]
        beat.send_signal(signal.SIGCONT)

        beat.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGTERM)
        until(lambda: not list((tmp_path / "health").glob("*")), seconds=30)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_trace_and_one_id_lead_from_a_message_to_the_letter(
    postgres_url: str, redis_url: str, environment: dict[str, str], log: IO[bytes], tmp_path: Path
) -> None:
    """What a task sets off goes on with its trace and its id; what comes without a trace makes none."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with running_web_server() as collector, TicketSystem(postgres_url) as system:
        environment |= {
            "TICKETS_REDIS_URL": redis_url,
            "TICKETS_TRACE_URL": collector.url("/v1/traces"),
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # sent soon, not when a batch is full
        }
        system.create_ticket(a_ticket_due_in(-1, priority=2))
        with (
            running([*WORKER, "worker", "--queues", "clock,desk,intake"], env=environment, log=log),
            Celery(broker=redis_url, set_as_current=False) as app,
        ):
            app.conf.broker_transport_options = {"global_keyprefix": names.KEY_PREFIX}
            app.conf.task_queues = names.QUEUES
            app.send_task(names.AUDIT_CLOCKS, queue=names.DESK)
            headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "correlation": "order-7.42"}
            app.send_task(names.SCAN_BREACHES, queue=names.CLOCK, headers=headers)
            wanted = {(name, trace_id) for name in (names.SCAN_BREACHES, names.DELIVER_OUTBOX, "deliver notice")}
            until(lambda: spans(collector) >= wanted)
            until(lambda: b"clocks.audited" in (tmp_path / "fleet.log").read_bytes())
        assert spans(collector) == wanted
    told = [json.loads(line) for line in (tmp_path / "fleet.log").read_text().splitlines() if line.startswith("{")]
    ids = {line["event"]: line["correlation"] for line in told if "correlation" in line}
    assert ids["breaches.scanned"] == ids["notice.delivered"] == "order-7.42"
    assert ids["clocks.audited"] not in {"order-7.42", ""}


def spans(collector: WebServer) -> set[tuple[str, str]]:
    """The names of the spans that came, and their traces."""
    requests = [ExportTraceServiceRequest.FromString(plain(call.body)) for call in collector.calls]
    return {
        (span.name, span.trace_id.hex())
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
