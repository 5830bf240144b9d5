"""What the processes of a fleet hold in memory, after an hour's worth of ticks and work that passes in a minute."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil

from tests.benchmarks.fleet_detection import fall_due, whole_fleet
from tests.benchmarks.results import Results
from tests.support.fleet import count, wait_until
from tests.support.valkey import running_valkey
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, names, registry

#: An hour of scans; beat ticks so often that it passes in little more than a minute.
HOUR = 3600
_SCAN_SECONDS = 0.02
_PATIENCE_SECONDS = 1200.0
#: Seldom enough that the looking is no part of the load.
_LOOK_SECONDS = 0.5
#: So many ticks, and so many tickets that fall due, one wish and so on.
_CHUNK = 50
_SETTABLE = {names.SCAN_BREACHES, names.DELIVER_OUTBOX, names.REPORT_USAGE}


@dataclass
class Kind:
    """Processes of one kind: how much memory all of them have for themselves, by how far the hour had gone."""

    members: Callable[[], list[psutil.Process]]
    samples: list[tuple[float, float]] = field(default_factory=list)

    def look(self, gone: float) -> None:
        """Add a sample, in megabytes."""
        self.samples.append((gone, sum(_own_memory(one) for one in self.members()) / 2**20))

    def between(self, first: float, last: float) -> list[float]:
        """Return what was found in a part of the hour; where it passed between two looks, what was found nearest."""
        found = [held for gone, held in self.samples if first <= gone < last]
        return found or [min(self.samples, key=lambda one: abs(one[0] - (first + last) / 2))[1]]


def memory(results: Results, database: Database, *, ticks: int = HOUR) -> None:
    """Measure whether memory is flat over so many seconds' worth of work: the last quarter over the second.

    The first is left out, in which everything is used for the first time. A child is replaced after ten thousand jobs
    or half a gigabyte, neither of which an hour comes to: what is seen here is a process that lives on. What still grows
    a little is Celery's list of time limits: that of a job that is done stays on it until it would have run out, and in
    an hour that passes in a minute there are many more of them.
    """
    paces = {
        "TICKETS_SCAN_INTERVAL_SECONDS": _SCAN_SECONDS,
        "TICKETS_DELIVER_INTERVAL_SECONDS": _SCAN_SECONDS * _every(names.DELIVER_OUTBOX),
        "TICKETS_REPORT_INTERVAL_SECONDS": _SCAN_SECONDS * _every(names.REPORT_USAGE),
    }
    with (
        running_valkey() as broker,
        whole_fleet(database, broker=broker, **paces) as fleet,
        TicketClient(broker) as client,
    ):
        supervisor, *beats = [psutil.Process(one.pid) for one in fleet.processes]
        kinds = {
            "workers": Kind(supervisor.children),
            "their children": Kind(lambda: [child for main in supervisor.children() for child in main.children()]),
            "beats": Kind(lambda: beats),
        }
        began, done, given = _scans(database), 0, 0
        stop_at = time.monotonic() + _PATIENCE_SECONDS
        while done < ticks:
            assert time.monotonic() < stop_at, f"the fleet did {done} of {ticks} ticks"
            while given < min(done + 2 * _CHUNK, ticks):
                _give_work(database, client, given)
                given += _CHUNK
            time.sleep(min(_LOOK_SECONDS, ticks * _SCAN_SECONDS / 40))
            done = _scans(database) - began
            for kind in kinds.values():
                kind.look(done / ticks)
        wait_until(lambda: _found(database) == given, "breaches of the hour were not found", seconds=_PATIENCE_SECONDS)
    about = f"after {ticks / HOUR:.2g} h of load"
    for name, kind in kinds.items():
        early, late = kind.between(0.25, 0.5), kind.between(0.75, 1.25)
        over = "its second quarter"
        results.add(f"fleet: memory of {name} {about}", late, "MB", early, over=over, wanted=("≤", 1.05))


_NAME = "hour"


def _give_work(database: Database, client: TicketClient, gone: int) -> None:
    """Give what so many seconds bring: a breach a second, a wish in five, and the ticks that beat cannot hurry."""
    name = f"{_NAME}-{uuid.uuid4().hex[:8]}"
    fall_due(database, name, _CHUNK, database.now() + timedelta(seconds=0.2), step_seconds=_SCAN_SECONDS)
    for _ in range(_CHUNK // 5):
        client.open_ticket("The printer is broken", "Since Monday. " * 10, "ada@example.org", customer="acme")
    for job in registry.JOBS:
        if job.every is None or job.name in _SETTABLE:
            continue
        due = (gone + _CHUNK) // job.every - gone // job.every
        for _ in range(int(due)):
            client.tick(job.name, job.queue, expires_seconds=60)


def _every(name: str) -> float:
    return registry.BY_NAME[name].every or 1.0


def _scans(database: Database) -> int:
    query = f"SELECT count(*) FROM job_runs WHERE state = 'done' AND job = '{names.SCAN_BREACHES}'"
    return count(database, query)


def _found(database: Database) -> int:
    return count(database, f"SELECT count(*) FROM clocks WHERE ticket_id LIKE '{_NAME}-%' AND state = 'breached'")


def _own_memory(process: psutil.Process) -> int:
    """Return what it wrote itself. Programs mapped from files are shared with whoever else runs them, now more, now less."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
