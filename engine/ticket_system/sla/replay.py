"""A ticket's events, and the clocks that follow from them: the same rules, run over the history again. Pure.

Independent of what is stored in `clocks`: an explanation is made of it, and an audit compares it with them. Events are
taken in the order in which they were written, which is the order in which the ticket was locked. Whatever an event
says is believed; what does not fit together is noted as a gap and does not stop the replay (rule 27).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from ticket_system.sla import clocks as rules
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.terms import BUILT_IN, Fact, Terms, TermsOf, known, promised, promises
from ticket_system.tickets import ACTIVE_STATUSES, STATUS_FLOW

#: The target and the cycle of a clock of the ticket.
Key: TypeAlias = tuple[str, int]


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
    #: Who asked: whose comments are no answers.
    requester: str | None = None
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
            _follow(told, fact, terms)
        except (ValueError, OverflowError) as error:
            told.gaps.append(f"event {fact.id} ({fact.kind}) cannot be followed: {error}")
    if told.opened is None:
        told.gaps.insert(0, "the history does not begin with the opening")
    return told


def _follow(told: Replayed, fact: Fact, terms: TermsOf) -> None:
    """Do what an event says; the last ones moved nothing, but whoever asks should see them."""
    match fact.kind:
        case "created":
            _create(told, fact, terms)
        case "started":
            _start(told, fact, terms)
        case "commented":
            _answer(told, fact)
        case "status":
            _move(told, fact)
        case "priority" | "escalated" if fact.key is None:
            _promise(told, fact, terms)
        case "classified":
            if promises(fact) is not None:  # otherwise no clock was moved
                _promise(told, fact, terms)
        case "breached":
            _breach(told, fact)
        case "warned" | "escalated" | "collapsed" | "acknowledged" | "rearmed":
            _tell(told, fact)
        case _:
            pass


def _tell(told: Replayed, fact: Fact) -> None:
    """Note what moved no clock (11): of one that the event names, else of all that run."""
    named = _key_of(fact)
    for key, clock in told.clocks.items() if fact.key else _newest(told).items():
        if key == named or (fact.key is None and clock.stopped_at is None):
            told.steps.append(Step(fact, fact.at, clock, clock))


def _create(told: Replayed, fact: Fact, terms_of: TermsOf) -> None:
    facts = known(fact.new)
    status = facts.get("status")
    told.opened, told.requester, told.status = fact, fact.actor, status
    if status not in STATUS_FLOW:
        told.gaps.append(f"event {fact.id} (created) does not say how it was opened")
    if status not in ACTIVE_STATUSES:
        return  # created done starts no clock (13)
    named = promises(fact)
    for target in (rules.RESOLUTION,) if named is None else named:
        _begin(told, fact, target, 1, terms_of(target, facts.get("policy", "default"), facts.get("rules")), facts)


def _start(told: Replayed, fact: Fact, terms_of: TermsOf) -> None:
    """Start what an event says was started: a new cycle, or the wait for an answer."""
    facts, (target, cycle) = known(fact.detail), _key_of(fact)
    _begin(told, fact, target, cycle, terms_of(target, facts.get("policy", "default"), facts.get("rules")), facts)


def _begin(told: Replayed, fact: Fact, target: str, cycle: int, terms: Terms, facts: Mapping[str, Any]) -> None:
    span = promised(fact, target, terms)
    if span is None:
        told.gaps.append(f"event {fact.id} ({fact.kind}) does not say what was promised")
        return
    # A reopened ticket starts its new cycle in the status that it is about to have.
    paused = facts.get("status", told.status) in terms.pausing
    clock = rules.start(told.ticket_id, fact.at, span, terms.calendar, target=target, cycle=cycle, paused=paused)
    clock = replace(clock, policy=terms.policy.name, rules=facts.get("rules"))
    told.terms[clock.target, clock.cycle] = terms
    _put(told, fact, fact.at, None, clock)


def _answer(told: Replayed, fact: Fact) -> None:
    """Stop what waited for an answer (15, 16)."""
    if fact.new != "public" or fact.actor in {"system", told.requester}:
        return
    for key, clock in _newest(told).items():
        if clock.target != rules.RESOLUTION and clock.stopped_at is None:
            _put(told, fact, fact.at, clock, rules.stop(clock, fact.at, told.terms[key].calendar))


def _move(told: Replayed, fact: Fact) -> None:
    old, new = fact.old or "", fact.new or ""
    if told.status != old:
        told.gaps.append(f"event {fact.id} moves it from {old}, but the events before leave it {told.status}")
    told.status = new
    for key, clock in _settled(told, fact):
        terms = told.terms[key]
        after = rules.follow(
            clock,
            old,
            new,
            pausing=terms.pausing,
            now=fact.at,
            calendar=terms.calendar,
            reopens=terms.policy.reopen == "resume",
            without_response=terms.policy.without_response,
        )
        _put(told, fact, fact.at, clock, after)


def _promise(told: Replayed, fact: Fact, terms_of: TermsOf) -> None:
    policies, named = known(fact.detail).get("policies") or {}, promises(fact)
    for key, clock in _settled(told, fact):
        if clock.stopped_at is not None or (named is not None and clock.target not in named):
            continue
        terms = told.terms[key]
        if clock.target in policies:
            terms = terms_of(clock.target, policies[clock.target], clock.rules)
        span = promised(fact, clock.target, terms)
        if span is not None:
            told.terms[key] = terms
            moved = rules.retarget(clock, span, fact.at, terms.calendar)
            _put(told, fact, fact.at, clock, replace(moved, policy=terms.policy.name))
        elif named is None:
            told.gaps.append(f"event {fact.id} ({fact.kind}) does not say what was promised")
        else:
            _put(told, fact, fact.at, clock, rules.withdraw(clock, fact.at, terms.calendar))


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
    for clock in _newest(told).values():
        after = rules.settle(clock, fact.at)
        if after is not clock:
            _put(told, fact, after.breached_at or fact.at, clock, after)
    return list(_newest(told).items())


def _newest(told: Replayed) -> dict[Key, Clock]:
    """Of each target the newest cycle: records of earlier ones never change (14)."""
    newest = {target: max(cycle for of, cycle in told.clocks if of == target) for target, _ in told.clocks}
    return {key: clock for key, clock in told.clocks.items() if newest[key[0]] == key[1]}


def _put(told: Replayed, fact: Fact, at: datetime, before: Clock | None, after: Clock) -> None:
    if after != before:
        told.clocks[after.target, after.cycle] = after
        told.steps.append(Step(fact, at, before, after))


def _key_of(fact: Fact) -> Key:
    """Read ticket/target/cycle/kind/level/repeat; the ticket's own id may hold anything."""
    parts = (fact.key or "").rsplit("/", 5)
    return (parts[1], int(parts[2])) if len(parts) == 6 and parts[2].isdecimal() else ("", 0)  # noqa: PLR2004
