"""Several scanners at once, killed ones, locked tickets, held snapshots and lost databases: each breach counts once."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.support.contents import everything, rows_of
from tests.support.factories import a_ticket, a_ticket_due_in
from ticket_system import StorageUnavailable, TicketSystem, monitor
from ticket_system.audit import audit_clocks
from ticket_system.changes import Changes
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.sla.policies import Level, Policy, TargetRule, Warn
from ticket_system.storage import sweeps, tables
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START

on_disk = pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)


def late_tickets(system: TicketSystem, number: int) -> set[str]:
    tickets = [a_ticket_due_in(-60 - index % 7, id=f"{index:04}") for index in range(number)]
    system.create_tickets(tickets)
    return {ticket.id for ticket in tickets}


def each_counts_once(database: Database, ids: set[str]) -> None:
    """Exactly one breach, one message, one escalation, one comment for each."""
    for table, kind in (
        (tables.events, "breached"),
        (tables.events, "escalated"),
        (tables.outbox, "escalated"),
    ):
        assert [row["ticket_id"] for row in rows_of(database, table, table.c.kind == kind)] == unique(ids), kind
    assert [row["ticket_id"] for row in rows_of(database, tables.comments)] == unique(ids)
    assert {row["state"] for row in rows_of(database, tables.clocks)} == {"breached"}


class unique:  # noqa: N801 - reads as a word
    """Equal to any list that holds each of these once."""

    def __init__(self, ids: set[str]) -> None:
        self.ids = sorted(ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(other) == self.ids

    def __hash__(self) -> int:
        return hash(tuple(self.ids))

    def __repr__(self) -> str:
        return f"each of {len(self.ids)} once"


@on_disk
def test_scanners_side_by_side_count_each_breach_once(system: TicketSystem, database_url: str) -> None:
    ids = late_tickets(system, 400)
    ready = threading.Barrier(6)

    def work(_: int) -> int:
        with Database(database_url) as database:
            ready.wait()
            return sum(monitor.scan_breaches(database, batch_size=20).breaches for _ in range(3))

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    assert sum(found) == len(ids), "no scanner counted what another had found"
    each_counts_once(system.database, ids)


@on_disk
def test_scanners_beside_people_who_change_the_same_tickets(system: TicketSystem, database_url: str) -> None:
    ids = late_tickets(system, 60)
    ready = threading.Barrier(4)

    def scan() -> None:
        with Database(database_url) as database:
            ready.wait()
            for _ in range(15):
                monitor.scan_breaches(database, batch_size=7)

    def work(part: int) -> None:
        with Database(database_url) as database, TicketSystem(database) as desk:
            ready.wait()
            for name in sorted(ids)[part::2]:
                desk.assign_ticket(name, "grace")
                desk.update_status(name, "on_hold", note="waiting")
                desk.escalate(name)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(scan), pool.submit(scan), pool.submit(work, 0), pool.submit(work, 1)]
        for job in jobs:
            job.result()
    monitor.scan_breaches(system.database)
    events = rows_of(system.database, tables.events)
    for kind, key in (("breached", True), ("escalated", True), ("escalated", False), ("assigned", False)):
        some = [row["ticket_id"] for row in events if row["kind"] == kind and (row["key"] is not None) == key]
        assert some == unique(ids), (kind, key)
    assert [row["ticket_id"] for row in rows_of(system.database, tables.outbox)] == unique(ids)
    assert len(rows_of(system.database, tables.comments)) == 2 * len(ids)
    assert {ticket.status for ticket in system.get_queue()} == {"on_hold"}


SCANNER = """
import sys, time
from ticket_system.storage import sweeps
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START
with Database(sys.argv[1]) as database:
    for _ in range(3):
        with database.statement() as connection:
            print(sweeps.sweep(connection, None, START, 10).found, flush=True)
    with database.write() as connection:
        print(sweeps.sweep(connection, None, START, 10).found, flush=True)
        time.sleep(60)
"""


@on_disk
def test_a_scanner_that_is_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    system: TicketSystem, database_url: str
) -> None:
    ids = late_tickets(system, 100)
    system.database.close()
    with subprocess.Popen(
        [sys.executable, "-c", SCANNER, database_url], stdout=subprocess.PIPE, start_new_session=True
    ) as scanner:
        try:
            assert scanner.stdout is not None
            assert [scanner.stdout.readline() for _ in range(4)] == [b"10\n"] * 4
            if system.database.dialect == "postgresql":
                began = time.monotonic()
                assert monitor.scan_breaches(system.database).found == 60, "all but those it has and those it holds"
                assert time.monotonic() - began < 5, "nobody waits for it"
        finally:
            scanner.send_signal(signal.SIGKILL)
    time.sleep(0.1)  # until the server has noticed
    left = 10 if system.database.dialect == "postgresql" else 70
    assert monitor.scan_breaches(system.database).found == left
    each_counts_once(system.database, ids)


# --- locks and snapshots -----------------------------------------------------------------------------------------


@on_postgresql
def test_a_scan_passes_by_what_somebody_else_holds_and_the_next_one_finds_it(system: TicketSystem) -> None:
    ids = late_tickets(system, 30)
    began = time.monotonic()
    with system.database.engine.connect() as person:
        Changes(person).reassign("0003", "grace")
        assert monitor.scan_breaches(system.database, batch_size=4).found == 29
        person.rollback()
    assert time.monotonic() - began < 5
    assert monitor.scan_breaches(system.database).found == 1
    each_counts_once(system.database, ids)


@on_postgresql
def test_what_was_locked_and_then_saved_is_not_found(system: TicketSystem) -> None:
    late_tickets(system, 2)
    with system.database.write() as person:
        Changes(person).set_status("0000", "cancelled")
        assert monitor.scan_breaches(system.database).found == 1
    assert monitor.scan_breaches(system.database).found == 0


@contextmanager
def held_snapshot(database: Database) -> Iterator[None]:
    """Somebody looks at the database as it was, for a long time."""
    with database.engine.connect() as reader:
        if database.dialect == "postgresql":
            reader.execution_options(isolation_level="REPEATABLE READ")
        seen = reader.execute(sa.select(sa.func.count()).select_from(tables.events)).scalar_one()
        yield
        assert reader.execute(sa.select(sa.func.count()).select_from(tables.events)).scalar_one() == seen


@on_disk
def test_a_snapshot_that_is_held_for_long_stops_no_scan_and_no_change(system: TicketSystem) -> None:
    ids = late_tickets(system, 300)
    began = time.monotonic()
    with held_snapshot(system.database):
        assert monitor.scan_breaches(system.database, batch_size=50).found == 300
        each_counts_once(system.database, ids)
        system.create_ticket(a_ticket(id="new"))
        assert system.assign_ticket("new", "grace")
    assert time.monotonic() - began < 10


# --- a database that goes away -----------------------------------------------------------------------------------


def terminate(database: Database) -> int:
    """End every other connection to the database, as an administrator or a failover does."""
    others = sa.text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with Database(database.url.render_as_string(hide_password=False)) as own, own.read() as connection:
        ended: int = connection.execute(others).scalar_one()
        return ended


@on_postgresql
def test_a_database_that_goes_away_between_two_batches_is_told_and_the_next_scan_goes_on(system: TicketSystem) -> None:
    ids = late_tickets(system, 30)
    batches: list[str] = []

    def cut(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO events" in statement:
            batches.append(statement)
            if len(batches) == 2:
                assert terminate(system.database) >= 1

    event.listen(system.database.engine, "before_cursor_execute", cut)
    with pytest.raises(StorageUnavailable):
        monitor.scan_breaches(system.database, batch_size=10)
    event.remove(system.database.engine, "before_cursor_execute", cut)
    assert len(rows_of(system.database, tables.events, tables.events.c.kind == "breached")) == 10
    assert len(rows_of(system.database, tables.outbox)) == 10
    assert monitor.scan_breaches(system.database).found == 20
    each_counts_once(system.database, ids)


@on_postgresql
@pytest.mark.parametrize("table", ("alarms", "outbox", "comments"))
def test_a_database_that_goes_away_in_the_middle_of_a_batch_leaves_nothing_half_written(
    system: TicketSystem, table: str
) -> None:
    ids = late_tickets(system, 30)
    before = everything(system.database)
    with Database(system.database.url.render_as_string(hide_password=False)) as other:
        # The batch has marked its clocks and then waits here, in the midst of its one statement.
        with other.write() as administrator, ThreadPoolExecutor(1) as pool:
            administrator.execute(sa.text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
            scan = pool.submit(monitor.scan_breaches, system.database)
            ended = 0
            while not ended:
                ended = administrator.execute(
                    sa.text(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                ).scalar_one()
                administrator.execute(sa.text("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()"))
            with pytest.raises(StorageUnavailable):
                scan.result(timeout=10)
        assert everything(other) == before
    assert monitor.scan_breaches(system.database).found == 30
    each_counts_once(system.database, ids)


@on_postgresql
def test_a_change_on_a_connection_that_died_is_an_error_and_the_next_one_gets_another(system: TicketSystem) -> None:
    system.create_ticket(a_ticket(id="t"))
    assert terminate(system.database) >= 1
    assert system.assign_ticket("t", "grace"), "one that died in the pool is replaced"
    with pytest.raises(StorageUnavailable), system.database.write() as connection:  # noqa: PT012
        Changes(connection).set_status("t", "on_hold")
        terminate(system.database)
        Changes(connection).escalate("t")
    ticket = system.get_ticket("t")
    assert ticket is not None
    assert (ticket.status, ticket.priority) == ("in_progress", 3)


# --- chains ------------------------------------------------------------------------------------------------------

CHAIN = Policy(
    "chain",
    targets={RESOLUTION: TargetRule(dict.fromkeys(range(1, 5), 4 * 3600))},
    warnings=(Warn(percent=50),),
    chain=(
        Level(notify=("desk",), raise_priority=True, tag="late", reassign_to="lead"),
        Level(3600, notify=("desk", "pager"), repeat_seconds=600, max_repeats=2),
    ),
)


def under_a_chain(system: TicketSystem, number: int) -> set[str]:
    """Tickets that have been late for an hour and a half: all levels but the last repeats are due."""
    system.put_in_force(PolicyBook((CHAIN,)))
    created_at = datetime.now(UTC) - timedelta(hours=5, minutes=15)
    ids = [f"{index:04}" for index in range(number)]
    system.create_tickets([a_ticket(id=name, priority=3, created_at=created_at) for name in ids])
    return set(ids)


def each_is_raised_once(system: TicketSystem, ids: set[str]) -> None:
    """The highest level that was due, once; the others passed over, once (rules 8, 23)."""
    told = rows_of(system.database, tables.events, tables.events.c.key.is_not(None))
    assert len({row["key"] for row in told}) == len(told)
    raised = [row["ticket_id"] for row in told if row["kind"] == "escalated"]
    assert raised == unique(ids)
    passed_over = Counter(row["ticket_id"] for row in told if row["kind"] == "collapsed")
    assert passed_over == dict.fromkeys(ids, 3), "the warning, the first level, the second level before its repeat"
    assert len(rows_of(system.database, tables.outbox)) == 2 * len(ids)
    assert audit_clocks(system.database, everything=True).differences == []


@on_disk
def test_two_scanners_an_hour_late_raise_each_chain_once(system: TicketSystem, database_url: str) -> None:
    """Rules 8, 22, 23."""
    ids = under_a_chain(system, 150)
    ready = threading.Barrier(3)

    def work(_: int) -> int:
        with Database(database_url) as database:
            ready.wait()
            return sum(monitor.scan_breaches(database, batch_size=7).alarms for _ in range(3))

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, range(3))) == len(ids)
    each_is_raised_once(system, ids)


@on_disk
def test_a_scanner_that_is_killed_between_raising_and_acting_leaves_the_rest_to_the_next(system: TicketSystem) -> None:
    """Rule 22: whom it told is told once, and what it had left to do is done once."""
    system.put_in_force(PolicyBook((replace(CHAIN, chain=CHAIN.chain[:1]),)))
    created_at = datetime.now(UTC) - timedelta(hours=5)
    system.create_tickets([a_ticket(id=f"{index}", priority=3, created_at=created_at) for index in range(20)])
    with system.database.statement() as connection:
        assert sweeps.sweep(connection, None, START, 1000).to_finish
    assert {ticket.assignee for ticket in system.get_queue()} == {None}, "here the scanner died"
    monitor.scan_breaches(system.database)
    monitor.scan_breaches(system.database)
    for ticket in system.get_queue():
        assert (ticket.assignee, ticket.tags, ticket.priority) == ("lead", ["late"], 2)
        assert [event.kind for event in system.get_history(ticket.id) if event.kind in {"tagged", "assigned"}] == [
            "tagged",
            "assigned",
        ]
    assert len(rows_of(system.database, tables.outbox)) == 20
    assert rows_of(system.database, tables.alarms) == []


@on_disk
def test_scanners_beside_people_lose_no_level_and_double_none(system: TicketSystem, database_url: str) -> None:
    ids = under_a_chain(system, 40)
    ready = threading.Barrier(3)

    def scan() -> None:
        with Database(database_url) as database:
            ready.wait()
            for _ in range(10):
                monitor.scan_breaches(database, batch_size=5)

    def work() -> None:
        with Database(database_url) as database, TicketSystem(database) as desk:
            ready.wait()
            for name in sorted(ids):
                desk.update_status(name, "on_hold")
                desk.update_status(name, "in_progress")

    with ThreadPoolExecutor(3) as pool:
        for job in [pool.submit(scan), pool.submit(scan), pool.submit(work)]:
            job.result()
    monitor.scan_breaches(system.database)
    each_is_raised_once(system, ids)
