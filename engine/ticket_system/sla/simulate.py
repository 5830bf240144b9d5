"""The clocks that a ticket would have had under other rules: its history, followed by their course (28). Pure.

What people and the world did stays history: openings, moves, comments, priorities and what else a policy is chosen by.
Only the clocks are counted anew, by the same course that sets them in life (`sla.course`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

from ticket_system.errors import TicketSystemError
from ticket_system.sla.clocks import Clock, waive
from ticket_system.sla.course import Changed, Course
from ticket_system.sla.policies import Facts
from ticket_system.sla.terms import Fact, known
from ticket_system.tickets import STATUS_FLOW, Ticket

#: What a simulation looks at; other events move no clock, and change nothing that a policy looks at.
KINDS = ("created", "status", "priority", "escalated", "classified", "tagged", "commented", "waived", "waiver_revoked")

#: Every clock that there has been, by target and cycle.
Clocks: TypeAlias = dict[tuple[str, int], Clock]

_CLASSES = ("customer", "plan", "group", "tags")


def simulated(
    course: Course, ticket: Ticket, facts: Sequence[Fact], now: datetime
) -> dict[tuple[str, int], Clock] | None:
    """Return the clocks of a ticket as its history makes them by the course's rules, settled as of now.

    The ticket as it is now; its events in the order in which they were written. None: they do not tell how it was
    opened, or do not fit together.
    """
    try:
        opened = _opened(ticket, facts)
        if opened is None:
            return None
        past = _Past(course, opened)
        for fact in facts[1:]:
            past.follow(fact)
        return past.settled(now)
    except (TicketSystemError, ValueError, TypeError, OverflowError):
        return None  # whatever an event says is believed, if it makes sense (27)


class _Past:
    """A ticket on its way from the opening to the present, with the clocks that it would have had."""

    def __init__(self, course: Course, ticket: Ticket) -> None:
        self.course, self.ticket = course, ticket
        self.clocks: Clocks = {}
        self.newest: dict[str, Clock] = {}
        self.answered = False
        #: What somebody has waived, and when.
        self.waived: dict[tuple[str, int], datetime] = {}
        self.keep(course.opened(ticket))

    def keep(self, changes: Iterable[Changed]) -> None:
        for _, clock, _ in changes:
            self.newest[clock.target] = self.clocks[clock.target, clock.cycle] = clock

    def follow(self, fact: Fact) -> None:
        """Do what an event says."""
        kind, ticket = fact.kind, self.ticket
        if kind == "status":
            status = fact.new or ""
            ticket.status = fact.old or ticket.status
            self.keep(self.course.moved(self.newest, ticket, status, fact.at))
            ticket.status = status
        elif kind == "commented":
            internal = fact.new != "public"
            self.keep(self.course.answered(self.newest, ticket, fact.actor, fact.at, internal=internal))
            self.answered = self.answered or not (internal or fact.actor in {"system", ticket.requester})
        elif kind == "classified":
            self.classify(fact)
        elif kind in {"waived", "waiver_revoked"}:
            self.waive(fact)
        elif kind == "tagged":
            ticket.tags = [*ticket.tags, fact.new or ""]
        elif fact.key is None:  # the priority, by somebody's hand
            self.reprice(fact)
        elif fact.new:  # raised by a level: re-targets nothing (11)
            ticket.priority = int(fact.new)

    def classify(self, fact: Fact) -> None:
        new = {name: value for name, value in known(fact.new).items() if name in _CLASSES}
        facts = Facts.of(replace(self.ticket, **new))
        found = self.course.reclassified(self.newest, self.ticket, facts, fact.at, was_answered=lambda: self.answered)
        self.keep(found.changes)
        vars(self.ticket).update(new)

    def waive(self, fact: Fact) -> None:
        told = known(fact.detail)
        key = str(told.get("target")), told.get("cycle", 0)
        self.waived.pop(key, None)
        if fact.kind == "waived":
            self.waived[key] = fact.at

    def settled(self, now: datetime) -> Clocks:
        """Return the clocks as of now; a waiver covers the breach under any rules, it was meant for the ticket (9)."""
        self.keep(self.course.settled(self.newest, now))
        for key, at in self.waived.items():
            if key in self.clocks:
                self.clocks[key] = waive(self.clocks[key], at)
        return self.clocks

    def reprice(self, fact: Fact) -> None:
        priority, told = int(fact.new or ""), known(fact.detail)
        # Hours that somebody named are no policy's.
        hours = told.get("sla_hours") if told.get("given") else None
        found = self.course.repriced(
            self.newest, self.ticket, priority, fact.at, hours=hours, was_answered=lambda: self.answered
        )
        self.keep(found.changes)
        self.ticket.priority = priority


def _opened(ticket: Ticket, facts: Sequence[Fact]) -> Ticket | None:
    """Return a ticket as it was opened: as that event says, and where it is silent, walked back from the present."""
    if not facts or facts[0].kind != "created":
        return None
    first = facts[0]
    told = _opening(first.new)
    if told is None:
        return None
    was: dict[str, Any] = {name: getattr(ticket, name) for name in _CLASSES}
    for fact in reversed(facts):
        if fact.kind == "classified":
            was |= known(fact.old)
        elif fact.kind == "tagged":
            was["tags"] = [tag for tag in was["tags"] if tag != fact.new]
    return replace(ticket, created_at=first.at, **{name: was[name] for name in _CLASSES} | told)


# Most tickets are opened with one of a few: the same text over and over.
@lru_cache(maxsize=4096)
def _opening(text: str | None) -> dict[str, Any] | None:
    told = known(text)
    status, priority = told.get("status"), told.get("priority")
    if status not in STATUS_FLOW or priority not in {1, 2, 3, 4}:
        return None
    return {"status": status, "priority": priority} | {name: told[name] for name in _CLASSES if name in told}
