"""What a change of a ticket means for its clocks: they start, follow, are promised anew, are answered, and are stored.

The caller locked the ticket and owns the transaction. A breach is written with its event, and its notice beside it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.errors import InvalidTicket, PolicyError
from ticket_system.rulebook import Rulebook, Terms
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock, ClockState
from ticket_system.storage import clocks, events, outbox
from ticket_system.storage.events import Event
from ticket_system.tickets import ACTIVE_STATUSES, Comment, Ticket


class Promises:
    """The clocks of one transaction's tickets."""

    def __init__(self, connection: sa.Connection, rules: Rulebook, *, alarms: bool) -> None:
        self.connection, self.rules, self.alarms = connection, rules, alarms

    def opened(self, ticket: Ticket) -> list[Clock]:
        """Start what runs from the opening on; the resolution's clock is put on the ticket."""
        promises = self.rules.promises(self.connection, ticket) if ticket.status in ACTIVE_STATUSES else {}
        started = []
        for target in (FIRST_RESPONSE, RESOLUTION):
            terms = promises.get(target)
            seconds = terms and self._promised(ticket, target, terms)
            if terms and seconds:
                clock = self._start(ticket, target, terms, seconds, ticket.created_at, cycle=1)
                started.append(clock)
                if target == RESOLUTION:
                    ticket.clock, ticket.calendar = clock, terms.calendar
                    ticket.sla_hours = -(-seconds // 3600)
        return started

    def moved(self, ticket: Ticket, status: str, now: datetime) -> dict[str, int]:
        """Do what a move to another status means; returns what changes on the ticket because of it."""
        changed: dict[str, int] = {}
        for clock in self._newest(ticket.id).values():
            terms = self.rules.of(self.connection, clock)
            followed = clock_rules.follow(
                clock,
                ticket.status,
                status,
                pausing=terms.pausing,
                now=now,
                calendar=terms.calendar,
                reopens=terms.policy.reopen == "resume",
                without_response=terms.policy.without_response,
            )
            self._save(clock, followed)
            if clock.target == RESOLUTION and ticket.status == "resolved" and status in ACTIVE_STATUSES:
                changed |= self._restarted(replace(ticket, status=status), clock, terms, now)
        return changed

    def repriced(self, ticket: Ticket, priority: int, hours: int | None, now: datetime) -> dict[str, Any]:
        """Promise what the new priority is promised (rules 10, 17); returns what a replay has to know of it."""
        changed, resolution = replace(ticket, priority=priority), hours
        promises: dict[str, int | None] = {}
        policies: dict[str, str] = {}
        for clock in self._newest(ticket.id).values():
            terms = self.rules.chosen_anew(self.connection, clock, changed)
            seconds = terms.seconds.get(priority) if terms else None
            if hours is not None and clock.target == RESOLUTION:
                seconds = hours * 3600
            if clock.rules is not None:
                promises[clock.target] = seconds if terms else None
            if terms is None or seconds is None:
                calendar = self.rules.of(self.connection, clock).calendar
                self._save(clock, clock_rules.cancel(clock, now, calendar) if clock.stopped_at is None else clock)
                continue
            moved = clock_rules.retarget(clock, timedelta(seconds=seconds), now, terms.calendar)
            self._save(clock, replace(moved, policy=terms.policy.name))
            if clock.rules is not None:
                policies[clock.target] = terms.policy.name
            if clock.target == RESOLUTION:
                resolution = -(-seconds // 3600)
        resolution = resolution or ticket.sla_hours
        return {"sla_hours": resolution} | ({"promises": promises, "policies": policies} if promises else {})

    def answered(self, ticket: Ticket, comment: Comment, now: datetime) -> None:
        """Stop what waits for an answer, or start to wait for one (rules 15, 16)."""
        if comment.is_internal or comment.author == "system":
            return
        mine = self._newest(ticket.id)
        first, following = mine.get(FIRST_RESPONSE), mine.get(NEXT_RESPONSE)
        if comment.author != ticket.requester:
            for clock in (first, following):
                if clock is not None and clock.stopped_at is None:
                    self._save(clock, clock_rules.stop(clock, now, self.rules.of(self.connection, clock).calendar))
            return
        waits_already = (first is not None and first.stopped_at is None) or (
            following is not None and following.stopped_at is None
        )
        if waits_already or ticket.status not in ACTIVE_STATUSES:
            return
        terms = self.rules.promises(self.connection, ticket).get(NEXT_RESPONSE)
        seconds = terms and terms.seconds.get(ticket.priority)
        if terms and seconds:
            cycle = following.cycle + 1 if following else 1
            self._start_later(ticket, NEXT_RESPONSE, terms, seconds, now, cycle=cycle)

    def settled(self, ticket_id: str, now: datetime) -> None:
        """Reach the verdicts that are due by now, as a scan would."""
        for clock in self._newest(ticket_id).values():
            self._save(clock, clock_rules.settle(clock, now))

    def _restarted(self, ticket: Ticket, clock: Clock, terms: Terms, now: datetime) -> dict[str, int]:
        """Start a new cycle of a reopened ticket where its policy says so (rule 14); what was before stays as it is."""
        if terms.policy.reopen != "restart":
            return {}
        promise = self.rules.promises(self.connection, ticket).get(RESOLUTION)
        seconds = promise and self._promised(ticket, RESOLUTION, promise)
        if not promise or not seconds:
            return {}
        self._start_later(ticket, RESOLUTION, promise, seconds, now, cycle=clock.cycle + 1)
        return {"cycle": clock.cycle + 1}

    def _promised(self, ticket: Ticket, target: str, terms: Terms) -> int | None:
        """Return the promised seconds; under the rules built in, a ticket may bring its own."""
        if target == RESOLUTION and terms.version is None:
            return ticket.sla_hours * 3600
        return terms.seconds.get(ticket.priority)

    def _start_later(
        self, ticket: Ticket, target: str, terms: Terms, seconds: int, at: datetime, *, cycle: int
    ) -> None:
        """Start a clock after the opening, and write down that it was."""
        clock = self._start(ticket, target, terms, seconds, at, cycle=cycle)
        clocks.insert(self.connection, clock)
        events.append(self.connection, events.started(clock, ticket.status))

    def _start(self, ticket: Ticket, target: str, terms: Terms, seconds: int, at: datetime, *, cycle: int) -> Clock:
        paused = ticket.status in terms.pausing
        promised = timedelta(seconds=seconds)
        try:
            clock = clock_rules.start(
                ticket.id, at, promised, terms.calendar, target=target, cycle=cycle, paused=paused
            )
        except (OverflowError, PolicyError) as error:
            raise InvalidTicket("created_at plus sla_hours lies beyond the years 1 to 9999") from error
        return replace(clock, policy=terms.policy.name, rules=terms.version)

    def _newest(self, ticket_id: str) -> dict[str, Clock]:
        """Lock a ticket's clocks; of each target the newest cycle. Records of earlier cycles never change (14)."""
        return {clock.target: clock for clock in clocks.lock(self.connection, ticket_id)}

    def _save(self, before: Clock, after: Clock) -> None:
        """Store what became of a clock; a breach with its event, and its notice beside it (rules 7, 25)."""
        if after == before:
            return
        newly = after.breached_at is not None and before.breached_at is None
        if not self.alarms and after.state is ClockState.BREACHED:
            after = replace(after, next_check_at=None)
        clocks.save(self.connection, after)
        if not newly or after.breached_at is None or after.detected_at is None:
            return
        key = events.key(after.ticket_id, after.target, after.cycle, "breached")
        note = f"{after.target} {after.cause}"
        breach = Event(after.ticket_id, after.breached_at, "breached", "system", "running", "breached", note, key)
        # As a scan writes it down: then it was found.
        events.append(self.connection, breach, recorded_at=after.detected_at)
        if self.alarms:
            outbox.add(
                self.connection,
                cause=key,
                kind="breach",
                ticket_id=after.ticket_id,
                now=after.detected_at,
            )
