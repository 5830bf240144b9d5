"""TicketSystem: the front door."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from ticket_system import merging, triage, waivers
from ticket_system.changes import Changes
from ticket_system.errors import HistoryPruned, TicketNotFound
from ticket_system.reports.summary import report
from ticket_system.rulebook import Rulebook, told
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import AROUND_THE_CLOCK
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.sla.comparison import differences
from ticket_system.sla.explain import as_json, explain
from ticket_system.sla.policies import DEFAULT_POLICY, Policy
from ticket_system.sla.replay import replay
from ticket_system.storage import alarms, audits, clocks, events, reports, tickets
from ticket_system.storage.database import Database
from ticket_system.storage.events import Event
from ticket_system.storage.moments import moment
from ticket_system.tickets import LEAVE, PRIORITY_LABELS, Comment, Leave, Ticket, check_name, check_status, check_whole


class TicketSystem:
    """A help desk in a database: three lines and a support workflow runs.

    Give it a file path, `":memory:"`, or a SQLAlchemy URL. A SQLite file is created, or upgraded, by itself; a
    PostgreSQL database is upgraded by `tickets db upgrade`, and one with another schema is refused. Every call is one
    transaction; calls from several threads are fine.
    """

    def __init__(
        self,
        db_path: str | Path | Database = ":memory:",
        *,
        policy: Policy = DEFAULT_POLICY,
        words: Mapping[int, Sequence[str]] = triage.PRIORITY_KEYWORDS,
    ) -> None:
        self.policy, self.words, self.rules = policy, words, Rulebook(policy)
        self.database = db_path if isinstance(db_path, Database) else Database(db_path)
        try:
            if self.database.dialect == "sqlite":
                self.database.upgrade()
            self.database.require_current_schema()
        except BaseException:
            if self.database is not db_path:
                self.database.close()
            raise

    def create_ticket(self, ticket: Ticket) -> Ticket:
        """Store a ticket and start its clock; InvalidTicket, and nothing stored, for a field that makes no sense."""
        with self.database.write() as connection:
            self._changes(connection).create(ticket)
        ticket.is_promised = ticket.clock is not None
        return ticket

    def create_tickets(self, new: Sequence[Ticket]) -> None:
        """Store many tickets in one transaction: all of them, or none."""
        with self.database.write() as connection:
            if new:
                self._changes(connection).create(*new)
        for ticket in new:
            ticket.is_promised = ticket.clock is not None

    def get_ticket(self, ticket_id: str) -> Ticket | None:
        """Return a ticket, or None."""
        with self.database.read() as connection:
            found = tickets.get(connection, ticket_id)
            return found and self._dressed(connection, found)

    def assign_ticket(self, ticket_id: str, assignee: str) -> bool:
        """Give an open ticket to somebody and move it to `in_progress`; False when there is no such open ticket."""
        with self.database.write() as connection:
            return self._changes(connection).assign(ticket_id, assignee)

    def reassign_ticket(self, ticket_id: str, assignee: str | None) -> bool:
        """Give an active ticket to somebody else, or to nobody; its status stays. False when there is none."""
        with self.database.write() as connection:
            return self._changes(connection).reassign(ticket_id, assignee)

    def update_status(self, ticket_id: str, status: str, author: str = "system", note: str = "") -> bool:
        """Move a ticket along STATUS_FLOW; a note becomes an internal comment. False when the ticket is unknown."""
        with self.database.write() as connection:
            return self._changes(connection).set_status(ticket_id, status, actor=author, note=note)

    def update_ticket(
        self,
        ticket_id: str,
        *,
        priority: int | Leave = LEAVE,
        customer: str | Leave | None = LEAVE,
        plan: str | Leave | None = LEAVE,
        group: str | Leave | None = LEAVE,
        tags: Collection[str] | Leave | None = LEAVE,
        author: str = "system",
    ) -> bool:
        """Change what a policy may be chosen by; None clears a field, what is not named stays. False: no such ticket.

        Where the rules of the ticket look at it, its deadlines move with the promise, which may put them into the
        past: then they are breached at this moment (rules 10, 17).
        """
        with self.database.write() as connection:
            changes = self._changes(connection)
            known = changes.reclassify(ticket_id, customer=customer, plan=plan, group=group, tags=tags, actor=author)
            if known and priority is not LEAVE:
                check_whole("priority", priority, 1, 4)
                ticket = tickets.get(connection, ticket_id)
                if ticket is not None and ticket.priority != priority:
                    changes.set_priority(ticket_id, priority, actor=author)
            return known

    def escalate(self, ticket_id: str, reason: str = "") -> bool:
        """Raise the priority one step, with its SLA hours and deadline (rule 10). False when the ticket is unknown.

        A deadline that falls into the past this way is a breach at this moment, with the cause `retarget`.
        """
        with self.database.write() as connection:
            return self._changes(connection).escalate(ticket_id, reason)

    def acknowledge(
        self, ticket_id: str, author: str = "system", *, until: datetime | None = None, note: str = ""
    ) -> bool:
        """Stop the escalation chains of a ticket, not its clocks (rule 22). False when it is done, or unknown.

        They go on at `until`; without it, after the time that their policy names, or not at all.
        """
        with self.database.write() as connection:
            return self._changes(connection).acknowledge(ticket_id, until=until, note=note, actor=author)

    def rearm(self, ticket_id: str, author: str = "system") -> bool:
        """Take an acknowledgement back: the chains go on where they stood. False when there was none."""
        with self.database.write() as connection:
            return self._changes(connection).rearm(ticket_id, actor=author)

    def waive_breach(
        self, ticket_id: str, reason: str, *, target: str = RESOLUTION, cycle: int | None = None, author: str = "system"
    ) -> bool:
        """Take a breach out of reports and bills (rule 9); it stays on record. False when the ticket is unknown.

        NotBreached where there is no breach; of the newest cycle, unless another is named.
        """
        with self.database.write() as connection:
            changes = self._changes(connection)
            return waivers.grant(changes, ticket_id, reason, target=target, cycle=cycle, actor=author)

    def revoke_waiver(
        self, ticket_id: str, reason: str, *, target: str = RESOLUTION, cycle: int | None = None, author: str = "system"
    ) -> bool:
        """Let a waived breach count again. False when the ticket is unknown."""
        with self.database.write() as connection:
            changes = self._changes(connection)
            return waivers.revoke(changes, ticket_id, reason, target=target, cycle=cycle, actor=author)

    def waive_usage(self, ticket_id: str, reason: str, *, author: str = "system") -> list[str]:
        """Let a ticket cost nothing; returns what was forgiven now. What was sent before is credited."""
        check_name("reason", reason, limit=1000)
        with self.database.write() as connection:
            changes = self._changes(connection)
            ticket, now = changes.lock(ticket_id, None)
            if ticket is None:
                raise TicketNotFound(ticket_id)
            return changes.forgive(ticket, reason, now, actor=author)

    def merge_ticket(self, ticket_id: str, into: str, author: str = "system") -> bool:
        """End a ticket that is another one in other words: its clocks are cancelled, and it costs nothing (rule 20).

        False when it is unknown; TicketNotFound when the other is.
        """
        with self.database.write() as connection:
            return merging.merge(self._changes(connection), ticket_id, into, actor=author)

    def get_alarms(self, ticket_id: str) -> list[dict[str, Any]]:
        """Return the warnings and escalation levels that are still to come for a ticket, the next first.

        Those of a paused clock have no moment: they wait for it to go on.
        """
        with self.database.snapshot() as connection:
            ticket = tickets.get(connection, ticket_id)
            if ticket is None:
                return []
            mine = {(one.target, one.cycle): one for one in clocks.of_ticket(connection, ticket_id)}
            ahead = [(one, mine[one.target, one.cycle]) for one in alarms.of_ticket(connection, ticket_id)]
            steps = {
                step.id: step
                for clock in mine.values()
                for step in self.rules.steps(connection, clock, ticket.created_at)
            }
        return [
            {
                "target": one.target,
                "cycle": one.cycle,
                "kind": "level" if steps[one.step_id].is_level else "warning",
                "number": steps[one.step_id].number,
                "repeat": one.repeat,
                "at": one.at.isoformat() if clock.next_check_at else None,
                "tells": list(told(steps[one.step_id])),
            }
            for one, clock in ahead
        ]

    def check_sla_breach(self, ticket_id: str) -> dict[str, Any]:
        """Return where a ticket stands with its deadline; hours left are negative when it is, or was, overdue."""
        with self.database.read() as connection:
            ticket, now = tickets.get(connection, ticket_id), moment(connection)
            if ticket is None:
                raise TicketNotFound(ticket_id)
            ticket = self._dressed(connection, ticket)
        clock = ticket.clock
        deadline = (
            clock.deadline(now, ticket.calendar or AROUND_THE_CLOCK)
            if clock
            else ticket.created_at + timedelta(hours=ticket.sla_hours)
        )
        until = (clock.stopped_at if clock else ticket.resolved_at) or now
        return {
            "ticket_id": ticket.id,
            "priority": ticket.priority,
            "priority_label": PRIORITY_LABELS[ticket.priority],
            "sla_hours": ticket.sla_hours,
            "created_at": ticket.created_at.isoformat(),
            "sla_deadline": deadline.isoformat(),
            "is_breached": clock.is_breached(now) if clock else ticket.is_breached(),
            "hours_remaining": round((deadline - until).total_seconds() / 3600, 2),
        }

    def get_breached_tickets(self) -> list[dict[str, Any]]:
        """Return the active tickets that are late, worst first, whether a scan has found them yet or not."""
        with self.database.read() as connection:
            now = moment(connection)
            rows = clocks.overdue(connection, now).all()
        return [
            {
                "ticket_id": row.id,
                "title": row.title,
                "priority": PRIORITY_LABELS[row.priority],
                "assignee": row.assignee,
                "overdue_hours": round((now - row.due_at).total_seconds() / 3600, 1),
            }
            for row in rows
        ]

    def auto_priority(self, description: str) -> tuple[int, int]:
        """Suggest a priority and its SLA hours from the words of a text."""
        return triage.auto_priority(description, words=self.words, hours=self.policy.hours)

    def add_comment(self, comment: Comment) -> Comment:
        """Add a comment; TicketNotFound when there is no such ticket."""
        with self.database.write() as connection:
            self._changes(connection).comment(comment)
        return comment

    def get_comments(self, ticket_id: str, include_internal: bool = True) -> list[Comment]:  # noqa: FBT001, FBT002 - the contract
        """Return the comments of a ticket, oldest first."""
        with self.database.read() as connection:
            return tickets.comments_of(connection, ticket_id, include_internal=include_internal)

    def get_history(self, ticket_id: str) -> list[Event]:
        """Return everything that happened to a ticket, oldest first."""
        with self.database.read() as connection:
            return events.of_ticket(connection, ticket_id)

    def explain(self, ticket_id: str, target: str | None = None) -> list[dict[str, Any]]:
        """Return, for each clock of a ticket, the intervals and the events behind its due instant (rule 26).

        It is made of the ticket's events alone; `differs` names what the stored clock says otherwise. Empty: the
        ticket has no such clock. HistoryPruned where the events were forgotten, by policy.
        """
        with self.database.snapshot() as connection:
            if (pruned_at := audits.pruned_at(connection, ticket_id)) is not None:
                raise HistoryPruned(ticket_id, pruned_at)
            told, now, terms = audits.of_ticket(connection, ticket_id), moment(connection), self.rules.told(connection)
            if not told.facts and tickets.get(connection, ticket_id) is None:
                raise TicketNotFound(ticket_id)
        replayed = replay(ticket_id, told.facts, terms)
        differs = differences(told.clocks, replayed)
        return [as_json(one, now, differs) for one in explain(replayed, now, target)]

    def get_queue(
        self,
        assignee: str | None = None,
        status: str | None = None,
        priority: int | None = None,
        *,
        limit: int | None = None,
    ) -> list[Ticket]:
        """Return tickets by priority, then age: active ones only, unless an assignee or a status is asked for."""
        if status is not None:
            check_status(status)
        if priority is not None:
            check_whole("priority", priority, 1, 4)
        with self.database.read() as connection:
            found = tickets.queue(connection, assignee=assignee, status=status, priority=priority, limit=limit)
            return [self._dressed(connection, ticket) for ticket in found]

    def generate_report(self, days: int = 7) -> dict[str, Any]:
        """Return what was opened, resolved and breached in the last days, and what is open now."""
        check_whole("days", days, 1, 36_500)
        with self.database.read() as connection:
            now = moment(connection)
            figures = reports.figures(connection, now - timedelta(days=days), now)
        return report(figures, days=days, now=now)

    def in_force(self) -> tuple[int | None, PolicyBook]:
        """Return the policies that new tickets get, and their version; None: those built in."""
        self.rules.forget()
        with self.database.read() as connection:
            return self.rules.current(connection)

    def storm_cap(self) -> int | None:
        """Return how many alarms to one recipient go out one by one (rule 23); None: however many there are."""
        with self.database.read() as connection:
            return self.rules.current(connection)[1].storm_cap

    def put_in_force(self, book: PolicyBook, *, actor: str = "system") -> int:
        """Promise what a book of policies says from now on, to new tickets (rule 18); returns the version.

        Clocks that run keep the rules they started with.
        """
        with self.database.write() as connection:
            version = self.rules.add(connection, book, now=moment(connection), actor=actor)
        self.rules.forget()
        return version

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        """Be a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _dressed(self, connection: sa.Connection, ticket: Ticket) -> Ticket:
        """Put on a ticket the calendar that its clock runs by."""
        if ticket.clock is not None and ticket.clock.rules is not None:
            ticket.calendar = self.rules.of(connection, ticket.clock).calendar
        return ticket

    def _changes(self, connection: sa.Connection) -> Changes:
        return Changes(connection, self.rules)
