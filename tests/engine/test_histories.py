"""Random legal histories on every database: what is stored can be rebuilt from the events, and no scan changes it."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from ticket_system import DEFAULT_SLA, STATUS_FLOW, Ticket, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.sla import clocks as rules
from ticket_system.storage import tables
from ticket_system.storage.events import Event

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)
PAUSING = frozenset({"on_hold"})
numbers = count()

Step = tuple[int, str, tuple[Any, ...], dict[str, Any]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Any], list[Step]]:
    """How a ticket is opened, and changes at rising minutes, each allowed where it comes."""
    status = draw(st.sampled_from(("open", "in_progress", "on_hold")))
    first = {
        "status": status,
        "priority": draw(st.integers(1, 4)),
        "sla_hours": draw(st.integers(1, 8)),
        "assignee": draw(st.sampled_from((None, "alan"))),
    }
    minute, steps = 0, []
    for _ in range(draw(st.integers(0, 10))):
        minute += draw(st.integers(0, 300))
        verbs = ["set_priority", "escalate", "comment", "scan", "scan"]
        verbs += ["set_status"] * 4 if STATUS_FLOW[status] else []
        verbs += ["reassign"] if status in {"open", "in_progress", "review", "on_hold"} else []
        verbs += ["assign"] if status == "open" else []
        verb = draw(st.sampled_from(verbs))
        values: tuple[Any, ...] = ()
        more: dict[str, Any] = {}
        match verb:
            case "set_status":
                status = draw(st.sampled_from(STATUS_FLOW[status]))
                values = (status,)
            case "assign":
                status, values = "in_progress", ("grace",)
            case "reassign":
                values = (draw(st.sampled_from((None, "ada", "alan"))),)
            case "set_priority":
                values = (draw(st.integers(1, 4)),)
                more = draw(st.sampled_from(({}, {"sla_hours": 1}, {"sla_hours": 30})))
            case _:
                pass
        steps.append((minute, verb, values, more))
    return first, steps


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def end_of(steps: list[Step]) -> int:
    return steps[-1][0] if steps else 0


def drawn(steps: list[Step]) -> list[int]:
    """When a history has somebody look."""
    return [minute for minute, verb, _, _ in steps if verb == "scan"]


def play(system: TicketSystem, first: dict[str, Any], steps: list[Step], *, scans: Iterable[int]) -> Ticket:
    """Open a ticket and change it, and look for what is due at these minutes; at the end, what was due has happened."""
    ticket_id, ahead = f"t{next(numbers)}", deque(sorted(scans))
    with system.database.write() as connection:
        Changes(connection).create(a_ticket(id=ticket_id, created_at=START, updated_at=START, **first))
    for number, (minute, verb, values, more) in enumerate(steps):
        while ahead and ahead[0] <= minute:
            monitor.scan_breaches(system.database, now=at(ahead.popleft()))
        if verb == "scan":
            continue
        with system.database.write() as connection:
            changes = Changes(connection)
            if verb == "comment":
                changes.comment(a_comment(ticket_id, id=f"{ticket_id} c{number}"), now=at(minute))
            else:
                assert getattr(changes, verb)(ticket_id, *values, now=at(minute), **more) is not False
    with system.database.write() as connection:
        Changes(connection).settle(ticket_id, now=at(end_of(steps)))
    ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    return ticket


@dataclass
class Rebuilt:
    """A ticket as its events alone tell it, its clock by the pure rules."""

    status: str = ""
    priority: int = 0
    sla_hours: int = 0
    assignee: str | None = None
    resolved_at: datetime | None = None
    clock: rules.Clock | None = None

    def promise(self, hours: int, now: datetime) -> None:
        assert self.clock
        self.sla_hours, self.clock = hours, rules.retarget(self.clock, timedelta(hours=hours), now)

    def apply(self, event: Event) -> None:
        match event.kind:
            case "created":
                facts = json.loads(event.new or "")
                self.assignee = facts.pop("assignee", None)
                self.status, self.priority, self.sla_hours = facts["status"], facts["priority"], facts["sla_hours"]
                paused = self.status in PAUSING
                target = timedelta(hours=self.sla_hours)
                self.clock = rules.start(event.ticket_id, event.at, target, paused=paused)
            case "status":
                assert self.clock
                assert event.old == self.status
                assert event.new
                self.clock = rules.follow(self.clock, self.status, event.new, pausing=PAUSING, now=event.at)
                self.status = event.new
                if event.new != "closed":
                    self.resolved_at = event.at if event.new == "resolved" else None
            case "assigned":
                assert event.old == self.assignee
                self.assignee = event.new
            case "priority" | "escalated":
                assert event.old == str(self.priority)
                self.priority = int(event.new or "")
                if event.kind == "priority":
                    self.promise(int((event.note or "").removesuffix(" hours")), event.at)
                elif event.key is None:
                    self.promise(DEFAULT_SLA[self.priority], event.at)
            case _:
                assert event.kind in {"breached", "commented"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_a_ticket_can_be_rebuilt_from_its_events_alone(
    system: TicketSystem, history: tuple[dict[str, Any], list[Step]]
) -> None:
    ticket = play(system, *history, scans=drawn(history[1]))
    told, rebuilt = system.get_history(ticket.id), Rebuilt()
    for event in told:
        rebuilt.apply(event)
    assert ticket.clock
    assert rebuilt.clock
    assert rebuilt == Rebuilt(
        ticket.status, ticket.priority, ticket.sla_hours, ticket.assignee, ticket.resolved_at, rebuilt.clock
    )
    end = at(end_of(history[1]))
    assert without_detection(rules.settle(rebuilt.clock, end)) == without_detection(ticket.clock)
    breaches = [event for event in told if event.kind == "breached"]
    assert [event.at for event in breaches] == [ticket.clock.breached_at] * len(breaches)
    assert len(breaches) == (ticket.clock.breached_at is not None)
    assert len([event for event in told if is_raised(event)]) <= len(breaches)
    assert len([event for event in told if event.key]) == len({event.key for event in told if event.key})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_no_outcome_depends_on_when_a_scan_ran(
    system: TicketSystem, history: tuple[dict[str, Any], list[Step]]
) -> None:
    """Rule 7: neither the verdict nor what is raised because of it, told to anybody, or still to come."""
    first, steps = history
    never = play(system, first, steps, scans=())
    expected = outcome(system, never)
    for scans in (drawn(steps), range(0, end_of(steps) + 1, 45)):
        often = play(system, first, steps, scans=scans)
        assert outcome(system, often) == expected
        # When it was raised is all that a scan decides: after the deadline, and before whatever came next.
        assert often.updated_at <= never.updated_at
        assert often.clock
        for event in system.get_history(often.id):
            if is_raised(event):
                assert often.clock.breached_at
                assert often.clock.breached_at < event.at <= often.updated_at


def outcome(system: TicketSystem, ticket: Ticket) -> dict[str, Any]:
    """All that is stored of a ticket, but for its id, and the moments that depend on who looked, and when."""

    def named(value: Any) -> Any:
        return value.replace(ticket.id, "?") if isinstance(value, str) else value

    def stored(table: sa.Table, *left_out: str) -> list[dict[str, Any]]:
        rows = rows_of(system.database, table, table.c.ticket_id == ticket.id)
        return [{name: named(value) for name, value in row.items() if name not in left_out} for row in rows]

    assert ticket.clock
    remarks = [one for one in system.get_comments(ticket.id) if one.author == "system"]
    return {
        "ticket": replace(ticket, id="?", description="", updated_at=START),
        "clock": replace(ticket.clock, ticket_id="?", detected_at=None),
        "events": [
            replace(
                event,
                ticket_id="?",
                at=START if is_raised(event) else event.at,
                key=named(event.key),
                note=named(event.note),
                old=named(event.old),
                new=named(event.new),
            )
            for event in system.get_history(ticket.id)
        ],
        "told": stored(tables.outbox, "id", "created_at", "next_attempt_at"),
        "remarks": [(one.body, one.is_internal) for one in remarks],
        "still to come": stored(tables.alarms),
    }


def is_raised(event: Event) -> bool:
    """Whether it is an escalation by itself."""
    return event.kind == "escalated" and event.key is not None


def without_detection(clock: rules.Clock) -> rules.Clock:
    """A clock without what depends on who found its breach, and when."""
    return replace(clock, detected_at=None, next_check_at=None)
