"""What a simulation reads: tickets in the order in which they were opened, with their clocks and their events.

A batch is read in one snapshot: a change writes a ticket's clocks and events together, and is seen whole or not at all.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.sla.simulate import KINDS
from ticket_system.sla.terms import Fact
from ticket_system.sla.verdicts import Standing
from ticket_system.storage.tables import Instant, clocks, events, one_of, tickets
from ticket_system.tickets import Ticket


class Past(NamedTuple):
    """A ticket as it is now, without its texts; its clocks as stored; its events in the order of writing."""

    ticket: Ticket
    clocks: list[Standing]
    facts: list[Fact]


def count(connection: sa.Connection, since: datetime, until: datetime) -> int:
    """Count the tickets opened from `since` up to and including `until`."""
    return connection.execute(_COUNT, {"since": since, "until": until}).scalar_one()


def page(connection: sa.Connection, since: datetime, after: str, until: datetime, limit: int) -> list[Past]:
    """Return the next tickets by opening, then id: behind the ticket `after` of the moment `since`."""
    given = {"since": since, "after": after, "until": until, "limit": limit}
    found: dict[str, Past] = {}
    # All at once: a row at a time costs more than what is done with it.
    for ticket_id, opened_at, *what in connection.execute(_PAGE, given).all():
        requester, priority, *classes = what
        ticket = Ticket("", "", requester, ticket_id, priority, created_at=opened_at, updated_at=opened_at)
        ticket.customer, ticket.plan, ticket.group, ticket.tags = classes
        found[ticket_id] = Past(ticket, [], [])
    ids = {"ids": list(found)}
    for ticket_id, *clock in connection.execute(_CLOCKS, ids).all():
        found[ticket_id].clocks.append(Standing._make(clock))
    for ticket_id, *fact in connection.execute(_FACTS, ids).all():
        found[ticket_id].facts.append(Fact._make(fact))
    return list(found.values())


_since, _until = (sa.bindparam(name, type_=Instant) for name in ("since", "until"))
_PERIOD = (tickets.c.created_at >= _since, tickets.c.created_at <= _until)
_COUNT = sa.select(sa.func.count()).select_from(tickets).where(*_PERIOD)
_PAGE = (
    sa.select(
        *[
            tickets.c[name]
            for name in ("id", "created_at", "requester", "priority", "customer", "plan", "group", "tags")
        ]
    )
    .where(*_PERIOD, sa.or_(tickets.c.created_at > _since, tickets.c.id > sa.bindparam("after")))
    .order_by(tickets.c.created_at, tickets.c.id)
    .limit(sa.bindparam("limit"))
)
_CLOCKS = sa.select(clocks.c.ticket_id, *[clocks.c[name] for name in Standing._fields]).where(
    clocks.c.ticket_id.in_(sa.bindparam("ids", expanding=True))
)
# What people wrote is not read, nor what was looked for and found.
_SILENT = {"note", "recorded_at"}
_FACTS = (
    sa.select(
        events.c.ticket_id, *[sa.null().label(name) if name in _SILENT else events.c[name] for name in Fact._fields]
    )
    .where(events.c.ticket_id.in_(sa.bindparam("ids", expanding=True)), one_of(events.c.kind, KINDS))
    .order_by(events.c.ticket_id, events.c.id)
)
