"""The front door, line by line as its contract says, on every database: what it answers."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.contents import everything, rows_of
from tests.support.desk import due_in, known, stored
from tests.support.factories import a_comment, a_ticket
from ticket_system import (
    InvalidTicket,
    TicketNotFound,
    TicketSystem,
    TicketSystemError,
    monitor,
)
from ticket_system.storage import tables

HOUR = timedelta(hours=1)


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


def test_a_ticket_created_done_has_no_clock_and_whoever_asks_gets_the_same_answer(system: TicketSystem) -> None:
    """Rule 13."""
    created_at = datetime.now(UTC) - 500 * HOUR
    for status in ("resolved", "closed", "cancelled"):
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


@pytest.mark.parametrize("status", ("open", "on_hold", "resolved", "closed", "cancelled"))
def test_a_queue_by_status_is_read_from_an_index_in_its_order(system: TicketSystem, status: str) -> None:
    """However much was done over the years."""
    asked: list[Any] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    sa.event.listen(system.database.engine, "before_cursor_execute", keep)
    assert system.get_queue(status=status, limit=10) == []
    sa.event.remove(system.database.engine, "before_cursor_execute", keep)
    [(statement, parameters)] = [one for one in asked if "FROM tickets" in one[0]]
    words = "EXPLAIN QUERY PLAN" if system.database.dialect == "sqlite" else "EXPLAIN"
    with system.database.read() as connection:
        if system.database.dialect == "postgresql":
            # An empty table is read whole, unless somebody says that it is dear.
            for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
                connection.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        plan = str([row[-1] for row in connection.exec_driver_sql(f"{words} {statement}", parameters)])
    assert ("tickets_queue" if status in {"open", "on_hold"} else "tickets_done") in plan, plan


NO_QUERIES: tuple[dict[str, Any], ...] = (
    {"status": "bogus"},
    {"status": []},
    {"priority": 0},
    {"priority": True},
    {"priority": "1"},
)


def test_a_queue_that_makes_no_sense_is_refused(system: TicketSystem) -> None:
    for query in NO_QUERIES:
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


def test_a_report_over_days_that_make_no_sense_is_refused(system: TicketSystem) -> None:
    nonsense: tuple[Any, ...] = (0, -1, 10**9, 1.5, True, "7", None)
    for days in nonsense:
        with pytest.raises(InvalidTicket, match="days"):
            system.generate_report(days)


def test_hours_are_numbers_and_never_nan(system: TicketSystem) -> None:
    told = system.check_sla_breach(stored(system, sla_hours=87_600))
    assert math.isclose(told["hours_remaining"], 87_600, abs_tol=0.1)
