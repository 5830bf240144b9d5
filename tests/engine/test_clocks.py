"""The clock, move by move, at the edges of each.

Numbers in brackets are those of the rules that the engine's clock follows.
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import (
    Clock,
    ClockState,
    cancel,
    follow,
    pause,
    reopen,
    resume,
    retarget,
    settle,
    start,
    stop,
    withdraw,
)

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
ON_HOLD = frozenset({"on_hold"})
RUNNING, PAUSED, MET, BREACHED, CANCELLED = ClockState
OFFICE = Calendar("office", ZoneInfo("UTC"), dict.fromkeys(range(5), (Hours.of(time(9), time(17)),)))


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def a_clock(hours: float = 4, *, paused: bool = False) -> Clock:
    return start("t", START, timedelta(hours=hours), paused=paused)


def test_a_clock_starts_running_and_is_looked_at_when_it_is_due() -> None:
    clock = a_clock()
    assert (clock.state, clock.target, clock.cycle, clock.started_at) == (RUNNING, "resolution", 1, START)
    assert (clock.due_at, clock.next_check_at, clock.target_seconds) == (at(4), at(4), 4 * 3600)
    assert clock.paused_for == timedelta(0)


def test_a_clock_that_is_created_paused_has_no_deadline_until_it_runs() -> None:
    """(13)"""
    clock = a_clock(paused=True)
    assert (clock.state, clock.due_at, clock.next_check_at) == (PAUSED, None, None)
    assert settle(clock, at(1000)) == clock
    assert clock.deadline(at(7)) == at(11)
    assert resume(clock, at(10)).due_at == at(14)
    assert resume(clock, at(10)).paused_for == timedelta(hours=10)


@pytest.mark.parametrize(
    ("now", "breached"), ((START, False), (at(4) - TICK, False), (at(4), False), (at(4) + TICK, True), (at(99), True))
)
def test_a_deadline_passes_one_tick_after_it(now: datetime, breached: bool) -> None:
    """(5, 6)"""
    clock = a_clock()
    settled = settle(clock, now)
    assert clock.is_due(now) is clock.is_breached(now) is settled.is_breached(now) is breached
    if not breached:
        assert settled == clock
        return
    assert (settled.state, settled.breached_at, settled.detected_at) == (BREACHED, at(4), now)
    assert (settled.cause, settled.next_check_at, settled.due_at) == ("deadline", None, at(4))
    assert not settled.is_due(now)
    assert settle(settled, at(200)) == settled


@pytest.mark.parametrize(("now", "state"), ((at(4) - TICK, MET), (at(4), MET), (at(4) + TICK, BREACHED)))
def test_done_at_the_deadline_is_in_time(now: datetime, state: ClockState) -> None:
    """(5, 7): between two scans too."""
    done = stop(a_clock(), now)
    assert (done.state, done.stopped_at, done.next_check_at) == (state, now, None)
    assert done.breached_at == (at(4) if state is BREACHED else None)


def test_a_pause_keeps_what_is_left() -> None:
    clock = pause(a_clock(), at(1))
    assert (clock.state, clock.remaining, clock.paused_at) == (PAUSED, timedelta(hours=3), at(1))
    assert (clock.due_at, clock.next_check_at) == (None, None)
    assert clock.deadline(at(50)) == at(53)
    assert not clock.is_breached(at(50))
    again = resume(clock, at(51))
    assert (again.state, again.due_at, again.next_check_at) == (RUNNING, at(54), at(54))
    assert (again.paused_for, again.paused_at, again.remaining) == (timedelta(hours=50), None, None)


def test_paused_to_paused_does_not_restart_and_running_to_running_changes_nothing() -> None:
    """(12)"""
    paused = pause(a_clock(), at(1))
    assert pause(paused, at(2)) == paused
    running = a_clock()
    assert resume(running, at(1)) == running


def test_pauses_add_up() -> None:
    clock = a_clock()
    for begin in (1, 2, 3):
        clock = resume(pause(clock, at(begin)), at(begin + 0.5))
    assert (clock.due_at, clock.paused_for) == (at(5.5), timedelta(hours=1.5))


def test_a_pause_at_the_deadline_is_in_time_and_one_after_it_is_late() -> None:
    in_time = pause(a_clock(), at(4))
    assert (in_time.state, in_time.remaining) == (PAUSED, timedelta(0))
    resumed = resume(in_time, at(9))
    assert resumed.due_at == at(9)
    assert settle(resumed, at(9) + TICK).breached_at == at(9)
    late = pause(a_clock(), at(4) + TICK)
    assert (late.state, late.breached_at) == (BREACHED, at(4))


def test_a_pause_before_the_start_uses_up_nothing() -> None:
    clock = pause(a_clock(), at(-1))
    assert clock.remaining == timedelta(hours=4)
    assert resume(clock, at(-0.5)).due_at == at(4)
    assert resume(clock, at(1)).due_at == at(5)


def test_a_breach_is_permanent() -> None:
    """(9)"""
    breached = settle(a_clock(), at(5))
    for after in (
        pause(breached, at(6)),
        resume(breached, at(6)),
        retarget(breached, timedelta(hours=1000), at(6)),
        stop(breached, at(6)),
        reopen(stop(breached, at(6)), at(7)),
        stop(reopen(stop(breached, at(6)), at(7)), at(8)),
        cancel(breached, at(6)),
    ):
        assert (after.breached_at, after.detected_at, after.cause) == (at(4), at(5), "deadline")
        assert after.state is (CANCELLED if after.state is CANCELLED else BREACHED)
        assert after.due_at == at(4)
    assert retarget(breached, timedelta(hours=1000), at(6)) == breached


@pytest.mark.parametrize(
    ("hours", "now", "state", "breached_at", "cause"),
    (
        (8, at(1), RUNNING, None, None),
        (2, at(1), RUNNING, None, None),
        (1, at(1), RUNNING, None, None),
        (1, at(1) + TICK, BREACHED, at(1) + TICK, "retarget"),
        (1, at(4), BREACHED, at(4), "retarget"),
        (8, at(4), RUNNING, None, None),
        # What was late before the promise changed stays late.
        (8, at(4) + TICK, BREACHED, at(4), "deadline"),
    ),
)
def test_a_new_target_counts_from_the_start(
    hours: float, now: datetime, state: ClockState, breached_at: datetime | None, cause: str | None
) -> None:
    """(10)"""
    clock = retarget(a_clock(), timedelta(hours=hours), now)
    assert (clock.state, clock.breached_at, clock.cause) == (state, breached_at, cause)
    if cause != "deadline":
        assert (clock.due_at, clock.target_seconds) == (at(hours), hours * 3600)
    assert clock.next_check_at == (None if state is BREACHED else at(hours))
    assert clock.detected_at == (now if state is BREACHED else None)


def test_a_new_target_adds_the_time_paused_so_far() -> None:
    """(10)"""
    clock = resume(pause(a_clock(), at(1)), at(3))
    assert retarget(clock, timedelta(hours=2), at(3.5)).due_at == at(4)
    assert retarget(clock, timedelta(hours=1), at(3)).state is RUNNING
    assert retarget(clock, timedelta(hours=1), at(3) + TICK).cause == "retarget"


def test_a_new_target_during_a_pause_moves_what_is_left() -> None:
    paused = pause(a_clock(), at(2))
    longer = retarget(paused, timedelta(hours=10), at(50))
    assert (longer.state, longer.remaining, longer.due_at) == (PAUSED, timedelta(hours=8), None)
    assert resume(longer, at(60)).due_at == at(68)
    assert retarget(paused, timedelta(hours=2), at(50)).remaining == timedelta(0)
    shorter = retarget(paused, timedelta(hours=1), at(50))
    assert (shorter.state, shorter.breached_at, shorter.detected_at) == (BREACHED, at(50), at(50))
    assert (shorter.cause, shorter.paused_at, shorter.remaining) == ("retarget", None, None)
    assert resume(shorter, at(51)) == shorter


def test_a_clock_that_was_decided_is_not_retargeted() -> None:
    met = stop(a_clock(), at(1))
    assert retarget(met, timedelta(hours=0.5), at(2)) == met
    cancelled = cancel(a_clock(), at(1))
    assert retarget(cancelled, timedelta(hours=0.5), at(2)) == cancelled


def test_resolved_while_paused_ends_the_pause_first() -> None:
    """(13)"""
    done = stop(pause(a_clock(), at(1)), at(100))
    assert (done.state, done.stopped_at, done.due_at) == (MET, at(100), at(103))
    assert (done.paused_for, done.paused_at, done.remaining) == (timedelta(hours=99), None, None)


def test_what_a_target_took_leaves_out_closing_hours_and_pauses() -> None:
    """(24)"""
    clock = start("t", START, timedelta(hours=20), OFFICE)  # a Wednesday, noon; closes at five
    assert clock.worked is None
    clock = resume(pause(clock, at(2), OFFICE), at(24), OFFICE)
    assert stop(clock, at(25), OFFICE).worked == timedelta(hours=2 + 1)


def test_on_hold_after_a_breach_is_still_late() -> None:
    late = pause(settle(a_clock(), at(5)), at(6))
    assert stop(resume(late, at(20)), at(21)).worked == timedelta(hours=21)


def test_a_reopened_target_has_taken_nothing_until_it_is_done_again() -> None:
    for again in (reopen(stop(a_clock(), at(3)), at(30)), reopen(stop(a_clock(), at(6)), at(30))):
        assert again.worked is None
        done = stop(again, at(31))
        assert done.worked == at(31) - START - again.paused_for


def test_a_target_that_nobody_wants_any_more_has_taken_nothing() -> None:
    """(20)"""
    for clock in (a_clock(), stop(a_clock(), at(1)), stop(a_clock(), at(9))):
        assert cancel(clock, at(10)).worked is None


def test_a_change_to_a_calendar_that_is_open_less_never_takes_less_than_nothing() -> None:
    held = resume(pause(a_clock(400), at(0)), at(20))  # twenty hours around the clock
    assert stop(held, at(21), OFFICE).worked == timedelta(0)


def test_a_second_stop_changes_nothing() -> None:
    for clock in (stop(a_clock(), at(1)), stop(a_clock(), at(5))):
        assert stop(clock, at(9)) == clock


def test_reopened_counts_the_time_away_as_a_pause() -> None:
    """(14)"""
    again = reopen(stop(a_clock(), at(3)), at(30))
    assert (again.state, again.stopped_at, again.due_at, again.next_check_at) == (RUNNING, None, at(31), at(31))
    assert again.paused_for == timedelta(hours=27)
    assert stop(again, at(31)).state is MET
    assert stop(again, at(31) + TICK).breached_at == at(31)
    assert retarget(again, timedelta(hours=5), at(30)).due_at == at(32)


def test_reopening_what_never_stopped_changes_nothing() -> None:
    for clock in (a_clock(), pause(a_clock(), at(1)), settle(a_clock(), at(5)), cancel(a_clock(), at(1))):
        assert reopen(clock, at(9)) == clock


def test_a_reopened_breach_is_looked_at_again() -> None:
    again = reopen(stop(settle(a_clock(), at(5)), at(6)), at(7))
    assert (again.state, again.stopped_at, again.next_check_at) == (BREACHED, None, None)
    assert again.due_at == at(4)


@pytest.mark.parametrize("state", (RUNNING, PAUSED, MET, BREACHED))
def test_cancelled_ends_every_clock_and_asks_for_no_further_look(state: ClockState) -> None:
    """(20)"""
    clock = {
        RUNNING: a_clock(),
        PAUSED: pause(a_clock(), at(1)),
        MET: stop(a_clock(), at(1)),
        BREACHED: settle(a_clock(), at(5)),
    }[state]
    done = cancel(clock, at(6) if state is BREACHED else at(2))
    assert (done.state, done.next_check_at, done.paused_at) == (CANCELLED, None, None)
    assert done.stopped_at == {MET: at(1), BREACHED: at(6)}.get(state, at(2))
    assert not done.is_breached(at(1000))
    assert settle(done, at(1000)) == done


@pytest.mark.parametrize(
    ("old", "new", "same_as"),
    (
        ("open", "in_progress", lambda clock: clock),
        ("open", "on_hold", lambda clock: pause(clock, at(1))),
        ("in_progress", "review", lambda clock: clock),
        ("in_progress", "resolved", lambda clock: stop(clock, at(1))),
        ("review", "resolved", lambda clock: stop(clock, at(1))),
        ("open", "cancelled", lambda clock: cancel(clock, at(1))),
        ("resolved", "closed", lambda clock: clock),
    ),
)
def test_a_move_of_the_ticket_is_a_move_of_its_clock(old: str, new: str, same_as: object) -> None:
    assert callable(same_as)
    assert follow(a_clock(), old, new, pausing=ON_HOLD, now=at(1)) == same_as(a_clock())


def test_a_policy_names_what_pauses() -> None:
    pausing = frozenset({"on_hold", "review"})
    clock = follow(a_clock(), "in_progress", "review", pausing=pausing, now=at(1))
    assert clock.state is PAUSED
    held = follow(clock, "review", "on_hold", pausing=pausing, now=at(2))
    assert held == clock, "paused to paused does not restart (12)"
    assert follow(held, "on_hold", "open", pausing=pausing, now=at(3)).due_at == at(6)
    reopened = follow(stop(a_clock(), at(1)), "resolved", "open", pausing=frozenset({"open"}), now=at(9))
    assert (reopened.state, reopened.remaining) == (PAUSED, timedelta(hours=3))


def test_what_is_promised_no_longer_is_cancelled_but_a_breach_stays_one() -> None:
    """(9)"""
    assert withdraw(a_clock(), at(3)).state is CANCELLED
    late = withdraw(a_clock(), at(5))
    assert (late.state, late.breached_at, late.stopped_at) == (BREACHED, at(4), at(5))


def test_a_promise_that_was_used_up_before_the_pause_and_is_not_past_waits_on() -> None:
    """(10) Used up at closing time, paused in the evening; with what was open of the pause it is due just now."""
    office = Calendar("office", ZoneInfo("UTC"), dict.fromkeys(range(7), (Hours.of(time(9), time(16)),)))
    paused = pause(start("t", at(0), timedelta(hours=6), office), at(5), office)
    assert (paused.state, paused.remaining) == (PAUSED, timedelta(hours=2))
    moved = retarget(paused, timedelta(hours=4), at(22), office)
    assert (moved.state, moved.remaining, moved.due_at) == (PAUSED, timedelta(0), None)
