"""Random legal histories on every database: what is stored can be rebuilt from the events, and no scan changes it."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import a_comment, a_ticket
from ticket_system import DEFAULT_SLA, STATUS_FLOW, Ticket, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.sla import clocks as rules
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


def play(system: TicketSystem, first: dict[str, Any], steps: list[Step], *, scans: bool) -> Ticket:
    """Open a ticket and change it; without `scans`, nobody looks before the end."""
    ticket_id = f"t{next(numbers)}"
    with system.database.write() as connection:
        Changes(connection).create(a_ticket(id=ticket_id, created_at=START, updated_at=START, **first))
    for minute, verb, values, more in steps:
        if verb == "scan":
            if scans:
                monitor.scan_breaches(system.database, now=at(minute))
            continue
        with system.database.write() as connection:
            changes = Changes(connection)
            if verb == "comment":
                changes.comment(a_comment(ticket_id, id=f"c{next(numbers)}"), now=at(minute))
            else:
                assert getattr(changes, verb)(ticket_id, *values, now=at(minute), **more) is not False
    with system.database.write() as connection:
        Changes(connection).settle(ticket_id, now=at(steps[-1][0] if steps else 0))
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
    ticket = play(system, *history, scans=True)
    told, rebuilt = system.get_history(ticket.id), Rebuilt()
    for event in told:
        rebuilt.apply(event)
    assert ticket.clock
    assert rebuilt.clock
    assert rebuilt == Rebuilt(
        ticket.status, ticket.priority, ticket.sla_hours, ticket.assignee, ticket.resolved_at, rebuilt.clock
    )
    end = at(history[1][-1][0] if history[1] else 0)
    assert without_detection(rules.settle(rebuilt.clock, end)) == without_detection(ticket.clock)
    breaches = [event for event in told if event.kind == "breached"]
    assert [event.at for event in breaches] == [ticket.clock.breached_at] * len(breaches)
    assert len(breaches) == (ticket.clock.breached_at is not None)
    assert len([event for event in told if event.key]) == len({event.key for event in told if event.key})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_no_outcome_depends_on_when_a_scan_ran(
    system: TicketSystem, history: tuple[dict[str, Any], list[Step]]
) -> None:
    """Rule 7: neither the verdict nor the escalation that follows from it."""
    first, steps = history
    never, often = play(system, first, steps, scans=False), play(system, first, steps, scans=True)
    assert never.clock
    assert often.clock
    assert without_detection(replace(often.clock, ticket_id=never.id)) == without_detection(never.clock)
    assert replace(often, id=never.id, description="") == replace(never, description="")


def without_detection(clock: rules.Clock) -> rules.Clock:
    """A clock without what depends on who found its breach, and when."""
    return replace(clock, detected_at=None, next_check_at=None)
