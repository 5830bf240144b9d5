"""Ticks: each is taken by one process, whoever sends it and however often.

    (none) ──claim──► running ──done────► done
                        │  ▲ └──failed──► failed
                        └──┘ claim, once the lease ran out: the process that had it was killed

A tick is a job and a slot, the instant at which it was due. A slot that was missed is not made up for: the next scan
does the work of all the missed ones, and reports and usage catch up by ledgers of their own, in which everything that
is owed stands until it is done.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta

from ticket_system.storage import job_runs
from ticket_system.storage.database import Database
from ticket_system.storage.job_runs import JobRun
from ticket_system.storage.moments import moment

__all__ = ["JobRun", "JobState", "claim", "done", "failed", "gaps", "last_done", "newest", "overview"]

_DAY = timedelta(days=1)
#: So many ticks tell how far apart they usually are.
_TELLING = 30
#: A job that was not done for this many intervals, and some seconds of grace for the fast ones, is overdue.
_INTERVALS = 3
_GRACE = timedelta(seconds=10)


def claim(
    database: Database,
    job: str,
    slot: datetime,
    *,
    by: str,
    lease: timedelta,
    again_after: timedelta = _DAY,
    now: datetime | None = None,
) -> bool:
    """Take a tick until the lease runs out; False: somebody else has it or did it, and there is nothing to do.

    `by` is this run's own name, given to no other. `again_after` is longer than any message of this tick can be on its
    way: a slot that was over so long ago comes again only where a clock was set back, and is to be done again.
    """
    with database.statement() as connection:
        return job_runs.claim(connection, job, slot, by=by, lease=lease, again_after=again_after, now=now)


def done(
    database: Database, job: str, slot: datetime, *, by: str, found: bool | None = None, now: datetime | None = None
) -> bool:
    """Say that a tick is done, and whether there was anything to do; False: somebody else took it over meanwhile."""
    with database.statement() as connection:
        return job_runs.finish(connection, job, slot, by=by, state=job_runs.DONE, found=found, error=None, now=now)


def failed(database: Database, job: str, slot: datetime, *, by: str, error: str, now: datetime | None = None) -> bool:
    """Say that a tick failed. It is not repeated: the next one is the retry."""
    with database.statement() as connection:
        return job_runs.finish(connection, job, slot, by=by, state=job_runs.FAILED, found=None, error=error, now=now)


def newest(database: Database, job: str, limit: int = 1) -> list[JobRun]:
    """Return the newest ticks of a job, the newest first, whatever became of them."""
    with database.read() as connection:
        return job_runs.newest(connection, job, limit)


def last_done(database: Database) -> dict[str, JobRun]:
    """Return the newest tick that was done, for each job that ever did one."""
    with database.read() as connection:
        found = {job: job_runs.newest(connection, job, 1, state=job_runs.DONE) for job in job_runs.jobs(connection)}
    return {job: runs[0] for job, runs in found.items() if runs}


def gaps(database: Database, job: str, since: datetime) -> list[timedelta]:
    """Return how far apart the ticks of a job were that were taken since then, in their order."""
    with database.read() as connection:
        slots = job_runs.slots(connection, job, since)
    return _distances(slots)


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job is doing. Nobody here knows its schedule: the interval is what its last ticks were usually apart."""

    job: str
    #: The newest tick that was done, and how long ago it was taken.
    last_done: datetime | None
    age: timedelta | None
    interval: timedelta | None
    is_overdue: bool
    #: Of the last day: ticks that failed, ticks whose process was killed, and the newest failure.
    failed: int
    killed: int
    last_failed: datetime | None
    error: str | None


def overview(database: Database, *, now: datetime | None = None) -> list[JobState]:
    """Return how each job is doing that ever took a tick, by name."""
    with database.snapshot() as connection:
        at = now or moment(connection)
        troubles = job_runs.troubles(connection, at - _DAY, at)
        states = []
        for job in job_runs.jobs(connection):
            interval = _usual([run.slot for run in job_runs.newest(connection, job, _TELLING)])
            last = next(iter(job_runs.newest(connection, job, 1, state=job_runs.DONE)), None)
            trouble = troubles.get(job, job_runs.Trouble(0, 0, None))
            failure = job_runs.at(connection, job, trouble.last_failed) if trouble.last_failed else None
            age = max(at - last.taken_at, timedelta()) if last else None
            states.append(
                JobState(
                    job=job,
                    last_done=last.slot if last else None,
                    age=age,
                    interval=interval,
                    is_overdue=_is_overdue(age, interval),
                    failed=trouble.failed,
                    killed=trouble.killed,
                    last_failed=trouble.last_failed,
                    error=failure.error if failure else None,
                )
            )
    return states


def _usual(slots: list[datetime]) -> timedelta | None:
    distances = _distances(sorted(slots))
    return statistics.median_low(distances) if distances else None


def _is_overdue(age: timedelta | None, interval: timedelta | None) -> bool:
    if interval is None:
        return False
    return age is None or age > _INTERVALS * interval + _GRACE


def _distances(slots: list[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in itertools.pairwise(slots)]
