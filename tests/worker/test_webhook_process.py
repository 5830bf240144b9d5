"""`ticket-worker webhook` as a process of its own: it starts, answers, and ends when asked to."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from tests.support.deliveries import SNAPSHOT_SECRET, Endpoint, signed, snapshot, status_of
from tests.support.processes import running
from ticket_system import inbox
from ticket_system.storage.database import Database
from ticket_tasks import names
from ticket_worker.__main__ import app

pytestmark = pytest.mark.usefixtures("own_logging")

COMMAND = [sys.executable, "-m", "ticket_worker", "webhook"]
SECRET = {"TICKETS_STRIPE_WEBHOOK_SECRETS": SNAPSHOT_SECRET}


def environment(**given: str) -> dict[str, str]:
    return {**os.environ, **SECRET, "TICKETS_DATABASE_URL": "tickets.db", **given}


@contextmanager
def started(folder: Path, *arguments: str, **given: str) -> Iterator[tuple[subprocess.Popen[bytes], Endpoint, Path]]:
    """The process, the endpoint it serves and the log it writes."""
    path = folder / "log"
    with (
        path.open("wb") as log,
        running([*COMMAND, "--port", "0", *arguments], cwd=folder, env=environment(**given), log=log) as process,
    ):
        deadline = time.monotonic() + 30
        while (found := re.search(r'"webhook.started".*"address": "(\S+):(\d+)"', path.read_text())) is None:
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < deadline, path.read_text()
            time.sleep(0.05)
        yield process, Endpoint(int(found[2])), path


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_it_starts_answers_tells_the_fleet_and_ends(tmp_path: Path, redis_url: str, number: signal.Signals) -> None:
    with started(tmp_path, TICKETS_REDIS_URL=redis_url) as (process, endpoint, log):
        assert endpoint.deliver("", {}, path="/healthz", method="GET").status == 200
        assert endpoint.deliver(snapshot()).status == 200
        assert endpoint.deliver(snapshot(), signed(snapshot(), "whsec_other")).status == 400
        assert endpoint.deliver(snapshot(), path="/stripe/thin").status == 404
        with endpoint.talk("no HTTP") as connection:
            assert status_of(connection) == 400
        # A sender that keeps its connection does not keep the process.
        idle = http.client.HTTPConnection("127.0.0.1", endpoint.port)
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
        idle.close()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "events.unattended", "webhook.started", "event.received", "delivery.refused",
        "Invalid HTTP request received.", "webhook.stopped",
    ]  # fmt: skip
    assert lines[1]["paths"] == ["/stripe"]
    with Database(tmp_path / "tickets.db") as database:
        assert [one.event.id for one in inbox.waiting(database, livemode=False)] == ["evt_1"]
    with Redis.from_url(redis_url) as redis:
        (message,) = [json.loads(one) for one in redis.lrange(names.KEY_PREFIX + names.MONEY, 0, -1)]
    assert message["headers"]["task"] == names.SYNC_SUBSCRIPTIONS
    assert message["headers"]["expires"] is not None


def test_a_delivery_that_is_stuck_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    head = "POST /stripe HTTP/1.1\nHost: x\nContent-Length: 1000"
    with started(tmp_path) as (process, endpoint, _), endpoint.talk(head):
        time.sleep(0.2)
        began = time.monotonic()
        process.terminate()
        assert process.wait(15) == 0
        assert 3 < time.monotonic() - began < 9


def test_an_event_that_is_on_its_way_when_it_ends_is_still_stored(tmp_path: Path) -> None:
    body = snapshot().encode()
    signature = signed(snapshot())["Stripe-Signature"]
    head = f"POST /stripe HTTP/1.1\nHost: x\nContent-Length: {len(body)}\nStripe-Signature: {signature}"
    with started(tmp_path) as (process, endpoint, _):
        with endpoint.talk(head) as connection:
            connection.sendall(body[:10])
            time.sleep(0.2)
            process.terminate()
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        assert process.wait(10) == 0
    with Database(tmp_path / "tickets.db") as database:
        assert [one.event.id for one in inbox.waiting(database, livemode=False)] == ["evt_1"]


@pytest.mark.parametrize("host", ("localhost", "::1"))
def test_it_listens_where_it_is_told(tmp_path: Path, host: str) -> None:
    with started(tmp_path, "--host", host) as (_, endpoint, _), socket.create_connection((host, endpoint.port)) as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_with_the_secrets_of_links_alone_it_serves_who_leaves_a_report(tmp_path: Path) -> None:
    links = {"TICKETS_LINK_SECRETS": "x" * 32, "TICKETS_PUBLIC_URL": "https://desk.example.com"}
    with started(tmp_path, TICKETS_STRIPE_WEBHOOK_SECRETS="", **links) as (process, endpoint, log):
        assert endpoint.deliver("", {}, path="/healthz", method="GET").status == 200
        assert b"There is no such link" in endpoint.deliver("", {}, path="/unsubscribe/x", method="GET").body
        process.terminate()
        assert process.wait(10) == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["webhook.started", "webhook.stopped"]
    assert lines[0]["paths"] == ["/unsubscribe"]


# --- when it does not start --------------------------------------------------------------------------------------


def refused(monkeypatch: pytest.MonkeyPatch, *arguments: str, **given: str) -> tuple[int, str]:
    for name, value in {**SECRET, "TICKETS_DATABASE_URL": "tickets.db", **given}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["webhook", "--port", "0", *arguments])
    return result.exit_code, result.stderr


def test_without_a_secret_it_says_which_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = refused(monkeypatch, TICKETS_STRIPE_WEBHOOK_SECRETS=" ")
    assert status == 2
    names = "TICKETS_STRIPE_WEBHOOK_SECRETS, TICKETS_STRIPE_THIN_SECRETS, TICKETS_LINK_SECRETS"
    assert said.startswith(f"ticket-worker: {names}: none of them is set")


@pytest.mark.parametrize("package", ("starlette", "stripe", "uvicorn"))
def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    status, said = refused(monkeypatch)
    assert status == 2
    assert f"needs {package}" in said
    assert "pip install 'blackroad-ticket-system[billing]'" in said


def test_a_port_that_is_taken_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, said = refused(monkeypatch, "--port", str(other.getsockname()[1]))
    assert status == 1
    assert "cannot listen on 127.0.0.1:" in said


@pytest.mark.parametrize("host", ("192.0.2.1", "x" * 70))
def test_an_address_that_is_none_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    status, said = refused(monkeypatch, "--host", host)
    assert status == 1
    assert f"cannot listen on {host}:0" in said


def test_a_database_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "postgresql://u:hush@127.0.0.1:1/x"
    status, said = refused(monkeypatch, TICKETS_DATABASE_URL=nowhere, TICKETS_START_PATIENCE_SECONDS="0")
    assert status == 1
    assert len(said.splitlines()) == 1
    assert "hush" not in said
