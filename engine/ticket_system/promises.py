"""What a change of a ticket means for its clocks: they start, follow, are promised anew, are answered, and are stored.

The caller locked the ticket and owns the transaction. A breach is written with its event; what is raised because of
it is planned here, and done by the sweep.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.errors import InvalidTicket, PolicyError
from ticket_system.rulebook import Rulebook, Terms
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.alarms import Alarm, acknowledge, next_look, plan, rearm, tells_nobody
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock, ClockState
from ticket_system.sla.policies import Level
from ticket_system.storage import alarms, clocks, events
from ticket_system.storage.alarms import Raised
from ticket_system.storage.events import Event
from ticket_system.tickets import ACTIVE_STATUSES, Comment, Ticket, utc_now


class Promises:
    """The clocks of one transaction's tickets."""

    def __init__(self, connection: sa.Connection, rules: Rulebook, *, alarms: bool) -> None:
        self.connection, self.rules = connection, rules
        #: What lies further back raises no alarm.
        self._quiet_until = None if alarms else utc_now()

    def opened(self, ticket: Ticket) -> list[tuple[Clock, list[Alarm]]]:
        """Start what runs from the opening on; the resolution's clock is put on the ticket."""
        promises = self.rules.promises(self.connection, ticket) if ticket.status in ACTIVE_STATUSES else {}
        started = []
        for target in (FIRST_RESPONSE, RESOLUTION):
            terms = promises.get(target)
            seconds = terms and self._promised(ticket, target, terms)
            if terms and seconds:
                clock, ahead = self._start(ticket, target, terms, seconds, ticket.created_at, cycle=1)
                started.append((clock, ahead))
                if target == RESOLUTION:
                    ticket.clock, ticket.calendar = clock, terms.calendar
                    ticket.sla_hours = -(-seconds // 3600)
        return started

    def store(self, started: list[tuple[Clock, list[Alarm]]]) -> None:
        """Store clocks that were started, with the alarms ahead of them."""
        if started:
            clocks.insert(self.connection, *(clock for clock, _ in started))
            alarms.insert(self.connection, [one for _, ahead in started for one in ahead])

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
            self._save(replace(ticket, status=status), clock, followed, terms)
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
                own = self.rules.of(self.connection, clock)
                ended = clock_rules.cancel(clock, now, own.calendar) if clock.stopped_at is None else clock
                self._save(changed, clock, ended, own)
                continue
            moved = clock_rules.retarget(clock, timedelta(seconds=seconds), now, terms.calendar)
            self._save(changed, clock, replace(moved, policy=terms.policy.name), terms)
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
                    terms = self.rules.of(self.connection, clock)
                    self._save(ticket, clock, clock_rules.stop(clock, now, terms.calendar), terms)
            return
        waits_already = (first is not None and first.stopped_at is None) or (
            following is not None and following.stopped_at is None
        )
        if waits_already or ticket.status not in ACTIVE_STATUSES:
            return
        promise = self.rules.promises(self.connection, ticket).get(NEXT_RESPONSE)
        seconds = promise and promise.seconds.get(ticket.priority)
        if promise and seconds:
            cycle = following.cycle + 1 if following else 1
            self._start_later(ticket, NEXT_RESPONSE, promise, seconds, now, cycle=cycle)

    def settled(self, ticket: Ticket, now: datetime) -> None:
        """Reach the verdicts that are due by now; nobody is told."""
        for clock in self._newest(ticket.id).values():
            if clock.is_due(now):
                self._save(ticket, clock, clock_rules.settle(clock, now), self.rules.of(self.connection, clock))

    def acknowledged(self, ticket: Ticket, now: datetime, until: datetime | None) -> dict[str, datetime | None]:
        """Hold the chains of a ticket back; returns until when, by target (22)."""
        ends: dict[str, datetime | None] = {}
        for target, clock in self._live(ticket.id):
            terms = self.rules.of(self.connection, clock)
            expires = terms.policy.ack_expires_seconds
            ends[target] = until or (now + timedelta(seconds=expires) if expires else None)
            steps = self.rules.steps(self.connection, clock, ticket.created_at)
            self._save(ticket, clock, acknowledge(clock, now, ends[target], steps, terms.calendar), terms)
        return ends

    def rearmed(self, ticket: Ticket, now: datetime) -> bool:
        """Let chains that are held back go on; tells whether there was one."""
        found = False
        for _, clock in self._live(ticket.id):
            again = rearm(clock, now)
            found = found or again != clock
            self._save(ticket, clock, again, self.rules.of(self.connection, clock))
        return found

    def level(self, ticket: Ticket, raised: Raised) -> Level | None:
        """Return what a raised level does, if its clock still runs."""
        clock = clocks.get(self.connection, ticket.id, raised.target, raised.cycle)
        if clock is None or clock.stopped_at is not None:
            return None
        steps = self.rules.steps(self.connection, clock, ticket.created_at)
        found = next((step.does for step in steps if step.id == raised.step_id), None)
        return found if isinstance(found, Level) else None

    def moved_on(self, ticket: Ticket, raised: Raised, level: Level, now: datetime) -> None:
        """Where a level had nobody to tell, let the next one follow at once (22)."""
        clock = clocks.get(self.connection, ticket.id, raised.target, raised.cycle)
        if clock is None or clock.stopped_at is not None or not tells_nobody(level, ticket):
            return
        levels = {step.id for step in self.rules.steps(self.connection, clock, ticket.created_at) if step.is_level}
        following = next((one for one in alarms.of_clock(self.connection, clock) if one.step_id in levels), None)
        if following is not None:
            alarms.pull(self.connection, clock, following.step_id, following.repeat, now)
            clocks.save(self.connection, replace(clock, next_check_at=now))

    def _live(self, ticket_id: str) -> list[tuple[str, Clock]]:
        return [(target, clock) for target, clock in self._newest(ticket_id).items() if clock.stopped_at is None]

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
        clock, ahead = self._start(ticket, target, terms, seconds, at, cycle=cycle)
        self.store([(clock, ahead)])
        events.append(self.connection, events.started(clock, ticket.status))

    def _start(
        self, ticket: Ticket, target: str, terms: Terms, seconds: int, at: datetime, *, cycle: int
    ) -> tuple[Clock, list[Alarm]]:
        paused = ticket.status in terms.pausing
        promised = timedelta(seconds=seconds)
        try:
            clock = clock_rules.start(
                ticket.id, at, promised, terms.calendar, target=target, cycle=cycle, paused=paused
            )
        except (OverflowError, PolicyError) as error:
            raise InvalidTicket("created_at plus sla_hours lies beyond the years 1 to 9999") from error
        clock = replace(clock, policy=terms.policy.name, rules=terms.version)
        ahead = list(self._ahead(ticket, clock, terms).values())
        return replace(clock, next_check_at=next_look(clock, ahead)), ahead

    def _newest(self, ticket_id: str) -> dict[str, Clock]:
        """Lock a ticket's clocks; of each target the newest cycle. Records of earlier cycles never change (14)."""
        return {clock.target: clock for clock in clocks.lock(self.connection, ticket_id)}

    def _save(self, ticket: Ticket, before: Clock, after: Clock, terms: Terms) -> None:
        """Store what became of a clock; a breach with its event (7), and what is ahead of it from now on."""
        is_held, was_held = ticket.status in terms.pausing, before.next_check_at is None
        if after == before and (after.state is not ClockState.BREACHED or is_held == was_held):
            return
        after = replace(after, next_check_at=self._planned(ticket, before, after, terms, is_held=is_held))
        if after == before:
            return
        clocks.save(self.connection, after)
        if after.breached_at is None or before.breached_at is not None or after.detected_at is None:
            return
        key = events.key(after.ticket_id, after.target, after.cycle, "breached")
        note = f"{after.target} {after.cause}"
        breach = Event(after.ticket_id, after.breached_at, "breached", "system", "running", "breached", note, key)
        # As a scan writes it down: then it was found.
        events.append(self.connection, breach, recorded_at=after.detected_at)

    def _planned(self, ticket: Ticket, before: Clock, after: Clock, terms: Terms, *, is_held: bool) -> datetime | None:
        """Plan the alarms anew where what they are counted from has changed; returns when to look again."""
        if after.stopped_at is not None:
            if before.stopped_at is None:
                alarms.forget(self.connection, after)
            return None
        if after.state is ClockState.PAUSED:
            return None  # what is ahead of it is planned when it goes on
        if _counted_from(before) == _counted_from(after):
            return next_look(after, alarms.of_clock(self.connection, after), is_held=is_held)
        alarms.forget(self.connection, after)
        ahead = self._ahead(ticket, after, terms)
        # What was raised once, before a reopening or under another policy, is not raised again (8, 21).
        for key in events.taken(self.connection, ahead) if ahead else ():
            del ahead[key]
        alarms.insert(self.connection, list(ahead.values()))
        return next_look(after, ahead.values(), is_held=is_held)

    def _ahead(self, ticket: Ticket, clock: Clock, terms: Terms) -> dict[str, Alarm]:
        """Return the alarms of a clock by the key of the event that they become."""
        steps = {step.id: step for step in self.rules.steps(self.connection, clock, ticket.created_at)}
        return {
            events.key(clock.ticket_id, clock.target, clock.cycle, step.kind, step.number, one.repeat): one
            for one in plan(clock, steps.values(), terms.calendar)
            if self._quiet_until is None or one.at > self._quiet_until
            for step in [steps[one.step_id]]
        }


def _counted_from(clock: Clock) -> tuple[object, ...]:
    """Return what the alarms of a clock follow from."""
    by_change = clock.breached_at if clock.cause == "retarget" else None
    return (
        clock.due_at, by_change, clock.stopped_at, clock.policy, clock.rules, clock.target_seconds,
        clock.acknowledged_at, clock.rearms_at, clock.held_for,
    )  # fmt: skip
