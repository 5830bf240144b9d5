"""Measures the engine against hand-written SQL in the same run, prints ratios, writes build/bench.json.

Machines differ and are noisy, so no figure stands alone: each has its floor beside it, measured turn by turn with it.
"""

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import sqlalchemy as sa
from rich.console import Console

from tests.benchmarks import floors, letters, reports, stock, usage
from tests.benchmarks.deadlines import deadlines
from tests.benchmarks.results import Results
from tests.support.postgres import create_database, running_postgres
from ticket_system import Ticket, TicketSystem, monitor
from ticket_system.audit import audit_clocks
from ticket_system.simulation import simulate
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import TARGETS
from ticket_system.sla.policies import Policy, TargetRule
from ticket_system.storage.database import Database

TARGET = Path("build/bench.json")


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


def bare_sqlite(database: Database) -> sqlite3.Connection:
    """Open the same SQLite file without any of our code, as durable and as checked as we open it."""
    connection = sqlite3.connect(database.url.database or "", isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def idle_ticks(databases: dict[int, Database], results: Results) -> None:
    """Measure a scan that finds nothing in databases of growing size, in turns: what disturbs one disturbs all."""
    looks: dict[int, list[float]] = {size: [] for size in databases}
    floor: dict[int, list[float]] = {size: [] for size in databases}
    with ExitStack() as stack:
        idle = {size: stack.enter_context(_idle_floor(database)) for size, database in databases.items()}
        for turn in range(31):
            for size, database in databases.items():
                ours = milliseconds(partial(monitor.scan_breaches, database), times=20)
                raw = milliseconds(idle[size], times=20)
                if turn:  # the first warms up
                    looks[size].append(ours)
                    floor[size].append(raw)
    dialect, first, last = next(iter(databases.values())).dialect, min(databases), max(databases)
    for size in databases:
        value, raw = statistics.median(looks[size]), statistics.median(floor[size])
        results.add(f"{dialect}: idle tick, {size:,} stored", value, "ms", raw)
    growth = statistics.median(looks[last]), statistics.median(looks[first])
    results.add(f"{dialect}: idle tick, {last:,} over {first:,}", growth[0], "ms", growth[1], wanted=("≤", 1.5))


@contextmanager
def _idle_floor(database: Database) -> Iterator[Callable[[], object]]:
    """The same look as bare SQL: the question whether any is due."""
    if database.dialect == "postgresql":
        live = b"SELECT 1 FROM clocks WHERE next_check_at < statement_timestamp() LIMIT 1"
        with bare(database) as connection:
            yield lambda: connection.execute(live).fetchone()
    else:
        query = "SELECT 1 FROM clocks WHERE next_check_at < ? LIMIT 1"
        with closing(bare_sqlite(database)) as connection:
            yield lambda: connection.execute(query, (f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",)).fetchone()


def sweeps(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure breaches a second, with the chain built in and with a longer one: raw and ours in turns on fresh tickets."""
    rates: dict[tuple[str, str], list[float]] = {}
    chain = stock.chain_of(database)

    def ours() -> int:
        return monitor.scan_breaches(database, batch_size=floors.BATCH, budget_seconds=600).found

    def raw(way: str) -> int:
        if database.dialect == "postgresql":
            with bare(database) as connection:
                return floors.drain(connection, way)
        with closing(bare_sqlite(database)) as file:
            return floors.drain_sqlite(file, way)

    runs: list[tuple[str, str]] = [
        ("built in", "ours"),
        ("built in", "raw"),
        ("chain", "ours"),
        ("chain", "raw"),
        ("plain", "raw"),
    ]
    for turn in range(rounds):
        for way, who in runs if turn % 2 else reversed(runs):
            rules = chain if way == "chain" else None
            stock.add_due(database, f"{way}-{who}-{turn}", number, datetime.now(UTC), rules=rules)
            stock.settle_down(database)
            rates.setdefault((way, who), []).append(per_second(ours if who == "ours" else partial(raw, way)))
    rate = {key: statistics.median(values) for key, values in rates.items()}
    least = 0.8 if database.dialect == "postgresql" else 0.7
    name = f"{database.dialect}: breaches handled"
    results.add(
        f"{name}, told and escalated",
        rate["built in", "ours"],
        "a second",
        rate["built in", "raw"],
        wanted=("≥", least),
    )
    results.add(
        f"{name}, warnings and chain on", rate["chain", "ours"], "a second", rate["chain", "raw"], wanted=("≥", 0.6)
    )
    results.add(
        f"{name}, the same over verdict and message alone", rate["chain", "ours"], "a second", rate["plain", "raw"]
    )


def audits(database: Database, results: Results, number: int) -> None:
    """Measure an audit of a healthy history beside bare reading of what it reads; a difference made by hand is found."""
    print(f"  {database.dialect}: storing {number * 6:,} events", file=sys.stderr)
    stock.live(database, number, datetime.now(UTC))
    stock.settle_down(database)

    def reading() -> int:
        query = "SELECT ticket_id, id, at, kind, actor, old, new, note, key, detail FROM events ORDER BY ticket_id, id"
        if database.dialect == "postgresql":
            with bare(database) as connection, connection.transaction(), connection.cursor("rows") as cursor:
                return sum(1 for _ in cursor.execute(query))
        with closing(bare_sqlite(database)) as file:
            return sum(1 for _ in file.execute(query))

    began = time.perf_counter()
    report = audit_clocks(database, everything=True, budget_seconds=None)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    read = reading()
    floor = time.perf_counter() - began
    results.add(f"{database.dialect}: audit of {read:,} events", read / ours, "a second", read / floor)
    if report.found:
        results.missed.append(f"{database.dialect}: an audit of a healthy history found {report.found} differences")
    with database.write() as connection:
        edit = "UPDATE clocks SET due_at = started_at WHERE ticket_id = 'life-7'"
        connection.execute(sa.text(edit))
    found = audit_clocks(database, everything=True, budget_seconds=None).differences
    if [(one.ticket_id, one.field) for one in found] != [("life-7", "due_at")]:
        results.missed.append(f"{database.dialect}: a due instant edited by SQL was not found")


def creation(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure `create_ticket`, one transaction each, against the same four inserts by hand."""
    system, ours, raw = TicketSystem(database), [], []
    due = "2999-01-01 00:00:00.000000"

    def by_hand() -> int:
        if database.dialect == "postgresql":
            with bare(database) as connection:
                for turn in range(number):
                    floors.create(connection, "%s", f"Ticket {turn}", due)
        else:
            with closing(bare_sqlite(database)) as file:
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


def replays(database: Database, results: Results, rounds: int) -> None:
    """Measure a simulation, tickets a second, against reading the same rows and doing nothing with them."""
    targets = {target: TargetRule(dict.fromkeys(range(1, 5), 7200)) for target in TARGETS}
    book, since, ours, raw = PolicyBook((Policy(targets=targets),)), datetime.now(UTC) - timedelta(days=90), [], []

    def by_hand() -> int:
        if database.dialect == "postgresql":
            with bare(database) as connection:
                return floors.read_past(connection, "%s", since)
        with closing(bare_sqlite(database)) as file:
            return floors.read_past(file, "?", f"{since:%Y-%m-%d %H:%M:%S}")

    for _ in range(rounds):
        ours.append(per_second(lambda: simulate(database, book, since=since).tickets))
        raw.append(per_second(by_hand))
    name = f"{database.dialect}: tickets simulated, over reading them"
    results.add(name, statistics.median(ours), "a second", statistics.median(raw))


def main() -> int:
    """Run the benchmarks; the exit code says whether every ratio is what it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of stored tickets, ascending")
    parser.add_argument("--due", type=int, default=20_000, help="tickets that run out in each round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured; the median counts")
    parser.add_argument("--lives", type=int, default=20_000, help="tickets whose six events each are audited")
    parser.add_argument("--only", choices=("postgresql", "sqlite"), help="one database only")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    results = Results()
    deadlines(results)
    with (
        tempfile.TemporaryDirectory(prefix="tickets-bench-") as folder,
        running_postgres(place=Path(tempfile.gettempdir())) as server,
    ):
        for dialect in ("postgresql", "sqlite"):
            if options.only in (None, dialect):
                with ExitStack() as stack:
                    databases = {}
                    for size in sizes:
                        name = f"stored_{size}"
                        url = create_database(server, name) if dialect == "postgresql" else f"{folder}/{name}.db"
                        databases[size] = stack.enter_context(Database(url))
                        print(f"  {dialect}: storing {size:,} tickets", file=sys.stderr)
                        databases[size].upgrade()
                        stock.fill(databases[size], 1, size, datetime.now(UTC))
                        stock.settle_down(databases[size])
                    idle_ticks(databases, results)
                    if dialect == "postgresql":
                        reports.weekly_reports(databases[max(sizes)], results, max(sizes), options.rounds)
                    sweeps(databases[max(sizes)], results, options.due, options.rounds)
                    creation(databases[max(sizes)], results, 1000, options.rounds)
                    usage.usage_facts_cost(databases[max(sizes)], results, 1000, options.rounds)
                    usage.sealing(databases[max(sizes)], results, 50_000, options.rounds)
                    url = create_database(server, "lives") if dialect == "postgresql" else f"{folder}/lives.db"
                    lives = stack.enter_context(Database(url))
                    lives.upgrade()
                    audits(lives, results, options.lives)
                    replays(lives, results, options.rounds)
    letters.letters(results)
    results.write(TARGET)
    Console().print(results.table())
    print(f"written to {TARGET}")
    for miss in results.missed:
        print(f"missed  {miss}")
    return 1 if results.missed else 0


if __name__ == "__main__":
    sys.exit(main())
