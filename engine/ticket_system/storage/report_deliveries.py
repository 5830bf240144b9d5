"""One report to one person: rows with a state, taken by lease."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.report_tables import report_deliveries, report_runs
from ticket_system.storage.tables import named, one_of

STATES = ("pending", "claimed", "in_data", "sent", "failed", "uncertain", "skipped")
#: A person has to look at these.
STUCK = ("failed", "uncertain")

_TO_SEND = one_of(report_deliveries.c.state, ("pending", "claimed"))
_IN_DATA = report_deliveries.c.state == named("in_data")


@dataclass(frozen=True, slots=True)
class ReportDelivery:
    """One report to one person: which, to whom, and how far it came."""

    id: int
    run_id: int
    #: The address in lower-case letters.
    key: str
    address: str
    state: str
    due_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    lease: str | None
    #: What the mail server answered, what went wrong, or why it is not sent.
    answer: str | None
    finished_at: datetime | None


def add(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Put deliveries beside their report; who has one gets no second."""
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(report_deliveries).on_conflict_do_nothing(), list(rows))


def give_up_lost(connection: sa.Connection, now: datetime) -> int:
    """Mark what was being handed over when its sender vanished: it may have arrived, so it is not repeated."""
    lost = sa.update(report_deliveries).where(_IN_DATA, report_deliveries.c.next_attempt_at < now)
    note = "the sender vanished while the report was being handed over; it may have arrived"
    values = {"state": "uncertain", "lease": None, "next_attempt_at": None, "answer": note, "finished_at": now}
    return connection.execute(lost.values(**values)).rowcount


def claim(connection: sa.Connection, *, lease: str, until: datetime, now: datetime, limit: int) -> list[ReportDelivery]:
    """Take deliveries that are due: new ones, and ones whose holder let the lease run out before handing over."""
    due = sa.select(report_deliveries.c.id).where(_TO_SEND, report_deliveries.c.next_attempt_at <= now)
    due = due.order_by(report_deliveries.c.next_attempt_at).limit(limit).with_for_update(skip_locked=True)
    taken = sa.update(report_deliveries).where(report_deliveries.c.id.in_(due))
    values = {"state": "claimed", "lease": lease, "next_attempt_at": until}
    values |= {"attempts": report_deliveries.c.attempts + 1}
    found = connection.execute(taken.values(**values).returning(*report_deliveries.c))
    return sorted((ReportDelivery(**row) for row in found.mappings()), key=lambda one: (one.due_at, one.id))


def move(
    connection: sa.Connection, delivery_id: int, *, holder: str, held: Collection[str], state: str, **values: Any
) -> bool:
    """Change the state of a delivery we hold; False: the lease was lost, and nothing was changed."""
    mine = sa.update(report_deliveries).where(
        report_deliveries.c.id == delivery_id,
        report_deliveries.c.lease == holder,
        report_deliveries.c.state.in_(held),
    )
    return connection.execute(mine.values(state=state, **values)).rowcount == 1


def release(connection: sa.Connection, ids: Collection[int], *, holder: str) -> int:
    """Give back what was taken and not begun, as if it had not been taken."""
    mine = sa.update(report_deliveries).where(
        report_deliveries.c.id.in_(list(ids)),
        report_deliveries.c.lease == holder,
        report_deliveries.c.state == named("claimed"),
    )
    back = {"state": "pending", "lease": None, "attempts": report_deliveries.c.attempts - 1}
    return connection.execute(mine.values(next_attempt_at=report_deliveries.c.due_at, **back)).rowcount


def get(connection: sa.Connection, delivery_id: int, *, lock: bool = False) -> ReportDelivery | None:
    """Return a delivery."""
    query = sa.select(*report_deliveries.c).where(report_deliveries.c.id == delivery_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return ReportDelivery(**row) if row is not None else None


def settle(connection: sa.Connection, delivery_id: int, **values: Any) -> None:
    """Change a delivery that nobody holds, because a person said so."""
    connection.execute(sa.update(report_deliveries).where(report_deliveries.c.id == delivery_id).values(**values))


def listed(
    connection: sa.Connection, states: Collection[str] | None, limit: int, run_id: int | None = None
) -> list[tuple[ReportDelivery, str, str]]:
    """Return deliveries in these states, or all of one report, oldest first; with the organisation and the kind."""
    runs = (report_runs.c.organisation, report_runs.c.kind)
    query = sa.select(*report_deliveries.c, *runs).join(report_runs, report_runs.c.id == report_deliveries.c.run_id)
    if states is not None:
        query = query.where(one_of(report_deliveries.c.state, tuple(states)))
    if run_id is not None:
        query = query.where(report_deliveries.c.run_id == run_id)
    width = len(report_deliveries.c)
    rows = connection.execute(query.order_by(report_deliveries.c.id).limit(limit))
    return [(ReportDelivery(*row[:width]), row[width], row[width + 1]) for row in rows]


def count(connection: sa.Connection) -> dict[str, int]:
    """Count what waits or is stuck, by state; what is done is left out: there is ever more of it."""
    each = (_TO_SEND, _IN_DATA, one_of(report_deliveries.c.state, STUCK))
    parts = [sa.select(report_deliveries.c.state).where(one) for one in each]
    some = sa.union_all(*parts).subquery("some")
    return dict(connection.execute(sa.select(some.c.state, sa.func.count()).group_by(some.c.state)).all())
