"""The clocks of one transaction's tickets: read and locked, changed as their course says (`sla.course`), stored.

The caller locked the ticket and owns the transaction. A breach is written with its event, and its notice beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.rulebook import Rulebook
from ticket_system.sla.clocks import RESOLUTION, Clock, ClockState
from ticket_system.sla.course import Changed, Course, Rechosen
from ticket_system.sla.policies import Facts
from ticket_system.storage import clocks, events, outbox, tickets
from ticket_system.storage.events import Event
from ticket_system.tickets import Comment, Ticket


class Promised(NamedTuple):
    """What a new promise means for its ticket, and what a replay has to know of it."""

    columns: dict[str, Any]
    detail: dict[str, Any]


class Promises:
    """The clocks of one transaction's tickets."""

    def __init__(self, connection: sa.Connection, rules: Rulebook, *, alarms: bool) -> None:
        self.connection, self.alarms = connection, alarms
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
        changes = self.course.moved(self._newest(ticket.id), ticket, status, now)
        self._store(changes, status)
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
        self._store(found.changes, ticket.status)
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
        self._store(found.changes, ticket.status)
        return _promised(found, ticket) if found.promises else Promised({}, {})

    def answered(self, ticket: Ticket, comment: Comment, now: datetime) -> None:
        """Stop what waits for an answer, or start to wait for one (rules 15, 16)."""
        mine = self._newest(ticket.id)
        changes = self.course.answered(mine, ticket, comment.author, now, internal=comment.is_internal)
        self._store(changes, ticket.status)

    def settled(self, ticket_id: str, now: datetime) -> None:
        """Reach the verdicts that are due by now, as a scan would."""
        for one in self.course.settled(self._newest(ticket_id), now):
            self._save(one)

    def add(self, started: Sequence[Changed]) -> None:
        """Store clocks that have just been started."""
        if started:
            clocks.insert(self.connection, *(one.after for one in started))

    def _newest(self, ticket_id: str) -> dict[str, Clock]:
        """Lock a ticket's clocks; of each target the newest cycle. Records of earlier cycles never change (14)."""
        return {clock.target: clock for clock in clocks.lock(self.connection, ticket_id)}

    def _store(self, changes: Sequence[Changed], status: str) -> None:
        """Store what became of clocks; that one was started after the opening is written down."""
        for one in changes:
            if one.before is not None:
                self._save(one)
        started = [one for one in changes if one.before is None]
        self.add(started)
        events.append(self.connection, *(events.started(one.after, status) for one in started))

    def _save(self, changed: Changed) -> None:
        """Store what became of a clock; a breach with its event, and its notice beside it (rules 7, 25)."""
        before, after, _ = changed
        if not self.alarms and after.state is ClockState.BREACHED:
            after = replace(after, next_check_at=None)
        clocks.save(self.connection, after)
        newly = before is None or before.breached_at is None
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
