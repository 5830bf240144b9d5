"""Why a clock is due when it is: the intervals behind its due instant, and what happened on the way (rule 26). Pure.

The intervals follow one another without gap or overlap, from the start to the due instant, or to the stop where that
came first, or to now where there is no due instant. What counted in them up to the due instant is exactly the target.
(A deadline that a new promise put into the past is the exception: there it is more than the target, and that is why.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from ticket_system.sla import clocks as rules
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.comparison import Difference
from ticket_system.sla.replay import Key, Replayed, Step
from ticket_system.sla.terms import Fact, Terms, known, reclassified

#: What the sweep writes behind an alarm that it passed over.
_PASSED_OVER = ": passed over, "
#: What a promise may be made anew by.
_PROMISED_ANEW = {"priority", "escalated", "classified", "repromised"}

#: What an interval can be; only `open` counts.
KINDS = ("open", "closed", "holiday", "paused", "stopped", "overdue")


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time that counted, or did not, and the rules that say so."""

    start: datetime
    end: datetime
    kind: str
    reason: str
    rules: tuple[int, ...]
    #: Open time since the start of the clock, up to the end of this interval.
    counted: timedelta

    @property
    def open_seconds(self) -> float:
        """The same in seconds."""
        return self.counted.total_seconds()


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the clock, or will."""

    at: datetime
    what: str
    text: str
    rules: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One clock as its history makes it, and how it came to that."""

    clock: Clock
    terms: Terms
    intervals: list[Interval]
    marks: list[Mark]


class _Phase(NamedTuple):
    """A stretch in which the clock did one thing, and the step that began it."""

    start: datetime
    end: datetime
    mode: str
    step: Step


def explain(told: Replayed, now: datetime, target: str | None = None) -> list[Explanation]:
    """Explain every clock of a ticket as of now, or those of one target."""
    return [_explained(told, key, now) for key in sorted(told.clocks) if target in {None, key[0]}]


def as_json(found: Explanation, now: datetime, differs: Iterable[Difference] = ()) -> dict[str, Any]:
    """Return an explanation ready for JSON; `differs` says in which fields the stored clock does not agree."""
    clock, terms = found.clock, found.terms
    return {
        "ticket_id": clock.ticket_id,
        "target": clock.target,
        "cycle": clock.cycle,
        "state": rules.settle(clock, now).state.value,
        "policy": terms.policy.name,
        "calendar": None if terms.calendar == AROUND_THE_CLOCK else terms.calendar.name,
        "target_seconds": clock.target_seconds,
        "paused_seconds": clock.paused_for.total_seconds(),
        "remaining_seconds": clock.remaining.total_seconds() if clock.remaining is not None else None,
        "started_at": clock.started_at.isoformat(),
        "due_at": clock.due_at.isoformat() if clock.due_at else None,
        "stopped_at": clock.stopped_at.isoformat() if clock.stopped_at else None,
        "explained_at": now.isoformat(),
        "intervals": [
            {
                "start": one.start.isoformat(),
                "end": one.end.isoformat(),
                "kind": one.kind,
                "reason": one.reason,
                "rules": list(one.rules),
                "open_seconds": one.open_seconds,
            }
            for one in found.intervals
        ],
        "marks": [
            {"at": mark.at.isoformat(), "what": mark.what, "text": mark.text, "rules": list(mark.rules)}
            for mark in found.marks
        ],
        "differs": [one.field for one in differs if (one.target, one.cycle) == (clock.target, clock.cycle)],
    }


def without_clock(opened_with: str | None) -> str:
    """Say why a ticket has no clock at all, from what its first event says it was opened with."""
    status = known(opened_with).get("status")
    if status in {"resolved", "closed", "cancelled"}:
        return f"it was {status} when it was stored, and nothing was left to promise (rule 13)"
    return "its history does not tell how it was opened"


def _explained(told: Replayed, key: Key, now: datetime) -> Explanation:
    steps, clock, terms = told.steps_of(key), told.clocks[key], told.terms[key]
    after = rules.settle(clock, now)
    if after is not clock and after.breached_at is not None:
        # Late, and no scan has been here: the verdict as of now (5).
        steps = [*steps, Step(steps[-1].fact, after.breached_at, clock, replace(after, detected_at=None))]
    calendar = terms.calendar
    intervals: list[Interval] = []
    counted = timedelta(0)
    for phase in _phases(steps, now):
        for piece in _pieces(phase, calendar):
            counted += piece.end - piece.start if piece.kind == "open" else timedelta(0)
            intervals.append(replace(piece, counted=counted))
    marks: list[Mark] = []
    if clock.due_at is not None:
        past = clock.cause == "retarget"
        text = "the deadline, which a new promise put into the past" if past else "the deadline"
        marks.append(Mark(clock.due_at, "due", text, (10,) if past else (2,)))
    marks += [mark for step in steps for mark in _marks(step)]
    if clock.detected_at is not None and key in told.breaches:
        marks.append(Mark(clock.detected_at, "detected", "the breach was found", (6,)))
    marks.sort(key=lambda mark: mark.at)
    return Explanation(clock, terms, intervals, marks)


# --- intervals ---------------------------------------------------------------------------------------------------


def _phases(steps: list[Step], now: datetime) -> Iterator[_Phase]:
    start, mode, begun = steps[0].at, _mode(steps[0].after), steps[0]
    for step in steps[1:]:
        following = _mode(step.after)
        if following != mode:
            # Moments that run backwards (a clock that was set back) make an interval empty, never negative.
            at = max(_moment(step), start)
            yield _Phase(start, at, mode, begun)
            start, mode, begun = at, following, step
    if mode != "stopped":
        due_at = steps[-1].after.due_at
        yield _Phase(start, max(start, due_at if mode == "open" and due_at else now), mode, begun)


def _mode(clock: Clock) -> str:
    if clock.stopped_at is not None:
        return "stopped"
    return {ClockState.PAUSED: "paused", ClockState.BREACHED: "overdue"}.get(clock.state, "open")


def _moment(step: Step) -> datetime:
    """A breach begins at its own instant; everything else when it happened."""
    newly = step.before is not None and step.before.breached_at is None
    return step.after.breached_at if newly and step.after.breached_at and not step.after.stopped_at else step.at


def _pieces(phase: _Phase, calendar: Calendar) -> Iterator[Interval]:
    start, end, mode, step = phase
    if start >= end:
        return
    if mode != "open":
        yield Interval(start, end, mode, *_BEHIND[mode](step), counted=timedelta(0))
        return
    if calendar == AROUND_THE_CLOCK:
        yield Interval(start, end, "open", "counts around the clock", (2,), timedelta(0))
        return
    at = start
    for opens, closes in calendar.windows(start, end):
        yield from _closed(at, opens, calendar)
        yield Interval(opens, closes, "open", f"{calendar.name} is open", (2,), timedelta(0))
        at = closes
    yield from _closed(at, end, calendar)


def _paused(step: Step) -> tuple[str, tuple[int, ...]]:
    if step.before is None:
        return "paused from the beginning", (12, 13)
    return f"paused while {step.fact.new}", (12,)


def _stopped(step: Step) -> tuple[str, tuple[int, ...]]:
    return f"stopped while {step.fact.new}", (14,)


def _overdue(_step: Step) -> tuple[str, tuple[int, ...]]:
    return "past the deadline", (5, 9)


_BEHIND = {"paused": _paused, "stopped": _stopped, "overdue": _overdue}


def _closed(start: datetime, end: datetime, calendar: Calendar) -> Iterator[Interval]:
    """Cut a closed stretch at the midnights around days off, which have names."""
    day = start.astimezone(calendar.zone).date()
    begun, name = start, calendar.days_off(day.year).get(day)
    while start < end:
        day += timedelta(days=1)
        midnight = datetime.combine(day, time(), calendar.zone).astimezone(UTC)
        if midnight <= start:
            continue
        start, following = min(midnight, end), calendar.days_off(day.year).get(day)
        if following != name or start == end:
            kind = "holiday" if name else "closed"
            yield Interval(begun, start, kind, name or f"{calendar.name} is closed", (1, 2), timedelta(0))
            begun, name = start, following


# --- marks -------------------------------------------------------------------------------------------------------


def _marks(step: Step) -> Iterator[Mark]:
    before, after, fact = step.before, step.after, step.fact
    if before is None:
        paused = after.state is ClockState.PAUSED
        text = f"{_length(after.target_seconds)} promised"
        yield Mark(
            step.at, "started", text + (", paused from the beginning" if paused else ""), (13,) if paused else (2,)
        )
        return
    if before == after:
        yield _alarm(fact)
        return
    if before.waived_at != after.waived_at:
        granted = "does not count" if after.waived_at else "counts again"
        yield Mark(step.at, fact.kind.replace("_", " "), f"by {fact.actor}: {fact.note}; the breach {granted}", (9,))
        return
    if before.target_seconds != after.target_seconds:
        text = f"{_length(before.target_seconds)} → {_length(after.target_seconds)}, by {_cause(fact)}"
        yield Mark(step.at, "re-targeted", text, (10,))
    elif before.policy != after.policy:
        yield Mark(step.at, "re-targeted", f"policy {before.policy} → {after.policy}, by {_cause(fact)}", (10, 17))
    elif before.rules != after.rules:
        yield Mark(step.at, "re-targeted", f"as long as before, by {_cause(fact)}", (18,))
    if after.breached_at is not None and before.breached_at is None:
        found = "" if after.detected_at else "; no scan has found it yet"
        if after.cause == "retarget":
            yield Mark(after.breached_at, "breached", f"the new deadline had passed{found}", (10,))
        else:
            yield Mark(after.breached_at, "breached", f"not done by the deadline{found}", (5,))
    yield from _moved(step)


def _alarm(fact: Fact) -> Mark:
    """Tell what was raised, or kept from being raised, and moved no clock."""
    raised = f"; priority {fact.old} → {fact.new}, the promise stays" if fact.new else ""
    # `resolution level 2, repeat 1: nobody to tell`; the target stands above.
    text = (fact.note or "").partition(" ")[2]
    match fact.kind:
        case "escalated":
            return Mark(fact.at, fact.kind, text + raised, (11, 22))
        case "warned":
            return Mark(fact.at, fact.kind, text, (21,))
        case "collapsed":
            what, _, why = text.partition(_PASSED_OVER)
            return Mark(fact.at, "passed over", f"{what}; {why}", (21, 23))
        case _:
            until = known(fact.detail).get("until") or {}
            ends = {at for at in until.values() if at} if isinstance(until, dict) else set()
            text = f"by {fact.actor}" + (
                f", until {datetime.fromisoformat(min(ends)):%Y-%m-%d %H:%M} UTC" if ends else ""
            )
            return Mark(fact.at, fact.kind, text, (22,))


def _moved(step: Step) -> Iterator[Mark]:
    """Tell what a move of the ticket meant for its clock."""
    before, after, fact = step.before, step.after, step.fact
    old, new = _mode(before) if before else "", _mode(after)
    moved = f"{fact.old} → {fact.new}" if fact.kind == "status" else fact.kind
    if fact.kind == "classified":
        moved = _cause(fact)
    if after.state is ClockState.CANCELLED and before and before.state is not ClockState.CANCELLED:
        yield Mark(step.at, "cancelled", f"{moved}; counts nowhere", (20,))
    elif new == "stopped" and old != "stopped" and fact.kind in _PROMISED_ANEW:
        yield Mark(step.at, "ended", f"{_cause(fact)}; promised no longer, late all the same", (9,))
    elif new == "stopped" and old != "stopped":
        met = after.state is ClockState.MET
        yield Mark(step.at, "met" if met else "done late", moved, (5, 13) if old == "paused" else (5,))
    elif old == "stopped" and new != "stopped":
        yield Mark(step.at, "reopened", f"{moved}; the time in between does not count", (14,))
    if new == "paused" and old != "paused":
        yield Mark(step.at, "paused", moved, (12,))
    elif old == "paused" and new == "open":
        yield Mark(step.at, "resumed", moved, (12,))


def _cause(fact: Fact) -> str:
    """Say what a promise was made anew for."""
    if fact.kind == "repromised":
        return f"version {fact.new} of the rules"
    return reclassified(fact.old, fact.new) if fact.kind == "classified" else f"priority {fact.old} → {fact.new}"


def _length(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h" if not rest else str(timedelta(seconds=seconds))
