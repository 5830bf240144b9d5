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

from ticket_system.billing.usage import KINDS
from ticket_system.errors import (
    DuplicateComment,
    DuplicateTicket,
    InvalidTicket,
    InvalidTransition,
    PolicyError,
    TicketNotFound,
)
from ticket_system.metering import Metering
from ticket_system.promises import Promises
from ticket_system.rulebook import Rulebook
from ticket_system.sla.clocks import Clock
from ticket_system.sla.course import Changed
from ticket_system.sla.policies import DEFAULT_POLICY, Facts, Level, Policy, step_up
from ticket_system.storage import alarms, events, sweeps, tickets
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
    storable,
    utc_now,
)

_LONGEST_WHY = 500


class Changes:
    """The changes of one transaction, under one policy.

    Without `alarms` a breach is recorded and nobody is told, nor billed: what lies years back wakes nobody up.
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
        #: What lies years back is not billed either.
        self.metering = Metering(connection, self.rules) if alarms else None

    def create(self, *new: Ticket) -> None:
        """Store tickets, start their clocks (rule 13), and put each clock on its ticket."""
        now = utc_now()
        started: list[tuple[Ticket, Changed]] = []
        for ticket in new:
            check_ticket(ticket, now)
        known = self.metering.subscribed(new) if self.metering else {}
        for ticket in new:
            started += [(ticket, one) for one in self._promises.opened(ticket)]
        try:
            tickets.insert(self.connection, *new)
        except exc.IntegrityError as error:
            taken = new[0].id if len(new) == 1 else "one of these tickets"
            raise DuplicateTicket(taken) from error
        self._promises.add(started)
        promised: dict[str, list[Clock]] = {}
        for ticket, one in started:
            promised.setdefault(ticket.id, []).append(one.after)
        version, _ = self.rules.current(self.connection)
        told = (events.opened(ticket, promised.get(ticket.id, ()), version) for ticket in new)
        events.append(self.connection, *told)
        if self.metering:
            self.metering.opened(new, known)

    def assign(self, ticket_id: str, assignee: str, *, actor: str = "system", now: datetime | None = None) -> bool:
        """Give an open ticket to somebody, who starts on it; False when it is not open, or not there."""
        check_name("assignee", assignee)
        ticket, now = self.lock(ticket_id, now)
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
        ticket, now = self.lock(ticket_id, now)
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
        ticket, now = self.lock(ticket_id, now)
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
        ticket, now = self.lock(ticket_id, now)
        if ticket is None:
            return False
        told = self._reprice(ticket, priority, sla_hours, now)
        # Hours that somebody named are no policy's: another one would not change them.
        told |= {} if sla_hours is None else {"given": True}
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
        ticket, now = self.lock(ticket_id, now)
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
        if self.metering and ticket.customer is None and new.get("customer"):
            self.metering.adopted(ticket, new["customer"], now)
        return True

    def repromise(self, ticket_id: str, *, actor: str = "system", now: datetime | None = None) -> bool:
        """Put an open ticket under the rules in force (rules 18, 19); False when nothing of it moves, or it is done."""
        ticket, now = self.lock(ticket_id, now)
        if ticket is None or ticket.status not in ACTIVE_STATUSES:
            return False
        promised, version = self._promises.repromised(ticket, now)
        if not promised.detail:
            return False
        tickets.update(self.connection, ticket_id, **promised.columns)
        detail = events.detail(rules=version, **promised.detail)
        self.note(ticket_id, now, "repromised", actor, new=str(version), detail=detail)
        return True

    def escalate(self, ticket_id: str, reason: str = "", *, actor: str = "system", now: datetime | None = None) -> bool:
        """Raise the priority one step by hand, and with it the promise (rule 10); False when it is not there."""
        check_text("reason", reason)
        ticket, now = self.lock(ticket_id, now)
        if ticket is None:
            return False
        self._raise(ticket, "escalated", actor, now, note=reason or None)
        if reason:
            self._remark(ticket_id, "system", f"Escalated: {reason}", now)
        return True

    def comment(self, comment: Comment, *, now: datetime | None = None) -> None:
        """Add a comment; TicketNotFound when there is no such ticket."""
        check_comment(comment)
        ticket, now = self.lock(comment.ticket_id, now)
        if ticket is None:
            raise TicketNotFound(comment.ticket_id)
        try:
            tickets.insert_comments(self.connection, comment)
        except exc.IntegrityError as error:
            raise DuplicateComment(comment.id) from error
        self._promises.answered(ticket, comment, now)
        tickets.update(self.connection, comment.ticket_id, updated_at=now)
        kind = "internal" if comment.is_internal else "public"
        events.append(
            self.connection,
            Event(comment.ticket_id, now, "commented", comment.author, new=kind, note=comment.id),
        )

    def forgive(
        self, ticket: Ticket, reason: str, now: datetime, *, kinds: Collection[str] = KINDS, actor: str = "system"
    ) -> list[str]:
        """Let a ticket that was locked before cost nothing; returns what was forgiven now."""
        forgiven = self.metering.forgive(ticket.id, reason, now, kinds=kinds) if self.metering else []
        if forgiven:
            self.note(ticket.id, now, "forgiven", actor, new=", ".join(forgiven), note=reason)
        return forgiven

    def cancel(self, ticket: Ticket, note: str, now: datetime, *, actor: str = "system") -> None:
        """End an active ticket that was locked before, wherever it stands in the flow; the note says why."""
        self._move(ticket, "cancelled", actor, now)
        self._remark(ticket.id, actor, note, now)

    def settle(self, ticket_id: str, *, now: datetime | None = None) -> None:
        """Reach the verdicts that are due by now, and raise the alarms, as a scan would."""
        ticket, now = self.lock(ticket_id, now)
        if ticket is not None:
            self._promises.settled(ticket, now)

    def acknowledge(
        self,
        ticket_id: str,
        *,
        until: datetime | None = None,
        note: str = "",
        actor: str = "system",
        now: datetime | None = None,
    ) -> bool:
        """Stop the escalation chains of a ticket, not its clocks (rule 22); False when it is done, or not there.

        They go on at `until`; without it, when the policy of each says, or not at all.
        """
        check_name("author", actor)
        check_text("note", note)
        ticket, now = self.lock(ticket_id, now)
        if ticket is None or ticket.status not in ACTIVE_STATUSES:
            return False
        if until is not None and check_moment("until", until) <= now:
            raise InvalidTicket("until must lie ahead: an acknowledgement cannot end before it begins")
        ends = self._promises.acknowledged(ticket, now, until)
        told = {target: at and at.isoformat() for target, at in ends.items()}
        self.note(ticket_id, now, "acknowledged", actor, note=note or None, detail=events.detail(until=told))
        return True

    def rearm(self, ticket_id: str, *, actor: str = "system", now: datetime | None = None) -> bool:
        """Take an acknowledgement back: the chains go on where they stood. False when there is none, or no ticket."""
        check_name("author", actor)
        ticket, now = self.lock(ticket_id, now)
        if ticket is None or not self._promises.rearmed(ticket, now):
            return False
        self.note(ticket_id, now, "rearmed", actor)
        return True

    def finish(self, ticket_id: str, *, now: datetime | None = None) -> None:
        """Do what raised levels leave to be done by hand: reassign, tag, move the deadline, or move on (rule 22)."""
        self.lock(ticket_id, now, finish=True)

    def _finish(self, ticket: Ticket, now: datetime) -> Ticket:
        for raised in alarms.raised(self.connection, ticket.id):
            alarms.finish(self.connection, ticket.id, raised)
            level = self._promises.level(ticket, raised)
            # What was done meanwhile needs nothing more.
            if level is not None and ticket.status in ACTIVE_STATUSES:
                try:
                    with self.connection.begin_nested():
                        self._act(ticket, level, now)
                except (InvalidTicket, PolicyError, OverflowError) as error:
                    # Tried again it would fail again, and keep every scan from its end.
                    why = storable(f"{raised.target} level: {error}"[:_LONGEST_WHY])
                    self.note(ticket.id, now, "unfinished", "system", note=why)
                self._promises.moved_on(ticket, raised, level, now)
                ticket = self._reread(ticket)
        return ticket

    def _act(self, ticket: Ticket, level: Level, now: datetime) -> None:
        """Do what a level does beyond telling somebody."""
        if level.tag and level.tag not in ticket.tags:
            tickets.update(self.connection, ticket.id, tags=[*ticket.tags, level.tag], updated_at=now)
            self.note(ticket.id, now, "tagged", "system", new=level.tag)
        if level.reassign_to and level.reassign_to != ticket.assignee:
            tickets.update(self.connection, ticket.id, assignee=level.reassign_to, updated_at=now)
            self.note(ticket.id, now, "assigned", "system", old=ticket.assignee, new=level.reassign_to)
        if level.retarget and step_up(ticket.priority) != ticket.priority:
            self._raise(ticket, "escalated", "system", now, note="level with retarget")
            self._remark(
                ticket.id, "system", f"Escalated: priority {ticket.priority} → {step_up(ticket.priority)}", now
            )

    def _raise(self, ticket: Ticket, kind: str, actor: str, now: datetime, *, note: str | None) -> None:
        """Raise the priority one step, and with it the promise (rules 10, 11)."""
        priority = step_up(ticket.priority)
        told = self._reprice(ticket, priority, None, now)
        old, new = str(ticket.priority), str(priority)
        self.note(ticket.id, now, kind, actor, old=old, new=new, note=note, detail=events.detail(**told))

    def note(self, ticket_id: str, at: datetime, kind: str, actor: str, **more: str | None) -> None:
        """Write down what happened to a ticket that was locked before."""
        events.append(self.connection, Event(ticket_id, at, kind, actor, **more))

    def lock(self, ticket_id: str, now: datetime | None, *, finish: bool = False) -> tuple[Ticket | None, datetime]:
        """Lock a ticket, and have everything happened that was due before now (rule 7)."""
        found = tickets.lock(self.connection, ticket_id)
        if found is None:
            return None, utc_now()
        ticket, database_now, next_check_at = found
        at = database_now if now is None else check_moment("now", now)
        if self.alarms and next_check_at is not None and next_check_at < at:
            finish |= sweeps.catch_up(self.connection, ticket_id, at).to_finish
            ticket = self._reread(ticket)
        return self._finish(ticket, at) if finish else ticket, at

    def _reread(self, ticket: Ticket) -> Ticket:
        found = tickets.lock(self.connection, ticket.id)
        return ticket if found is None else found[0]

    def _move(self, ticket: Ticket, status: str, actor: str, now: datetime, **more: Any) -> None:
        resolved_at = ticket.resolved_at if status == "closed" else now if status == "resolved" else None
        more |= self._promises.moved(ticket, status, now)
        tickets.update(self.connection, ticket.id, status=status, resolved_at=resolved_at, updated_at=now, **more)
        events.append(self.connection, Event(ticket.id, now, "status", actor, old=ticket.status, new=status))

    def _reprice(self, ticket: Ticket, priority: int, hours: int | None, now: datetime) -> dict[str, Any]:
        promised = self._promises.repriced(ticket, priority, hours, now)
        tickets.update(self.connection, ticket.id, priority=priority, updated_at=now, **promised.columns)
        if self.metering:
            self.metering.reprioritised(ticket, priority, now)
        return promised.detail

    def _remark(self, ticket_id: str, author: str, body: str, now: datetime) -> None:
        comment = Comment(ticket_id, author, body, created_at=now, is_internal=True)
        tickets.insert_comments(self.connection, comment)
