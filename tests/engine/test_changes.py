"""Every change at a moment that is given: what it writes, what it writes beside it, and whom it wakes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.contents import everything, rows_of
from tests.support.factories import a_comment, a_ticket
from ticket_system import InvalidTicket, InvalidTransition, Ticket, TicketNotFound, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.policies import Policy, by_hours
from ticket_system.storage import tables
from ticket_system.storage.database import Database
from ticket_system.storage.events import Event

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def opened(database: Database, **changes: Any) -> str:
    """A critical ticket of four hours, opened at START."""
    ticket = a_ticket(**{"id": "t", "priority": 1, "sla_hours": 4, "created_at": START, "updated_at": START} | changes)
    with database.write() as connection:
        Changes(connection).create(ticket)
    return ticket.id


def change(database: Database, verb: str, *values: Any, hours: float, **more: Any) -> Any:
    policy = more.pop("policy", Policy())
    with database.write() as connection:
        changes = Changes(connection, policy=policy, alarms=more.pop("alarms", True))
        return getattr(changes, verb)(*values, now=at(hours), **more)


def clock(system: TicketSystem, ticket_id: str = "t") -> Clock:
    ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    assert ticket.clock is not None
    return ticket.clock


def history(system: TicketSystem, *kinds: str) -> list[Event]:
    return [event for event in system.get_history("t") if not kinds or event.kind in kinds]


# --- events ------------------------------------------------------------------------------------------------------


def test_who_did_what_when_from_what_to_what(system: TicketSystem) -> None:
    database = system.database
    opened(database, assignee="alan")
    change(database, "assign", "t", "grace", actor="boss", hours=0.25)
    change(database, "set_status", "t", "review", actor="grace", note="Look, please.", hours=0.5)
    change(database, "set_priority", "t", 2, actor="alan", hours=0.75)
    change(database, "escalate", "t", "The board asked.", actor="boss", hours=1)
    change(database, "reassign", "t", None, actor="grace", hours=1.25)
    comment = a_comment("t", author="ada")
    change(database, "comment", comment, hours=1.5)
    change(database, "set_status", "t", "resolved", actor="grace", hours=2)
    facts = {"status": "open", "priority": 1, "sla_hours": 4, "assignee": "alan"}
    first, *rest = history(system)
    assert (first.at, first.kind, first.actor, first.old) == (START, "created", "ada", None)
    assert json.loads(first.new or "") == facts
    assert [(event.at, event.kind, event.actor, event.old, event.new) for event in rest] == [
        (at(0.25), "assigned", "boss", "alan", "grace"),
        (at(0.25), "status", "boss", "open", "in_progress"),
        (at(0.5), "status", "grace", "in_progress", "review"),
        (at(0.75), "priority", "alan", "1", "2"),
        (at(1), "escalated", "boss", "2", "1"),
        (at(1.25), "assigned", "grace", "grace", None),
        (at(1.5), "commented", "ada", None, "public"),
        (at(2), "status", "grace", "review", "resolved"),
    ]
    assert [event.note for event in history(system, "escalated", "commented")] == ["The board asked.", comment.id]
    promised = ['{"sla_hours":24}', '{"sla_hours":4}']
    assert [event.detail for event in history(system, "priority", "escalated")] == promised
    assert all(event.key is None for event in rest), "none of these may happen once only"


def test_what_was_refused_is_not_written_down(system: TicketSystem) -> None:
    opened(system.database, status="resolved", resolved_at=START)
    before = everything(system.database)
    for done in ("assign", "reassign"):
        assert change(system.database, done, "t", "grace", hours=1) is False
    with pytest.raises(InvalidTransition):
        change(system.database, "set_status", "t", "review", hours=1)
    for verb, value in (("assign", "grace"), ("reassign", None), ("set_status", "closed"), ("set_priority", 1)):
        assert change(system.database, verb, "no", value, hours=1) is False
    assert change(system.database, "escalate", "no", hours=1) is False
    assert change(system.database, "settle", "no", hours=1) is None
    with pytest.raises(TicketNotFound):
        change(system.database, "comment", a_comment("no"), hours=1)
    assert everything(system.database) == before


NONSENSE: tuple[tuple[str, tuple[Any, ...], dict[str, Any], str], ...] = (
    ("assign", ("",), {}, "assignee"),
    ("assign", (None,), {}, "assignee"),
    ("reassign", ("two\nlines",), {}, "assignee"),
    ("set_status", ("in_progress",), {"actor": "\t"}, "author"),
    ("set_status", ("in_progress",), {"note": "\x00"}, "note"),
    ("set_priority", (5,), {}, "priority"),
    ("set_priority", (True,), {}, "priority"),
    ("set_priority", (1,), {"sla_hours": 0}, "sla_hours"),
    ("escalate", ("\ud800",), {}, "reason"),
    ("escalate", (None,), {}, "reason"),
)


def test_a_change_that_makes_no_sense_changes_nothing(system: TicketSystem) -> None:
    opened(system.database)
    before = everything(system.database)
    for verb, values, more, field in NONSENSE:
        with pytest.raises(InvalidTicket, match=field):
            change(system.database, verb, "t", *values, hours=1, **more)
        assert everything(system.database) == before


def test_a_change_needs_a_moment_that_exists(system: TicketSystem) -> None:
    opened(system.database)
    with system.database.write() as connection, pytest.raises(InvalidTicket, match="now"):
        Changes(connection).set_status("t", "on_hold", now="yesterday")  # type: ignore[arg-type]
    with system.database.write() as connection:
        Changes(connection).set_status("t", "on_hold", now=at(1).replace(tzinfo=None))
    assert clock(system).paused_at == at(1)


# --- verdicts ----------------------------------------------------------------------------------------------------


def test_a_breach_is_written_with_its_event_and_its_message(system: TicketSystem) -> None:
    opened(system.database)
    change(system.database, "set_status", "t", "on_hold", hours=5)
    key = "t/resolution/1/breached/0/0"
    [event] = history(system, "breached")
    assert event == Event("t", at(4), "breached", "system", "running", "breached", "resolution deadline", key)
    [message] = rows_of(system.database, tables.outbox)
    assert message.pop("id") == 1
    assert message == {
        "key": "t/resolution/1/escalated/1/0/mail", "kind": "escalated", "ticket_id": "t", "state": "pending",
        "attempts": 0,
        "created_at": at(5), "next_attempt_at": at(5), "lease": None, "error": None, "sent_at": None,
        "destination": "mail", "bundle_id": None,
    }  # fmt: skip
    assert (clock(system).breached_at, clock(system).detected_at, clock(system).cause) == (at(4), at(5), "deadline")
    assert clock(system).state is ClockState.BREACHED, "a pause that comes too late is none"


@pytest.mark.parametrize(("hours", "breached"), ((4, False), (4 + 1e-6, True)))
def test_done_between_two_scans_the_verdict_is_reached_with_the_change(
    system: TicketSystem, hours: float, breached: bool
) -> None:
    """Rules 5 and 7."""
    opened(system.database, status="in_progress")
    change(system.database, "set_status", "t", "resolved", hours=hours)
    assert clock(system).state is (ClockState.BREACHED if breached else ClockState.MET)
    assert len(rows_of(system.database, tables.outbox)) == breached
    assert monitor.scan_breaches(system.database, now=at(100)).found == 0


def test_settled_twice_is_settled_once(system: TicketSystem) -> None:
    opened(system.database)
    change(system.database, "settle", "t", hours=4)
    assert clock(system).state is ClockState.RUNNING
    change(system.database, "settle", "t", hours=5)
    before = everything(system.database)
    change(system.database, "settle", "t", hours=6)
    assert everything(system.database) == before


def test_a_breach_is_announced_once_however_often_the_ticket_comes_back(system: TicketSystem) -> None:
    opened(system.database, status="in_progress")
    for begin in (5, 10, 15):
        change(system.database, "set_status", "t", "resolved", hours=begin)
        change(system.database, "set_status", "t", "open", hours=begin + 1)
        change(system.database, "set_status", "t", "in_progress", hours=begin + 2)
        change(system.database, "escalate", "t", hours=begin + 3)
    assert len(history(system, "breached")) == len(rows_of(system.database, tables.outbox)) == 1


def test_the_moment_of_resolution_is_that_of_the_last_cycle(system: TicketSystem) -> None:
    opened(system.database, status="in_progress")
    resolved = []
    for hours, status in ((1, "resolved"), (2, "open"), (3, "in_progress"), (3.5, "resolved"), (9, "closed")):
        change(system.database, "set_status", "t", status, hours=hours)
        ticket = system.get_ticket("t")
        assert ticket is not None
        assert ticket.updated_at == at(hours)
        resolved.append(ticket.resolved_at)
    assert resolved == [at(1), None, None, at(3.5), at(3.5)]
    assert (clock(system).state, clock(system).stopped_at, clock(system).due_at) == (ClockState.MET, at(3.5), at(5))


def test_cancelled_late_is_on_record_and_counts_nowhere(system: TicketSystem) -> None:
    """Rule 20."""
    created_at = datetime.now(UTC) - timedelta(hours=5)
    opened(system.database, created_at=created_at)
    system.update_status("t", "cancelled")
    assert clock(system).state is ClockState.CANCELLED
    assert clock(system).breached_at == created_at + timedelta(hours=4)
    assert system.check_sla_breach("t")["is_breached"] is False
    assert system.get_breached_tickets() == []
    assert system.generate_report()["sla_breach_rate_pct"] == 0.0
    assert monitor.scan_breaches(system.database).found == 0


def test_a_new_promise_may_name_its_hours(system: TicketSystem) -> None:
    opened(system.database)
    change(system.database, "set_priority", "t", 2, sla_hours=30, hours=1)
    ticket = system.get_ticket("t")
    assert ticket is not None
    assert (ticket.priority, ticket.sla_hours, ticket.sla_deadline()) == (2, 30, at(30))
    change(system.database, "set_priority", "t", 4, hours=1)
    ticket = system.get_ticket("t")
    assert ticket is not None
    assert (ticket.priority, ticket.sla_hours, ticket.sla_deadline()) == (4, 168, at(168))


def test_created_paused_created_done_created_late(system: TicketSystem) -> None:
    """Rule 13."""
    opened(system.database, status="on_hold")
    assert (clock(system).state, clock(system).paused_at) == (ClockState.PAUSED, START)
    change(system.database, "set_status", "t", "open", hours=50)
    assert clock(system).due_at == at(54)
    opened(system.database, id="done", status="closed")
    assert rows_of(system.database, tables.clocks, tables.clocks.c.ticket_id == "done") == []
    opened(system.database, id="late")
    assert clock(system, "late").state is ClockState.RUNNING, "a scan, or the first change, finds it"
    assert monitor.scan_breaches(system.database, now=at(5)).found == 1


def test_a_policy_says_which_statuses_pause_and_how_many_hours_a_priority_gets(system: TicketSystem) -> None:
    policy = by_hours({1: 1, 2: 2, 3: 3, 4: 4}, pausing=frozenset({"review"}))
    opened(system.database, status="in_progress")
    change(system.database, "set_status", "t", "on_hold", hours=1, policy=policy)
    assert clock(system).state is ClockState.RUNNING
    change(system.database, "set_status", "t", "in_progress", hours=2, policy=policy)
    change(system.database, "set_status", "t", "review", hours=3, policy=policy)
    assert (clock(system).state, clock(system).remaining) == (ClockState.PAUSED, timedelta(hours=1))
    change(system.database, "set_status", "t", "in_progress", hours=10, policy=policy)
    assert clock(system).due_at == at(11)
    change(system.database, "set_priority", "t", 4, hours=10, policy=policy)
    assert clock(system).due_at == at(4 + 7)
    with TicketSystem(system.database, policy=policy) as other:
        ticket = other.create_ticket(a_ticket(id="u", status="review"))
        assert ticket.clock is not None
        assert ticket.clock.state is ClockState.PAUSED
        assert other.auto_priority("outage") == (1, 1)


# --- alarms ------------------------------------------------------------------------------------------------------


def test_without_alarms_a_breach_is_recorded_and_nobody_is_woken(system: TicketSystem) -> None:
    opened(system.database, status="in_progress")
    change(system.database, "settle", "t", hours=5, alarms=False)
    assert clock(system).state is ClockState.BREACHED
    assert len(history(system, "breached")) == 1
    nobody_is_woken(system)


def test_without_alarms_a_late_ticket_that_comes_back_wakes_nobody_either(system: TicketSystem) -> None:
    opened(system.database, status="in_progress")
    for hours, status in ((5, "resolved"), (6, "open"), (7, "on_hold"), (8, "open")):
        change(system.database, "set_status", "t", status, hours=hours, alarms=False)
    change(system.database, "escalate", "t", hours=9, alarms=False)
    nobody_is_woken(system)


def nobody_is_woken(system: TicketSystem) -> None:
    assert monitor.scan_breaches(system.database, now=at(1000)).found == 0
    assert rows_of(system.database, tables.outbox) == []
    assert rows_of(system.database, tables.comments) == []
    assert [event for event in history(system, "escalated") if event.key] == []


def test_several_changes_of_one_transaction_are_kept_together(database: Database) -> None:
    class Stop(Exception):
        pass

    opened(database)
    before = everything(database)
    with pytest.raises(Stop), database.write() as connection:  # noqa: PT012
        changes = Changes(connection)
        changes.create(Ticket("u", "", "ada", id="u", created_at=START))
        changes.assign("t", "grace", now=at(1))
        changes.settle("t", now=at(5))
        raise Stop
    assert everything(database) == before
