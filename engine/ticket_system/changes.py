"""Every change a ticket can go through. Each takes its moment, so that history can be replayed.

`now=None` means this moment, by the database's clock. A change locks the ticket, then its clocks; it settles what
was due before it, writes what it did as events, and whatever leaves the system beside them. The caller owns the
transaction: either all of it is kept, or nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from ticket_system.errors import DuplicateTicket, InvalidTicket, InvalidTransition, PolicyError, TicketNotFound
from ticket_system.rulebook import Rulebook, Terms
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock, ClockState
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

    def create(self, *new: Ticket) -> None:
        """Store tickets, start their clocks (rule 13), and put each clock on its ticket."""
        now = utc_now()
        started: list[Clock] = []
        for ticket in new:
            check_ticket(ticket, now)
            started += self._first_clocks(ticket)
        try:
            tickets.insert(self.connection, *new)
        except exc.IntegrityError as error:
            taken = new[0].id if len(new) == 1 else "one of these tickets"
            raise DuplicateTicket(taken) from error
        if started:
            clocks.insert(self.connection, *started)
        promised: dict[str, list[Clock]] = {}
        for clock in started:
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
        told = self._retarget(ticket, priority, sla_hours, now)
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

    def escalate(self, ticket_id: str, reason: str = "", *, actor: str = "system", now: datetime | None = None) -> bool:
        """Raise the priority one step by hand, and with it the promise (rule 10); False when it is not there."""
        check_text("reason", reason)
        ticket, now = self._lock(ticket_id, now)
        if ticket is None:
            return False
        priority = step_up(ticket.priority)
        told = self._retarget(ticket, priority, None, now)
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
        self._answered(ticket, comment, now)
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
            for clock in self._newest_clocks(ticket_id).values():
                self._save(clock, clock_rules.settle(clock, now))

    def _lock(self, ticket_id: str, now: datetime | None) -> tuple[Ticket | None, datetime]:
        found = tickets.lock(self.connection, ticket_id)
        if found is None:
            return None, utc_now()
        ticket, database_now = found
        return ticket, database_now if now is None else check_moment("now", now)

    def _first_clocks(self, ticket: Ticket) -> list[Clock]:
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

    def _move(self, ticket: Ticket, status: str, actor: str, now: datetime, **more: Any) -> None:
        resolved_at = ticket.resolved_at if status == "closed" else now if status == "resolved" else None
        moved = replace(ticket, status=status)
        for clock in self._newest_clocks(ticket.id).values():
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
                more |= self._restarted(moved, clock, terms, now)
        tickets.update(self.connection, ticket.id, status=status, resolved_at=resolved_at, updated_at=now, **more)
        events.append(self.connection, Event(ticket.id, now, "status", actor, old=ticket.status, new=status))

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

    def _retarget(self, ticket: Ticket, priority: int, hours: int | None, now: datetime) -> dict[str, Any]:
        """Promise what the new priority is promised (rules 10, 17); returns what a replay has to know of it."""
        changed, resolution = replace(ticket, priority=priority), hours
        promises: dict[str, int | None] = {}
        policies: dict[str, str] = {}
        for clock in self._newest_clocks(ticket.id).values():
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
        tickets.update(self.connection, ticket.id, priority=priority, sla_hours=resolution, updated_at=now)
        return {"sla_hours": resolution} | ({"promises": promises, "policies": policies} if promises else {})

    def _newest_clocks(self, ticket_id: str) -> dict[str, Clock]:
        """Lock a ticket's clocks; of each target the newest cycle. Records of earlier cycles never change (14)."""
        return {clock.target: clock for clock in clocks.lock(self.connection, ticket_id)}

    def _answered(self, ticket: Ticket, comment: Comment, now: datetime) -> None:
        """Stop what waits for an answer, or start to wait for one (rules 15, 16)."""
        if comment.is_internal or comment.author == "system":
            return
        mine = self._newest_clocks(ticket.id)
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

    def _remark(self, ticket_id: str, author: str, body: str, now: datetime) -> None:
        comment = Comment(ticket_id, author, body, created_at=now, is_internal=True)
        tickets.insert_comments(self.connection, comment)
