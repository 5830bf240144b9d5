"""The clocks of one transaction's tickets: read and locked, changed as their course says (`sla.course`), stored.

The caller locked the ticket and owns the transaction. A breach is written with its event; what is raised because of
it is planned here, and done by the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.rulebook import Rulebook
from ticket_system.sla.alarms import (
    ESCALATED,
    Alarm,
    acknowledge,
    is_acknowledged,
    next_look,
    plan,
    rearm,
    tells_nobody,
)
from ticket_system.sla.clocks import RESOLUTION, Clock, ClockState
from ticket_system.sla.course import Changed, Course, Rechosen
from ticket_system.sla.policies import Facts, Level
from ticket_system.sla.rollout import Rollout
from ticket_system.storage import alarms, clocks, events, tickets
from ticket_system.storage.alarms import Raised
from ticket_system.storage.events import Event
from ticket_system.tickets import Comment, Ticket, utc_now


class Promised(NamedTuple):
    """What a new promise means for its ticket, and what a replay has to know of it."""

    columns: dict[str, Any]
    detail: dict[str, Any]


class Promises:
    """The clocks of one transaction's tickets."""

    def __init__(self, connection: sa.Connection, rules: Rulebook, *, alarms: bool) -> None:
        self.connection, self.rules = connection, rules
        #: What lies further back raises no alarm.
        self._quiet_until = None if alarms else utc_now()
        #: When the rules of a ticket are changed under it: what is past then is put on record as passed over (19).
        self._edited_at: datetime | None = None
        self.course = Course(rules.within(connection))

    def opened(self, ticket: Ticket) -> list[Changed]:
        """Return what runs from the opening on, to be stored after the ticket; the resolution is put on it."""
        started = self.course.opened(ticket)
        for _, clock, terms in started:
            if clock.target == RESOLUTION:
                ticket.clock, ticket.calendar = clock, terms.calendar
                ticket.sla_hours = _hours(clock.target_seconds)
        return started

    def moved(self, ticket: Ticket, status: str, now: datetime) -> dict[str, Any]:
        """Do what a move to another status means; returns what changes on the ticket because of it."""
        mine = self._newest(ticket.id)
        changes = self.course.moved(mine, ticket, status, now)
        self._store(changes, replace(ticket, status=status))
        for target in mine.keys() - {one.after.target for one in changes}:
            # A breach is not undone by waiting (9), but calls nobody meanwhile.
            if mine[target].state is ClockState.BREACHED:
                unchanged = Changed(mine[target], mine[target], self.course.of(mine[target]))
                self._save(replace(ticket, status=status), unchanged)
        return _columns(changes)

    def repriced(self, ticket: Ticket, priority: int, hours: int | None, now: datetime) -> Promised:
        """Promise what the new priority is promised (rules 10, 17)."""
        found = self.course.repriced(
            self._newest(ticket.id),
            ticket,
            priority,
            now,
            hours=hours,
            was_answered=lambda: tickets.was_answered(self.connection, ticket),
        )
        self._store(found.changes, ticket)
        return _promised(found, ticket)

    def reclassified(self, ticket: Ticket, facts: Facts, now: datetime) -> Promised:
        """Promise what the policy promises that the ticket gets now (rules 10, 17); no detail: nothing was moved."""
        found = self.course.reclassified(
            self._newest(ticket.id),
            ticket,
            facts,
            now,
            was_answered=lambda: tickets.was_answered(self.connection, ticket),
        )
        self._store(found.changes, ticket)
        return _promised(found, ticket) if found.promises else Promised({}, {})

    def repromised(self, ticket: Ticket, now: datetime) -> tuple[Promised, int | None]:
        """Promise what the rules in force promise (18, 19); raises no alarm for what is past. Returns their version."""
        self._edited_at = now
        found = Rollout(self.course.rules).repromised(
            self._newest(ticket.id), ticket, now, was_answered=lambda: tickets.was_answered(self.connection, ticket)
        )
        self._store(found.changes, ticket)
        version, _ = self.course.rules.in_force()
        return (_promised(found, ticket) if found.promises else Promised({}, {})), version

    def answered(self, ticket: Ticket, comment: Comment, now: datetime) -> None:
        """Stop what waits for an answer, or start to wait for one (rules 15, 16)."""
        mine = self._newest(ticket.id)
        changes = self.course.answered(mine, ticket, comment.author, now, internal=comment.is_internal)
        self._store(changes, ticket)

    def settled(self, ticket: Ticket, now: datetime) -> None:
        """Reach the verdicts that are due by now; nobody is told."""
        self._store(self.course.settled(self._newest(ticket.id), now), ticket)

    def acknowledged(self, ticket: Ticket, now: datetime, until: datetime | None) -> dict[str, datetime | None]:
        """Hold the chains of a ticket back; returns until when, by target (22)."""
        ends: dict[str, datetime | None] = {}
        for target, clock in self._live(ticket.id):
            terms = self.course.of(clock)
            expires = terms.policy.ack_expires_seconds
            ends[target] = until or (now + timedelta(seconds=expires) if expires else None)
            steps = self.rules.steps(self.connection, clock, ticket.created_at)
            held = acknowledge(clock, now, ends[target], steps, terms.calendar)
            self._save(ticket, Changed(clock, held, terms))
        return ends

    def rearmed(self, ticket: Ticket, now: datetime) -> bool:
        """Let chains that are held back go on; tells whether there was one."""
        again = [(clock, rearm(clock, now)) for _, clock in self._live(ticket.id)]
        for before, after in again:
            self._save(ticket, Changed(before, after, self.course.of(before)))
        return any(before != after for before, after in again)

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
        if is_acknowledged(clock, now) or ticket.status in self.course.of(clock).pausing:
            return  # it goes on when the chain does
        levels = {step.id for step in self.rules.steps(self.connection, clock, ticket.created_at) if step.is_level}
        following = next((one for one in alarms.of_clock(self.connection, clock) if one.step_id in levels), None)
        if following is not None:
            alarms.pull(self.connection, clock, following.step_id, following.repeat, now)
            clocks.save(self.connection, replace(clock, next_check_at=now))

    def add(self, started: Sequence[tuple[Ticket, Changed]]) -> None:
        """Store clocks that have just been started, with the alarms ahead of them."""
        ahead: list[Alarm] = []
        found: list[Clock] = []
        for ticket, one in started:
            mine = self._ahead(ticket, one).values()
            found.append(replace(one.after, next_check_at=next_look(one.after, mine)))
            ahead += mine
        if found:
            clocks.insert(self.connection, *found)
            alarms.insert(self.connection, ahead)

    def _newest(self, ticket_id: str) -> dict[str, Clock]:
        """Lock a ticket's clocks; of each target the newest cycle. Records of earlier cycles never change (14)."""
        return {clock.target: clock for clock in clocks.lock(self.connection, ticket_id)}

    def _live(self, ticket_id: str) -> list[tuple[str, Clock]]:
        return [(target, clock) for target, clock in self._newest(ticket_id).items() if clock.stopped_at is None]

    def _store(self, changes: Sequence[Changed], ticket: Ticket) -> None:
        """Store what became of clocks; that one was started after the opening is written down."""
        for one in changes:
            if one.before is not None:
                self._save(ticket, one)
        started = [one for one in changes if one.before is None]
        self.add([(ticket, one) for one in started])
        events.append(self.connection, *(events.started(one.after, ticket.status) for one in started))

    def _save(self, ticket: Ticket, changed: Changed) -> None:
        """Store what became of a clock; a breach with its event (7), and what is ahead of it from now on."""
        before, after = changed.before, replace(changed.after, next_check_at=self._planned(ticket, changed))
        if after == before:
            return
        clocks.save(self.connection, after)
        newly = before is None or before.breached_at is None
        if not newly or after.breached_at is None or after.detected_at is None:
            return
        key = events.key(after.ticket_id, after.target, after.cycle, "breached")
        note = f"{after.target} {after.cause}"
        breach = Event(after.ticket_id, after.breached_at, "breached", "system", "running", "breached", note, key)
        # As a scan writes it down: then it was found.
        events.append(self.connection, breach, recorded_at=after.detected_at)

    def _planned(self, ticket: Ticket, changed: Changed) -> datetime | None:
        """Plan the alarms anew where what they are counted from has changed; returns when to look again."""
        before, after, terms = changed
        if after.stopped_at is not None:
            if before is not None and before.stopped_at is None:
                alarms.forget(self.connection, after)
            return None
        if after.state is ClockState.PAUSED:
            return None  # what is ahead of it is planned when it goes on
        is_held = ticket.status in terms.pausing
        unmoved = before is not None and _counted_from(before) == _counted_from(after)
        if unmoved and self._quiet_until is None:
            return next_look(after, alarms.of_clock(self.connection, after), is_held=is_held)
        alarms.forget(self.connection, after)
        ahead = self._ahead(ticket, changed)
        # What was raised once, before a reopening or under another policy, is not raised again (8, 21).
        for key in events.taken(self.connection, ahead) if ahead else ():
            del ahead[key]
        if self._edited_at is not None:
            self._pass_over(ahead, self._edited_at)
        alarms.insert(self.connection, list(ahead.values()))
        return next_look(after, ahead.values(), is_held=is_held)

    def _pass_over(self, ahead: dict[str, Alarm], now: datetime) -> None:
        """Put on record what was past when the rules changed: it is raised neither now nor later (19)."""
        past = [key for key, one in ahead.items() if one.at <= now]
        for key in past:
            one = ahead.pop(key)
            what = "level" if key.rsplit("/", 3)[1] == ESCALATED else "warning"
            note = f"{one.target} {what} {key.rsplit('/', 2)[1]}: passed over, it was past when the rules changed"
            event = Event(one.ticket_id, now, "collapsed", "system", note=note, key=key)
            events.append(self.connection, event)

    def _ahead(self, ticket: Ticket, changed: Changed) -> dict[str, Alarm]:
        """Return the alarms of a clock by the key of the event that they become."""
        clock, terms = changed.after, changed.terms
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


def _promised(found: Rechosen, ticket: Ticket) -> Promised:
    hours = ticket.sla_hours if found.resolution is None else _hours(found.resolution)
    told: dict[str, Any] = {"sla_hours": hours}
    if not found.plain:
        told |= {"promises": found.promises, "policies": found.policies}
    return Promised(_columns(found.changes) | {"sla_hours": hours}, told)


def _columns(changes: Sequence[Changed]) -> dict[str, Any]:
    """Return what new clocks change on their ticket: it points at the newest cycle of its resolution."""
    new = [one.after.cycle for one in changes if one.before is None and one.after.target == RESOLUTION]
    return {"cycle": new[-1]} if new else {}


def _hours(seconds: int) -> int:
    """Return whole hours, rounded up."""
    return -(-seconds // 3600)
