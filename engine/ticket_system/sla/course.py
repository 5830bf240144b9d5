"""The course of one ticket's clocks under rules: which start, move, wait, are answered and end, and when. Pure.

Every method takes the newest clock of each target (records of earlier cycles never change, rule 14), the ticket as
it was before, and the moment; it returns what changed, for a caller to store, or to go on with. Numbers in brackets
are rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from ticket_system.errors import InvalidTicket, PolicyError
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock, ClockState
from ticket_system.sla.policies import Facts, Policy
from ticket_system.sla.terms import Rules, Terms, terms_for, terms_of
from ticket_system.tickets import ACTIVE_STATUSES, Ticket

#: The newest clock of each target.
Clocks: TypeAlias = Mapping[str, Clock]


class Changed(NamedTuple):
    """What became of a clock, and what it runs under from then on; `before` is None where it started."""

    before: Clock | None
    after: Clock
    terms: Terms


@dataclass(slots=True)
class Rechosen:
    """What choosing the policy anew came to."""

    changes: list[Changed] = field(default_factory=list)
    #: Seconds promised from now on to each target that ran or has begun to; None: promised no longer.
    promises: dict[str, int | None] = field(default_factory=dict)
    #: The policy of each target that is promised.
    policies: dict[str, str] = field(default_factory=dict)
    #: Seconds to the resolution; None: as before.
    resolution: int | None = None
    #: Whether whole hours to the resolution, by the rules built in, are all there is to tell of it.
    plain: bool = True


class Course:
    """What happens to tickets, said of their clocks; it remembers terms, so that one serves any number of tickets."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._terms: dict[tuple[int | None, str, str], Terms] = {}
        self._fields: dict[int | None, frozenset[str]] = {}

    def of(self, clock: Clock) -> Terms:
        """Return what a clock runs under; PolicyError when its rules know no such promise."""
        key = (clock.rules, clock.policy, clock.target)
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = terms_of(self.rules.of_version(clock.rules), clock)
        return found

    def opened(self, ticket: Ticket) -> list[Changed]:
        """Start what runs from the opening on; nothing for a ticket that comes done, or without SLA (13, 17)."""
        if ticket.status not in ACTIVE_STATUSES:
            return []
        version, policy = self._picked(Facts.of(ticket))
        wanted = ((target, self._promised(ticket, target, policy, version)) for target in (FIRST_RESPONSE, RESOLUTION))
        return [
            self._start(ticket, ticket.status, (version, policy, target), seconds, ticket.created_at)
            for target, seconds in wanted
            if seconds
        ]

    def moved(self, mine: Clocks, ticket: Ticket, status: str, now: datetime) -> list[Changed]:
        """Do what a move to another status means (12-15, 20); a reopened resolution may begin a new cycle (14)."""
        changes: list[Changed] = []
        for clock in mine.values():
            terms = self.of(clock)
            after = clock_rules.follow(
                clock,
                ticket.status,
                status,
                pausing=terms.pausing,
                now=now,
                calendar=terms.calendar,
                reopens=terms.policy.reopen == "resume",
                without_response=terms.policy.without_response,
            )
            changes.append(Changed(clock, after, terms))
            reopened = ticket.status == "resolved" and status in ACTIVE_STATUSES
            if reopened and clock.target == RESOLUTION and terms.policy.reopen == "restart":
                version, policy = self._picked(Facts.of(ticket))
                seconds = self._promised(ticket, RESOLUTION, policy, version)
                if seconds:
                    what = (version, policy, RESOLUTION)
                    changes.append(self._start(ticket, status, what, seconds, now, cycle=clock.cycle + 1))
        return _changed(changes)

    def answered(self, mine: Clocks, ticket: Ticket, author: str, now: datetime, *, internal: bool) -> list[Changed]:
        """Stop what waits for an answer, or start to wait for one (15, 16)."""
        if internal or author == "system":
            return []
        first, following = mine.get(FIRST_RESPONSE), mine.get(NEXT_RESPONSE)
        waiting = [clock for clock in (first, following) if clock is not None and clock.stopped_at is None]
        if author != ticket.requester:
            return [self._stopped(clock, now) for clock in waiting]
        if waiting or ticket.status not in ACTIVE_STATUSES:
            return []
        version, policy = self._picked(Facts.of(ticket))
        seconds = self._promised(ticket, NEXT_RESPONSE, policy, version)
        if not seconds:
            return []
        cycle = following.cycle + 1 if following else 1
        return [self._start(ticket, ticket.status, (version, policy, NEXT_RESPONSE), seconds, now, cycle=cycle)]

    def settled(self, mine: Clocks, now: datetime) -> list[Changed]:
        """Reach the verdicts that are due by now, as a scan would (7)."""
        due = (clock for clock in mine.values() if clock.is_due(now))
        return [Changed(clock, clock_rules.settle(clock, now), self.of(clock)) for clock in due]

    def repriced(
        self,
        mine: Clocks,
        ticket: Ticket,
        priority: int,
        now: datetime,
        *,
        hours: int | None = None,
        was_answered: Callable[[], bool],
    ) -> Rechosen:
        """Promise what the new priority is promised, or so many hours to the resolution (10, 17).

        `was_answered`: asked whether somebody has answered publicly, when a first response would be started.
        """
        facts = replace(Facts.of(ticket), priority=priority)
        found = Rechosen(resolution=None if hours is None else hours * 3600)
        for clock in mine.values():
            policy = self.rules.of_version(clock.rules).pick(facts)
            seconds = _seconds(policy, clock.target, priority, found.resolution)
            if clock.target == RESOLUTION and seconds is not None:
                found.resolution = seconds
            self._promise(found, clock, policy, seconds, now)
        self._begin(found, mine, ticket, facts, now, was_answered)
        return found

    def reclassified(
        self, mine: Clocks, ticket: Ticket, facts: Facts, now: datetime, *, was_answered: Callable[[], bool]
    ) -> Rechosen:
        """Promise what the policy promises that the ticket gets now, where the rules look at what changed (10, 17).

        A clock whose policy stays is left alone: it may run by hours of its own, or by a priority that an escalation
        has raised since (11).
        """
        before, found = Facts.of(ticket), Rechosen()
        changed = {name for name, value in vars(facts).items() if value != getattr(before, name)}
        for clock in mine.values():
            if clock.stopped_at is not None or changed.isdisjoint(self._looked_at(clock.rules)):
                continue
            policy = self.rules.of_version(clock.rules).pick(facts)
            if policy.name == self.of(clock).policy.name:
                continue
            seconds = _seconds(policy, clock.target, facts.priority)
            if clock.target == RESOLUTION:
                found.resolution = seconds
            self._promise(found, clock, policy, seconds, now)
        if not changed.isdisjoint(self._looked_at(self._pinned(mine))):
            self._begin(found, mine, ticket, facts, now, was_answered)
        return found

    # --- what all of them need ---------------------------------------------------------------------------------------

    def _promise(self, found: Rechosen, clock: Clock, policy: Policy, seconds: int | None, now: datetime) -> None:
        """Move a clock that runs to what its policy promises now, or end it; a stopped one stays as it is."""
        if clock.stopped_at is not None:
            return
        found.promises[clock.target] = seconds
        found.plain &= clock.rules is None and seconds is not None and seconds % 3600 == 0
        if seconds is None:
            terms = self.of(clock)
            found.changes.append(Changed(clock, clock_rules.withdraw(clock, now, terms.calendar), terms))
            return
        terms = self._terms_for(clock.rules, policy, clock.target)
        found.policies[clock.target] = policy.name
        moved = clock_rules.retarget(clock, timedelta(seconds=seconds), now, terms.calendar)
        if moved.policy != policy.name:
            moved = replace(moved, policy=policy.name)
        found.changes += _changed([Changed(clock, moved, terms)])

    def _begin(
        self,
        found: Rechosen,
        mine: Clocks,
        ticket: Ticket,
        facts: Facts,
        now: datetime,
        was_answered: Callable[[], bool],
    ) -> None:
        """Start what is promised now and was not before: from now on, for a promise begins when it is made."""
        if ticket.status not in ACTIVE_STATUSES:
            return
        version = self._pinned(mine)
        book = self.rules.of_version(version)
        # A clock that runs knows its policy better than the ticket, whose priority an escalation may have raised (11).
        running = (clock for clock in mine.values() if clock.stopped_at is None and clock.rules == version)
        policies = (self.of(clock).policy for clock in running)
        before, policy = next(policies, None) or book.pick(Facts.of(ticket)), book.pick(facts)
        for target in (FIRST_RESPONSE, RESOLUTION):  # the next response waits for a message (16)
            earlier = mine.get(target)
            seconds = _seconds(policy, target, facts.priority, found.resolution)
            if not seconds or before.target(target, ticket.priority) is not None:
                continue
            if earlier is not None and earlier.state is not ClockState.CANCELLED:
                continue
            if target == FIRST_RESPONSE and was_answered():
                continue
            cycle = earlier.cycle + 1 if earlier else 1
            what = (version, policy, target)
            found.changes.append(self._start(ticket, ticket.status, what, seconds, now, cycle=cycle))
            found.promises[target], found.policies[target], found.plain = seconds, policy.name, False
            if target == RESOLUTION:
                found.resolution = seconds

    def _start(
        self,
        ticket: Ticket,
        status: str,
        what: tuple[int | None, Policy, str],
        seconds: int,
        at: datetime,
        *,
        cycle: int = 1,
    ) -> Changed:
        version, policy, target = what
        terms = self._terms_for(version, policy, target)
        paused = status in terms.pausing
        promised = timedelta(seconds=seconds)
        try:
            clock = clock_rules.start(
                ticket.id, at, promised, terms.calendar, target=target, cycle=cycle, paused=paused
            )
        except (OverflowError, PolicyError) as error:
            raise InvalidTicket("created_at plus sla_hours lies beyond the years 1 to 9999") from error
        return Changed(None, replace(clock, policy=policy.name, rules=version), terms)

    def _stopped(self, clock: Clock, now: datetime) -> Changed:
        terms = self.of(clock)
        return Changed(clock, clock_rules.stop(clock, now, terms.calendar), terms)

    def _picked(self, facts: Facts) -> tuple[int | None, Policy]:
        """Return the policy that a new promise is made by."""
        version, book = self.rules.in_force()
        return version, book.pick(facts)

    def _pinned(self, mine: Clocks) -> int | None:
        """Return the version of the rules that a ticket is under; the one in force where it has no clock (18)."""
        if not mine:
            return self.rules.in_force()[0]
        return (mine.get(RESOLUTION) or max(mine.values(), key=lambda clock: clock.started_at)).rules

    def _promised(self, ticket: Ticket, target: str, policy: Policy, version: int | None) -> int | None:
        """Return the promised seconds; under the rules built in, a ticket may bring its own."""
        if target == RESOLUTION and version is None and target in policy.targets:
            return ticket.sla_hours * 3600
        return _seconds(policy, target, ticket.priority)

    def _terms_for(self, version: int | None, policy: Policy, target: str) -> Terms:
        key = (version, policy.name, target)
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = terms_for(self.rules.of_version(version), version, policy, target)
        return found

    def _looked_at(self, version: int | None) -> frozenset[str]:
        found = self._fields.get(version)
        if found is None:
            found = self._fields[version] = self.rules.of_version(version).fields_matched()
        return found


def _seconds(policy: Policy, target: str, priority: int, resolution: int | None = None) -> int | None:
    """Return what a policy promises, in seconds; where it promises a resolution, that may be said otherwise."""
    rule = policy.targets.get(target)
    if rule is None:
        return None
    return resolution if target == RESOLUTION and resolution is not None else rule.seconds.get(priority)


def _changed(changes: Iterable[Changed]) -> list[Changed]:
    return [one for one in changes if one.after is not one.before and one.after != one.before]
