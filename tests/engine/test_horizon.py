"""While an old snapshot is held a scan begins where it last saw nothing left; what lies before is found, too."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket_due_in
from ticket_system import TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.storage import horizon, looks, tables
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START

pytestmark = pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)

MANY = 3000
MINUTES = 60


def late_tickets(system: TicketSystem, number: int, *, minutes: int = 60, name: str = "late") -> None:
    system.create_tickets([a_ticket_due_in(-minutes * MINUTES, id=f"{name}-{index}") for index in range(number)])


@contextmanager
def held_snapshot(database: Database) -> Iterator[None]:
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.execute(sa.select(sa.func.count()).select_from(tables.rules)).one()
        yield


def pages(database: Database) -> int:
    """How many pages the next look reads."""
    with database.glance() as connection:
        return looks.walk(connection, database.horizon.start).pages


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A horizon that is kept from a few dead entries on, and for as long as it may be."""
    monkeypatch.setattr(horizon, "DEAR_SECONDS", 0.0)
    monkeypatch.setattr(horizon, "MANY_PAGES", 30)
    monkeypatch.setattr(horizon, "_SHARE", 1_000_000)


@pytest.mark.usefixtures("eager")
def test_a_look_behind_many_breaches_costs_next_to_nothing_while_a_snapshot_is_held(system: TicketSystem) -> None:
    late_tickets(system, MANY)
    with held_snapshot(system.database):
        assert monitor.scan_breaches(system.database).found == MANY
        walked = pages(system.database)
        assert walked > 30, "every one of them lies dead in the index"
        assert monitor.scan_breaches(system.database).found == 0
        assert system.database.horizon.start > START
        assert pages(system.database) < walked / 2


@pytest.mark.usefixtures("eager")
def test_what_arrives_before_the_horizon_is_found_by_the_next_look_at_everything(
    system: TicketSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "AT_LEAST_EVERY", 3.0)
    late_tickets(system, MANY)
    with held_snapshot(system.database):
        monitor.scan_breaches(system.database)
        monitor.scan_breaches(system.database)
        late_tickets(system, 7, name="later", minutes=30)
        found, ends = 0, time.monotonic() + 60
        while found < 7 and time.monotonic() < ends:
            found += monitor.scan_breaches(system.database).found
            time.sleep(0.05)
        assert found == 7


@pytest.mark.usefixtures("eager")
def test_what_falls_due_behind_the_horizon_is_found_at_once(system: TicketSystem) -> None:
    late_tickets(system, MANY)
    with held_snapshot(system.database):
        monitor.scan_breaches(system.database)
        monitor.scan_breaches(system.database)
        kept = system.database.horizon.start
        assert kept > START
        # A transaction that was under way while somebody looked: due then, and committed only now.
        system.create_ticket(a_ticket_due_in(0, id="just-now"))
        assert monitor.scan_breaches(system.database).found == 1
        assert system.database.horizon.start >= kept


@pytest.mark.usefixtures("eager")
def test_what_was_locked_is_found_after_it_was_let_go(system: TicketSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horizon, "AT_LEAST_EVERY", 0.5)
    late_tickets(system, MANY)
    with held_snapshot(system.database):
        with system.database.engine.connect() as person:
            Changes(person).reassign("late-7", "grace")
            assert monitor.scan_breaches(system.database).found == MANY - 1
            person.rollback()
        found, ends = 0, time.monotonic() + 60
        while not found and time.monotonic() < ends:
            found = monitor.scan_breaches(system.database).found
            time.sleep(0.05)
        assert found == 1


def test_without_an_old_snapshot_a_slow_look_keeps_no_horizon(
    system: TicketSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine every look is slow; what arrives late is found by the next one all the same."""
    monkeypatch.setattr(horizon, "DEAR_SECONDS", 0.0)
    for turn in range(3):
        late_tickets(system, 5, name=f"turn-{turn}", minutes=100 + turn)
        assert monitor.scan_breaches(system.database).found == 5
        assert monitor.scan_breaches(system.database).found == 0
        assert system.database.horizon.start == START


@pytest.mark.usefixtures("eager")
def test_a_scan_of_a_given_moment_looks_at_everything(system: TicketSystem) -> None:
    late_tickets(system, MANY)
    with held_snapshot(system.database):
        monitor.scan_breaches(system.database)
        monitor.scan_breaches(system.database)
        late_tickets(system, 2, name="later", minutes=30)
        assert monitor.scan_breaches(system.database, now=datetime.now(UTC) + timedelta(seconds=1)).found == 2
