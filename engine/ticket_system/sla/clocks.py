"""One target running on one ticket: start, pause, resume, re-target, stop, and the verdict. Pure.

Every function takes a clock and a moment and returns the clock as it then stands; nothing here knows what time
it is. A change first settles what was due before it (rule 7), so no outcome depends on when a scan ran. Only
open time of the calendar counts. Numbers in brackets are rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar

FIRST_RESPONSE = "first_response"
NEXT_RESPONSE = "next_response"
RESOLUTION = "resolution"
#: What can be promised.
TARGETS = (FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION)


class ClockState(StrEnum):
    """What a clock is doing. A breached one still runs until it is stopped, to measure overdue time."""

    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"
    BREACHED = "breached"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Clock:
    """One target on one ticket, for one cycle."""

    ticket_id: str
    target: str
    cycle: int
    state: ClockState
    started_at: datetime
    #: What was promised, in seconds of open time.
    target_seconds: int
    #: The deadline; None while paused.
    due_at: datetime | None
    #: The next instant somebody has to look: the deadline of a running clock, or an alarm before or after it.
    next_check_at: datetime | None
    paused_at: datetime | None = None
    #: Time spent paused, without the pause that is going on.
    paused_for: timedelta = timedelta(0)
    #: What was left when the pause began; None unless paused.
    remaining: timedelta | None = None
    stopped_at: datetime | None = None
    breached_at: datetime | None = None
    detected_at: datetime | None = None
    #: Why it was breached: `deadline` passed, or a `retarget` put it into the past.
    cause: str | None = None
    #: The policy it runs under, and the version of the rules that it started with (18); None: those built in.
    policy: str = "default"
    rules: int | None = None
    #: When somebody took the chain of escalations upon themselves, and when it goes on; None: not in this cycle (22).
    acknowledged_at: datetime | None = None
    rearms_at: datetime | None = None
    #: How long acknowledgements that are over have held the chain back.
    held_for: timedelta = timedelta(0)
    #: Since when its breach does not count, because somebody said so (9); a mark, which hides nothing.
    waived_at: datetime | None = None
    #: The open time that the target took, without the pauses before a breach: afterwards nothing halts it. None until
    #: it is done, and where it is wanted no longer.
    worked: timedelta | None = None

    def deadline(self, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> datetime:
        """Return the due instant; for a paused clock the one it would have if it resumed now."""
        if self.due_at is not None:
            return self.due_at
        return calendar.add(now, self.remaining or timedelta(0))

    def is_breached(self, now: datetime) -> bool:
        """Tell the verdict as of now, found by a scan or not (5)."""
        return self.state is ClockState.BREACHED or self.is_due(now)

    def is_due(self, now: datetime) -> bool:
        """Tell whether the clock runs and its deadline has passed without a verdict (5: at the deadline is in time)."""
        return self.state is ClockState.RUNNING and self.due_at is not None and now > self.due_at


def start(  # noqa: PLR0913 - all that a clock begins with
    ticket_id: str,
    started_at: datetime,
    promised: timedelta,
    calendar: Calendar = AROUND_THE_CLOCK,
    *,
    target: str = RESOLUTION,
    cycle: int = 1,
    paused: bool = False,
    policy: str = "default",
    rules: int | None = None,
) -> Clock:
    """Start a clock; created paused starts paused (13)."""
    due_at = None if paused else calendar.add(started_at, promised)
    return Clock(
        ticket_id=ticket_id,
        target=target,
        cycle=cycle,
        state=ClockState.PAUSED if paused else ClockState.RUNNING,
        started_at=started_at,
        target_seconds=int(promised.total_seconds()),
        due_at=due_at,
        next_check_at=due_at,
        paused_at=started_at if paused else None,
        remaining=promised if paused else None,
        policy=policy,
        rules=rules,
    )


def settle(clock: Clock, now: datetime) -> Clock:
    """Record the breach of a clock whose deadline has passed; any other clock is returned as it is (6, 7)."""
    if not clock.is_due(now):
        return clock
    return _breached(clock, at=clock.due_at, now=now, cause="deadline")


def pause(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """Stop counting; what is left is kept. Paused to paused does not restart (12); a breach is not undone (9)."""
    clock = settle(clock, now)
    if clock.state is not ClockState.RUNNING or clock.due_at is None:
        return clock
    began = max(now, clock.started_at)
    return replace(
        clock,
        state=ClockState.PAUSED,
        paused_at=began,
        remaining=calendar.between(began, clock.due_at),
        due_at=None,
        next_check_at=None,
    )


def resume(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """Count again from where the pause began; of the pause, too, only open time counts (12)."""
    if clock.state is not ClockState.PAUSED or clock.paused_at is None or clock.remaining is None:
        return clock
    ended = max(now, clock.paused_at)
    due_at = calendar.add(ended, clock.remaining)
    return replace(
        clock,
        state=ClockState.RUNNING,
        paused_at=None,
        paused_for=clock.paused_for + calendar.between(clock.paused_at, ended),
        remaining=None,
        due_at=due_at,
        next_check_at=due_at,
    )


def retarget(clock: Clock, promised: timedelta, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """Promise something else: start + new target + time paused so far. In the past is a breach at this moment (10).

    A verdict that was reached stays, with the deadline it was reached on (9).
    """
    clock = settle(clock, now)
    if clock.state not in {ClockState.RUNNING, ClockState.PAUSED}:
        return clock
    due_at = calendar.add(clock.started_at, promised + clock.paused_for)
    moved = replace(clock, target_seconds=int(promised.total_seconds()))
    if clock.paused_at is not None and due_at >= clock.paused_at:
        # A pause that is going on does not use up time: what matters is what was left when it began.
        return replace(moved, remaining=calendar.between(clock.paused_at, due_at))
    # A breach ends the pause that is going on, which has moved the deadline like any other.
    now = max(now, clock.paused_at or now)
    ended = resume(moved, now, calendar)
    due_at = calendar.add(clock.started_at, promised + ended.paused_for)
    if due_at < now:
        return _breached(replace(ended, due_at=due_at), at=now, now=now, cause="retarget")
    if clock.paused_at is not None:
        # Used up at closing time, paused before the next opening: nothing is left, and it stands still.
        return replace(moved, remaining=timedelta(0))
    return replace(moved, due_at=due_at, next_check_at=due_at)


def stop(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """End the clock because the target was done: met, unless it was late (5); a pause ends first (13)."""
    clock = settle(resume(clock, now, calendar), now)
    if clock.stopped_at is not None or clock.state not in {ClockState.RUNNING, ClockState.BREACHED}:
        return clock
    state = ClockState.MET if clock.state is ClockState.RUNNING else ClockState.BREACHED
    # Pauses were measured by the calendar of their time: after a change of calendars they may come to more.
    worked = max(calendar.between(clock.started_at, now) - clock.paused_for, timedelta(0))
    return replace(clock, state=state, stopped_at=now, next_check_at=None, worked=worked)


def cancel(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """End the clock because nobody wants the target any more; it counts nowhere (20). A breach stays on record."""
    clock = settle(resume(clock, now, calendar), now)
    return replace(
        clock, state=ClockState.CANCELLED, stopped_at=clock.stopped_at or now, next_check_at=None, worked=None
    )


def withdraw(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """End the clock because its target is promised no longer: cancelled, but a breach stays one (9)."""
    if clock.stopped_at is not None:
        return clock
    late = settle(clock, now).state is ClockState.BREACHED
    return stop(clock, now, calendar) if late else cancel(clock, now, calendar)


def waive(clock: Clock, now: datetime) -> Clock:
    """Mark a breach as one that does not count; whatever is known of it stays (9)."""
    return clock if clock.breached_at is None or clock.waived_at is not None else replace(clock, waived_at=now)


def unwaive(clock: Clock) -> Clock:
    """Let a waived breach count again (9)."""
    return clock if clock.waived_at is None else replace(clock, waived_at=None)


def reopen(clock: Clock, now: datetime, calendar: Calendar = AROUND_THE_CLOCK) -> Clock:
    """Run again after a stop; the time in between counts as a pause (14, `resume`). A breach stays a breach (9)."""
    if clock.stopped_at is None or clock.state not in {ClockState.MET, ClockState.BREACHED}:
        return clock
    away = max(calendar.between(clock.stopped_at, now), timedelta(0))
    again = replace(clock, stopped_at=None, paused_for=clock.paused_for + away, worked=None)
    if clock.state is ClockState.BREACHED or clock.due_at is None:
        return again
    due_at = calendar.add(max(now, clock.stopped_at), calendar.between(clock.stopped_at, clock.due_at))
    return replace(again, state=ClockState.RUNNING, due_at=due_at, next_check_at=due_at)


def follow(
    clock: Clock,
    old: str,
    new: str,
    *,
    pausing: frozenset[str],
    now: datetime,
    calendar: Calendar = AROUND_THE_CLOCK,
    reopens: bool = True,
    without_response: str = "met",
) -> Clock:
    """Do to the clock what a move of its ticket from one status to another means.

    `reopens`: whether this clock runs again after a reopening (14). `without_response`: what becomes of a first
    response that nobody gave when its ticket is resolved, met or cancelled (15).
    """
    clock = settle(clock, now)
    if new == "cancelled":
        return cancel(clock, now, calendar)
    if new == "resolved":
        waits_in_vain = clock.target == NEXT_RESPONSE or (
            clock.target == FIRST_RESPONSE and without_response == "cancelled"
        )
        undecided = clock.state in {ClockState.RUNNING, ClockState.PAUSED}
        return cancel(clock, now, calendar) if waits_in_vain and undecided else stop(clock, now, calendar)
    if new == "closed":
        return clock
    if old == "resolved":
        # Only the resolution was undone: an answer that was given stays given.
        if clock.target != RESOLUTION or not reopens:
            return clock
        clock = reopen(clock, now, calendar)
    return pause(clock, now, calendar) if new in pausing else resume(clock, now, calendar)


def _breached(clock: Clock, *, at: datetime | None, now: datetime, cause: str) -> Clock:
    """The permanent verdict; what is done about it is the chain's business."""
    return replace(clock, state=ClockState.BREACHED, breached_at=at, detected_at=now, next_check_at=None, cause=cause)
