"""What a fleet costs while nothing happens, and what waits in a broker: processor, memory, connections, bytes a message."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from subprocess import Popen

import psutil
from redis import Redis

from tests.benchmarks.results import Results
from tests.support.fleet import Fleet, count, wait_until
from tests.support.valkey import running_valkey
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, names

MIB = 1024 * 1024


def fleet_at_rest(database: Database, results: Results, seconds: float) -> None:
    """Run two beats and a worker for each queue with nothing to do, and count."""
    with running_valkey() as broker, tempfile.TemporaryDirectory(prefix="tickets-idle-") as folder:
        url = database.url.render_as_string(hide_password=False)
        settings = {"TICKETS_DATABASE_URL": url, "TICKETS_REDIS_URL": broker, "TICKETS_MAIL": "console"}
        before = _connections(database)
        fleet = Fleet(Path(folder), **settings)
        with fleet._stack:
            processes = _start(fleet)
            alone = _connections(database) - before
            began, spent = time.monotonic(), {name: _processor(one) for name, one in processes.items()}
            time.sleep(seconds)
            took = time.monotonic() - began
            rates: defaultdict[str, list[float]] = defaultdict(list)
            for name, one in processes.items():
                rates[name.split("-")[0]].append((_processor(one) - spent[name]) / took * 3600)
            for name, hourly in rates.items():
                results.bound(f"at rest: {name}, processor", hourly, "s an hour")
                held = [_memory(one) for key, one in processes.items() if key.split("-")[0] == name]
                results.bound(f"at rest: {name}, memory, its share of what is shared", held, "MiB")
            with Redis.from_url(broker) as redis:
                results.bound("connections to the broker, two beats, five queues of two", len(redis.client_list()), "")
        results.bound("connections to PostgreSQL, two beats, five queues of two", alone, "")


def _start(fleet: Fleet) -> dict[str, Popen[bytes]]:
    processes = {f"beat-{number}": fleet.start("beat") for number in range(2)}
    for queue in names.QUEUES:
        processes[queue.name] = fleet.start("worker", "--queues", queue.name, "--concurrency", "2")
    fleet.wait_ready(len(names.QUEUES))
    # A worker's process connects with its first job; nothing but ticks gives it one.
    wait_until(lambda: "beat.leading" in fleet.said, "no beat leads")
    time.sleep(15)
    return processes


def _connections(database: Database) -> int:
    return count(database, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")


def _family(process: Popen[bytes]) -> list[psutil.Process]:
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def _processor(process: Popen[bytes]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in _family(process))


def _memory(process: Popen[bytes]) -> float:
    return sum(one.memory_full_info().pss for one in _family(process)) / MIB


def waiting_messages(results: Results, number: int) -> None:
    """Let requests wait in a broker, and ask it how much memory they take."""
    with running_valkey() as url, TicketClient(url) as client, Redis.from_url(url) as redis:
        client.open_ticket("The first makes the connections", "", "ada@example.org")
        for letters in (0, 400, 4000):
            before = int(redis.info("memory")["used_memory"])
            for turn in range(number):
                client.open_ticket(f"The printer is broken, {turn}", "x" * letters, "ada@example.org")
            taken = int(redis.info("memory")["used_memory"]) - before
            results.bound(f"broker: a waiting request of {letters:,} letters", taken / number, "bytes")
