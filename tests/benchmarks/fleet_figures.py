"""Figures of real processes: what a fleet takes from a deadline to its detection, in wishes, in messages, in memory.

python -m tests.benchmarks.fleet_figures [--stored 10000,100000] [--full]    # with servers of its own
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console

from tests.benchmarks import stock
from tests.benchmarks.fleet_detection import detection
from tests.benchmarks.fleet_intake import enqueueing, intake
from tests.benchmarks.fleet_memory import HOUR, memory
from tests.benchmarks.results import Results
from tests.support.postgres import create_database, drop_database, running_postgres
from ticket_system.storage.database import Database

TARGET = Path("build/bench-fleet.json")


@dataclass(frozen=True)
class Load:
    """How much a fleet is given."""

    #: Breaches a second, and for how long; breaches at one instant.
    per_second: int
    seconds: int
    crowd: int
    #: Wishes in each round.
    wishes: int
    rounds: int
    #: Messages sent by each client.
    messages: int
    #: Scans whose work is given at once: an hour has 3,600.
    ticks: int


QUICK = Load(per_second=500, seconds=18, crowd=20_000, wishes=500, rounds=3, messages=5000, ticks=HOUR // 6)
FULL = Load(per_second=500, seconds=60, crowd=100_000, wishes=2000, rounds=5, messages=10_000, ticks=HOUR)
#: Only to see that it works.
TINY = Load(per_second=30, seconds=3, crowd=200, wishes=20, rounds=1, messages=200, ticks=60)


def fleet(results: Results, databases: Mapping[int, Database], *, load: Load = QUICK) -> None:
    """Measure a fleet beside PostgreSQL databases, each with so many tickets stored; intake and memory on new ones."""
    largest = max(databases)
    for stored, database in sorted(databases.items()):
        print(f"  a fleet beside {stored:,} tickets", file=sys.stderr)
        crowd = load.crowd if stored == largest else None
        detection(results, database, stored=stored, per_second=load.per_second, seconds=load.seconds, crowd=crowd)
    with _new(databases[largest].url, "intake") as database:
        intake(results, database, wishes=load.wishes, rounds=load.rounds)
    enqueueing(results, messages=load.messages)
    with _new(databases[largest].url, "memory") as database:
        memory(results, database, ticks=load.ticks)


@contextmanager
def _new(server: sa.URL, purpose: str) -> Iterator[Database]:
    """A database of its own on the same server."""
    url, name = server.render_as_string(hide_password=False), f"{purpose}_{uuid.uuid4().hex[:8]}"
    try:
        with Database(create_database(url, name)) as database:
            database.upgrade()
            yield database
    finally:
        drop_database(url, name)


def main() -> int:
    """Run these alone; the exit code says whether every figure is what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", default="10000,100000", help="numbers of stored tickets")
    parser.add_argument("--full", action="store_true", help="an hour's worth of load, and larger crowds")
    options = parser.parse_args()
    results = Results()
    with running_postgres(place=Path(tempfile.gettempdir())) as server, ExitStack() as stack:
        databases: dict[int, Database] = {}
        for size in map(int, options.stored.split(",")):
            database = stack.enter_context(Database(create_database(server, f"stored_{size}")))
            print(f"  storing {size:,} tickets", file=sys.stderr)
            database.upgrade()
            stock.fill(database, 1, size, datetime.now(UTC))
            stock.settle_down(database)
            databases[size] = database
        fleet(results, databases, load=FULL if options.full else QUICK)
    results.write(TARGET)
    Console().print(results.table())
    for miss in results.missed:
        print(f"missed  {miss}")
    return 1 if results.missed else 0


if __name__ == "__main__":
    sys.exit(main())
