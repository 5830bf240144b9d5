"""Reports: planned once for a day, made by whoever holds the lease, frozen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.report_tables import report_deliveries, report_runs
from ticket_system.storage.tables import named

#: `planned` → `ready`, or `empty`: there was nothing to tell; `missed`: it could not be made or sent in time.
STATES = ("planned", "ready", "empty", "missed")

_TO_MAKE = report_runs.c.state == named("planned")


@dataclass(frozen=True, slots=True)
class Run:
    """One report, without what stands in it."""

    id: int
    organisation: str
    kind: str
    sent_on: date
    zone: str
    hour: int
    due_at: datetime
    state: str
    attempts: int
    next_attempt_at: datetime | None
    lease: str | None
    made_at: datetime | None
    error: str | None


def add(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Plan reports; returns the states of those that were not planned before."""
    if not rows:
        return []
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(report_runs).on_conflict_do_nothing().returning(report_runs.c.state)
    return list(connection.scalars(new, list(rows)))


def last_days(connection: sa.Connection, organisations: Collection[str]) -> dict[tuple[str, str], date]:
    """Return the day of the last report of organisations, by organisation and kind, whatever became of it."""
    mine = (report_runs.c.organisation, report_runs.c.kind)
    query = sa.select(*mine, sa.func.max(report_runs.c.sent_on)).where(mine[0].in_(list(organisations)))
    return {(name, kind): day for name, kind, day in connection.execute(query.group_by(*mine))}


def claim(connection: sa.Connection, *, lease: str, until: datetime, now: datetime) -> Run | None:
    """Take the report that waits longest to be made; it is ours until then."""
    one = sa.select(report_runs.c.id).where(_TO_MAKE, report_runs.c.next_attempt_at <= now)
    one = one.order_by(report_runs.c.next_attempt_at).limit(1).with_for_update(skip_locked=True)
    taken = sa.update(report_runs).where(report_runs.c.id.in_(one))
    values = {"lease": lease, "next_attempt_at": until, "attempts": report_runs.c.attempts + 1}
    return _run(connection.execute(taken.values(**values).returning(*_COLUMNS)).mappings().first())


def settle(connection: sa.Connection, run: Run, **values: Any) -> bool:
    """Say what became of a report that we hold; False: the lease was lost, and nothing was changed."""
    mine = sa.update(report_runs).where(report_runs.c.id == run.id, report_runs.c.lease == run.lease, _TO_MAKE)
    return connection.execute(mine.values(**values)).rowcount == 1


def miss_all(connection: sa.Connection, organisation: str, why: str) -> int:
    """Have the planned reports of an organisation not made, whoever is at one; returns how many there were."""
    theirs = sa.update(report_runs).where(report_runs.c.organisation == organisation, _TO_MAKE)
    return connection.execute(theirs.values(state="missed", lease=None, next_attempt_at=None, error=why)).rowcount


def get(connection: sa.Connection, run_id: int) -> Run | None:
    """Return a report."""
    return _run(connection.execute(sa.select(*_COLUMNS).where(report_runs.c.id == run_id)).mappings().first())


def content(connection: sa.Connection, organisation: str, kind: str, sent_on: date) -> str | None:
    """Return what stands in the report of a day; None: there was none."""
    mine = (report_runs.c.organisation == organisation, report_runs.c.kind == kind, report_runs.c.sent_on == sent_on)
    return connection.execute(sa.select(report_runs.c.content).where(*mine)).scalar_one_or_none()


def frozen(connection: sa.Connection, run_id: int) -> tuple[str, bytes | None] | None:
    """Return what stands in a report, and its picture."""
    row = connection.execute(
        sa.select(report_runs.c.content, report_runs.c.picture).where(report_runs.c.id == run_id)
    ).first()
    return (row.content, row.picture) if row and row.content is not None else None


def listed(connection: sa.Connection, limit: int, organisation: str | None = None) -> list[tuple[Run, dict[str, int]]]:
    """Return the newest reports, and how many of each were delivered how."""
    query = sa.select(*_COLUMNS).order_by(report_runs.c.due_at.desc(), report_runs.c.id.desc()).limit(limit)
    if organisation is not None:
        query = query.where(report_runs.c.organisation == organisation)
    found = [run for row in connection.execute(query).mappings() if (run := _run(row))]
    counted = (
        sa.select(report_deliveries.c.run_id, report_deliveries.c.state, sa.func.count())
        .where(report_deliveries.c.run_id.in_([run.id for run in found]))
        .group_by(report_deliveries.c.run_id, report_deliveries.c.state)
    )
    counts: dict[int, dict[str, int]] = {}
    for run_id, state, number in connection.execute(counted):
        counts.setdefault(run_id, {})[state] = number
    return [(run, counts.get(run.id, {})) for run in found]


_COLUMNS = [column for column in report_runs.c if column.name not in {"content", "picture"}]


def _run(row: sa.RowMapping | None) -> Run | None:
    return Run(**row) if row is not None else None
