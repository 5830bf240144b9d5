"""What waits and how long already, counted without walking what is done. On every database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket, a_ticket_due_in
from tests.support.readers import an_organisation
from ticket_system import TicketSystem, digests, monitor, outbox, state
from ticket_system.state import Waiting
from ticket_system.storage import fleet_tables, report_tables, tables
from ticket_system.storage.database import Database

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

PARTS: tuple[Callable[[Database], object], ...] = (
    state.open_tickets,
    state.clocks_due,
    state.jobs_done,
    state.notices,
    state.usage,
    state.reports,
    state.report_letters,
    state.destinations_resting,
    state.parked_messages,
    state.last_audit,
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def add(database: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    with database.write() as connection:
        connection.execute(sa.insert(table), list(rows))


@pytest.mark.parametrize("part", PARTS)
def test_of_an_empty_database_every_part_can_be_told(part: Callable[[Database], object], system: TicketSystem) -> None:
    assert part(system.database) in (0, {}, [], None, Waiting("due", 0, 0.0), Waiting("waiting", 0, 0.0))


def test_open_tickets_are_those_that_somebody_works_on(system: TicketSystem) -> None:
    system.create_tickets([a_ticket(id="one"), a_ticket(id="two")])
    system.update_status("two", "in_progress")
    system.update_status("two", "resolved")
    assert state.open_tickets(system.database) == 1


def test_clocks_are_late_from_the_moment_at_which_a_scan_should_have_looked(system: TicketSystem) -> None:
    system.create_tickets([a_ticket_due_in(-30), a_ticket_due_in(-10), a_ticket_due_in(600)])
    found = state.clocks_due(system.database)
    assert found.count == 2
    assert found.oldest_seconds == pytest.approx(30, abs=10)
    monitor.scan_breaches(system.database)
    assert state.clocks_due(system.database) == Waiting("due", 0, 0.0)


def run(job: str, slot: datetime, outcome: str) -> dict[str, Any]:
    ended = None if outcome == "running" else slot + timedelta(seconds=1)
    return {"job": job, "slot": slot, "state": outcome, "taken_by": "w", "taken_at": slot, "lease_until": slot,
            "attempts": 1, "finished_at": ended}  # fmt: skip


def test_of_each_job_the_last_end_is_told_and_no_failure(database: Database) -> None:
    add(
        database,
        fleet_tables.job_runs,
        run("audit", ago(60), "done"),
        run("audit", ago(30), "failed"),
        run("scan", ago(3), "done"),
        run("scan", ago(2), "done"),
        run("scan", ago(1), "running"),
        run("never", ago(1), "running"),
    )
    assert state.jobs_done(database) == {"audit": ago(59), "scan": ago(1)}


def notice(number: int, condition: str, age: float) -> dict[str, Any]:
    return {"key": f"k{number}", "kind": "escalated", "ticket_id": "t", "state": condition, "attempts": 0,
            "created_at": ago(age)}  # fmt: skip


def test_notices_are_counted_by_state_with_the_age_of_the_oldest(database: Database) -> None:
    conditions = ("pending", "pending", "leased", "sending", "parked", "uncertain", "sent", "dropped", "bundled")
    add(database, tables.outbox, *[notice(number, one, 10.0 * number) for number, one in enumerate(conditions)])
    assert state.notices(database, now=NOW) == [
        Waiting("leased", 1, 20.0),
        Waiting("parked", 1, 40.0),
        Waiting("pending", 2, 10.0),
        Waiting("sending", 1, 30.0),
        Waiting("uncertain", 1, 50.0),
    ]


def test_a_place_rests_until_its_time_is_over(database: Database) -> None:
    outbox.rest(database, "mail", "away", seconds=60)
    assert state.destinations_resting(database) == 1
    assert state.destinations_resting(database, now=datetime.now(UTC) + timedelta(hours=9)) == 0


def test_messages_are_parked_until_a_person_settled_them(database: Database) -> None:
    def one(number: int, condition: str, age: float) -> dict[str, Any]:
        return {"fingerprint": f"f{number}", "name": "n", "body": "{}", "reason": "r", "times": 1,
                "parked_at": ago(age), "state": condition}  # fmt: skip

    add(database, fleet_tables.parked, one(1, "waiting", 5), one(2, "waiting", 9), one(3, "dropped", 99))
    assert state.parked_messages(database, now=NOW) == Waiting("waiting", 2, 9.0)


def test_a_report_that_was_missed_long_ago_is_history(database: Database) -> None:
    an_organisation(database, "ada@example.org", now=datetime.now(UTC) - timedelta(days=30))
    digests.plan(database)
    with database.read() as connection:
        first = connection.execute(sa.select(sa.func.min(report_tables.report_runs.c.due_at))).scalar_one()
    assert first is not None
    soon = {one.state: one.count for one in state.reports(database, now=first + timedelta(days=1))}
    late = {one.state: one.count for one in state.reports(database, now=first + timedelta(days=90))}
    assert soon["missed"] >= 1
    assert "missed" not in late


def test_the_clock_of_this_machine_is_compared_with_that_of_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert abs(state.clock_skew(database)) < 5
    ahead = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(state, "utc_now", lambda: ahead)
    assert state.clock_skew(database) == pytest.approx(3600, abs=30)


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", hear)
    yield said
    sa.event.remove(database.engine, "before_cursor_execute", hear)


@pytest.mark.parametrize("database_url", (":memory:",))
@pytest.mark.parametrize("part", [part for part in PARTS if part is not state.last_audit])
def test_no_part_walks_what_is_done(part: Callable[[Database], object], database: Database) -> None:
    """Asked every few seconds, it must cost the same after ten years. SQLite's planner says whether it does."""
    with statements(database) as said:
        part(database)
    with database.read() as connection:
        for statement, parameters in said:
            plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            # Places that are away are few, and what a subquery came to is as long as what is open.
            walked = [
                line
                for line in plan
                if line.startswith("SCAN ") and "INDEX" not in line and line.split()[1] in tables.metadata.tables
            ]
            assert walked in ([], ["SCAN rests"]), plan
