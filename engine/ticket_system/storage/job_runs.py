"""Which ticks were taken, by whom, and what became of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.fleet_tables import job_runs
from ticket_system.storage.moments import clock_of
from ticket_system.storage.tables import Instant, named

RUNNING, DONE, FAILED = "running", "done", "failed"


class JobRun(NamedTuple):
    """One tick that somebody took."""

    job: str
    slot: datetime
    state: str
    taken_by: str
    taken_at: datetime
    lease_until: datetime
    attempts: int
    finished_at: datetime | None
    found: bool | None
    error: str | None


def claim(
    connection: sa.Connection,
    job: str,
    slot: datetime,
    *,
    by: str,
    lease: timedelta,
    again_after: timedelta,
    now: datetime | None,
) -> bool:
    """Take a tick in one statement; False: somebody else has it, or had it."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    at = clock_of(connection, now)
    new = dialect.insert(job_runs).values(
        job=job,
        slot=slot,
        state=RUNNING,
        taken_by=by,
        taken_at=at,
        lease_until=_later(at, lease),
        attempts=1,
    )
    killed = sa.and_(job_runs.c.state == named(RUNNING), job_runs.c.lease_until <= at)
    # No message lives that long: whoever ticks had its clock set back, and comes to the same slot anew.
    relived = sa.and_(job_runs.c.state != named(RUNNING), job_runs.c.taken_at < _later(at, -again_after))
    taken = new.on_conflict_do_update(
        index_elements=["job", "slot"],
        set_={name: new.excluded[name] for name in ("state", "taken_by", "taken_at", "lease_until")}
        # Widened and cut down, not to overflow in a clock that is set back for ever.
        | {"attempts": sa.case((killed, job_runs.c.attempts % 30_000 + 1), else_=1)}
        | dict.fromkeys(("finished_at", "found", "error")),
        where=sa.or_(killed, relived),
    )
    return connection.execute(taken.returning(job_runs.c.attempts)).first() is not None


def finish(
    connection: sa.Connection,
    job: str,
    slot: datetime,
    *,
    by: str,
    state: str,
    found: bool | None,
    error: str | None,
    now: datetime | None,
) -> bool:
    """Say what became of a tick; False: it was taken over meanwhile."""
    mine = sa.update(job_runs).where(
        job_runs.c.job == job,
        job_runs.c.slot == slot,
        job_runs.c.taken_by == by,
        job_runs.c.state == named(RUNNING),
    )
    values = {"state": state, "finished_at": clock_of(connection, now), "found": found, "error": error}
    return connection.execute(mine.values(values)).rowcount == 1


def jobs(connection: sa.Connection) -> list[str]:
    """Return the jobs that ever took a tick, by one look into the index for each, however many ticks there were."""
    first = sa.select(sa.func.min(job_runs.c.job).label("job")).cte("names", recursive=True)
    following = sa.select(sa.func.min(job_runs.c.job)).where(job_runs.c.job > first.c.job).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.job.is_not(None)))
    return list(connection.scalars(sa.select(names.c.job).where(names.c.job.is_not(None))))


def newest(connection: sa.Connection, job: str, limit: int, *, state: str | None = None) -> list[JobRun]:
    """Return the newest ticks of a job, or those in one state."""
    query = sa.select(*_columns).where(job_runs.c.job == job).order_by(job_runs.c.slot.desc()).limit(limit)
    if state is not None:
        query = query.where(job_runs.c.state == named(state))
    return [JobRun(*row) for row in connection.execute(query)]


class Trouble(NamedTuple):
    """How often a job did not come to its end, and when it last failed."""

    failed: int
    killed: int
    last_failed: datetime | None


def troubles(connection: sa.Connection, since: datetime, now: datetime) -> dict[str, Trouble]:
    """Return what went wrong since then, by job; a job with which nothing did is left out."""
    failed = job_runs.c.state == named(FAILED)
    columns = (
        sa.func.count(sa.case((failed, 1))),
        sa.func.count(sa.case((sa.and_(~failed, job_runs.c.lease_until <= now), 1))),
        sa.func.max(sa.case((failed, job_runs.c.slot)), type_=Instant),
    )
    # As the index says it.
    open_ones = (job_runs.c.state != named(DONE), job_runs.c.lease_until > since)
    query = sa.select(job_runs.c.job, *columns).where(*open_ones).group_by(job_runs.c.job)
    return {job: Trouble(*rest) for job, *rest in connection.execute(query)}


def at(connection: sa.Connection, job: str, slot: datetime) -> JobRun | None:
    """Return the tick of a job that was due then."""
    row = connection.execute(sa.select(*_columns).where(job_runs.c.job == job, job_runs.c.slot == slot)).first()
    return JobRun(*row) if row else None


def slots(connection: sa.Connection, job: str, since: datetime) -> list[datetime]:
    """Return which ticks of a job were taken since then, in their order."""
    query = sa.select(job_runs.c.slot).where(job_runs.c.job == job, job_runs.c.slot >= since)
    return list(connection.scalars(query.order_by(job_runs.c.slot)))


def _later(at: sa.ColumnElement[datetime], length: timedelta) -> sa.ColumnElement[datetime]:
    if isinstance(at, sa.BindParameter) and at.value is not None:
        return sa.literal(at.value + length, Instant)
    return sa.type_coerce(at + sa.literal(length, sa.Interval), Instant)


_columns = [job_runs.c[name] for name in JobRun._fields]
