"""Every change a ticket can go through. Each takes its moment, so that history can be replayed.

`now=None` means this moment, by the database's clock. A change locks the ticket, then its clocks; it settles what
was due before it, writes what it did as events, and whatever leaves the system beside them. The caller owns the
transaction: either all of it is kept, or nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from ticket_system.errors import DuplicateTicket, InvalidTicket, InvalidTransition, TicketNotFound
from ticket_system.promises import Promises
from ticket_system.rulebook import Rulebook
from ticket_system.sla.clocks import Clock
from ticket_system.sla.course import Changed
from ticket_system.sla.policies import DEFAULT_POLICY, Facts, Policy, step_up
from ticket_system.storage import events, tickets
from ticket_system.storage.events import Event
from ticket_system.tickets import (
    ACTIVE_STATUSES,
    LEAVE,
    MAX_HOURS,
    STATUS_FLOW,
    Comment,
    Leave,
    Ticket,
    check_comment,
    check_moment,
    check_name,
    check_tags,
    check_text,
    check_ticket,
    check_whole,
    utc_now,
)


class Changes:
    """The changes of one transaction, under one policy.

    Without `alarms` a breach is recorded and nobody is told: what lies years back wakes nobody up.
    """

    def __init__(
        self,
        connection: sa.Connection,
        rules: Rulebook | None = None,
        *,
        policy: Policy = DEFAULT_POLICY,
        alarms: bool = True,
    ) -> None:
        self.connection, self.alarms = connection, alarms
        self.rules = rules or Rulebook(policy)
        self._promises = Promises(connection, self.rules, alarms=alarms)

    def create(self, *new: Ticket) -> None:
        """Store tickets, start their clocks (rule 13), and put each clock on its ticket."""
        now = utc_now()
        started: list[Changed] = []
        for ticket in new:
            check_ticket(ticket, now)
            started += self._promises.opened(ticket)
        try:
            tickets.insert(self.connection, *new)
        except exc.IntegrityError as error:
            taken = new[0].id if len(new) == 1 else "one of these tickets"
            raise DuplicateTicket(taken) from error
        self._promises.add(started)
        promised: dict[str, list[Clock]] = {}
        for _, clock, _ in started:
            promised.setdefault(clock.ticket_id, []).append(clock)
        version, _ = self.rules.current(self.connection)
        told = (events.opened(ticket, promised.get(ticket.id, ()), version) for ticket in new)
        events.append(self.connection, *told)

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
        if sla_hours is not None:
            check_whole("sla_hours", sla_hours, 1, MAX_HOURS)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        told = self._reprice(ticket, priority, sla_hours, now)
        events.append(
            self.connection,
            Event(
                ticket_id,
                now,
                "priority",
                actor,
                str(ticket.priority),
                str(priority),
                note=f"{told['sla_hours']} hours",
                detail=events.detail(**told),
            ),
        )
        return True

    def reclassify(
        self,
        ticket_id: str,
        *,
        customer: str | Leave | None = LEAVE,
        plan: str | Leave | None = LEAVE,
        group: str | Leave | None = LEAVE,
        tags: Collection[str] | Leave | None = LEAVE,
        actor: str = "system",
        now: datetime | None = None,
    ) -> bool:
        """Change what else a policy may be chosen by, and the promise where one looks at it (rules 10, 17).

        None clears a field. False when the ticket is not there; what stays as it was is no change.
        """
        check_name("author", actor)
        given = {"customer": customer, "plan": plan, "group": group}
        values: dict[str, Any] = {
            what: None if value is None else check_name(what, value)
            for what, value in given.items()
            if value is not LEAVE
        }
        if tags is not LEAVE:
            values["tags"] = [] if tags is None else check_tags(tags)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        new = {what: value for what, value in values.items() if value != getattr(ticket, what)}
        if not new:
            return True
        promised = self._promises.reclassified(ticket, Facts.of(replace(ticket, **new)), now)
        tickets.update(self.connection, ticket_id, updated_at=now, **new, **promised.columns)
        old = {what: getattr(ticket, what) for what in new}
        detail = events.detail(**promised.detail) if promised.detail else None
        told = (events.detail(**old), events.detail(**new))
        events.append(self.connection, Event(ticket_id, now, "classified", actor, *told, detail=detail))
        return True

    def escalate(self, ticket_id: str, reason: str = "", *, actor: str = "system", now: datetime | None = None) -> bool:
        """Raise the priority one step by hand, and with it the promise (rule 10); False when it is not there."""
        check_text("reason", reason)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        priority = step_up(ticket.priority)
        told = self._reprice(ticket, priority, None, now)
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
                detail=events.detail(**told),
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
        self._promises.answered(ticket, comment, now)
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
            self._promises.settled(ticket_id, now)

    def _lock(self, ticket_id: str, now: datetime | None) -> tuple[Ticket | None, datetime]:
        found = tickets.lock(self.connection, ticket_id)
        if found is None:
            return None, utc_now()
        ticket, database_now = found
        return ticket, database_now if now is None else check_moment("now", now)

    def _move(self, ticket: Ticket, status: str, actor: str, now: datetime, **more: Any) -> None:
        resolved_at = ticket.resolved_at if status == "closed" else now if status == "resolved" else None
        more |= self._promises.moved(ticket, status, now)
        tickets.update(self.connection, ticket.id, status=status, resolved_at=resolved_at, updated_at=now, **more)
        events.append(self.connection, Event(ticket.id, now, "status", actor, old=ticket.status, new=status))

    def _reprice(self, ticket: Ticket, priority: int, hours: int | None, now: datetime) -> dict[str, Any]:
        promised = self._promises.repriced(ticket, priority, hours, now)
        tickets.update(self.connection, ticket.id, priority=priority, updated_at=now, **promised.columns)
        return promised.detail

    def _remark(self, ticket_id: str, author: str, body: str, now: datetime) -> None:
        comment = Comment(ticket_id, author, body, created_at=now, is_internal=True)
        tickets.insert_comments(self.connection, comment)
