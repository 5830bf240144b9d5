"""The alarms ahead of a clock: which warnings and levels are still to come, and when. Pure.

Everything is counted from the deadline, so it moves when the deadline moves. Numbers in brackets are rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from ticket_system.sla.calendars import Calendar
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.policies import DEFAULT_CHAIN, Level, Policy, Warn
from ticket_system.tickets import Ticket

#: What an alarm is called in the history of a ticket, once it was raised.
WARNED = "warned"
ESCALATED = "escalated"


@dataclass(frozen=True, slots=True)
class Step:
    """A warning or a level of a policy, under the number that it is stored with."""

    id: int
    kind: str
    #: Its place among the policy's warnings, or in its chain, from 1.
    number: int
    does: Warn | Level

    @property
    def is_level(self) -> bool:
        """Whether it is a level of the chain, not a warning."""
        return self.kind == ESCALATED

    def concerns(self, target: str) -> bool:
        """Tell whether it is about this target."""
        return not self.does.targets or target in self.does.targets


#: The chain built in, as every database has it from the start.
BUILT_IN_STEPS = (Step(1, ESCALATED, 1, DEFAULT_CHAIN[0]),)


class Alarm(NamedTuple):
    """One alarm that is still to come."""

    ticket_id: str
    target: str
    cycle: int
    step_id: int
    repeat: int
    at: datetime


#: A level or a repeat of it, and when it comes.
_Call: TypeAlias = tuple[Step, int, datetime]


def unnumbered(policy: Policy) -> list[Step]:
    """Return the warnings and levels of a policy, before they were stored."""
    told = [Step(0, WARNED, number, one) for number, one in enumerate(policy.warnings, 1)]
    return told + [Step(0, ESCALATED, number, one) for number, one in enumerate(policy.chain, 1)]


def plan(clock: Clock, steps: Iterable[Step], calendar: Calendar) -> list[Alarm]:
    """Return all alarms of a clock with a deadline, whether they have been raised or not; none for any other."""
    if clock.due_at is None or clock.stopped_at is not None:
        return []
    mine = [step for step in steps if step.concerns(clock.target)]
    warnings = [(step, 0, at) for step in mine for at in _warns_at(clock, step.does, calendar)]
    return [
        Alarm(clock.ticket_id, clock.target, clock.cycle, step.id, repeat, max(at, clock.started_at))
        for step, repeat, at in warnings + _held(clock, _chain(clock, mine, calendar), calendar)
    ]


def next_look(clock: Clock, alarms: Collection[Alarm], *, is_held: bool = False) -> datetime | None:
    """Return when somebody has to look at a clock again: at its deadline, or at the next alarm before or after it.

    `is_held`: its ticket waits for somebody else; a breach that is on record calls nobody meanwhile.
    """
    if clock.stopped_at is not None or clock.state in {ClockState.PAUSED, ClockState.CANCELLED}:
        return None
    if clock.state is ClockState.BREACHED:
        return None if is_held else min((one.at for one in alarms), default=None)
    return min([one.at for one in alarms] + ([clock.due_at] if clock.due_at else []), default=None)


def tells_nobody(level: Level, ticket: Ticket) -> bool:
    """Tell whether a level was to tell somebody, and for this ticket there is nobody (22)."""
    depends = {
        "assignee": ticket.assignee is not None and "@" in ticket.assignee,
        "requester": "@" in ticket.requester,
        "group": ticket.group is not None,
    }
    return bool(level.notify) and not level.webhook and not any(depends.get(one, True) for one in level.notify)


def acknowledge(
    clock: Clock, now: datetime, until: datetime | None, steps: Iterable[Step], calendar: Calendar
) -> Clock:
    """Stop the chain, not the clock, until then; None: for good (22). One that is going on is given a new end."""
    if is_acknowledged(clock, now):
        return replace(clock, rearms_at=until)
    mine = [step for step in steps if step.concerns(clock.target)]
    # Paused, it is counted from the deadline that the clock would have now.
    running = replace(clock, due_at=clock.deadline(now, calendar))
    held_for = clock.held_for + _put_off(clock, _chain(running, mine, calendar))
    return replace(clock, acknowledged_at=now, rearms_at=until, held_for=held_for)


def is_acknowledged(clock: Clock, now: datetime) -> bool:
    """Tell whether the chain is held back just now."""
    return clock.acknowledged_at is not None and (clock.rearms_at is None or now < clock.rearms_at)


def rearm(clock: Clock, now: datetime) -> Clock:
    """Let the chain go on now, before the acknowledgement ends."""
    if clock.acknowledged_at is None or (clock.rearms_at is not None and clock.rearms_at <= now):
        return clock
    return replace(clock, rearms_at=now)


def _warns_at(clock: Clock, does: Warn | Level, calendar: Calendar) -> Iterator[datetime]:
    left = does.left(timedelta(seconds=clock.target_seconds)) if isinstance(does, Warn) else None
    if left is not None and clock.due_at is not None:
        yield calendar.subtract(clock.due_at, left)


def _chain(clock: Clock, steps: Iterable[Step], calendar: Calendar) -> list[_Call]:
    """Return when levels and their repeats come, put off by acknowledgements that are over."""
    calls: list[_Call] = []
    for step in steps:
        level = step.does
        if isinstance(level, Level):
            offset, every = timedelta(seconds=level.offset_seconds), timedelta(seconds=level.repeat_seconds or 0)
            for repeat in range(level.max_repeats + 1 if level.repeat_seconds else 1):
                at = _after_due(clock, offset + repeat * every, level, calendar)
                calls.append((step, repeat, _later(at, clock.held_for, level, calendar)))
    return calls


def _after_due(clock: Clock, span: timedelta, level: Level, calendar: Calendar) -> datetime:
    """Count from the deadline; behind one that a new promise put into the past, from then on: nobody could act before.

    What lies before the deadline and cannot be waited for any more is due at once.
    """
    due = clock.due_at or clock.started_at
    if clock.breached_at is not None and clock.cause == "retarget":
        due, span = clock.breached_at, max(span, timedelta(0))
    return calendar.add(due, span) if level.working_time else due + span


def _held(clock: Clock, calls: list[_Call], calendar: Calendar) -> list[_Call]:
    """Put off what an acknowledgement holds back: at its end the next call comes, and the others as far behind it."""
    began, ends = clock.acknowledged_at, clock.rearms_at
    if began is None or ends is None:
        return calls if began is None else []
    by = _put_off(clock, calls)
    return [(step, repeat, ends if at <= began else _later(at, by, step.does, calendar)) for step, repeat, at in calls]


def _put_off(clock: Clock, calls: list[_Call]) -> timedelta:
    """Return by how much: nothing, where no call came while it lasted."""
    began, ends = clock.acknowledged_at, clock.rearms_at
    if began is None or ends is None:
        return timedelta(0)
    return max((ends - at for _, _, at in calls if began < at <= ends), default=timedelta(0))


def _later(at: datetime, by: timedelta, does: Warn | Level, calendar: Calendar) -> datetime:
    """Move a call, to an hour that is open where it counts those."""
    if not by:
        return at
    return calendar.next_opening(at + by) if isinstance(does, Level) and does.working_time else at + by
