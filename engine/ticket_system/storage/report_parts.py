"""What reports count, in parts of statements that they share: whose tickets, when, and which promises.

A bucket is a place between instants: the number of those at or before a moment. One statement counts by buckets what
several weeks, or several boundaries, are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.reports.contents import Scope
from ticket_system.storage.tables import clocks, named, tickets


class Stretch(NamedTuple):
    """The time that is counted, and the moment as of which."""

    since: datetime
    until: datetime
    as_of: datetime
    #: Whether what happens at `until` still belongs to it.
    closed: bool = False

    def holds(self, column: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[bool], ...]:
        """Say that it happened within."""
        return column >= self.since, column <= self.until if self.closed else column < self.until


def of_scope(scope: Scope) -> list[sa.ColumnElement[bool]]:
    """Say whose tickets are counted; nothing, where all are."""
    wanted = ((tickets.c.customer, scope.customer), (tickets.c.group, scope.group))
    return [column == value for column, value in wanted if value is not None]


def bucket(column: sa.ColumnElement[Any], instants: Sequence[datetime]) -> sa.ColumnElement[int]:
    """Return the bucket of a moment."""
    return sa.case(*((column < at, index) for index, at in enumerate(instants)), else_=len(instants))


#: What is known of a promise that was broken, or ended.
_PROMISE = [
    clocks.c[name]
    for name in (
        "ticket_id", "target", "cycle", "rules", "policy", "started_at", "target_seconds", "paused_for", "due_at",
        "stopped_at", "waived_at", "worked",
    )
]  # fmt: skip


def broken(stretch: Stretch, *more: sa.ColumnElement[bool]) -> sa.CompoundSelect[Any]:
    """Select the promises broken within, found or not, the waived ones among them (24); `since` is when each broke."""
    until = min(stretch.until, stretch.as_of)
    found = sa.select(*_PROMISE, clocks.c.breached_at.label("since")).where(
        clocks.c.state == named("breached"), *stretch.holds(clocks.c.breached_at), *more
    )
    # Overdue and not found yet is a breach all the same.
    unfound = sa.select(*_PROMISE, clocks.c.due_at.label("since")).where(
        clocks.c.state == named("running"),
        clocks.c.due_at < until,
        clocks.c.due_at >= stretch.since,
        # Somebody looks at it no later than that: by this it is found in the index of what is to be looked at.
        clocks.c.next_check_at < until,
        *more,
    )
    return sa.union_all(found, unfound)


def ended(stretch: Stretch, *states: str) -> list[sa.ColumnElement[bool]]:
    """Say that a clock was stopped within, and is in one of these states."""
    return [clocks.c.state.in_([named(state) for state in states]), *stretch.holds(clocks.c.stopped_at)]


def with_tickets(part: sa.FromClause, scope: Scope) -> tuple[sa.FromClause, list[sa.ColumnElement[bool]]]:
    """Return a part beside its tickets, and whose they are."""
    return sa.join(part, tickets, tickets.c.id == part.c.ticket_id), of_scope(scope)
