"""The front door, line by line as its contract says, on every database."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.contents import Sabotage, everything, failing_at, rows_of
from tests.support.factories import a_comment, a_ticket, a_ticket_due_in
from ticket_system import (
    DuplicateTicket,
    InvalidTicket,
    InvalidTransition,
    Status,
    StorageUnavailable,
    Ticket,
    TicketNotFound,
    TicketSystem,
    TicketSystemError,
    monitor,
)
from ticket_system.storage import tables

HOUR = timedelta(hours=1)


def stored(system: TicketSystem, **changes: Any) -> str:
    return system.create_ticket(a_ticket(id=Ticket("", "", "").id, **changes)).id


def due_in(system: TicketSystem, seconds: float, **changes: Any) -> str:
    return system.create_ticket(a_ticket_due_in(seconds, id=Ticket("", "", "").id, **changes)).id


def known(system: TicketSystem, ticket_id: str) -> Ticket:
    ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    return ticket


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


@pytest.mark.parametrize("ticket_id", ("nul \x00", "surrogate \ud800", "x" * 100_000, None, 7, ["t"], b"t"), ids=ascii)
def test_an_id_that_no_ticket_can_have_is_unknown_everywhere(system: TicketSystem, ticket_id: Any) -> None:
    assert system.get_ticket(ticket_id) is None
    assert system.assign_ticket(ticket_id, "grace") is False
    assert system.update_status(ticket_id, "closed") is False
    assert system.escalate(ticket_id) is False
    assert system.get_comments(ticket_id) == []
    assert system.get_history(ticket_id) == []
    with pytest.raises(TicketNotFound):
        system.check_sla_breach(ticket_id)
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


@pytest.mark.parametrize("status", ("in_progress", "review", "on_hold", "resolved", "closed", "cancelled"))
def test_only_an_open_ticket_is_assigned(system: TicketSystem, status: str) -> None:
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


@pytest.mark.parametrize(
    ("old", "new"),
    (("open", "resolved"), ("open", "open"), ("closed", "open"), ("cancelled", "open"), ("open", "OPEN"),
     ("open", "bogus"), ("open", ""), ("review", "on_hold"), ("resolved", "resolved"), ("open", None), ("open", 3)),
)  # fmt: skip
def test_a_move_the_flow_does_not_have_is_an_error(system: TicketSystem, old: str, new: Any) -> None:
    ticket_id = stored(system, status=old)
    before = everything(system.database)
    with pytest.raises(InvalidTransition, match=r"^Invalid transition") as caught:
        system.update_status(ticket_id, new, note="why")
    assert isinstance(caught.value, ValueError)
    assert (caught.value.ticket_id, caught.value.old, caught.value.new) == (ticket_id, old, str(new))
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


@pytest.mark.parametrize(("before", "after", "hours"), ((4, 3, 72), (3, 2, 24), (2, 1, 4), (1, 1, 4)))
def test_an_escalation_is_one_step_up_with_its_hours_and_deadline(
    system: TicketSystem, before: int, after: int, hours: int
) -> None:
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
    assert [row["key"] for row in rows_of(system.database, tables.outbox)] == [f"{event['key']}/mail"]
    assert system.get_breached_tickets()[0]["overdue_hours"] == 6.0


# --- check_sla_breach --------------------------------------------------------------------------------------------


def test_where_a_ticket_stands_is_told_in_words_that_json_knows(system: TicketSystem) -> None:
    ticket = a_ticket(priority=2, sla_hours=24, created_at=datetime.now(UTC) - 4.5 * HOUR)
    system.create_ticket(ticket)
    told = system.check_sla_breach(ticket.id)
    assert list(told) == [
        "ticket_id", "priority", "priority_label", "sla_hours", "created_at", "sla_deadline", "is_breached",
        "hours_remaining",
    ]  # fmt: skip
    assert json.loads(json.dumps(told)) == told
    assert told == {
        "ticket_id": ticket.id,
        "priority": 2,
        "priority_label": "high",
        "sla_hours": 24,
        "created_at": ticket.created_at.isoformat(),
        "sla_deadline": (ticket.created_at + 24 * HOUR).isoformat(),
        "is_breached": False,
        "hours_remaining": pytest.approx(19.5, abs=0.02),
    }
    assert told["created_at"].endswith("+00:00")
    assert told["hours_remaining"] == round(told["hours_remaining"], 2)


def test_hours_of_a_late_ticket_are_negative(system: TicketSystem) -> None:
    told = system.check_sla_breach(due_in(system, -90 * 60))
    assert (told["is_breached"], told["hours_remaining"]) == (True, -1.5)


def test_hours_stop_when_the_ticket_is_done(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    ticket_id = due_in(system, -50 * 3600, status="in_progress")
    with system.database.write() as connection:
        system._changes(connection).set_status(ticket_id, "resolved", now=now - 49 * HOUR)
    told = system.check_sla_breach(ticket_id)
    assert (told["is_breached"], told["hours_remaining"]) == (True, -1.0)


@pytest.mark.parametrize("status", ("resolved", "closed", "cancelled"))
def test_a_ticket_created_done_never_had_a_promise_to_break(system: TicketSystem, status: str) -> None:
    """Rule 13; whoever asks gets the same answer."""
    created_at = datetime.now(UTC) - 500 * HOUR
    ticket_id = stored(system, status=status, created_at=created_at, resolved_at=created_at + 400 * HOUR)
    assert known(system, ticket_id).clock is None
    assert system.check_sla_breach(ticket_id)["is_breached"] is known(system, ticket_id).is_breached()
    assert monitor.scan_breaches(system.database).found == 0


def test_an_unknown_ticket_has_no_deadline(system: TicketSystem) -> None:
    with pytest.raises(TicketNotFound, match="unknown") as caught:
        system.check_sla_breach("unknown")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, TicketSystemError)


# --- get_breached_tickets ----------------------------------------------------------------------------------------


def test_late_tickets_are_listed_worst_first_found_by_a_scan_or_not(system: TicketSystem) -> None:
    due_in(system, 3600)
    two, nine = due_in(system, -2 * 3600, title="two"), due_in(system, -9 * 3600, title="nine", assignee="grace")
    monitor.scan_breaches(system.database)
    five = due_in(system, -5 * 3600 - 300, title="five")
    late = system.get_breached_tickets()
    assert late == [
        {"ticket_id": nine, "title": "nine", "priority": "critical", "assignee": "grace", "overdue_hours": 9.0},
        {"ticket_id": five, "title": "five", "priority": "critical", "assignee": None, "overdue_hours": 5.1},
        {"ticket_id": two, "title": "two", "priority": "critical", "assignee": None, "overdue_hours": 2.0},
    ]
    assert json.loads(json.dumps(late)) == late


def test_only_active_tickets_are_listed_as_late(system: TicketSystem) -> None:
    for scanned in (False, True):
        done, cancelled = due_in(system, -3600, status="in_progress"), due_in(system, -3600)
        if scanned:
            monitor.scan_breaches(system.database)
        assert {row["ticket_id"] for row in system.get_breached_tickets()} == {done, cancelled}
        system.update_status(done, "resolved")
        system.update_status(cancelled, "cancelled")
        assert system.get_breached_tickets() == []
        system.update_status(done, "open")
        assert [row["ticket_id"] for row in system.get_breached_tickets()] == [done], "a breach is permanent"
        system.update_status(done, "cancelled")


# --- comments ----------------------------------------------------------------------------------------------------


def test_comments_are_kept_in_the_order_of_their_time(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    ticket_id = stored(system, updated_at=now - HOUR)
    third = a_comment(ticket_id, id="c", created_at=now)
    first = a_comment(ticket_id, id="b", created_at=now - 2 * HOUR, is_internal=True)
    second = a_comment(ticket_id, id="a", created_at=(now - HOUR).replace(tzinfo=None), body="tab\tand\nnewline 😀")
    assert [system.add_comment(comment) for comment in (third, first, second)] == [third, first, second]
    assert system.get_comments(ticket_id) == [first, second, third]
    assert system.get_comments(ticket_id, include_internal=False) == [second, third]
    assert system.get_comments(ticket_id)[1].created_at == now - HOUR
    assert known(system, ticket_id).updated_at > now - HOUR


def test_a_comment_on_no_ticket_is_an_error_and_is_not_kept(system: TicketSystem) -> None:
    with pytest.raises(TicketNotFound) as caught:
        system.add_comment(a_comment("unknown"))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LookupError)
    assert rows_of(system.database, tables.comments) == []
    assert system.get_comments("unknown") == []


def test_a_comment_is_stored_once(system: TicketSystem) -> None:
    comment = system.add_comment(a_comment(stored(system)))
    before = everything(system.database)
    with pytest.raises(InvalidTicket, match=comment.id):
        system.add_comment(comment)
    assert everything(system.database) == before


# --- queue -------------------------------------------------------------------------------------------------------


def test_the_queue_is_by_priority_then_age(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    for name, priority, age in (("c", 3, 1), ("a", 1, 1), ("d", 3, 0), ("b", 1, 0), ("e", 4, 9)):
        system.create_ticket(a_ticket(id=name, priority=priority, created_at=now - age * HOUR))
    assert [ticket.id for ticket in system.get_queue()] == ["a", "b", "c", "d", "e"]
    assert [ticket.id for ticket in system.get_queue(limit=2)] == ["a", "b"]
    assert [ticket.id for ticket in system.get_queue(priority=3)] == ["c", "d"]
    assert known(system, "a") in system.get_queue()
    assert system.get_queue()[0].sla_deadline() == known(system, "a").sla_deadline()


def test_the_queue_holds_active_tickets_unless_an_assignee_or_a_status_is_asked_for(system: TicketSystem) -> None:
    every = ("open", "in_progress", "review", "on_hold", "resolved", "closed", "cancelled")
    for status in every:
        system.create_ticket(a_ticket(id=status, status=status, assignee="grace"))
        system.create_ticket(a_ticket(id=f"{status} of nobody", status=status))

    def ids(**query: Any) -> set[str]:
        return {ticket.id for ticket in system.get_queue(**query)}

    active = set(every[:4])
    assert ids() == active | {f"{status} of nobody" for status in active}
    assert ids(assignee="grace") == set(every)
    assert ids(status="closed") == {"closed", "closed of nobody"}
    assert ids(status="closed", assignee="grace") == {"closed"}
    assert ids(priority=3) == ids()
    assert ids(priority=1) == ids(assignee="nobody") == ids(assignee="nul \x00") == set()


@pytest.mark.parametrize(
    "query", ({"status": "bogus"}, {"status": []}, {"priority": 0}, {"priority": True}, {"priority": "1"}), ids=repr
)
def test_a_queue_that_makes_no_sense_is_refused(system: TicketSystem, query: dict[str, Any]) -> None:
    with pytest.raises(InvalidTicket, match=next(iter(query))):
        system.get_queue(**query)


# --- report ------------------------------------------------------------------------------------------------------


def test_the_report_of_an_empty_desk(system: TicketSystem) -> None:
    told = system.generate_report()
    assert list(told) == [
        "report_days", "generated_at", "total_opened", "total_resolved", "avg_resolution_hours",
        "sla_breach_rate_pct", "by_priority", "open_by_assignee", "currently_open",
    ]  # fmt: skip
    assert json.loads(json.dumps(told)) == told
    assert abs(datetime.fromisoformat(told.pop("generated_at")) - datetime.now(UTC)) < timedelta(minutes=1)
    nothing = {"opened": 0, "resolved": 0}
    assert told == {
        "report_days": 7,
        "total_opened": 0,
        "total_resolved": 0,
        "avg_resolution_hours": None,
        "sla_breach_rate_pct": 0.0,
        "by_priority": {"critical": nothing, "high": nothing, "medium": nothing, "low": nothing},
        "open_by_assignee": {},
        "currently_open": 0,
    }


def test_one_breach_of_five_decided_tickets_is_twenty_percent(system: TicketSystem) -> None:
    late = due_in(system, -60)
    in_time = [due_in(system, 3600) for _ in range(4)]
    stored(system, title="not decided yet")
    for ticket_id in (late, *in_time):
        for status in ("in_progress", "review", "in_progress", "resolved", "closed"):
            system.update_status(ticket_id, status)
    told = system.generate_report()
    assert told["sla_breach_rate_pct"] == 20.0
    assert (told["total_opened"], told["total_resolved"], told["currently_open"]) == (6, 5, 1)
    assert told["by_priority"]["critical"] == {"opened": 5, "resolved": 5}


@pytest.mark.parametrize("days", (0, -1, 10**9, 1.5, True, "7", None))
def test_a_report_over_days_that_make_no_sense_is_refused(system: TicketSystem, days: Any) -> None:
    with pytest.raises(InvalidTicket, match="days"):
        system.generate_report(days)


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


# --- all or nothing ----------------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[TicketSystem], object]] = {
    "create": lambda system: system.create_ticket(a_ticket(id="new")),
    "assign": lambda system: system.assign_ticket("late", "grace"),
    "hold, late": lambda system: system.update_status("late", "on_hold", note="waiting"),
    "resolve, late": lambda system: system.update_status("begun", "resolved", note="done"),
    "escalate into the past": lambda system: system.escalate("old", "why"),
    "comment": lambda system: system.add_comment(a_comment("late")),
    "scan": lambda system: monitor.scan_breaches(system.database),
    "escalate, by itself": lambda system: monitor.escalate(system.database),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_failure_at_any_statement_leaves_nothing_half_written(system: TicketSystem, verb: str) -> None:
    old = datetime.now(UTC) - 30 * HOUR
    system.create_ticket(a_ticket(id="old", priority=3, created_at=old))
    system.create_ticket(a_ticket_due_in(-10, id="found"))
    monitor.scan_breaches(system.database)
    system.create_ticket(a_ticket_due_in(-5, id="late"))
    system.create_ticket(a_ticket_due_in(-5, id="begun", status="in_progress"))
    before = everything(system.database)
    failed = 0
    while True:
        with failing_at(system.database, failed + 1) as statements:
            try:
                VERBS[verb](system)
            except Sabotage:
                assert everything(system.database) == before, statements
            else:
                break
        failed += 1
    assert failed == len(statements) > 0, "each statement was made to fail once, and then all ran"
    assert everything(system.database) != before


def test_trouble_with_the_database_is_one_kind_of_error(system: TicketSystem) -> None:
    with system.database.write() as connection:
        connection.execute(sa.text("DROP TABLE outbox"))
    ticket_id = due_in(system, -5, status="in_progress")
    with pytest.raises((StorageUnavailable, sa.exc.ProgrammingError)):
        system.update_status(ticket_id, "resolved")
    assert known(system, ticket_id).status == "in_progress"


def test_hours_are_numbers_and_never_nan(system: TicketSystem) -> None:
    told = system.check_sla_breach(stored(system, sla_hours=87_600))
    assert math.isclose(told["hours_remaining"], 87_600, abs_tol=0.1)
