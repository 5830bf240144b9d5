"""The front door, line by line as its contract says, on every database: what changes a ticket."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.contents import everything, rows_of
from tests.support.desk import due_in, known, stored
from tests.support.factories import a_comment, a_ticket
from ticket_system import (
    DuplicateTicket,
    InvalidTicket,
    InvalidTransition,
    Status,
    TicketNotFound,
    TicketSystem,
    TicketSystemError,
    monitor,
)
from ticket_system.storage import tables

HOUR = timedelta(hours=1)


# --- create and get ----------------------------------------------------------------------------------------------


def test_a_stored_ticket_is_read_as_it_was_given(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    ticket = a_ticket(
        id="T-1", title="Größe 😀", description="two\nlines\t'quoted' \"; --", requester="ada", priority=2,
        status="review", assignee="grace", sla_hours=9, created_at=now - HOUR, updated_at=now,
        tags=["vip", "a,b"],
    )  # fmt: skip
    returned = system.create_ticket(ticket)
    assert returned is ticket
    assert known(system, "T-1") == ticket
    assert known(system, "T-1").created_at == now - HOUR, "to the microsecond"
    assert known(system, "T-1").created_at.tzinfo is UTC


def test_a_stored_ticket_knows_its_deadline(system: TicketSystem) -> None:
    ticket = system.create_ticket(a_ticket(sla_hours=9))
    deadline = ticket.created_at + 9 * HOUR
    assert ticket.sla_deadline() == known(system, ticket.id).sla_deadline() == deadline
    assert not known(system, ticket.id).is_breached()
    assert 8.9 * HOUR < known(system, ticket.id).time_to_sla() <= 9 * HOUR


def test_naive_times_are_utc_and_other_zones_are_converted(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    naive = stored(system, created_at=now.replace(tzinfo=None))
    kathmandu = stored(system, created_at=now.astimezone(timezone(timedelta(hours=5, minutes=45))))
    assert known(system, naive).created_at == known(system, kathmandu).created_at == now


def test_an_unknown_ticket_is_none(system: TicketSystem) -> None:
    assert system.get_ticket("no such id") is None
    assert system.get_ticket("") is None


def test_an_id_that_no_ticket_can_have_is_unknown_everywhere(system: TicketSystem) -> None:
    for ticket_id in ("nul \x00", "surrogate \ud800", "x" * 100_000, None, 7, ["t"], b"t"):
        unknown_everywhere(system, ticket_id)


def unknown_everywhere(system: TicketSystem, ticket_id: Any) -> None:
    assert system.get_ticket(ticket_id) is None
    assert system.assign_ticket(ticket_id, "grace") is False
    assert system.update_status(ticket_id, "closed") is False
    assert system.escalate(ticket_id) is False
    assert system.get_comments(ticket_id) == []
    assert system.get_history(ticket_id) == []
    with pytest.raises(TicketNotFound) as caught:
        system.check_sla_breach(ticket_id)
    assert len(str(caught.value)) < 300
    with pytest.raises(TicketNotFound):
        system.add_comment(a_comment(ticket_id))


def test_a_duplicate_id_is_an_error_and_never_an_overwrite(system: TicketSystem) -> None:
    ticket_id = stored(system, title="the first")
    before = everything(system.database)
    with pytest.raises(DuplicateTicket, match=ticket_id) as caught:
        system.create_ticket(a_ticket(id=ticket_id, title="the second"))
    assert isinstance(caught.value, InvalidTicket | ValueError | TicketSystemError)
    assert caught.value.ticket_id == ticket_id
    assert everything(system.database) == before


def test_many_tickets_are_stored_together_or_not_at_all(system: TicketSystem) -> None:
    system.create_tickets([a_ticket(id=str(number)) for number in range(20)])
    system.create_tickets([])
    assert len(system.get_queue()) == 20
    before = everything(system.database)
    for culprit in (a_ticket(id="7"), a_ticket(id="new", title=" ")):
        with pytest.raises(InvalidTicket):
            system.create_tickets([a_ticket(id="a"), culprit, a_ticket(id="b")])
        assert everything(system.database) == before


# --- assign ------------------------------------------------------------------------------------------------------


def test_an_open_ticket_is_assigned_and_begun(system: TicketSystem) -> None:
    ticket_id = stored(system, updated_at=datetime.now(UTC) - HOUR)
    assert system.assign_ticket(ticket_id, "grace") is True
    ticket = known(system, ticket_id)
    assert (ticket.assignee, ticket.status) == ("grace", "in_progress")
    assert datetime.now(UTC) - ticket.updated_at < timedelta(minutes=1)


def test_only_an_open_ticket_is_assigned(system: TicketSystem) -> None:
    for status in ("in_progress", "review", "on_hold", "resolved", "closed", "cancelled"):
        ticket_id = stored(system, status=status)
        before = everything(system.database)
        assert system.assign_ticket(ticket_id, "grace") is False
        assert everything(system.database) == before
    assert system.assign_ticket("unknown", "grace") is False


# --- status ------------------------------------------------------------------------------------------------------


def test_a_ticket_moves_along_the_flow(system: TicketSystem) -> None:
    ticket_id = stored(system)
    for status in ("in_progress", "review", "resolved", "open", "on_hold", "open", "in_progress", "resolved", "closed"):
        assert system.update_status(ticket_id, status) is True
        assert known(system, ticket_id).status == status
        assert (known(system, ticket_id).resolved_at is not None) == (status in {"resolved", "closed"})
    assert system.get_comments(ticket_id) == []


NO_MOVES: tuple[tuple[str, Any], ...] = (
    ("open", "resolved"), ("open", "open"), ("closed", "open"), ("cancelled", "open"), ("open", "OPEN"),
    ("open", "bogus"), ("open", ""), ("review", "on_hold"), ("resolved", "resolved"), ("open", None), ("open", 3),
    ("open", "\x1b[31m\n"), ("open", "x" * 10_000_000),
)  # fmt: skip


def test_a_move_the_flow_does_not_have_is_an_error(system: TicketSystem) -> None:
    for old, new in NO_MOVES:
        ticket_id = stored(system, status=old)
        before = everything(system.database)
        with pytest.raises(InvalidTransition, match=r"^Invalid transition") as caught:
            system.update_status(ticket_id, new, note="why")
        assert isinstance(caught.value, ValueError)
        assert (caught.value.ticket_id, caught.value.old, caught.value.new) == (ticket_id, old, str(new))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
        assert everything(system.database) == before


def test_a_status_is_changed_by_its_name_or_by_its_member(system: TicketSystem) -> None:
    ticket_id = stored(system)
    assert system.update_status(ticket_id, Status.IN_PROGRESS)
    assert rows_of(system.database, tables.tickets)[0]["status"] == "in_progress"
    assert system.get_queue(status=Status.IN_PROGRESS)[0].id == ticket_id


def test_a_status_of_an_unknown_ticket_is_false_whatever_it_is(system: TicketSystem) -> None:
    assert system.update_status("unknown", "resolved") is False
    assert system.update_status("unknown", "bogus", note="x") is False
    assert rows_of(system.database, tables.comments) == []


def test_a_note_becomes_an_internal_comment_by_its_author(system: TicketSystem) -> None:
    ticket_id = stored(system)
    system.update_status(ticket_id, "in_progress", author="grace", note="On it.")
    system.update_status(ticket_id, "review", note="By nobody.")
    first, second = system.get_comments(ticket_id)
    assert (first.author, first.body, first.is_internal) == ("grace", "On it.", True)
    assert (second.author, second.body) == ("system", "By nobody.")
    assert system.get_comments(ticket_id, include_internal=False) == []


def test_closing_never_moves_the_moment_of_resolution(system: TicketSystem) -> None:
    ticket_id = stored(system, status="in_progress")
    system.update_status(ticket_id, "resolved")
    resolved_at = known(system, ticket_id).resolved_at
    assert resolved_at is not None
    system.update_status(ticket_id, "closed")
    assert known(system, ticket_id).resolved_at == resolved_at


def test_closing_late_what_was_solved_in_time_is_no_breach(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    ticket_id = due_in(system, -100 * 3600, status="in_progress")
    with system.database.write() as connection:
        system._changes(connection).set_status(ticket_id, "resolved", now=now - 102 * HOUR)
    system.update_status(ticket_id, "closed")
    assert known(system, ticket_id).is_breached() is False
    assert system.check_sla_breach(ticket_id)["is_breached"] is False
    assert system.check_sla_breach(ticket_id)["hours_remaining"] == pytest.approx(2, abs=0.01)
    assert rows_of(system.database, tables.events, tables.events.c.kind == "breached") == []


def test_on_hold_pauses_the_clock(system: TicketSystem) -> None:
    ticket_id = due_in(system, 0.4)
    system.update_status(ticket_id, "on_hold")
    with system.database.write() as connection:
        system._changes(connection).settle(ticket_id, now=datetime.now(UTC) + 1000 * HOUR)
    assert system.check_sla_breach(ticket_id)["is_breached"] is False
    assert system.check_sla_breach(ticket_id)["hours_remaining"] == 0.0
    assert known(system, ticket_id).sla_deadline() > datetime.now(UTC)
    assert system.get_breached_tickets() == []
    assert monitor.scan_breaches(system.database).found == 0


# --- escalate ----------------------------------------------------------------------------------------------------


def test_an_escalation_is_one_step_up_with_its_hours_and_deadline(system: TicketSystem) -> None:
    for before, after, hours in ((4, 3, 72), (3, 2, 24), (2, 1, 4), (1, 1, 4)):
        ticket_id = stored(system, priority=before, sla_hours=99)
        assert system.escalate(ticket_id) is True
        ticket = known(system, ticket_id)
        assert (ticket.priority, ticket.sla_hours) == (after, hours)
        assert ticket.sla_deadline() == ticket.created_at + hours * HOUR
        assert system.get_comments(ticket_id) == []
    assert system.escalate("unknown", "why") is False


def test_the_reason_of_an_escalation_becomes_an_internal_comment(system: TicketSystem) -> None:
    ticket_id = stored(system)
    system.escalate(ticket_id, "The board asked.")
    [comment] = system.get_comments(ticket_id)
    assert (comment.author, comment.is_internal) == ("system", True)
    assert comment.body == "Escalated: The board asked."


def test_an_escalation_that_puts_the_deadline_into_the_past_is_a_breach_now(system: TicketSystem) -> None:
    ticket_id = stored(system, priority=3, created_at=datetime.now(UTC) - 30 * HOUR)
    before = datetime.now(UTC)
    assert not known(system, ticket_id).is_breached()
    system.escalate(ticket_id)
    clock = known(system, ticket_id).clock
    assert clock is not None
    assert clock.breached_at is not None
    assert abs(clock.breached_at - before) < timedelta(seconds=30)
    assert (clock.breached_at, clock.cause) == (clock.detected_at, "retarget")
    [event] = rows_of(system.database, tables.events, tables.events.c.kind == "breached")
    assert event["note"] == "resolution retarget"
    monitor.scan_breaches(system.database)
    assert [row["key"] for row in rows_of(system.database, tables.outbox)] == [
        f"{ticket_id}/resolution/1/escalated/1/0/mail"
    ]
    assert system.get_breached_tickets()[0]["overdue_hours"] == 6.0


# --- life --------------------------------------------------------------------------------------------------------


def test_a_system_is_a_context_manager_over_a_file_that_stays(tmp_path: Any) -> None:
    path = tmp_path / "tickets.db"
    with TicketSystem(str(path)) as system:
        ticket = system.create_ticket(a_ticket())
    with TicketSystem(path) as again:
        assert again.get_ticket(ticket.id) == ticket


def test_a_database_in_memory_is_its_own_and_gone_in_the_end() -> None:
    with TicketSystem() as one, TicketSystem(":memory:") as two:
        one.create_ticket(a_ticket())
        assert len(one.get_queue()) == 1
        assert two.get_queue() == []


def test_a_system_closes_on_an_error_too(tmp_path: Any) -> None:
    class Stop(Exception):
        pass

    with suppress(Stop), TicketSystem(tmp_path / "tickets.db") as system:
        system.create_ticket(a_ticket(id="kept"))
        raise Stop
    with TicketSystem(tmp_path / "tickets.db") as again:
        assert again.get_ticket("kept") is not None
