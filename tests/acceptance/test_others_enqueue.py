"""Other services enqueue, a fleet takes it in: each wish once, whatever dies on the way; nothing strange is lost."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
from celery import Celery
from redis import Redis

from tests.acceptance.test_fleet import count, wait_until
from tests.support.brokers import mortal_broker
from tests.support.processes import running
from tests.support.second_venv import ROOT, installed, make_client_venv
from ticket_system import TicketSystem, parking, wishes
from ticket_tasks import TicketClient, names, wire

TICKETS = 10_000

#: Runs where nothing but the extra `tasks` is installed.
PRODUCER = """
import sys
from pathlib import Path
from ticket_tasks import TicketClient
url, folder, tickets = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
with TicketClient(url, timeout_seconds=1.0, journal=folder / "outgoing.db") as client:
    for number in range(tickets):
        client.open_ticket(f"Printer {number}", "Since Monday.", "ada", ticket_id=f"t-{number}")
        if number % 100 == 0:
            (folder / "progress").write_text(str(number))
    (folder / "progress").write_text(str(tickets))
    left = client.flush(240)
    assert not [name for name in ("ticket_system", "sqlalchemy") if name in sys.modules]
    print("unconfirmed:", left)
    sys.exit(bool(left))
"""


@pytest.fixture
def start(tmp_path: Path, log: IO[bytes]) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts a process of the fleet; gone in the end."""
    with ExitStack() as fleet:

        def start(*words: str, **settings: str) -> "subprocess.Popen[bytes]":
            environ = {name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")}
            environ |= {"TICKETS_DATA_DIR": str(tmp_path), "TICKETS_LOG_FORMAT": "json", "TICKETS_STOP_SECONDS": "5"}
            command = [sys.executable, "-m", "ticket_worker", *words]
            return fleet.enter_context(running(command, env=environ | settings, log=log))

        yield start


@pytest.mark.slow
@pytest.mark.timeout(540)
def test_ten_thousand_tickets_from_another_environment_are_taken_once_each_with_the_broker_killed_in_the_middle(
    postgres_url: str,
    tmp_path: Path,
    start: Callable[..., "subprocess.Popen[bytes]"],
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        python = make_client_venv(tmp_path)
    except subprocess.CalledProcessError as error:
        reason = f"the extra `tasks` cannot be installed: {error.stderr}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    packages = installed(python)
    assert "celery" in packages
    for absent in ("stripe", "psycopg", "structlog", "starlette", "jinja2", "apprise", "prometheus-client"):
        assert absent not in packages

    with mortal_broker(tmp_path / "broker") as broker, TicketSystem(postgres_url) as system:
        bench = subprocess.run(
            [python, ROOT / "tests" / "benchmarks" / "enqueue.py", broker.url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        with Redis.from_url(broker.url) as redis:
            redis.flushall()
        settings = {"TICKETS_DATABASE_URL": postgres_url, "TICKETS_REDIS_URL": broker.url}
        for words in (("worker", "--queues", "clock,desk,intake"),) * 2 + (("beat",),) * 2:
            start(*words, **settings)
        producer = subprocess.Popen(
            [python, "-c", PRODUCER, broker.url, tmp_path, str(TICKETS)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        try:
            progress = tmp_path / "progress"
            wait_until(lambda: progress.exists() and int(progress.read_text() or 0) >= TICKETS // 3)
            taken_by_then = count(system.database, "SELECT count(*) FROM tickets")
            broker.outage(2)
            shown, _ = producer.communicate(timeout=400)
        finally:
            producer.kill()
        assert (shown, producer.returncode) == ("unconfirmed: 0\n", 0)
        # Messages that a worker held when the broker died come back later: by their key they are done.
        assert count(system.database, "SELECT count(*) FROM tickets") == TICKETS
        assert count(system.database, "SELECT count(DISTINCT id) FROM tickets WHERE id LIKE 't-%'") == TICKETS
        assert count(system.database, "SELECT count(*) FROM events WHERE kind = 'created'") == TICKETS
        assert count(system.database, "SELECT count(*) FROM wishes WHERE outcome = 'done'") == TICKETS
        assert count(system.database, "SELECT count(*) FROM parked") == 0
    with capsys.disabled():
        print(f"\n  {bench}; {TICKETS:,} taken once each, the broker killed when {taken_by_then:,} were")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_way_to_ask_reaches_the_same_desk(
    postgres_url: str, redis_url: str, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    start("worker", "--queues", "intake", TICKETS_DATABASE_URL=postgres_url, TICKETS_REDIS_URL=redis_url)
    with TicketSystem(postgres_url) as system, TicketClient(redis_url) as client, Redis.from_url(redis_url) as redis:
        # The client: messages about a ticket may overtake the one that opens it.
        comment = client.add_comment("t-1", "bob", "On it.")
        client.open_ticket("Printer", "Since Monday.", "ada", ticket_id="t-1")
        opened = client.wait("t-1", 60)
        assert opened is not None
        assert opened.outcome == "done"
        told = client.wait(comment, 60)
        assert told is not None
        assert told.outcome == "done"
        assert [one.body for one in system.get_comments("t-1")] == ["On it."]

        # Any Celery, by the name of the task.
        app = Celery(broker=redis_url)
        app.conf.broker_transport_options = {"global_keyprefix": names.KEY_PREFIX}
        payload = {"ticket_id": "t-2", "title": "Scanner", "description": "", "requester": "eve"}
        app.send_task("tickets.open_ticket", kwargs={"payload": payload}, queue="intake")
        app.close()

        # Any language, by one command of Redis.
        message = wire.envelope(names.OPEN_TICKET, payload | {"ticket_id": "t-3"}, message_id=str(uuid.uuid4()))
        redis.lpush("tickets:intake", json.dumps(message))
        wait_until(lambda: len(system.get_queue()) == 3, seconds=60)

        figures = client.wait(client.report(1), 60)
        assert figures is not None
        assert figures.value is not None
        assert figures.value["total_opened"] == 3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_no_worker_understands_is_parked_as_it_came_and_stops_nothing(
    postgres_url: str, redis_url: str, start: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    worker = start("worker", "--queues", "intake", TICKETS_DATABASE_URL=postgres_url, TICKETS_REDIS_URL=redis_url)

    def message(body: str, **headers: object) -> str:
        envelope: dict[str, Any] = wire.envelope(names.OPEN_TICKET, {}, message_id=str(uuid.uuid4()))
        kept = {name: value for name, value in (envelope["headers"] | headers).items() if value is not ...}
        return json.dumps(envelope | {"body": body, "headers": kept})

    fine = '[[], {"payload": {"note": "hunter2"}}, {}]'
    strange = {
        "no JSON": "no envelope at all",
        "{}": "an empty envelope",
        '{"body": "x"}': "half of an envelope",
        message("{"): "a body that is no JSON",
        message("5"): "a body that is no list",
        message("[]"): "a body of no parts",
        message("[[1], {}, {}]"): "an argument",
        message('[[], {"other": 1}, {}]'): "another keyword",
        message('[[], {"payload": 5}, {}]'): "a payload that is no object",
        message(fine): "a payload of no wish",
        message(fine, task="tickets.from_the_future"): "an unknown task",
        message(fine, task=...): "no task",
        message(fine, id=...): "no id",
        message(fine, eta="tomorrow"): "an eta that is no moment",
        message(fine, expires=[]): "an expiry that is no moment",
        message(fine, timelimit=5): "limits that are none",
        message(fine, retries="x"): "retries that are no number",
        json.dumps(json.loads(message("gASVAAAA")) | {"content-type": "application/x-python-serialize"}): "a pickle",
        json.dumps(json.loads(message(fine)) | {"content-encoding": "klingon"}): "an encoding that nobody knows",
    }
    with TicketSystem(postgres_url) as system, TicketClient(redis_url) as client, Redis.from_url(redis_url) as redis:
        for raw in strange:
            redis.lpush("tickets:intake", raw)
        client.open_ticket("Printer", "Since Monday.", "ada", ticket_id="t-1")
        assert client.wait("t-1", 60) is not None, "what lies behind them is done"
        wait_until(lambda: sum(one.times for one in parking.listed(system.database)) == len(strange), seconds=60)
        assert worker.poll() is None

        # What a newer client sent is tried again when this worker knows it: here, by mending its name's payload.
        future = next(one for one in parking.listed(system.database) if one.name == "tickets.from_the_future")
        assert json.loads(future.body) == {"note": "hunter2"}
        same = (one for one in parking.listed(system.database) if one.body == future.body)
        wrong = next(one for one in same if one.name == names.OPEN_TICKET)
        mended = {"ticket_id": "t-2", "title": "Scanner", "description": "", "requester": "eve"}
        parking.replay(system.database, wrong.id, body=json.dumps(mended))
        client.tick(names.REPLAY_PARKED, names.INTAKE, expires_seconds=60)
        wait_until(lambda: wishes.granted(system, "t-2") is not None, seconds=60)
        assert parking.get(system.database, wrong.id).state == "replayed"
    said = (tmp_path / "fleet.log").read_text("utf-8")
    assert "hunter2" not in said, "what somebody wrote stands in the log"
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_message_that_a_dying_worker_took_along_is_sent_again(
    postgres_url: str, redis_url: str, start: Callable[..., "subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis loses a message when its taker dies between taking it and writing that down: here, it is taken by hand."""
    monkeypatch.setattr("ticket_tasks.journal._FIRST_PAUSE_SECONDS", 1.0)
    with TicketSystem(postgres_url) as system, TicketClient(redis_url, journal="memory") as client:
        for number in range(20):
            client.open_ticket("Printer", str(number), "ada", ticket_id=f"t-{number}")
        with Redis.from_url(redis_url) as redis:
            taken = [redis.rpop("tickets:intake") for _ in range(5)]
        assert all(taken)
        start("worker", "--queues", "intake", TICKETS_DATABASE_URL=postgres_url, TICKETS_REDIS_URL=redis_url)
        assert client.flush(90) == 0
        assert len(system.get_queue()) == 20
        assert count(system.database, "SELECT count(*) FROM events WHERE kind = 'created'") == 20
        time.sleep(1)
        assert client.unconfirmed() == []
