"""Measures the engine against hand-written SQL in the same run, prints ratios, writes build/bench.json.

Machines differ and are noisy, so no figure stands alone: each has its floor beside it, measured turn by turn with it.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks import floors, stock
from tests.support.postgres import create_database, running_postgres
from ticket_system import Ticket, TicketSystem, monitor
from ticket_system.storage.database import Database

BATCH = 1000
TARGET = Path("build/bench.json")


class Results:
    """Figures by name, each with its floor."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, float | str]] = {}
        self.missed: list[str] = []

    def add(self, name: str, value: float, unit: str, floor: float, *, wanted: tuple[str, float] | None = None) -> None:
        """Keep a figure; `wanted` is what the ratio must be: ("≥", 0.8)."""
        ratio = value / floor
        self.figures[name] = {
            "value": round(value, 4),
            "unit": unit,
            "floor": round(floor, 4),
            "ratio": round(ratio, 3),
        }
        if wanted and not (ratio >= wanted[1] if wanted[0] == "≥" else ratio <= wanted[1]):
            self.missed.append(f"{name}: {ratio:.2f}, wanted {wanted[0]} {wanted[1]}")
        print(f"  {name:<46} {value:>12,.3f} {unit:<10} ×{ratio:.2f}", file=sys.stderr)

    def table(self) -> Table:
        """Return the figures as a table for people."""
        table = Table("figure", "unit", title="Against raw SQL in the same run")
        for column in ("ours", "floor", "ratio"):
            table.add_column(column, justify="right")
        for name, one in self.figures.items():
            table.add_row(name, str(one["unit"]), f"{one['value']:,}", f"{one['floor']:,}", f"{one['ratio']:.2f}")
        return table


def milliseconds(work: Callable[[], object], *, times: int) -> float:
    """Return the median time of one call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def per_second(work: Callable[[], int]) -> float:
    """Return how many things one call did a second."""
    began = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - began)


def bare(database: Database) -> psycopg.Connection:
    """Open the same PostgreSQL database without any of our code."""
    return psycopg.connect(
        database.url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )


def idle_ticks(database: Database, results: Results, sizes: list[int]) -> None:
    """Measure a scan that finds nothing, at growing numbers of stored tickets."""
    start, stored, ticks = datetime.now(UTC), 0, {}
    for size in sizes:
        stock.fill(database, stored + 1, size, start)
        stored = size
        stock.settle_down(database)

        def ours() -> object:
            return monitor.scan_breaches(database)

        if database.dialect == "postgresql":
            with bare(database) as raw:
                floor = milliseconds(lambda: floors.drain(raw, "breached", BATCH), times=300)
                trip = milliseconds(lambda: raw.execute("SELECT 1"), times=300)
        else:
            with sqlite3.connect(database.url.database or "", isolation_level=None) as file:
                query = "SELECT 1 FROM clocks WHERE state = 'running' AND next_check_at < ? LIMIT 1"
                floor = milliseconds(
                    lambda: file.execute(query, (f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",)).fetchone(), times=300
                )
            trip = floor
        ours()
        ticks[size] = milliseconds(ours, times=300)
        results.add(f"{database.dialect}: idle tick, {size:,} tickets", ticks[size], "ms", floor)
        results.add(f"{database.dialect}: idle tick, {size:,}, round trips", ticks[size], "ms", trip)
    first, last = min(ticks), max(ticks)
    results.add(
        f"{database.dialect}: idle tick, growth {first:,} to {last:,}",
        ticks[last],
        "ms",
        ticks[first],
        wanted=("≤", 1.5),
    )


def sweeps(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure breaches and escalations a second: raw and ours in turns on fresh tickets."""
    rates: dict[tuple[str, str], list[float]] = {}
    jobs = {"breached": monitor.scan_breaches, "escalated": monitor.escalate}
    for turn in range(rounds):
        for way in ("raw", "ours") if turn % 2 else ("ours", "raw"):
            stock.add_due(database, f"{way}-{turn}", number, datetime.now(UTC))
            stock.settle_down(database)
            for kind, job in jobs.items():

                def ours(job: Callable[..., monitor.Sweep] = job) -> int:
                    return job(database, batch_size=BATCH, budget_seconds=600).found

                def raw(kind: str = kind) -> int:
                    if database.dialect == "postgresql":
                        with bare(database) as connection:
                            return floors.drain(connection, kind, BATCH)
                    with sqlite3.connect(database.url.database or "", isolation_level=None) as file:
                        file.execute("PRAGMA synchronous = NORMAL")
                        file.execute("PRAGMA foreign_keys = ON")
                        return floors.drain_sqlite(file, kind, BATCH)

                rates.setdefault((kind, way), []).append(per_second(ours if way == "ours" else raw))
    least = 0.8 if database.dialect == "postgresql" else 0.7
    for kind, words in {"breached": "breaches handled", "escalated": "escalations done"}.items():
        value, floor = (statistics.median(rates[kind, way]) for way in ("ours", "raw"))
        results.add(f"{database.dialect}: {words}", value, "a second", floor, wanted=("≥", least))


def creation(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure `create_ticket`, one transaction each, against the same three inserts by hand."""
    system, ours, raw = TicketSystem(database), [], []
    due = "2999-01-01 00:00:00.000000"

    def by_hand() -> int:
        if database.dialect == "postgresql":
            with bare(database) as connection:
                for turn in range(number):
                    floors.create(connection, "%s", f"Ticket {turn}", due)
        else:
            with sqlite3.connect(database.url.database or "", isolation_level=None) as file:
                file.execute("PRAGMA synchronous = NORMAL")
                file.execute("PRAGMA foreign_keys = ON")
                for turn in range(number):
                    floors.create(file, "?", f"Ticket {turn}", due)
        return number

    def by_us() -> int:
        for turn in range(number):
            system.create_ticket(Ticket(f"Ticket {turn}", "It is broken", "ada"))
        return number

    for _ in range(rounds):
        ours.append(per_second(by_us))
        raw.append(per_second(by_hand))
    results.add(f"{database.dialect}: create_ticket", statistics.median(ours), "a second", statistics.median(raw))


def main() -> int:
    """Run the benchmarks; the exit code says whether every ratio is what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of stored tickets, ascending")
    parser.add_argument("--due", type=int, default=20_000, help="tickets that run out in each round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured; the median counts")
    parser.add_argument("--only", choices=("postgresql", "sqlite"), help="one database only")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    results = Results()
    with tempfile.TemporaryDirectory(prefix="tickets-bench-") as folder, running_postgres() as server:
        urls = {"postgresql": create_database(server, "bench"), "sqlite": str(Path(folder) / "bench.db")}
        for dialect, url in urls.items():
            if options.only in (None, dialect):
                with Database(url) as database:
                    database.upgrade()
                    idle_ticks(database, results, sizes)
                    sweeps(database, results, options.due, options.rounds)
                    creation(database, results, 1000, options.rounds)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(results.figures, indent=2, ensure_ascii=False) + "\n")
    Console().print(results.table())
    print(f"written to {TARGET}")
    for miss in results.missed:
        print(f"missed  {miss}")
    return 1 if results.missed else 0


if __name__ == "__main__":
    sys.exit(main())
