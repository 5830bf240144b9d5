"""What goes on without anybody's doing: deadlines pass, and what is late is escalated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ticket_system.storage import sweeps
from ticket_system.storage.database import Database
from ticket_system.storage.sweeps import Batch
from ticket_system.tickets import utc_now


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep did. Not `drained`: its time was up, and more is due; the next one goes on."""

    found: int
    batches: int
    drained: bool
    #: How long the one that waited longest had been due, in seconds.
    slowest_seconds: float


def scan_breaches(
    database: Database, *, now: datetime | None = None, batch_size: int = 1000, budget_seconds: float = 20.0
) -> Sweep:
    """Find every clock whose deadline has passed, and record its breach, once.

    Any number of scans may run at once, or be killed: what one holds another passes by, what was not committed is due
    still. Without `now` the database's clock decides.
    """
    return _drain(database, "breached", sweeps.find_breaches, now, batch_size, budget_seconds)


def escalate(
    database: Database, *, now: datetime | None = None, batch_size: int = 500, budget_seconds: float = 20.0
) -> Sweep:
    """Raise the priority of every ticket whose breach is new, once; its clock does not move (rule 11)."""
    return _drain(database, "escalated", sweeps.escalate, now, batch_size, budget_seconds)


def _drain(
    database: Database,
    kind: str,
    step: Callable[[sa.Connection, datetime | None, datetime, int], Batch],
    now: datetime | None,
    batch_size: int,
    budget_seconds: float,
) -> Sweep:
    """Repeat batches until one is not full, or the time is up. The lower bound is this run's own.

    Kept across runs it would pass by what was locked, or arrived late, below it.
    """
    ends = time.monotonic() + budget_seconds
    since, found, batches, slowest = sweeps.START, 0, 0, 0.0
    while True:
        if not _worth_a_look(database, kind, now):
            return Sweep(found, batches, drained=True, slowest_seconds=slowest)
        with database.statement() as connection:
            batch = step(connection, now, since, batch_size)
        since, found, batches = batch.until, found + batch.found, batches + 1
        slowest = max(slowest, batch.slowest.total_seconds())
        if batch.found < batch_size:
            return Sweep(found, batches, drained=True, slowest_seconds=slowest)
        if time.monotonic() >= ends:
            return Sweep(found, batches, drained=False, slowest_seconds=slowest)


def _worth_a_look(database: Database, kind: str, now: datetime | None) -> bool:
    """Keep an idle scan from shutting SQLite's one door to writers; on PostgreSQL the batch itself is the look."""
    if database.dialect != "sqlite":
        return True
    with database.read() as connection:
        return sweeps.anything(connection, kind, now or utc_now())
