"""Every change a ticket can go through. Each takes its moment, so that history can be replayed.

`now=None` means this moment, by the database's clock. A change locks the ticket, then its clocks; it settles what
was due before it, writes what it did as events, and whatever leaves the system beside them. The caller owns the
transaction: either all of it is kept, or nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import exc

from ticket_system.errors import DuplicateTicket, InvalidTicket, InvalidTransition, TicketNotFound
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.policies import DEFAULT_POLICY, Policy, step_up
from ticket_system.storage import clocks, events, outbox, tickets
from ticket_system.storage.events import Event
from ticket_system.tickets import (
    ACTIVE_STATUSES,
    MAX_HOURS,
    STATUS_FLOW,
    Comment,
    Ticket,
    check_comment,
    check_moment,
    check_name,
    check_text,
    check_ticket,
    check_whole,
    utc_now,
)


class Changes:
    """The changes of one transaction, under one policy.

    Without `alarms` a breach is recorded and nobody is told: what lies years back wakes nobody up.
    """

    def __init__(self, connection: sa.Connection, *, policy: Policy = DEFAULT_POLICY, alarms: bool = True) -> None:
        self.connection, self.policy, self.alarms = connection, policy, alarms

    def create(self, *new: Ticket) -> None:
        """Store tickets, start their clocks (rule 13), and put each clock on its ticket."""
        now = utc_now()
        started: list[Clock] = []
        for ticket in new:
            check_ticket(ticket, now)
            ticket.clock = self._first_clock(ticket)
            started += [ticket.clock] if ticket.clock else []
        try:
            tickets.insert(self.connection, *new)
        except exc.IntegrityError as error:
            taken = new[0].id if len(new) == 1 else "one of these tickets"
            raise DuplicateTicket(taken) from error
        if started:
            clocks.insert(self.connection, *started)
        events.append(self.connection, *(events.opened(ticket) for ticket in new))

    def assign(self, ticket_id: str, assignee: str, *, actor: str = "system", now: datetime | None = None) -> bool:
        """Give an open ticket to somebody, who starts on it; False when it is not open, or not there."""
        check_name("assignee", assignee)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None or ticket.status != "open":
            return False
        events.append(self.connection, Event(ticket_id, now, "assigned", actor, old=ticket.assignee, new=assignee))
        self._move(ticket, "in_progress", actor, now, assignee=assignee)
        return True

    def reassign(
        self, ticket_id: str, assignee: str | None, *, actor: str = "system", now: datetime | None = None
    ) -> bool:
        """Give an active ticket to somebody else, or to nobody; False when it is done, or not there."""
        if assignee is not None:
            check_name("assignee", assignee)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None or ticket.status not in ACTIVE_STATUSES:
            return False
        tickets.update(self.connection, ticket_id, assignee=assignee, updated_at=now)
        events.append(self.connection, Event(ticket_id, now, "assigned", actor, old=ticket.assignee, new=assignee))
        return True

    def set_status(
        self,
        ticket_id: str,
        status: str,
        *,
        actor: str = "system",
        note: str = "",
        now: datetime | None = None,
    ) -> bool:
        """Move a ticket along the status flow; a note becomes an internal comment. False when it is not there."""
        check_name("author", actor)
        check_text("note", note)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        if status not in STATUS_FLOW[ticket.status]:
            raise InvalidTransition(ticket_id, ticket.status, str(status), STATUS_FLOW[ticket.status])
        self._move(ticket, str(status), actor, now)
        if note:
            self._remark(ticket_id, actor, note, now)
        return True

    def set_priority(
        self,
        ticket_id: str,
        priority: int,
        *,
        sla_hours: int | None = None,
        actor: str = "system",
        now: datetime | None = None,
    ) -> bool:
        """Change the priority, and with it the promise (rule 10); False when the ticket is not there."""
        check_whole("priority", priority, 1, 4)
        hours = self.policy.hours[priority] if sla_hours is None else check_whole("sla_hours", sla_hours, 1, MAX_HOURS)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        self._retarget(ticket, priority, hours, now)
        events.append(
            self.connection,
            Event(ticket_id, now, "priority", actor, str(ticket.priority), str(priority), note=f"{hours} hours"),
        )
        return True

    def escalate(self, ticket_id: str, reason: str = "", *, actor: str = "system", now: datetime | None = None) -> bool:
        """Raise the priority one step by hand, and with it the promise (rule 10); False when it is not there."""
        check_text("reason", reason)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        priority = step_up(ticket.priority)
        self._retarget(ticket, priority, self.policy.hours[priority], now)
        events.append(
            self.connection,
            Event(
                ticket_id,
                now,
                "escalated",
                actor,
                old=str(ticket.priority),
                new=str(priority),
                note=reason or None,
            ),
        )
        if reason:
            self._remark(ticket_id, "system", f"Escalated: {reason}", now)
        return True

    def comment(self, comment: Comment, *, now: datetime | None = None) -> None:
        """Add a comment; TicketNotFound when there is no such ticket."""
        check_comment(comment)
        ticket, now = self._lock(comment.ticket_id, now)
        if ticket is None:
            raise TicketNotFound(comment.ticket_id)
        try:
            tickets.insert_comments(self.connection, comment)
        except exc.IntegrityError as error:
            raise InvalidTicket(f"a comment with the id {comment.id!r} exists already") from error
        tickets.update(self.connection, comment.ticket_id, updated_at=now)
        kind = "internal" if comment.is_internal else "public"
        events.append(
            self.connection,
            Event(comment.ticket_id, now, "commented", comment.author, new=kind, note=comment.id),
        )

    def settle(self, ticket_id: str, *, now: datetime | None = None) -> None:
        """Reach the verdicts that are due by now, as a scan would."""
        ticket, now = self._lock(ticket_id, now)
        if ticket is not None:
            for clock in clocks.lock(self.connection, ticket_id):
                self._save(clock, clock_rules.settle(clock, now))

    def _lock(self, ticket_id: str, now: datetime | None) -> tuple[Ticket | None, datetime]:
        found = tickets.lock(self.connection, ticket_id)
        if found is None:
            return None, utc_now()
        ticket, database_now = found
        return ticket, database_now if now is None else check_moment("now", now)

    def _first_clock(self, ticket: Ticket) -> Clock | None:
        if ticket.status not in ACTIVE_STATUSES:
            return None
        try:
            return clock_rules.start(
                ticket.id,
                ticket.created_at,
                timedelta(hours=ticket.sla_hours),
                paused=ticket.status in self.policy.pausing,
            )
        except OverflowError as error:
            raise InvalidTicket("created_at plus sla_hours lies beyond the year 9999") from error

    def _move(self, ticket: Ticket, status: str, actor: str, now: datetime, **more: str) -> None:
        resolved_at = ticket.resolved_at if status == "closed" else now if status == "resolved" else None
        for clock in clocks.lock(self.connection, ticket.id):
            followed = clock_rules.follow(clock, ticket.status, status, pausing=self.policy.pausing, now=now)
            self._save(clock, followed)
        tickets.update(self.connection, ticket.id, status=status, resolved_at=resolved_at, updated_at=now, **more)
        events.append(self.connection, Event(ticket.id, now, "status", actor, old=ticket.status, new=status))

    def _retarget(self, ticket: Ticket, priority: int, hours: int, now: datetime) -> None:
        for clock in clocks.lock(self.connection, ticket.id):
            self._save(clock, clock_rules.retarget(clock, timedelta(hours=hours), now))
        tickets.update(self.connection, ticket.id, priority=priority, sla_hours=hours, updated_at=now)

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
        events.append(self.connection, breach)
        if self.alarms:
            outbox.add(
                self.connection,
                key=f"{key}/mail",
                kind="breach",
                ticket_id=after.ticket_id,
                now=after.detected_at,
            )

    def _remark(self, ticket_id: str, author: str, body: str, now: datetime) -> None:
        comment = Comment(ticket_id, author, body, created_at=now, is_internal=True)
        tickets.insert_comments(self.connection, comment)
