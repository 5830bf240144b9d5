"""What goes on without anybody's doing: deadlines pass, and people are warned and called."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ticket_system.changes import Changes
from ticket_system.rulebook import Rulebook
from ticket_system.sla.policies import DEFAULT_POLICY, Policy
from ticket_system.storage import alarms, horizon, looks, sweeps
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START

#: The bounds, in seconds, of the classes in `Sweep.latencies`; the last class has none.
LATENCIES = sweeps.LATENCIES

#: Tickets whose raised levels are finished by hand, in one look.
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep did. Not `drained`: its time was up, and more is due; the next one goes on."""

    #: Clocks that were looked at, breaches found among them, and alarms raised: warnings and levels of a chain.
    found: int
    breaches: int
    alarms: int
    batches: int
    drained: bool
    #: How long the one that waited longest had been due, in seconds.
    slowest_seconds: float
    #: The breaches by how long they lay unseen, from deadline to record, in classes by LATENCIES; and the sum of it.
    latencies: tuple[int, ...]
    latency_seconds: float


def scan_breaches(
    database: Database,
    *,
    now: datetime | None = None,
    batch_size: int = 1000,
    budget_seconds: float = 20.0,
    policy: Policy = DEFAULT_POLICY,
) -> Sweep:
    """Find every clock whose deadline has passed, and raise every alarm that is due; each once.

    Any number of scans may run at once, or be killed: what one holds another passes by, what was not committed is due
    still. Without `now` the database's clock decides. `policy` is the one built in, as the program calls it.
    """
    ends = time.monotonic() + budget_seconds
    found, breaches, raised, batches, slowest = 0, 0, 0, 0, 0.0
    latencies, latency = [0] * (len(LATENCIES) + 1), 0.0
    # An idle scan neither plans a batch nor shuts SQLite's one door to writers.
    look = _look(database, now)
    since, drained = look.since, not look.is_any
    while not drained:
        with database.statement() as connection:
            # The lower bound is this run's own: what was locked, or arrives late, is for a later one.
            batch = sweeps.sweep(connection, now, since, batch_size)
        if batch.to_finish:
            finish(database, now=now, policy=policy)
        since, found, batches = batch.until, found + batch.found, batches + 1
        breaches, raised = breaches + batch.breaches, raised + batch.alarms
        slowest = max(slowest, batch.slowest.total_seconds())
        latencies = [one + more for one, more in zip(latencies, batch.latencies, strict=True)]
        latency += batch.latency_seconds
        drained = batch.found < batch_size
        if time.monotonic() >= ends:
            break
    if drained and look.dear_at is not None:
        database.horizon.keep(look.since, look.dear_at, look.seconds)
    return Sweep(found, breaches, raised, batches, drained, slowest, tuple(latencies), latency)


class _Look(NamedTuple):
    """Whether anything is due; from where on that was looked for, and how long it took."""

    is_any: bool
    since: datetime
    seconds: float
    #: The database's time, where it was dear because of dead entries.
    dear_at: datetime | None = None


def _look(database: Database, now: datetime | None) -> _Look:
    # A moment that is given may lie before what was seen.
    since = database.horizon.start if now is None else START
    with database.glance() as connection:
        began = time.monotonic()
        is_any = looks.anything(connection, now, since)
        seconds = time.monotonic() - began
        if now is not None or database.dialect == "sqlite" or seconds < horizon.DEAR_SECONDS:
            return _Look(is_any, since, seconds)
        walk = looks.walk(connection, since)
        if walk.pages < horizon.MANY_PAGES:
            return _Look(is_any, since, seconds)
        # More than has gone by since the look, never less.
        return _Look(is_any, since, seconds, walk.at - timedelta(seconds=time.monotonic() - began))


def finish(database: Database, *, now: datetime | None = None, policy: Policy = DEFAULT_POLICY) -> int:
    """Do what levels that were raised leave to be done: reassign, tag, move the deadline. Returns for how many tickets.

    A ticket is one transaction; whoever is killed in between leaves the rest to the next scan.
    """
    rules, done = Rulebook(policy), 0
    while True:
        with database.read() as connection:
            waiting = alarms.to_finish(connection, _AT_ONCE)
        for ticket_id in waiting:
            with database.write() as connection:
                Changes(connection, rules).finish(ticket_id, now=now)
        done += len(waiting)
        if len(waiting) < _AT_ONCE:
            return done
