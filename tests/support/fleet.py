"""Processes of a fleet in a test: started with the settings of the test, asked what they are doing, awaited."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, Self

import psutil
import psycopg

from tests.support.processes import running
from ticket_system.storage.database import Database


class Fleet:
    """Whatever a test started, and what it says."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("TICKETS_", "TRIAL"))}
        self.environ |= {
            "TICKETS_DATA_DIR": str(folder),
            "TICKETS_LOG_FORMAT": "json",
            "TICKETS_STOP_SECONDS": "5",
            "TRIAL_DIARY": str(folder / "diary"),
            "PYTHONUNBUFFERED": "1",
        }
        self.environ |= {name: str(value) for name, value in settings.items()}
        self._log = folder / "fleet.log"
        self._stack = ExitStack()
        #: In the order in which they were started.
        self.processes: list[Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *words: str, grace_seconds: float = 15, **settings: object) -> Popen[bytes]:
        """Start a process of `ticket-worker`."""
        return self._start("ticket_worker", *words, grace_seconds=grace_seconds, **settings)

    def trial(self, queues: str, *, grace_seconds: float = 15, **settings: object) -> Popen[bytes]:
        """Start a worker that has the jobs of the trial besides."""
        return self._start("tests.support.trial", queues, grace_seconds=grace_seconds, **settings)

    def _start(self, module: str, *words: str, grace_seconds: float, **settings: object) -> Popen[bytes]:
        output = self._stack.enter_context(self._log.open("ab"))
        environ = self.environ | {name: str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", module, *words]
        # The checkout, for tests.support.
        root = Path(__file__).parents[2]
        started = running(command, cwd=root, env=environ, log=output, grace_seconds=grace_seconds)
        self.processes.append(self._stack.enter_context(started))
        return self.processes[-1]

    @property
    def said(self) -> str:
        """Everything that was said so far."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""

    def wait_ready(self, workers: int = 1, *, seconds: float = 60) -> None:
        """Return when that many workers take messages."""
        wait_until(lambda: self.said.count("ready.") >= workers, "the workers did not become ready", seconds=seconds)

    @property
    def diary(self) -> Counter[str]:
        """What the jobs of the trial did, and how often."""
        path = self.folder / "diary"
        return Counter(path.read_text("utf-8").splitlines()) if path.exists() else Counter()


@contextmanager
def a_fleet(folder: Path, **settings: object) -> Iterator[Fleet]:
    """A fleet that is ended with the test; what it said is shown when the test fails."""
    fleet = Fleet(folder, **settings)
    try:
        with fleet:
            yield fleet
    finally:
        print(fleet.said[-20_000:])


def wait_until(
    reached: Callable[[], object], otherwise: str = "it did not come to be", *, seconds: float = 60
) -> float:
    """Return how many seconds it took to become so; fail when it does not come to be."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < seconds, otherwise
        time.sleep(0.05)
    return time.monotonic() - began


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    """What a query finds, asked by a connection of its own."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def count(database: Database, query: str) -> int:
    """One number."""
    return int(rows(database, query)[0][0])


def children(process: Popen[bytes]) -> set[int]:
    """The processes that a worker works with."""
    return {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
