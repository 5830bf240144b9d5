"""What deploy/CAPACITY.md is made of: bytes, log, connections, idle cost, letters, upkeep. No floors; sizes, not contests.

On a PostgreSQL server as one runs it: every commit waits for the disk. `python -m tests.benchmarks.capacity`, ten minutes;
`--sizes 100000,1000000` an hour's half. Prints a table and writes build/capacity.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import structlog
from rich.console import Console

from tests.benchmarks import lived, resting
from tests.benchmarks.results import Results
from tests.support.fleet import count, rows
from tests.support.mailers import KeepingNotifier
from tests.support.postgres import Postgres, create_database, mortal_postgres
from tests.support.smtp import running_post_office
from ticket_system import Comment, Ticket, TicketSystem, monitor
from ticket_system.retention import Keep, prune
from ticket_system.storage.database import Database
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.toolbox import Letter, Mailer, Toolbox
from ticket_worker.mail import SmtpMailer
from ticket_worker.message import Sender

TARGET = Path("build/capacity.json")
#: As somebody runs it who means to keep what it holds; PostgreSQL's own defaults but for memory and the log's size.
DURABLE = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "wal_level": "replica", "max_wal_senders": "10",
    "wal_recycle": "on", "wal_init_zero": "on", "checkpoint_timeout": "15min", "max_wal_size": "8GB", "shared_buffers": "2GB",
    "maintenance_work_mem": "512MB",
}  # fmt: skip
TABLES = ("tickets", "comments", "clocks", "alarms", "events", "outbox", "usage_facts")


class _Drop:
    """Takes every letter and throws it away."""

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        before_data()
        return "250 dropped"


@contextmanager
def _timed(what: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    what[name] = time.perf_counter() - began


def _log(database: Database) -> int:
    """How much was written to the log, in all."""
    return count(database, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")


def _maintain(database: Database, *statements: str) -> None:
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def sizes(database: Database, results: Results, stored: int) -> None:
    """Measure what a ticket takes, table by table, indexes with it; just after VACUUM, as dense as it will be."""
    took: dict[str, float] = {}
    with _timed(took, "vacuum"):
        _maintain(database, "VACUUM (FREEZE, ANALYZE)")
    results.bound(f"{stored:,} stored: VACUUM (FREEZE, ANALYZE) of all", took["vacuum"], "s")
    with _timed(took, "again"):
        _maintain(database, "VACUUM (ANALYZE)")
    results.bound(f"{stored:,} stored: VACUUM (ANALYZE) when little changed", took["again"], "s")
    whole = 0.0
    for table in TABLES:
        query = f"SELECT pg_total_relation_size('{table}'), pg_indexes_size('{table}'), (SELECT count(*) FROM {table})"
        ((total, indexes, number),) = rows(database, query)
        whole += total
        results.bound(f"{stored:,} stored: {table}, a ticket", total / stored, "bytes")
        results.bound(f"{stored:,} stored: {table}, indexes of a row", indexes / max(number, 1), "bytes")
    results.bound(f"{stored:,} stored: all of a ticket", whole / stored, "bytes")


def writes(database: Database, results: Results, number: int) -> None:
    """Measure time and log of a ticket opened, one that is lived through, and a breach; each commit waits for the disk."""
    _bare(database, results, number)
    system = TicketSystem(database)
    words = "It does not print, and nobody knows why. " * 10

    def opened() -> int:
        for turn in range(number):
            system.create_ticket(Ticket(f"Ticket number {turn}", words, "ada@example.org", customer="customer1"))
        return number

    def lives() -> int:
        for turn in range(number // 10):
            ticket = system.create_ticket(Ticket(f"Life {turn}", words, "ada@example.org", customer="customer1")).id
            system.assign_ticket(ticket, "grace@example.org")
            for status in ("on_hold", "in_progress", "resolved", "closed"):
                system.update_status(ticket, status, author="grace@example.org")
            for _ in range(3):
                system.add_comment(Comment(ticket, "grace@example.org", words[:250]))
        return number // 10

    def late() -> int:
        return monitor.scan_breaches(database, budget_seconds=3600).found

    for name, work in (("a ticket opened", opened), ("a ticket's whole life, nine calls", lives)):
        _one_by_one(database, results, name, work)
    # Just after a checkpoint each page that is touched goes into the log whole, and ids are random: every breach touches
    # pages of its own. That is what the log is sized for.
    for setting in ("full_page_writes = on", "wal_compression = pglz", "full_page_writes = off"):
        lived.run_out(database, number * 2)
        change = [f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()"]
        _maintain(database, "VACUUM (ANALYZE) clocks", *change, "CHECKPOINT")
        _one_by_one(database, results, f"a breach with all that follows, {setting}", late)
    _maintain(database, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def _bare(database: Database, results: Results, number: int) -> None:
    """Measure the disk: a row of nothing, and a commit. What one process does one by one cannot be faster."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE UNLOGGED TABLE IF NOT EXISTS nothing (n int); CREATE TABLE IF NOT EXISTS bare (n int)"
        )
        for table, name in (("bare", "a commit that waits for the disk"), ("nothing", "one that does not")):
            began = time.perf_counter()
            for turn in range(number):
                connection.execute(f"INSERT INTO {table} VALUES (%s)".encode(), (turn,))
            results.bound(f"{name}: one process", number / (time.perf_counter() - began), "a second")


def _one_by_one(database: Database, results: Results, name: str, work: Callable[[], int]) -> None:
    before, began = _log(database), time.perf_counter()
    done = work()
    took = time.perf_counter() - began
    results.bound(f"{name}: one process", done / took, "a second")
    results.bound(f"{name}: log", (_log(database) - before) / done, "bytes")


def letters(database: Database, results: Results, number: int) -> None:
    """Measure notices that leave by one process: into nothing, and by SMTP to a server on this machine."""
    with running_post_office() as office:
        sender = Sender("tickets@example.org")
        ways: dict[str, Mailer] = {
            "thrown away": _Drop(),
            "by SMTP, to a server in Python on the same core": SmtpMailer(sender, office.host, office.port),
        }
        for name, mailer in ways.items():
            lived.run_out(database, number)
            _maintain(database, "DELETE FROM outbox WHERE state <> 'sent'", "VACUUM (ANALYZE) outbox")
            monitor.scan_breaches(database)
            box = Toolbox(TicketSystem(database), mailer, KeepingNotifier(), deliver_budget_seconds=3600)
            _one_by_one(database, results, f"a notice {name}", lambda box=box: deliver_outbox(box).sent)  # type: ignore[misc]


def upkeep(server: Postgres, database: Database, results: Results, stored: int) -> None:
    """Measure what forgets, and what a dump and its restoring take."""
    pruned = prune(database, Keep(events=365), budget_seconds=None, now=datetime.now(UTC) + timedelta(seconds=1))
    results.bound(f"{stored:,} stored: rows forgotten", pruned.found / pruned.seconds, "a second")
    programs = Path(server.process.exe()).parent
    with tempfile.TemporaryDirectory(prefix="tickets-dump-") as folder:
        dump, took = Path(folder) / "tickets.dump", dict[str, float]()
        who = ["--host", str(server.folder), "--username", "postgres"]
        create_database(server.url, "restored")
        with _timed(took, "dump"):
            own: list[str | Path] = [
                programs / "pg_dump",
                *who,
                "--format=custom",
                f"--file={dump}",
                str(database.url.database),
            ]
            subprocess.run(own, check=True)
        with _timed(took, "restore"):
            jobs = f"--jobs={len(os.sched_getaffinity(0))}"
            subprocess.run([programs / "pg_restore", *who, jobs, "--dbname=restored", dump], check=True)
        results.bound(f"{stored:,} stored: pg_dump", took["dump"], "s")
        results.bound(f"{stored:,} stored: the dump, a ticket", dump.stat().st_size / stored, "bytes")
        results.bound(f"{stored:,} stored: pg_restore, a job for each core", took["restore"], "s")


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100000,300000", help="numbers of stored tickets, ascending")
    parser.add_argument("--writes", type=int, default=2000, help="tickets opened; twice as many breaches, three times")
    parser.add_argument("--rest", type=float, default=60, help="seconds for which a fleet is watched at rest")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    results = Results()
    resting.waiting_messages(results, 2000)
    with mortal_postgres(Path(tempfile.gettempdir()), **DURABLE) as server:
        with Database(create_database(server.url, "rest")) as database:
            database.upgrade()
            resting.fleet_at_rest(database, results, options.rest)
        url = create_database(server.url, "capacity")
        with Database(url) as database:
            database.upgrade()
            stored = 0
            for size in (int(size) for size in options.sizes.split(",")):
                print(f"  storing {size:,} tickets with all that became of them", file=sys.stderr)
                lived.fill(database, stored + 1, size, datetime.now(UTC))
                stored = size
                sizes(database, results, stored)
            writes(database, results, options.writes)
            letters(database, results, options.writes // 2)
            upkeep(server, database, results, stored)
    results.write(TARGET, server=DURABLE)
    Console().print(results.table())
    print(f"written to {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
