"""How long what is stored stays, and forgetting what is older: by policy, in small batches, never what is still needed.

What people see stays for ever: tickets, comments, clocks with their verdicts, waivers, rules, who is billed and who did
what about it. What is forgotten is told by kinds:

    messages       sent, bundled or dropped; never one that waits, is on its way, or that a person has to look at
    contents       what stood in a report, with its picture; that it was made and who got it stays
    reports        reports and their letters; never one with a letter that waits or is stuck, nor the newest of a kind
    histories      the events of tickets that are closed or cancelled, which is final, once all they owe is settled
    usage          batches with their facts and deliveries; never what is unsettled, unknown, refused or disputed, what
                   left by a lane with a surplus, or what is about a ticket that is active
    wishes         keys of requests that were done; one that is repeated later than that is done again
    parked         messages that were replayed or dropped
    ticks, audits  when which job was done by whom; the last of each stays

A breach, a notice and a bill happen once because their keys are kept. When a history goes, its ticket is final and its
clocks are stopped: no scan looks at them, and nothing starts another. When usage goes, its ticket is marked, and is
counted never again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from ticket_system.errors import RetentionError
from ticket_system.inbox import KEPT
from ticket_system.storage import retention
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment

#: Ticks that were done, one a second and job: they are for looking at, and answer nothing later.
_TICKS = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days things are kept; 0 is for ever. RetentionError where that is too short to be safe."""

    #: What happened to tickets: it explains every deadline, and an audit compares with it. So: for ever.
    events: int = 0
    #: What was billed, and why. A dispute may come late, and the law wants the books of years. So: for ever.
    usage: int = 0
    #: A quarter: long enough to see who was told what.
    messages: int = 90
    #: The next report is compared with it; a quarter of them can be looked at.
    contents: int = 90
    #: Two years of who got which report: no text, little room.
    reports: int = 730
    #: Longer than anybody repeats a request.
    wishes: int = 30
    parked: int = 90
    #: Failed ticks, and audits.
    runs: int = 30

    def __post_init__(self) -> None:
        """Refuse what would forget what is still needed."""
        for one in fields(self):
            days = getattr(self, one.name)
            if days and not SHORTEST[one.name] <= days <= _LONGEST:
                raise RetentionError(
                    f"{one.name} are kept for 0 (for ever), or {SHORTEST[one.name]} to {_LONGEST} days"
                )


#: Fewer days would not be safe.
SHORTEST = {
    # A backlog is counted over eight weeks, a policy simulated over ninety days.
    "events": 100,
    # A billing period may be a year; corrections and comparisons end after 35 days, disputes after some months.
    "usage": 400,
    # Whoever repeats a request, or asks where a message is, does so within a week.
    "messages": 7,
    # The report of the week after is compared with it.
    "contents": 30,
    "reports": 60,
    # Clients with a journal repeat for 14.
    "wishes": 15,
    "parked": 7,
    "runs": 7,
}
_LONGEST = 36_500


@dataclass(slots=True)
class Pruned:
    """What was forgotten, by kind. Not `drained`: the time was up; the next run goes on from there."""

    gone: dict[str, int] = field(default_factory=dict)
    drained: bool = True
    seconds: float = 0.0

    @property
    def found(self) -> int:
        """How much was forgotten in all."""
        return sum(self.gone.values())


def prune(
    database: Database,
    keep: Keep | None = None,
    *,
    batch_size: int = 1000,
    budget_seconds: float | None = 20.0,
    now: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pruned:
    """Forget what is older than it is kept, batch by batch, each a transaction.

    Any number may run at once. One that is killed has forgotten whole batches. `progress` is told how much is gone.
    """
    began = time.monotonic()
    ends = None if budget_seconds is None else began + budget_seconds
    pruned = Pruned()
    with database.read() as connection:
        at = now or moment(connection)
    for name, before in _until(keep or Keep(), at):
        shelf, more = retention.SHELVES[name], True
        since = shelf.start
        while more:
            if ends is not None and time.monotonic() >= ends:
                pruned.drained = more = False
                break
            with database.write() as connection:
                batch = retention.forget(connection, shelf, before, at, since, batch_size)
            if batch.gone:
                pruned.gone[name] = pruned.gone.get(name, 0) + batch.gone
            # A batch that is not full was the last; one of which nothing went was changed by somebody else meanwhile.
            more, since = batch.found >= shelf.full(batch_size) and batch.gone > 0, batch.until
            if progress:
                progress(pruned.found)
        if not pruned.drained:
            break
    pruned.seconds = time.monotonic() - began
    return pruned


def preview(database: Database, keep: Keep | None = None, *, now: datetime | None = None) -> dict[str, int]:
    """Count what would be forgotten, by kind; changes nothing."""
    with database.read() as connection:
        at = now or moment(connection)
        found = {
            name: retention.count(connection, retention.SHELVES[name], before)
            for name, before in _until(keep or Keep(), at)
        }
    return {name: number for name, number in found.items() if number}


def _until(keep: Keep, now: datetime) -> Iterator[tuple[str, datetime]]:
    """Return the kinds that are not kept for ever, and the moment before which each has to have ended."""
    days = {
        "ticks": _TICKS.days,
        "failed ticks": keep.runs,
        "audits": keep.runs,
        "wishes": keep.wishes,
        "parked": keep.parked,
        # Nobody sends an event again that is older.
        "events of Stripe": KEPT.days,
        "messages": keep.messages,
        "contents": keep.contents,
        "reports": keep.reports,
        # Before the usage: what a ticket owes is read from it.
        "histories": keep.events,
        "usage": keep.usage,
        "usage never billed": keep.usage,
    }
    for name, number in days.items():
        if number:
            yield name, now - timedelta(days=number)
