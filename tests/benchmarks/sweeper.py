"""Processes that handle what is due, ours or by hand: they say when they are ready, and begin when they are told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.benchmarks import breaches, floors
from ticket_system.storage import sweeps
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START


class Race(NamedTuple):
    """What several handled together, and how many a second, from the first that began to the last that ended."""

    found: int
    rate: float


@contextmanager
def racers(database: Database, who: str, workers: int) -> Iterator[Callable[[], Race]]:
    """Start so many processes; the call that is handed out lets them go, and waits for them."""
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", __name__, url, who]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    try:
        for one in started:
            if _line(one) != "ready\n":
                raise RuntimeError(f"a process that was to handle breaches ended with {one.wait()}")
        yield lambda: _run(started)
    finally:
        for one in started:
            one.kill()
            one.communicate()


def _run(started: list[subprocess.Popen[str]]) -> Race:
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    # The moments are by a clock that all processes of a machine share.
    done = [json.loads(_line(one)) for one in started]
    found = sum(one["found"] for one in done)
    return Race(found, found / (max(one["ended"] for one in done) - min(one["began"] for one in done)))


def _line(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline()


def main() -> None:
    """Have ready what a worker has ready, the connection and the statement; then handle what is due."""
    url, who = sys.argv[1:]
    with Database(url) as database:
        work = breaches.ours(database) if who == "ours" else breaches.raw(database, "built in")
        work()
        if who == "ours":
            with database.statement() as connection:
                sweeps.sweep(connection, None, START, floors.BATCH)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        found = work()
        print(json.dumps({"found": found, "began": began, "ended": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
