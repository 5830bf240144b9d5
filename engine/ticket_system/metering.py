"""What a ticket's changes mean for what is billed: usage facts, written in the transaction of their cause.

Only tickets of a customer are counted. A customer who is not linked to whoever bills is counted all the same: the
facts wait until somebody links them. The caller owns the transaction, and locked the ticket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ticket_system.billing.usage import (
    CRITICAL_PRIORITY,
    CRITICAL_TICKET,
    INVOICE_ITEM,
    KINDS,
    METERED,
    TICKET_OPENED,
    credited_at,
)
from ticket_system.rulebook import Rulebook
from ticket_system.sla.plans import FREE, FREE_HOURS
from ticket_system.storage import customers, usage
from ticket_system.storage.customers import Customer
from ticket_system.storage.usage import Fact
from ticket_system.tickets import Ticket, utc_now


class Metering:
    """The facts of one transaction."""

    def __init__(self, connection: sa.Connection, rules: Rulebook) -> None:
        self.connection, self.rules = connection, rules

    def subscribed(self, new: Sequence[Ticket]) -> dict[str, Customer]:
        """Give new tickets the plan that their customers have at this moment; returns those who are known.

        A plan that somebody named stays. Where the rules built in are in force, the hours of the plan are promised.
        """
        known = customers.known(self.connection, (one.customer for one in new if one.customer))
        version, book = self.rules.current(self.connection)
        for ticket in new:
            mine = known.get(ticket.customer or "")
            if ticket.customer is None or ticket.plan is not None or (mine is None and not book.plans):
                continue
            ticket.plan = (mine.plan if mine else None) or FREE
            if version is None:
                bought = mine.hours if mine and mine.plan else FREE_HOURS
                ticket.sla_hours = bought or ticket.sla_hours
        return known

    def opened(self, new: Sequence[Ticket], known: dict[str, Customer]) -> None:
        """Write down that tickets were opened, and which of them are critical."""
        now = utc_now()
        facts: list[dict[str, Any]] = []
        for ticket in new:
            if ticket.customer is None:
                continue
            mine = known.get(ticket.customer)
            of = (ticket.id, ticket.customer, ticket.created_at, now)
            facts.append(usage.fact(TICKET_OPENED, *of, METERED if mine else None))
            if ticket.priority == CRITICAL_PRIORITY:
                facts.append(usage.fact(CRITICAL_TICKET, *of, mine.critical if mine else None))
        usage.record(self.connection, facts)

    def adopted(self, ticket: Ticket, customer: str, now: datetime) -> None:
        """Count a ticket whose customer is known only now; one that was counted before stays with whom it was."""
        known = customers.known(self.connection, [customer])
        counted = usage.of_ticket(self.connection, ticket.id)
        if not counted and not usage.is_pruned(self.connection, ticket.id):
            route = METERED if known else None
            usage.record(self.connection, [usage.fact(TICKET_OPENED, ticket.id, customer, now, now, route)])
        if ticket.priority == CRITICAL_PRIORITY:
            self._critical(ticket.id, customer, now, counted)

    def reprioritised(self, ticket: Ticket, priority: int, now: datetime) -> None:
        """Count a ticket that becomes critical; forgive one that is so no longer."""
        if (ticket.priority == CRITICAL_PRIORITY) == (priority == CRITICAL_PRIORITY):
            return
        if priority != CRITICAL_PRIORITY:
            # Whoever it was counted for, whether it is theirs still or not.
            self.forgive(ticket.id, "downgraded", now, kinds=(CRITICAL_TICKET,))
        elif ticket.customer is not None:
            self._critical(ticket.id, ticket.customer, now, usage.of_ticket(self.connection, ticket.id))

    def forgive(self, ticket_id: str, reason: str, now: datetime, *, kinds: Iterable[str] = KINDS) -> list[str]:
        """Take back what a ticket was counted for: before it was sent it is void, afterwards credited.

        Returns the kinds that were forgiven now; a second time changes nothing.
        """
        wanted, done = set(kinds), []
        for fact in usage.of_ticket(self.connection, ticket_id):
            if fact.kind not in wanted or (marked := usage.forgive(self.connection, fact, reason, now)) is None:
                continue
            done.append(fact.kind)
            if marked.batch_id is not None and not self._is_void(marked):
                mine = customers.periods(self.connection, [fact.customer]).get(fact.customer, [])
                at = credited_at(fact.occurred_at, mine, now)
                usage.credit(self.connection, marked, ticket_id, at, now, reason)
        return done

    def _is_void(self, fact: Fact) -> bool:
        """Take an invoice item back, if it was not sent; a metered fact lies in a batch with others."""
        return fact.route == INVOICE_ITEM and usage.void_batch(self.connection, fact.batch_id or "")

    def _critical(self, ticket_id: str, customer: str, now: datetime, counted: Sequence[Fact]) -> None:
        mine = [one for one in counted if one.kind == CRITICAL_TICKET]
        # A downgrade forgives this alone; where the opening was forgiven, the ticket costs nothing.
        costs_nothing = any(one.kind == TICKET_OPENED and one.forgiven_at is not None for one in counted)
        if costs_nothing or any(one.forgiven_at is None for one in mine):
            return
        # It was billed so long ago that nobody knows for what: better nothing than twice.
        if usage.is_pruned(self.connection, ticket_id):
            return
        known = customers.known(self.connection, [customer]).get(customer)
        route = known.critical if known else None
        fact = usage.fact(CRITICAL_TICKET, ticket_id, customer, now, now, route, time=len(mine) + 1)
        usage.record(self.connection, [fact])
