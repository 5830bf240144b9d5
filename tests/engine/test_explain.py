"""An explanation leaves no instant out, counts none twice, and comes to the promise exactly (26)."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.test_clocks_counted import Step as Move
from tests.engine.test_clocks_counted import histories
from tests.engine.test_replay import KEY, at, opened, told
from tests.support.factories import a_ticket
from ticket_system import TicketNotFound, TicketSystem
from ticket_system.changes import Changes
from ticket_system.sla import clocks as rules
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.explain import KINDS, Explanation, explain, without_clock
from ticket_system.sla.replay import Replayed, Step
from ticket_system.sla.terms import BUILT_IN, Fact, Terms
from ticket_system.storage import tables

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def explained(replayed: Replayed, now: datetime) -> Explanation:
    [only] = explain(replayed, now)
    return only


def check(found: Explanation, end: datetime) -> None:
    """No gap, no overlap, from the start to the end; only what is open counts."""
    assert all(one.kind in KINDS and one.rules and one.start < one.end for one in found.intervals)
    edges = [found.clock.started_at, *(one.end for one in found.intervals)]
    assert [one.start for one in found.intervals] == edges[:-1]
    assert edges[-1] == max(end, found.clock.started_at)
    counted = timedelta(0)
    for one in found.intervals:
        counted += one.end - one.start if one.kind == "open" else timedelta(0)
        assert (one.counted, one.open_seconds) == (counted, counted.total_seconds())


def end_of(clock: Clock, now: datetime) -> datetime:
    if clock.stopped_at:
        return clock.stopped_at
    return max(now, clock.due_at) if clock.state is ClockState.RUNNING and clock.due_at else now


def counted_by(found: Explanation, instant: datetime) -> timedelta:
    inside = [one for one in found.intervals if one.kind == "open" and one.start < instant]
    return sum((min(one.end, instant) - one.start for one in inside), start=timedelta(0))


def lived(target: int, paused: bool, moves: list[Move]) -> Replayed:
    """A replay of moves and new promises, in hours: events promise whole ones."""
    status = "on_hold" if paused else "open"
    events: list[tuple[Any, ...]] = []
    for hour, action in moves:
        if isinstance(action, int):
            events.append((hour, "priority", "2", "2", {"detail": f'{{"sla_hours":{action}}}'}))
        else:
            events.append((hour, "status", status, action))
            status = action
    return told(opened("on_hold" if paused else "open", hours=target), *events)


@settings(max_examples=300, deadline=None)
@given(histories())
def test_the_intervals_follow_one_another_and_come_to_the_target(history: tuple[int, bool, list[Move], int]) -> None:
    """(26)"""
    target, paused, moves, end = history
    now = at(end)
    found = explained(lived(target, paused, moves), now)
    clock = rules.settle(found.clock, now)
    check(found, end_of(clock, now))
    if clock.due_at is None or clock.cause == "retarget":
        return
    promised, counted = timedelta(seconds=clock.target_seconds), counted_by(found, clock.due_at)
    if clock.stopped_at and clock.stopped_at < clock.due_at:
        counted += clock.due_at - clock.stopped_at
    assert counted == promised


def test_what_a_person_reads_of_an_eventful_life() -> None:
    found = explained(
        told(
            opened(hours=8),
            (1, "status", "open", "on_hold"),
            (2, "status", "on_hold", "in_progress"),
            (3, "priority", "1", "2", {"detail": '{"sla_hours":6}'}),
            (4, "status", "in_progress", "resolved"),
            (6, "status", "resolved", "open"),
            (9, "breached", "running", "breached", {"key": "t/resolution/1/breached/0/0", "recorded_at": at(9.5)}),
            (9.5, "escalated", "2", "1", {"key": "t/resolution/1/escalated/1/0", "note": "resolution level 1"}),
            (10, "status", "open", "in_progress"),
            (11, "status", "in_progress", "resolved"),
        ),
        at(99),
    )
    check(found, at(11))
    assert [(one.start, one.kind, one.reason, one.open_seconds / 3600) for one in found.intervals] == [
        (at(0), "open", "counts around the clock", 1),
        (at(1), "paused", "paused while on_hold", 1),
        (at(2), "open", "counts around the clock", 3),
        (at(4), "stopped", "stopped while resolved", 3),
        (at(6), "open", "counts around the clock", 6),
        (at(9), "overdue", "past the deadline", 6),
    ]
    assert [(one.at, one.what, one.text, one.rules) for one in found.marks] == [
        (at(0), "started", "8 h promised", (2,)),
        (at(1), "paused", "open → on_hold", (12,)),
        (at(2), "resumed", "on_hold → in_progress", (12,)),
        (at(3), "re-targeted", "8 h → 6 h, by priority 1 → 2", (10,)),
        (at(4), "met", "in_progress → resolved", (5,)),
        (at(6), "reopened", "resolved → open; the time in between does not count", (14,)),
        (at(9), "due", "the deadline", (2,)),
        (at(9), "breached", "not done by the deadline", (5,)),
        (at(9.5), "escalated", "level 1; priority 2 → 1, the promise stays", (11, 22)),
        (at(9.5), "detected", "the breach was found", (6,)),
        (at(11), "done late", "in_progress → resolved", (5,)),
    ]


def test_late_and_not_found_yet_is_late() -> None:
    """(5)"""
    found = explained(told(opened(hours=4)), at(5))
    assert [(one.kind, one.end) for one in found.intervals] == [("open", at(4)), ("overdue", at(5))]
    assert [mark.text for mark in found.marks if mark.what == "breached"] == [
        "not done by the deadline; no scan has found it yet"
    ]
    assert explained(told(opened(hours=4)), at(4)).intervals[-1].kind == "open", "at the deadline is in time"


def test_a_promise_that_was_used_up_when_it_was_made_says_so() -> None:
    """(10)"""
    found = explained(told(opened(hours=8), (5, "priority", "2", "1", {"detail": '{"sla_hours":4}'})), at(6))
    check(found, at(6))
    assert [(one.kind, one.end) for one in found.intervals] == [("open", at(5)), ("overdue", at(6))]
    assert counted_by(found, at(5)) > timedelta(seconds=found.clock.target_seconds)
    assert ("breached", (10,)) in [(mark.what, mark.rules) for mark in found.marks]


def test_cancelled_counts_nowhere() -> None:
    """(20)"""
    found = explained(told(opened(), (1, "status", "open", "cancelled")), at(9))
    check(found, at(1))
    assert [(mark.what, mark.rules) for mark in found.marks if mark.at == at(1)] == [("cancelled", (20,))]


def test_created_paused_is_paused_from_the_beginning() -> None:
    """(13)"""
    found = explained(told(opened("on_hold")), at(9))
    [only] = found.intervals
    assert (only.end, only.kind, only.reason, only.rules) == (at(9), "paused", "paused from the beginning", (12, 13))
    assert "due" not in [mark.what for mark in found.marks]


def test_one_target_may_be_asked_for() -> None:
    replayed = told(opened())
    assert explain(replayed, at(1), "resolution") == explain(replayed, at(1))
    assert explain(replayed, at(1), "first_response") == []


def test_no_clock_has_a_reason() -> None:
    assert "closed" in without_clock('{"status":"closed"}')
    assert "does not tell" in without_clock(None)


def test_the_front_door_explains_what_is_stored(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    with system.database.write() as connection:
        changes = Changes(connection)
        changes.create(a_ticket(id="t", priority=2, sla_hours=24, created_at=now - timedelta(hours=30)))
        changes.set_status("t", "on_hold", now=now - timedelta(hours=20))
        changes.set_status("t", "in_progress", now=now - timedelta(hours=19))
        changes.escalate("t", now=now - timedelta(hours=18))
    [found] = system.explain("t")
    assert json.loads(json.dumps(found)) == found
    assert [part["kind"] for part in found["intervals"]] == ["open", "paused", "open", "overdue"]
    assert (found["state"], found["policy"], found["calendar"], found["differs"]) == ("breached", "default", None, [])
    with system.database.write() as connection:
        connection.execute(sa.update(tables.clocks).values(cause="deadline"))
    assert system.explain("t")[0]["differs"] == ["cause"]
    assert system.explain("t", "next_response") == []
    for unknown in ("no", "\x00", "\ud800"):
        with pytest.raises(TicketNotFound):
            system.explain(unknown)


# --- calendars ---------------------------------------------------------------------------------------------------


LISBON = ZoneInfo("Europe/Lisbon")


def two_days_off(year: int) -> Mapping[date, str]:
    return {date(year, 4, 3): "Good Friday", date(year, 1, 1): "New Year"}


OFFICE = Calendar("office", LISBON, dict.fromkeys(range(5), (Hours.of(time(9), time(17)),)), two_days_off)
FACT = Fact(1, START, "status", "ada", "open", "on_hold", None, None, None)


def office_clock(started_at: datetime, target: timedelta, turns: list[datetime]) -> Replayed:
    """A clock in office hours that pauses and resumes in turn."""
    clock = replace(rules.start("t", started_at, target), due_at=OFFICE.add(started_at, target))
    steps = [Step(FACT, started_at, None, clock)]
    for turn in turns:
        if clock.due_at is not None:
            if turn > clock.due_at:
                break
            left = OFFICE.between(turn, clock.due_at)
            after = replace(clock, state=ClockState.PAUSED, due_at=None, paused_at=turn, remaining=left)
        else:
            due_at = OFFICE.add(turn, clock.remaining or timedelta(0))
            after = replace(clock, state=ClockState.RUNNING, due_at=due_at, paused_at=None, remaining=None)
        steps.append(Step(FACT, turn, clock, after))
        clock = after
    terms: Terms = replace(BUILT_IN("resolution", "default", None), calendar=OFFICE)
    return Replayed("t", {KEY: clock}, {KEY: terms}, steps)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 60 * 24 * 60),
    st.integers(1, 60 * 60),
    st.lists(st.integers(0, 20_000), max_size=6),
    st.integers(0, 90_000),
)
def test_in_office_hours_what_counts_comes_to_the_target(start: int, target: int, turns: list[int], later: int) -> None:
    started_at, span = START + timedelta(minutes=start), timedelta(minutes=target)
    replayed = office_clock(started_at, span, [started_at + timedelta(minutes=turn) for turn in sorted(turns)])
    now = started_at + timedelta(minutes=later)
    found = explained(replayed, now)
    clock = found.clock
    check(found, max(now, clock.due_at or now, *(step.at for step in replayed.steps)))
    if clock.due_at:
        assert counted_by(found, clock.due_at) == span
    else:
        assert counted_by(found, now + timedelta(days=999)) + (clock.remaining or timedelta(0)) == span
    for one in found.intervals:
        if one.kind in {"open", "closed", "holiday"}:
            assert OFFICE.between(one.start, one.end) == (one.end - one.start) * (one.kind == "open")


def test_a_weekend_is_closed_and_a_holiday_has_its_name() -> None:
    """(26)"""
    thursday = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)  # 16:00 in Lisbon
    found = explained(office_clock(thursday, timedelta(hours=3), []), thursday)
    rows: list[Any] = [(one.kind, one.reason, f"{one.end.astimezone(OFFICE.zone):%a %H:%M}") for one in found.intervals]
    assert rows == [
        ("open", "office is open", "Thu 17:00"),
        ("closed", "office is closed", "Fri 00:00"),
        ("holiday", "Good Friday", "Sat 00:00"),
        ("closed", "office is closed", "Mon 09:00"),
        ("open", "office is open", "Mon 11:00"),
    ]


@pytest.mark.parametrize("backwards", (True, False))
def test_moments_that_run_backwards_leave_no_hole(backwards: bool) -> None:
    moves = [(3, "open", "on_hold"), (1 if backwards else 4, "on_hold", "open"), (2, "open", "on_hold")]
    found = explained(told(opened(hours=8), *((hours, "status", old, new) for hours, old, new in moves)), at(9))
    check(found, at(9))
