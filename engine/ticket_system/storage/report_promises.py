"""Promises one by one, for a report that names them: the worst of those broken, and those that fall due next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from ticket_system.reports.contents import DueTicket, Scope
from ticket_system.storage.report_parts import Stretch, broken, of_scope, with_tickets
from ticket_system.storage.tables import clocks, named, tickets

#: The version of the rules, the policy and the target: what decides by which calendar a clock counts.
Kind: TypeAlias = tuple[int | None, str, str]

_MICROSECONDS = 1_000_000


class Broken(NamedTuple):
    """A promise that was broken, and what it takes to say by how much."""

    ticket_id: str
    target: str
    cycle: int
    rules: int | None
    policy: str
    started_at: datetime
    target_seconds: int
    paused_for: timedelta
    due_at: datetime
    #: When it broke.
    since: datetime
    #: None: it is not done yet.
    worked: timedelta | None

    @property
    def kind(self) -> Kind:
        """What decides by which calendar it counts."""
        return self.rules, self.policy, self.target


class Due(NamedTuple):
    """A promise that falls due soon, and its kind."""

    kind: Kind
    ticket: DueTicket


class Title(NamedTuple):
    """What a report says of a ticket besides its promises."""

    title: str
    priority: int
    assignee: str | None


def worst_done(connection: sa.Connection, scope: Scope, stretch: Stretch, limit: int) -> list[Broken]:
    """Return the promises broken within that are done by now, those first that took longest beyond."""
    late = broken(stretch).subquery("late")
    beside, mine = with_tickets(late, scope)
    beyond = sa.type_coerce(late.c.worked, sa.BigInteger) - late.c.target_seconds * _MICROSECONDS
    query = (
        sa.select(*[late.c[name] for name in Broken._fields])
        .select_from(beside if mine else late)
        .where(late.c.stopped_at.is_not(None), late.c.waived_at.is_(None), *mine)
        .order_by(beyond.desc(), late.c.since, late.c.ticket_id, late.c.target)
        .limit(limit)
    )
    return [Broken(*row) for row in connection.execute(query)]


def first_running(connection: sa.Connection, scope: Scope, stretch: Stretch, limit: int) -> list[Broken]:
    """Return of each kind the promises broken within that are not done yet, those first that were due first."""
    late = broken(stretch).subquery("late")
    beside, mine = with_tickets(late, scope)
    place = sa.func.row_number().over(
        partition_by=[late.c.rules, late.c.policy, late.c.target],
        order_by=[late.c.due_at, late.c.ticket_id, late.c.cycle],
    )
    ranked = (
        sa.select(*[late.c[name] for name in Broken._fields], place.label("place"))
        .select_from(beside if mine else late)
        .where(late.c.stopped_at.is_(None), late.c.waived_at.is_(None), *mine)
        .subquery("ranked")
    )
    query = sa.select(*[ranked.c[name] for name in Broken._fields]).where(ranked.c.place <= limit)
    return [Broken(*row) for row in connection.execute(query.order_by(ranked.c.place))]


def titles(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Title]:
    """Return what a report says of these tickets."""
    columns = [tickets.c[name] for name in ("id", *Title._fields)]
    rows = connection.execute(sa.select(*columns).where(tickets.c.id.in_(list(ids))))
    return {row[0]: Title(*row[1:]) for row in rows}


def kinds_running(connection: sa.Connection) -> list[Kind]:
    """Return the kinds of clocks that run."""
    columns = [clocks.c[name] for name in ("rules", "policy", "target")]
    query = (
        sa.select(*columns).distinct().where(clocks.c.state == named("running"), clocks.c.next_check_at.is_not(None))
    )
    return [(rules, policy, target) for rules, policy, target in connection.execute(query)]


def due_soon(
    connection: sa.Connection, scope: Scope, as_of: datetime, bounds: Mapping[Kind, datetime], limit: int
) -> tuple[int, list[Due]]:
    """Count the clocks that fall due by the bound of their kind; and return the first, in the order of their deadlines.

    What is left of each is for a caller to fill in, who knows the calendars.
    """
    if not bounds:
        return 0, []
    by_bound: dict[tuple[int | None, datetime], list[tuple[str, str]]] = {}
    for (rules, policy, target), bound in bounds.items():
        by_bound.setdefault((rules, bound), []).append((policy, target))
    soon = [
        sa.and_(
            clocks.c.rules.is_(None) if rules is None else clocks.c.rules == rules,
            sa.tuple_(clocks.c.policy, clocks.c.target).in_(names),
            clocks.c.due_at <= bound,
        )
        for (rules, bound), names in by_bound.items()
    ]
    of_clock: list[sa.ColumnElement[Any]] = [
        clocks.c[name] for name in ("rules", "policy", "target", "ticket_id", "due_at")
    ]
    mine = of_scope(scope)
    first = (
        sa.select(*of_clock, sa.func.count().over().label("number"))
        .where(
            clocks.c.state == named("running"),
            clocks.c.due_at >= as_of,
            # Somebody looks at it no later than that: by this it is found in the index of what is to be looked at.
            clocks.c.next_check_at <= max(bounds.values()),
            sa.or_(*soon),
            *mine,
        )
        .order_by(clocks.c.due_at, clocks.c.ticket_id, clocks.c.target)
        .limit(limit)
    )
    if mine:
        first = first.join_from(clocks, tickets, tickets.c.id == clocks.c.ticket_id)
    few = first.subquery("few")
    columns: list[sa.ColumnElement[Any]] = [*few.c, *[tickets.c[name] for name in Title._fields]]
    query = (
        sa.select(*columns)
        .join_from(few, tickets, tickets.c.id == few.c.ticket_id)
        .order_by(few.c.due_at, few.c.ticket_id, few.c.target)
    )
    found, number = [], 0
    for rules, policy, target, ticket_id, due_at, in_all, title, priority, assignee in connection.execute(query):
        number = in_all
        ticket = DueTicket(
            ticket_id=ticket_id, title=title, priority=priority, target=target, assignee=assignee,
            due_at=due_at, left_seconds=0.0,
        )  # fmt: skip
        found.append(Due((rules, policy, target), ticket))
    return number, found
