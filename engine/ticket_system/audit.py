"""Whether the stored clocks are what their history makes of them. Tells; mends nothing (rule 27)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from ticket_system.rulebook import Rulebook
from ticket_system.sla.comparison import Difference, differences
from ticket_system.sla.policies import DEFAULT_POLICY, Policy
from ticket_system.sla.replay import replay
from ticket_system.sla.terms import TermsOf
from ticket_system.storage import audits
from ticket_system.storage.audits import LastRun, Mark
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment

#: Of so many differences the report keeps the explanations; beyond that it only counts.
_KEPT = 1000
#: Transactions that take longer than this are left to the walk over all tickets.
_OVERLAP = timedelta(minutes=5)


@dataclass(slots=True)
class AuditReport:
    """What an audit looked at and what it found. Not `drained`: its time was up; the next one goes on from there."""

    checked: int = 0
    clocks: int = 0
    #: How many differences; `differences` holds the first thousand of them.
    found: int = 0
    differences: list[Difference] = field(default_factory=list)
    drained: bool = True
    seconds: float = 0.0


def audit_clocks(
    database: Database,
    *,
    policy: Policy = DEFAULT_POLICY,
    everything: bool = False,
    sample: int = 1000,
    batch_size: int = 500,
    budget_seconds: float | None = 20.0,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Recompute the clocks of every ticket that changed since the last audit, and of the next `sample` of all tickets.

    With `everything` of all tickets, from the first. Any number of audits may run at once, or be killed: one that did
    not finish has reached nothing, and is repeated. Each batch is read in one snapshot, so a ticket that changes
    meanwhile is seen before the change or after it.
    """
    began = time.monotonic()
    run = _Run(database, Rulebook(policy), batch_size, began + budget_seconds if budget_seconds is not None else None)
    with database.snapshot() as connection:
        last, newest = audits.mark(connection), audits.newest_event(connection)
        since = newest if everything else audits.before_overlap(connection, last.event_id, _OVERLAP)
        run.total = audits.count(connection) if everything else newest - since + sample
    run.progress = progress
    event_id = run.changed(since, newest)
    ticket_id = run.walk("", None) if everything else run.walk(last.ticket_id, sample)
    report = run.report
    reached = Mark(max(event_id, last.event_id) if report.drained or not everything else last.event_id, ticket_id)
    with database.write() as connection:
        audits.remember(connection, reached, report.checked, report.found, moment(connection))
    report.seconds = time.monotonic() - began
    return report


def last_run(database: Database) -> LastRun | None:
    """Return what the last finished audit came to; None: there was none yet."""
    with database.read() as connection:
        return audits.last_run(connection)


class _Run:
    """One audit on its way through the tickets."""

    def __init__(self, database: Database, rules: Rulebook, batch_size: int, ends: float | None) -> None:
        self._database, self._rules, self._batch_size, self._ends = database, rules, batch_size, ends
        self._named: set[str] = set()
        self._done = self.total = 0
        self.progress: Callable[[int, int], None] | None = None
        self.report = AuditReport()

    def changed(self, since: int, until: int) -> int:
        """Look at the tickets of the events between; returns how far it came."""
        while since < until and not self._is_over():
            with self._database.snapshot() as connection:
                ids, reached = audits.changed(connection, since, until, self._batch_size)
                told, terms = audits.told(connection, ids), self._rules.told(connection)
            self._compare(told, terms, reached - since)
            since = reached
        return since

    def walk(self, after: str, limit: int | None) -> str:
        """Look at the tickets after this one, at most so many; returns where to go on, empty behind the last."""
        while (limit is None or limit > 0) and not self._is_over():
            wanted = self._batch_size if limit is None else min(limit, self._batch_size)
            with self._database.snapshot() as connection:
                ids = audits.following(connection, after, wanted)
                told, terms = audits.told(connection, ids), self._rules.told(connection)
            self._compare(told, terms, len(ids))
            if len(ids) < wanted:
                return ""
            after, limit = ids[-1], None if limit is None else limit - wanted
        return after

    def _compare(self, told: dict[str, audits.Told], terms: TermsOf, done: int) -> None:
        report = self.report
        for ticket_id, one in told.items():
            report.checked += 1
            report.clocks += len(one.clocks)
            found = differences(one.clocks, replay(ticket_id, one.facts, terms))
            # One that changed may be met again on the walk.
            if found and ticket_id not in self._named:
                report.found += len(found)
                room = _KEPT - len(report.differences)
                report.differences += found[:room]
                self._named |= {ticket_id} if room > 0 else set()
        self._done += done
        if self.progress:
            self.progress(self._done, max(self._done, self.total))

    def _is_over(self) -> bool:
        over = self._ends is not None and time.monotonic() >= self._ends
        self.report.drained = self.report.drained and not over
        return over
