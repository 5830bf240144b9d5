"""New rules for a ticket that is open already: what moves, what ends, what begins (18, 19). Pure; numbers are rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.course import Changed, Clocks, Course, Rechosen
from ticket_system.sla.policies import Facts
from ticket_system.tickets import ACTIVE_STATUSES, Ticket


class Rollout(Course):
    """The course of clocks that leave the rules they started with for those in force."""

    def repromised(self, mine: Clocks, ticket: Ticket, now: datetime, *, was_answered: Callable[[], bool]) -> Rechosen:
        """Promise what the rules in force promise; a clock that is decided, or under them already, stays as it is.

        `was_answered`: asked whether somebody has answered publicly, when a first response would be started.
        """
        found = Rechosen(plain=False)
        if ticket.status not in ACTIVE_STATUSES:
            return found
        version, policy = self._picked(Facts.of(ticket))
        for clock in mine.values():
            if clock.rules == version or clock.state not in {ClockState.RUNNING, ClockState.PAUSED}:
                continue
            seconds = self._promised(ticket, clock.target, policy, version)
            found.promises[clock.target] = seconds
            if clock.target == RESOLUTION:
                found.resolution = seconds
            if not seconds:
                terms = self.of(clock)
                found.changes.append(Changed(clock, clock_rules.withdraw(clock, now, terms.calendar), terms))
                continue
            terms = self._terms_for(version, policy, clock.target)
            found.policies[clock.target] = policy.name
            moved = clock_rules.retarget(clock, timedelta(seconds=seconds), now, terms.calendar)
            found.changes.append(Changed(clock, replace(moved, policy=policy.name, rules=version), terms))
        for target in (FIRST_RESPONSE, RESOLUTION):  # the next response waits for a message (16)
            seconds = self._promised(ticket, target, policy, version)
            if target in mine or not seconds or (target == FIRST_RESPONSE and was_answered()):
                continue
            # A promise begins when it is made.
            found.changes.append(self._start(ticket, ticket.status, (version, policy, target), seconds, now))
            found.promises[target], found.policies[target] = seconds, policy.name
            if target == RESOLUTION:
                found.resolution = seconds
        return found
