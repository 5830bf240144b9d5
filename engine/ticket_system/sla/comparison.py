"""What is stored of a ticket's clocks beside what its history makes of them. Pure; nothing is mended (rule 27)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.replay import Key, Replayed, Step

#: Not here: `detected_at` is when somebody looked, and `next_check_at` when somebody will; a rule of its own holds it.
FIELDS = (
    "state", "started_at", "target_seconds", "due_at", "paused_at", "paused_for", "remaining", "stopped_at",
    "breached_at", "cause", "policy", "rules", "waived_at", "worked",
)  # fmt: skip
_LAST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one clock that is not what the history makes of it, and how both sides came to it."""

    ticket_id: str
    target: str
    cycle: int
    #: A field of the clock; `clock` where one side has none, `event` where the ledger has no such breach.
    field: str
    stored: str | None
    computed: str | None
    #: What the stored clock says of itself, and what the events say. No texts that people wrote.
    stored_because: str
    computed_because: str


def differences(stored: Iterable[Clock], told: Replayed) -> list[Difference]:
    """Compare the clocks of one ticket; the replay's history must be of the same moment as the stored clocks."""
    here = {(clock.target, clock.cycle): clock for clock in stored}
    found: list[Difference] = []
    for key in sorted(here.keys() | told.clocks.keys()):
        clock, computed = here.get(key), told.clocks.get(key)
        for field, left, right in _fields(clock, computed, on_record=key in told.breaches):
            because = _clock(clock), _history(told, key)
            found.append(Difference(told.ticket_id, *key, field, _text(left), _text(right), *because))
    return found


def _fields(stored: Clock | None, computed: Clock | None, *, on_record: bool) -> Iterator[tuple[str, Any, Any]]:
    if stored is None or computed is None:
        yield "clock", stored and stored.state, computed and computed.state
        return
    for name in FIELDS:
        left, right = getattr(stored, name), getattr(computed, name)
        if left != right:
            yield name, left, right
    if stored.state is ClockState.RUNNING:
        # Nobody would look in time (7).
        if stored.due_at and (stored.next_check_at is None or stored.next_check_at > stored.due_at):
            yield "next_check_at", stored.next_check_at, stored.due_at
    elif stored.state is not ClockState.BREACHED and stored.next_check_at is not None:
        yield "next_check_at", stored.next_check_at, None
    if (stored.breached_at is None) != (stored.detected_at is None):
        yield "detected_at", stored.detected_at, computed.detected_at
    if (stored.breached_at is not None) != on_record:
        yield "event", _breach(known=not on_record), _breach(known=on_record)


def _breach(*, known: bool) -> str:
    return "a breach" if known else "no breach"


def _clock(clock: Clock | None) -> str:
    if clock is None:
        return "no such clock is stored"
    paused = f", paused since {_text(clock.paused_at)} with {clock.remaining} left" if clock.paused_at else ""
    ended = f", stopped {_text(clock.stopped_at)}" if clock.stopped_at else ""
    breach = f", breached {_text(clock.breached_at)} ({clock.cause})" if clock.breached_at else ""
    return (
        f"{clock.state}: {timedelta(seconds=clock.target_seconds)} promised from {_text(clock.started_at)},"
        f" {clock.paused_for} paused, due {_text(clock.due_at) or 'never'}{paused}{ended}{breach}"
    )


def _history(told: Replayed, key: Key) -> str:
    steps = told.steps_of(key)
    shown = [_step(step) for step in steps[-_LAST_SHOWN:]] or ["the events start no such clock"]
    if len(steps) > _LAST_SHOWN:
        shown.insert(0, f"{len(steps) - _LAST_SHOWN} earlier steps")
    return "; ".join(shown + told.gaps)


def _step(step: Step) -> str:
    fact, after = step.fact, step.after
    what = fact.kind if fact.kind in {"created", "breached"} else f"{fact.kind} {fact.old} → {fact.new}"
    due = f", due {_text(after.due_at)}" if after.due_at else ""
    return f"{_text(step.at)} event {fact.id} ({what}): {after.state}{due}"


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, datetime) else str(value)
