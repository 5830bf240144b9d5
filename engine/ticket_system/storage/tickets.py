"""Tickets and comments: rows in, objects out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from ticket_system.sla.clocks import RESOLUTION
from ticket_system.storage.clocks import clock_columns, clock_from
from ticket_system.storage.moments import database_clock
from ticket_system.storage.tables import clocks, comments, is_active, is_done, named, tickets
from ticket_system.tickets import ACTIVE_STATUSES, Comment, Ticket, is_storable, utc_now

# In the order of the dataclasses' fields, so that a row is their arguments.
_FIELDS = [tickets.c[field.name] for field in fields(Ticket) if field.name in tickets.c]
_COMMENT_FIELDS = [comments.c[field.name] for field in fields(Comment)]
_WIDTH = len(_FIELDS)


def insert(connection: sa.Connection, *new: Ticket) -> None:
    """Store tickets that were checked before; a taken id raises the database's IntegrityError."""
    connection.execute(_INSERT, [{column.name: getattr(ticket, column.name) for column in _FIELDS} for ticket in new])


def lock(connection: sa.Connection, ticket_id: str) -> tuple[Ticket, datetime, datetime | None] | None:
    """Read a ticket for change, without its clock; the time by the database's clock; when somebody has to look at it.

    None: there is no such ticket.
    """
    if not is_storable(ticket_id):
        return None
    if connection.dialect.name == "sqlite":
        row = connection.execute(_TO_CHANGE, {"id": ticket_id}).one_or_none()
        return None if row is None else (Ticket(*row[:_WIDTH]), utc_now(), row[_WIDTH])
    # The row's new version is read after a wait, and the time with it: moments of one ticket never run backwards.
    row = connection.execute(_LOCK, {"id": ticket_id}).one_or_none()
    return None if row is None else (Ticket(*row[:_WIDTH]), row[_WIDTH + 1], row[_WIDTH])


def get(connection: sa.Connection, ticket_id: str) -> Ticket | None:
    """Return a ticket with its resolution clock."""
    if not is_storable(ticket_id):
        return None
    row = connection.execute(_ONE_WITH_CLOCK, {"id": ticket_id}).one_or_none()
    return None if row is None else _ticket(row)


def get_with(connection: sa.Connection, ticket_id: str, target: str, cycle: int) -> Ticket | None:
    """Return a ticket with one of its clocks, whichever is asked for; without any where it has no such clock."""
    if not is_storable(ticket_id):
        return None
    row = connection.execute(_ONE_WITH_THAT, {"id": ticket_id, "target": target, "cycle": cycle}).one_or_none()
    return None if row is None else _ticket(row)


def listed(connection: sa.Connection, ids: Iterable[str]) -> list[Ticket]:
    """Return tickets by id, without their clocks; one that is not there is left out."""
    rows = connection.execute(_LISTED, {"ids": list(ids)}).all()
    return [Ticket(*row) for row in rows]


def exists(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Return those of the ids that are taken."""
    return set(connection.scalars(sa.select(tickets.c.id).where(tickets.c.id.in_(list(ids)))))


def queue(
    connection: sa.Connection,
    *,
    assignee: str | None = None,
    status: str | None = None,
    priority: int | None = None,
    limit: int | None = None,
) -> list[Ticket]:
    """Return tickets by priority, then age; active ones only, unless an assignee or a status is asked for."""
    if assignee is not None and not is_storable(assignee):
        return []
    query = _WITH_CLOCK.order_by(tickets.c.priority, tickets.c.created_at, tickets.c.id).limit(limit)
    if assignee is None and status is None:
        query = query.where(is_active)
    if assignee is not None:
        query = query.where(tickets.c.assignee == assignee)
    if status is not None:
        # In the words of an index, too: neither planner sees that the one status is among these.
        query = query.where(tickets.c.status == named(status), is_active if status in ACTIVE_STATUSES else is_done)
    if priority is not None:
        query = query.where(tickets.c.priority == priority)
    return [_ticket(row) for row in connection.execute(query)]


def page(connection: sa.Connection, *, after: str, limit: int) -> list[Ticket]:
    """Return tickets by id, beginning behind one."""
    query = _WITH_CLOCK.where(tickets.c.id > after).order_by(tickets.c.id).limit(limit)
    return [_ticket(row) for row in connection.execute(query)]


def update(connection: sa.Connection, ticket_id: str, **values: Any) -> None:
    """Change columns of a ticket that was locked before."""
    connection.execute(_change(tuple(values)), values | {"the_ticket": ticket_id})


@cache
def _change(names: tuple[str, ...]) -> sa.Update:
    """Build it once for each set of columns: putting it together takes longer than the database does."""
    new = {name: sa.bindparam(name, type_=tickets.c[name].type) for name in names}
    return sa.update(tickets).where(tickets.c.id == sa.bindparam("the_ticket")).values(new)


def insert_comments(connection: sa.Connection, *new: Comment) -> None:
    """Store comments that were checked before."""
    connection.execute(
        _INSERT_COMMENT,
        [{column.name: getattr(one, column.name) for column in _COMMENT_FIELDS} for one in new],
    )


def comments_of(connection: sa.Connection, ticket_id: str, *, include_internal: bool) -> list[Comment]:
    """Return what was said about a ticket, oldest first."""
    if not is_storable(ticket_id):
        return []
    query = sa.select(*_COMMENT_FIELDS).where(comments.c.ticket_id == ticket_id)
    if not include_internal:
        query = query.where(sa.not_(comments.c.is_internal))
    rows = connection.execute(query.order_by(comments.c.created_at, comments.c.id))
    return [Comment(*row) for row in rows]


def active(connection: sa.Connection) -> list[str]:
    """Return the ids of all active tickets."""
    return list(connection.scalars(sa.select(tickets.c.id).where(is_active).order_by(tickets.c.id)))


def active_of(connection: sa.Connection, customer: str, plan: str) -> list[str]:
    """Return the ids of a customer's active tickets that have this plan."""
    mine = sa.select(tickets.c.id).where(is_active, tickets.c.customer == customer, tickets.c.plan == plan)
    return list(connection.scalars(mine.order_by(tickets.c.id)))


def was_answered(connection: sa.Connection, ticket: Ticket) -> bool:
    """Tell whether somebody other than the requester has said something in public (rule 15)."""
    return connection.execute(_ANSWER, {"id": ticket.id, "requester": ticket.requester}).first() is not None


def answered(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Return those of tickets for which `was_answered` holds."""
    return set(connection.scalars(_ANSWERED, {"ids": list(ids)}))


def _ticket(row: sa.Row[Any]) -> Ticket:
    ticket = Ticket(*row[:_WIDTH])
    ticket.clock = clock_from(row[_WIDTH:])
    ticket.is_promised = ticket.clock is not None
    return ticket


_INSERT = sa.insert(tickets)
_INSERT_COMMENT = sa.insert(comments)
_ANSWER = (
    sa.select(comments.c.id)
    .where(
        comments.c.ticket_id == sa.bindparam("id"),
        sa.not_(comments.c.is_internal),
        comments.c.author.not_in((sa.bindparam("requester"), "system")),
    )
    .limit(1)
)
_ANSWERED = (
    sa.select(comments.c.ticket_id)
    .distinct()
    .join(tickets, tickets.c.id == comments.c.ticket_id)
    .where(
        comments.c.ticket_id.in_(sa.bindparam("ids", expanding=True)),
        sa.not_(comments.c.is_internal),
        comments.c.author != tickets.c.requester,
        comments.c.author != named("system"),
    )
)
_ONE = sa.select(*_FIELDS).where(tickets.c.id == sa.bindparam("id"))
_LISTED = sa.select(*_FIELDS).where(tickets.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(tickets.c.id)
# NO KEY UPDATE: whoever writes a row that refers to this ticket need not wait for us.
_look = sa.select(sa.func.min(clocks.c.next_check_at)).where(clocks.c.ticket_id == tickets.c.id).scalar_subquery()
_TO_CHANGE = _ONE.add_columns(_look)
_LOCK = _TO_CHANGE.add_columns(database_clock).with_for_update(key_share=True)


def _with_clock(target: Any, cycle: Any) -> sa.Select[Any]:
    that = sa.and_(clocks.c.ticket_id == tickets.c.id, clocks.c.target == target, clocks.c.cycle == cycle)
    return sa.select(*_FIELDS, *clock_columns).outerjoin_from(tickets, clocks, that)


_WITH_CLOCK = _with_clock(RESOLUTION, tickets.c.cycle)
_ONE_WITH_CLOCK = _WITH_CLOCK.where(tickets.c.id == sa.bindparam("id"))
_ONE_WITH_THAT = _with_clock(sa.bindparam("target"), sa.bindparam("cycle")).where(tickets.c.id == sa.bindparam("id"))
