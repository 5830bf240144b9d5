"""What an audit reads and remembers: stored clocks beside the events of their tickets, a batch of tickets at a time.

A batch is read in one snapshot: a change writes a ticket's clocks and events together, and is seen whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.sla.clocks import Clock
from ticket_system.sla.terms import Fact
from ticket_system.storage.clocks import clock_columns, clock_from
from ticket_system.storage.moments import moment
from ticket_system.storage.tables import Instant, audit_runs, clocks, events, named, tickets
from ticket_system.tickets import is_storable


class Mark(NamedTuple):
    """How far audits have come: through the events, and in the walk over all tickets."""

    event_id: int = 0
    ticket_id: str = ""


@dataclass(slots=True)
class Told:
    """What is known of one ticket: its clocks as stored, its events in the order in which they were written."""

    clocks: list[Clock]
    facts: list[Fact]


def mark(connection: sa.Connection) -> Mark:
    """Return where the last finished audit left off."""
    row = connection.execute(_LAST_RUN).first()
    return Mark(*row) if row else Mark()


class LastRun(NamedTuple):
    """What the last finished audit came to."""

    finished_at: datetime
    checked: int
    differences: int


def last_run(connection: sa.Connection) -> LastRun | None:
    """Return what the last finished audit came to."""
    columns = [audit_runs.c[name] for name in LastRun._fields]
    row = connection.execute(sa.select(*columns).order_by(audit_runs.c.id.desc()).limit(1)).first()
    return LastRun(*row) if row else None


def newest_event(connection: sa.Connection) -> int:
    """Return the number of the newest event."""
    return connection.execute(_NEWEST).scalar_one() or 0


def count(connection: sa.Connection) -> int:
    """Count the tickets."""
    return connection.execute(_COUNT).scalar_one()


def before_overlap(connection: sa.Connection, event_id: int, overlap: timedelta) -> int:
    """Return a number so far back that whatever was still being written then has been committed since.

    Numbers are given out before the commit: an event can appear below one that an audit has seen.
    """
    since = moment(connection) - overlap
    return connection.execute(_BEFORE, {"event_id": event_id, "since": since}).scalar() or 0


def changed(connection: sa.Connection, after: int, until: int, limit: int) -> tuple[list[str], int]:
    """Return the tickets of the next events, and the number of the last of these; no tickets: there are none."""
    rows = connection.execute(_CHANGED, {"after": after, "until": until, "limit": limit}).all()
    return list({ticket_id: None for _, ticket_id in rows}), rows[-1][0] if rows else until


def following(connection: sa.Connection, after: str, limit: int) -> list[str]:
    """Return the next tickets by id."""
    return list(connection.scalars(_FOLLOWING, {"after": after, "limit": limit}))


def told(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Told]:
    """Return what is known of these tickets, in this order; one that does not exist or has nothing is left out.

    So is one whose history was pruned: there is nothing to compare its clocks with.
    """
    found = {ticket_id: Told([], []) for ticket_id in ids}
    for ticket_id in connection.scalars(_PRUNED, {"ids": list(found)}).all():
        del found[ticket_id]
    given = {"ids": list(found)}
    # All at once: a row at a time costs more than what is done with it.
    for row in connection.execute(_CLOCKS, given).all():
        clock = clock_from(row)
        if clock is not None:
            found[clock.ticket_id].clocks.append(clock)
    for ticket_id, *fact in connection.execute(_FACTS, given).all():
        found[ticket_id].facts.append(Fact._make(fact))
    return {ticket_id: one for ticket_id, one in found.items() if one.clocks or one.facts}


def of_ticket(connection: sa.Connection, ticket_id: str) -> Told:
    """Return what is known of one ticket."""
    return told(connection, [ticket_id] if is_storable(ticket_id) else []).get(ticket_id, Told([], []))


def pruned_at(connection: sa.Connection, ticket_id: str) -> datetime | None:
    """Return when the history of a ticket was pruned; None: it was not."""
    found = sa.select(tickets.c.history_pruned_at).where(tickets.c.id == ticket_id)
    return connection.execute(found).scalar_one_or_none() if is_storable(ticket_id) else None


def remember(connection: sa.Connection, reached: Mark, checked: int, differences: int, now: datetime) -> None:
    """Note how far a finished audit came."""
    row: dict[str, Any] = {"finished_at": now, "checked": checked, "differences": differences}
    connection.execute(sa.insert(audit_runs).values(row | reached._asdict()))


_LAST_RUN = sa.select(audit_runs.c.event_id, audit_runs.c.ticket_id).order_by(audit_runs.c.id.desc()).limit(1)
_NEWEST = sa.select(sa.func.max(events.c.id))
_COUNT = sa.select(sa.func.count()).select_from(tickets)
_BEFORE = (
    sa.select(events.c.id)
    .where(
        events.c.id <= sa.bindparam("event_id"),
        events.c.recorded_at < sa.bindparam("since", type_=Instant),
        # A breach that an import brought may have been found years ago.
        events.c.kind != named("breached"),
    )
    .order_by(events.c.id.desc())
    .limit(1)
)
_CHANGED = (
    sa.select(events.c.id, events.c.ticket_id)
    .where(events.c.id > sa.bindparam("after"), events.c.id <= sa.bindparam("until"))
    .order_by(events.c.id)
    .limit(sa.bindparam("limit"))
)
_FOLLOWING = (
    sa.select(tickets.c.id)
    .where(tickets.c.id > sa.bindparam("after"))
    .order_by(tickets.c.id)
    .limit(sa.bindparam("limit"))
)
_PRUNED = sa.select(tickets.c.id).where(
    tickets.c.id.in_(sa.bindparam("ids", expanding=True)), tickets.c.history_pruned_at.is_not(None)
)
_CLOCKS = sa.select(*clock_columns).where(clocks.c.ticket_id.in_(sa.bindparam("ids", expanding=True)))
# What was said of a ticket that is gone belongs to no clock. When an event was recorded matters for a breach only.
_FACTS = (
    sa.select(
        events.c.ticket_id,
        *[events.c[name] for name in Fact._fields if name != "recorded_at"],
        sa.case((events.c.kind == named("breached"), events.c.recorded_at)),
    )
    .join(tickets, tickets.c.id == events.c.ticket_id)
    .where(events.c.ticket_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(events.c.ticket_id, events.c.id)
)
