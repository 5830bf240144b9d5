"""A ticket's events, and the clocks that follow from them: the same rules, run over the history again. Pure.

Independent of what is stored in `clocks`: an explanation is made of it, and an audit compares it with them. Events are
taken in the order in which they were written, which is the order in which the ticket was locked. Whatever an event
says is believed; what does not fit together is noted as a gap and does not stop the replay (rule 27).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, TypeAlias

from ticket_system.sla import clocks as rules
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.terms import BUILT_IN, Fact, Terms, TermsOf, known, promised
from ticket_system.tickets import ACTIVE_STATUSES, STATUS_FLOW

#: The target and the cycle of a clock of the ticket.
Key: TypeAlias = tuple[str, int]

#: The clocks that start when a ticket is opened.
_AT_OPENING = (rules.RESOLUTION,)


class Step(NamedTuple):
    """What one event did to one clock; `before` is None where it started."""

    fact: Fact
    at: datetime
    before: Clock | None
    after: Clock


@dataclass(slots=True)
class Replayed:
    """A ticket's clocks as its history makes them, and how they came to it."""

    ticket_id: str
    clocks: dict[Key, Clock] = field(default_factory=dict)
    terms: dict[Key, Terms] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    #: The breach of each clock that is on record.
    breaches: dict[Key, Fact] = field(default_factory=dict)
    opened: Fact | None = None
    #: Where the ticket stands, by its events.
    status: str | None = None
    gaps: list[str] = field(default_factory=list)

    def steps_of(self, key: Key) -> list[Step]:
        """Return what happened to one clock."""
        return [step for step in self.steps if (step.after.target, step.after.cycle) == key]


def replay(ticket_id: str, facts: Iterable[Fact], terms: TermsOf = BUILT_IN) -> Replayed:
    """Return the clocks that follow from a ticket's events; nothing later than the last event is known to them."""
    told = Replayed(ticket_id)
    for fact in facts:
        try:
            match fact.kind:
                case "created":
                    _create(told, fact, terms)
                case "status":
                    _move(told, fact)
                case "priority":
                    _promise(told, fact)
                case "escalated":
                    _escalate(told, fact)
                case "breached":
                    _breach(told, fact)
                case _:
                    pass
        except (ValueError, OverflowError) as error:
            told.gaps.append(f"event {fact.id} ({fact.kind}) cannot be followed: {error}")
    if told.opened is None:
        told.gaps.insert(0, "the history does not begin with the opening")
    return told


def _create(told: Replayed, fact: Fact, terms_of: TermsOf) -> None:
    status = known(fact.new).get("status")
    told.opened, told.status = fact, status
    if status not in STATUS_FLOW:
        told.gaps.append(f"event {fact.id} (created) does not say how it was opened")
    if status not in ACTIVE_STATUSES:
        return  # created done starts no clock (13)
    for target in _AT_OPENING:
        terms = terms_of(target, fact)
        span = promised(fact, target, terms)
        if span is None:
            told.gaps.append(f"event {fact.id} (created) does not say what was promised")
            continue
        clock = rules.start(told.ticket_id, fact.at, span, paused=status in terms.pausing)
        told.terms[clock.target, clock.cycle] = terms
        _put(told, fact, fact.at, None, clock)


def _move(told: Replayed, fact: Fact) -> None:
    old, new = fact.old or "", fact.new or ""
    if told.status != old:
        told.gaps.append(f"event {fact.id} moves it from {old}, but the events before leave it {told.status}")
    told.status = new
    for key, clock in _settled(told, fact):
        after = rules.follow(clock, old, new, pausing=told.terms[key].pausing, now=fact.at)
        _put(told, fact, fact.at, clock, after)


def _promise(told: Replayed, fact: Fact) -> None:
    for key, clock in _settled(told, fact):
        span = promised(fact, clock.target, told.terms[key])
        if span is None:
            told.gaps.append(f"event {fact.id} ({fact.kind}) does not say what was promised")
        else:
            _put(told, fact, fact.at, clock, rules.retarget(clock, span, fact.at))


def _escalate(told: Replayed, fact: Fact) -> None:
    if fact.key is None:
        _promise(told, fact)
    elif (key := _key_of(fact)) in told.clocks:
        # By itself it moves no clock (11), but whoever asks should see it.
        told.steps.append(Step(fact, fact.at, told.clocks[key], told.clocks[key]))


def _breach(told: Replayed, fact: Fact) -> None:
    """Believe a verdict that a scan wrote, if its deadline was the one that the history leads to.

    It is written before whatever the same transaction did next; and where a scan came between a change's moment and
    its turn, only the order of the events tells that the verdict was first.
    """
    key = _key_of(fact)
    clock = told.clocks.get(key)
    told.breaches[key] = fact
    if clock is None:
        told.gaps.append(f"event {fact.id} (breached) belongs to no clock")
        return
    detected_at = fact.recorded_at or fact.at
    if clock.state is ClockState.RUNNING and clock.due_at == fact.at and detected_at > fact.at:
        _put(told, fact, fact.at, clock, rules.settle(clock, detected_at))
    elif clock.breached_at is not None:
        told.clocks[key] = replace(clock, detected_at=detected_at)


def _settled(told: Replayed, fact: Fact) -> list[tuple[Key, Clock]]:
    """Reach the verdicts that were due before a change, as the change did (rule 7)."""
    for clock in list(told.clocks.values()):
        after = rules.settle(clock, fact.at)
        if after is not clock:
            _put(told, fact, after.breached_at or fact.at, clock, after)
    return list(told.clocks.items())


def _put(told: Replayed, fact: Fact, at: datetime, before: Clock | None, after: Clock) -> None:
    if after != before:
        told.clocks[after.target, after.cycle] = after
        told.steps.append(Step(fact, at, before, after))


def _key_of(fact: Fact) -> Key:
    """Read ticket/target/cycle/kind/level/repeat; the ticket's own id may hold anything."""
    parts = (fact.key or "").rsplit("/", 5)
    return (parts[1], int(parts[2])) if len(parts) == 6 and parts[2].isdecimal() else ("", 0)  # noqa: PLR2004
