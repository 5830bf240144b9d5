"""Clocks: one row per target, ticket and cycle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from ticket_system.sla.clocks import RESOLUTION, Clock, ClockState
from ticket_system.storage.tables import as_row, clocks, is_active, named, tickets

# In the order of the dataclass's fields, so that a row is its arguments.
clock_columns = [clocks.c[field.name] for field in fields(Clock)]
_KEY = ("ticket_id", "target", "cycle")


def clock_from(row: Sequence[Any]) -> Clock | None:
    """Read a row of `clock_columns`; None for the empty side of an outer join."""
    ticket_id, target, cycle, state, *rest = row
    return None if state is None else Clock(ticket_id, target, cycle, ClockState(state), *rest)


def insert(connection: sa.Connection, *new: Clock) -> None:
    """Store clocks that have just been started."""
    connection.execute(_INSERT, [as_row(clock) for clock in new])


def lock(connection: sa.Connection, ticket_id: str) -> list[Clock]:
    """Read a ticket's clocks for change, the newest cycle last."""
    rows = connection.execute(_LOCK, {"ticket_id": ticket_id})
    return [clock for row in rows if (clock := clock_from(row))]


def of_ticket(connection: sa.Connection, ticket_id: str) -> list[Clock]:
    """Return a ticket's clocks, the newest cycle last."""
    rows = connection.execute(_OF_TICKET, {"ticket_id": ticket_id})
    return [clock for row in rows if (clock := clock_from(row))]


def of_tickets(connection: sa.Connection, ids: Iterable[str]) -> dict[str, list[Clock]]:
    """Return the clocks of tickets, the newest cycle of each last."""
    found: dict[str, list[Clock]] = {}
    # All at once: a row at a time costs more than what is done with it.
    for row in connection.execute(_OF_TICKETS, {"ids": list(ids)}).all():
        clock = clock_from(row)
        if clock is not None:
            found.setdefault(clock.ticket_id, []).append(clock)
    return found


def get(connection: sa.Connection, ticket_id: str, target: str, cycle: int) -> Clock | None:
    """Return one clock."""
    row = connection.execute(_ONE, {"ticket_id": ticket_id, "target": target, "cycle": cycle}).one_or_none()
    return None if row is None else clock_from(row)


def save(connection: sa.Connection, clock: Clock) -> None:
    """Write what has become of a clock that was locked before."""
    connection.execute(
        _SAVE, {f"clock_{name}" if name in _KEY else name: value for name, value in as_row(clock).items()}
    )


def overdue(connection: sa.Connection, now: Any) -> sa.CursorResult[Any]:
    """Find active tickets that are late: those found by a scan, and those a scan has yet to find. Worst first."""
    return connection.execute(_OVERDUE, {"now": now})


_INSERT = sa.insert(clocks)
_OF_TICKET = (
    sa.select(*clock_columns)
    .where(clocks.c.ticket_id == sa.bindparam("ticket_id"))
    .order_by(clocks.c.target, clocks.c.cycle)
)
_OF_TICKETS = (
    sa.select(*clock_columns)
    .where(clocks.c.ticket_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(clocks.c.ticket_id, clocks.c.target, clocks.c.cycle)
)
_LOCK = _OF_TICKET.with_for_update()
_ONE = sa.select(*clock_columns).where(*[clocks.c[name] == sa.bindparam(name) for name in _KEY])
_SAVE = (
    sa.update(clocks)
    .where(*[clocks.c[name] == sa.bindparam(f"clock_{name}") for name in _KEY])
    .values(
        {column: sa.bindparam(column.name, type_=column.type) for column in clock_columns if column.name not in _KEY}
    )
)

_now = sa.bindparam("now", type_=clocks.c.due_at.type)
_IS_RESOLUTION = clocks.c.target == named(RESOLUTION)
_LATE = [clocks.c.ticket_id, clocks.c.due_at]
_late = sa.union_all(
    sa.select(*_LATE).where(_IS_RESOLUTION, clocks.c.state == named("breached"), clocks.c.stopped_at.is_(None)),
    sa.select(*_LATE).where(
        _IS_RESOLUTION,
        clocks.c.state == named("running"),
        clocks.c.due_at < _now,
        # Somebody looks at it no later than that: by this it is found in the index of what is to be looked at.
        clocks.c.next_check_at < _now,
    ),
).subquery("late")
_OVERDUE = (
    sa.select(tickets.c.id, tickets.c.title, tickets.c.priority, tickets.c.assignee, _late.c.due_at)
    .join_from(_late, tickets, tickets.c.id == _late.c.ticket_id)
    .where(is_active)
    .order_by(_late.c.due_at, tickets.c.id)
)
