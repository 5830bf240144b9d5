"""How many wishes a second a fleet's intake grants, beside bare Celery that writes the same rows by hand."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen

from redis import Redis

from tests.benchmarks import bare_intake, enqueue
from tests.benchmarks.results import Results
from tests.support.fleet import Fleet, count, wait_until
from tests.support.processes import running
from tests.support.valkey import running_valkey
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, names

CONCURRENCY = 2
_PATIENCE_SECONDS = 300.0
_TITLE, _DESCRIPTION, _REQUESTER = "The printer is broken", "Since Monday. " * 10, "ada@example.org"


def intake(results: Results, database: Database, *, wishes: int, rounds: int) -> None:
    """Measure wishes granted a second: ours and the floor in turns, and a task that does nothing, to know the ceiling."""
    rates: dict[str, list[float]] = {"ours": [], "by hand": [], "nothing": []}
    with (
        running_valkey() as broker,
        tempfile.TemporaryDirectory(prefix="tickets-intake-") as folder,
        _our_worker(Path(folder), database, broker) as ours,
        _bare_worker(Path(folder), database, broker) as bare,
    ):
        ways: dict[str, tuple[Popen[bytes], str, Callable[[int], None]]] = {
            "ours": (ours, names.KEY_PREFIX + names.INTAKE, lambda number: _wish(broker, number)),
            "by hand": (bare, _BARE, lambda number: _send(broker, bare_intake.OPEN, number)),
            "nothing": (bare, _BARE, lambda number: _send(broker, bare_intake.NOTHING, number)),
        }
        for turn in range(rounds + 1):
            for name in ways if turn % 2 else reversed(ways):
                number, before = wishes if turn else wishes // 10, count(database, _TICKETS)
                rate = _drained(broker, *ways[name], number)
                if count(database, _TICKETS) - before != (0 if name == "nothing" else number):
                    results.missed.append(f"fleet: of {number} wishes ({name}) not each became a ticket")
                if turn:  # the first warms up
                    rates[name].append(rate)
    granted, hand, nothing = (rates[name] for name in ("ours", "by hand", "nothing"))
    over = "bare Celery, same rows"
    results.add("fleet: wishes granted", granted, "a second", hand, over=over, wanted=("≥", 0.4), in_pairs=True)
    results.add("fleet: wishes granted, over no-ops", granted, "a second", nothing, over="bare Celery", in_pairs=True)


def enqueueing(results: Results, *, messages: int) -> None:
    """Measure messages sent a second by the client beside Celery's own `send_task`, in turns."""
    with running_valkey() as broker:
        pairs = enqueue.compare(broker, messages=messages)
    floor, ours = [pair.floor for pair in pairs], [pair.ours for pair in pairs]
    over, wanted = "send_task", ("≥", 0.9)
    results.add("fleet: messages enqueued", ours, "a second", floor, over=over, wanted=wanted, in_pairs=True)


_BARE = f"bare:{bare_intake.QUEUE}"
_TICKETS = "SELECT count(*) FROM tickets"


@contextmanager
def _our_worker(folder: Path, database: Database, broker: str) -> Iterator[Popen[bytes]]:
    url = database.url.render_as_string(hide_password=False)
    with Fleet(folder, TICKETS_DATABASE_URL=url, TICKETS_REDIS_URL=broker) as fleet:
        worker = fleet.start("worker", "--queues", names.INTAKE, "--concurrency", str(CONCURRENCY))
        fleet.wait_ready(seconds=_PATIENCE_SECONDS)
        yield worker


@contextmanager
def _bare_worker(folder: Path, database: Database, broker: str) -> Iterator[Popen[bytes]]:
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    environ = {**os.environ, "BARE_BROKER": broker, "BARE_DATABASE": url}
    words = f"-m celery -A tests.benchmarks.bare_intake worker -Q {bare_intake.QUEUE} -c {CONCURRENCY} -l info"
    command, log = [sys.executable, *words.split()], folder / "bare.log"
    root = Path(__file__).parents[2]
    with log.open("wb") as output, running(command, cwd=root, env=environ, log=output) as worker:
        wait_until(lambda: b"ready." in log.read_bytes(), "the bare worker did not start", seconds=_PATIENCE_SECONDS)
        yield worker


def _wish(broker: str, number: int) -> None:
    with TicketClient(broker) as client:
        for _ in range(number):
            client.open_ticket(_TITLE, _DESCRIPTION, _REQUESTER)


def _send(broker: str, task: str, number: int) -> None:
    with (
        bare_intake.app.connection_for_write(broker) as connection,
        bare_intake.app.amqp.Producer(connection) as sender,
    ):
        for _ in range(number):
            payload = {
                "ticket_id": str(uuid.uuid4()),
                "key": str(uuid.uuid4()),
                "title": _TITLE,
                "description": _DESCRIPTION,
                "requester": _REQUESTER,
                "created_at": datetime.now(UTC).isoformat(),
            }
            bare_intake.app.send_task(task, kwargs={"payload": payload}, producer=sender)


def _drained(broker: str, worker: Popen[bytes], queue: str, fill: Callable[[int], None], number: int) -> float:
    """Return the messages a second of a worker that finds all of them there, and acknowledges each."""
    prefix = queue.partition(":")[0]
    worker.send_signal(signal.SIGSTOP)
    fill(number)
    with Redis.from_url(broker) as client:
        worker.send_signal(signal.SIGCONT)
        took = wait_until(
            lambda: client.llen(queue) == 0 and client.hlen(f"{prefix}:unacked") == 0,
            "the messages were not taken",
            seconds=_PATIENCE_SECONDS,
        )
    return number / took
