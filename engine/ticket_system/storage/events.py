"""What happened, in order: appended to, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ticket_system.sla.clocks import Clock
from ticket_system.storage.moments import database_clock, later
from ticket_system.storage.tables import as_row, events
from ticket_system.tickets import Ticket, is_storable


@dataclass(frozen=True, slots=True)
class Event:
    """Who did what to a ticket, when, from what to what."""

    ticket_id: str
    at: datetime
    kind: str
    actor: str
    old: str | None = None
    new: str | None = None
    note: str | None = None
    #: Set for what may happen once only.
    key: str | None = None
    #: What a replay needs and the other fields have no place for, as JSON: the hours promised.
    detail: str | None = None


def detail(**facts: object) -> str:
    """Write down what a replay needs to come to the same clock."""
    return json.dumps(facts, separators=(",", ":"))


def key(ticket_id: str, target: str, cycle: int, kind: str, level: int = 0, repeat: int = 0) -> str:
    """Name what may happen once only (rule 8)."""
    return f"{ticket_id}/{target}/{cycle}/{kind}/{level}/{repeat}"


def opened(ticket: Ticket, promised: Sequence[Clock] = (), rules: int | None = None) -> Event:
    """Tell what a ticket was opened with, so that its history can be read from its events alone."""
    facts: dict[str, object] = {"status": ticket.status, "priority": ticket.priority, "sla_hours": ticket.sla_hours}
    what_else = ("assignee", "customer", "plan", "group", "tags")
    facts |= {name: value for name in what_else if (value := getattr(ticket, name))}
    facts |= _promises(promised) or ({} if rules is None else {"rules": rules, "promises": {}})
    new = json.dumps(facts, separators=(",", ":"))
    return Event(ticket.id, ticket.created_at, "created", ticket.requester, new=new)


def started(clock: Clock, status: str) -> Event:
    """Tell that a clock was started after the opening: a new cycle, or the wait for an answer."""
    what = detail(**{"status": status} | (_promises([clock]) or {"promises": {clock.target: clock.target_seconds}}))
    once = key(clock.ticket_id, clock.target, clock.cycle, "started")
    return Event(clock.ticket_id, clock.started_at, "started", "system", new=clock.target, key=once, detail=what)


def _promises(clocks: Sequence[Clock]) -> dict[str, object]:
    """Name the rules and what they promise; nothing for the rules built in, under which a ticket says it itself."""
    pinned = [clock for clock in clocks if clock.rules is not None]
    if not pinned:
        return {}
    promises = {clock.target: clock.target_seconds for clock in pinned}
    return {"policy": pinned[0].policy, "rules": pinned[0].rules, "promises": promises}


def append(connection: sa.Connection, *happened: Event, recorded_at: datetime | None = None) -> None:
    """Write events down, by the clock that all workers share: what was recorded lately is looked for by it."""
    if not happened:
        return
    at, rows = recorded_at or later(connection, None), [as_row(one) for one in happened]
    if isinstance(at, datetime):
        connection.execute(_INSERT, [row | {"recorded_at": at} for row in rows])
    else:
        connection.execute(_INSERT_NOW, rows)


def of_ticket(connection: sa.Connection, ticket_id: str) -> list[Event]:
    """Return a ticket's history, oldest first."""
    if not is_storable(ticket_id):
        return []
    rows = connection.execute(_OF_TICKET, {"ticket_id": ticket_id})
    return [Event(**row) for row in rows.mappings()]


def taken(connection: sa.Connection, keys: Iterable[str]) -> set[str]:
    """Return those of the keys that stand for something that has happened."""
    found = connection.scalars(sa.select(events.c.key).where(events.c.key.in_(list(keys))))
    return {one for one in found if one is not None}


_INSERT = sa.insert(events)
#: The server says when.
_INSERT_NOW = _INSERT.values(recorded_at=database_clock)
_OF_TICKET = (
    sa.select(*[column for column in events.c if column.name not in {"id", "recorded_at"}])
    .where(events.c.ticket_id == sa.bindparam("ticket_id"))
    .order_by(events.c.at, events.c.id)
)
