"""The history of a ticket: appended to, never changed, what may happen once only happens once."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from ticket_system import TicketSystem
from ticket_system.storage import events, tables
from ticket_system.storage.database import Database
from ticket_system.storage.events import Event

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)


def an_event(**changes: object) -> Event:
    return Event(**{"ticket_id": "t", "at": START, "kind": "status", "actor": "ada"} | changes)  # type: ignore[arg-type]


def test_an_event_is_read_as_it_was_written(database: Database) -> None:
    written = an_event(actor="Zoë", old="open", new="résolu 😀", note="two\nlines", key="k")
    before = datetime.now(UTC)
    with database.write() as connection:
        events.append(connection, written)
        assert events.of_ticket(connection, "t") == [written]
        assert events.of_ticket(connection, "other") == []
    [row] = rows_of(database, tables.events)
    assert before - timedelta(seconds=1) <= row["recorded_at"] <= datetime.now(UTC)
    assert row["at"] == START


@pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)
def test_a_program_whose_clock_is_off_records_by_the_servers(database: Database) -> None:
    """The audit looks for what was recorded lately: minutes behind, it would have been passed by."""
    before = datetime.now(UTC)
    with time_machine.travel(before - timedelta(minutes=7)), database.write() as connection:
        events.append(connection, an_event())
    [row] = rows_of(database, tables.events)
    assert before - timedelta(seconds=1) <= row["recorded_at"] <= datetime.now(UTC)


def test_a_history_is_in_the_order_of_what_happened_then_of_what_was_written(database: Database) -> None:
    second, third, first = an_event(new="2"), an_event(new="3"), an_event(at=START - timedelta(days=1), new="1")
    with database.write() as connection:
        events.append(connection, second, third)
        events.append(connection, first)
        events.append(connection)
        assert events.of_ticket(connection, "t") == [first, second, third]


def test_what_may_happen_once_only_is_refused_the_second_time(database: Database) -> None:
    """Rule 8."""
    key = events.key("t", "resolution", 1, "breached")
    assert key == "t/resolution/1/breached/0/0"
    with database.write() as connection:
        events.append(connection, an_event(key=key), an_event(), an_event())
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        events.append(connection, an_event(ticket_id="u", key=key))
    assert len(rows_of(database, tables.events)) == 3


@pytest.mark.parametrize("level", (0, 1))
@pytest.mark.parametrize("repeat", (0, 2))
def test_a_key_names_ticket_target_cycle_kind_level_and_repeat(level: int, repeat: int) -> None:
    assert events.key("a/b", "first_response", 7, "escalated", level, repeat) == (
        f"a/b/first_response/7/escalated/{level}/{repeat}"
    )


def test_the_history_of_a_ticket_is_its_own(system: TicketSystem) -> None:
    for name in ("one", "two"):
        system.create_ticket(a_ticket(id=name))
        system.assign_ticket(name, f"agent {name}")
    assert [(event.kind, event.ticket_id) for event in system.get_history("one")] == [
        ("created", "one"),
        ("assigned", "one"),
        ("status", "one"),
    ]
