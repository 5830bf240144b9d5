"""What may be forgotten: each kind by its own index, the oldest first, a batch at a time.

Rows are read, marked and deleted, and nothing else: whoever prunes needs no right to change tables, or to clean them.
What becomes free is left to the database. Autovacuum takes the dead rows away once they are a fifth of a table, and
their room is used for new ones: a file grows no further, but shrinks only where its end is empty. SQLite puts free
pages on a list, and uses them first.

Several may prune at once: each takes rows that nobody else holds. One that is killed has done whole batches, and the
next goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.storage import retention_parts as parts
from ticket_system.storage.billing_tables import stripe_events, usage_batches, usage_facts
from ticket_system.storage.fleet_tables import job_runs, parked, wishes
from ticket_system.storage.report_tables import report_runs
from ticket_system.storage.tables import Instant, audit_runs, named, one_of, outbox, tickets

#: Before everything.
START = datetime(1, 1, 1, tzinfo=UTC)


class Batch(NamedTuple):
    """How many there were to look at, how many of them are forgotten now, and where the next batch continues."""

    found: int
    gone: int
    until: Any


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """One kind of thing that is kept for a time: what of it may go, and in which order."""

    table: sa.Table
    #: Conditions on the moment before which it has to have ended.
    may_go: tuple[sa.ColumnElement[bool] | sa.TextClause, ...]
    order: sa.ColumnElement[Any]
    #: Whatever else goes with it; None: nothing does, and one statement takes a batch.
    together: Callable[[sa.Connection, list[Any], dict[str, Any]], int] | None = None
    #: So many of it are a batch where a thousand single rows are one: each takes others along.
    weight: int = 1

    @property
    def start(self) -> Any:
        """Where a run begins."""
        return START if isinstance(self.order.type, Instant) else 0

    def full(self, limit: int) -> int:
        """How many are a batch where so many single rows are one."""
        return max(1, limit // self.weight)


def forget(connection: sa.Connection, shelf: Shelf, before: datetime, now: datetime, since: Any, limit: int) -> Batch:
    """Forget the oldest of a kind, from where the batch before ended, about as many as `limit` single rows.

    What somebody else holds is left alone, and left to the next run. The lower bound keeps a batch from walking the
    index entries that the batches before it left dead: while any old snapshot is held they cannot be removed.
    """
    given = {"before": before, "now": now, "since": since}
    chosen = _chosen(shelf, sa.bindparam("since", type_=shelf.order.type)).limit(shelf.full(limit))
    chosen = chosen.with_for_update(skip_locked=True, of=shelf.table)
    if shelf.together is None:
        # As a CTE: PostgreSQL may run a sub-select with a limit again for each row, and then there is no limit.
        # SQLite runs it once, and counts no rows of a statement that begins with one.
        some = chosen.subquery("some") if connection.dialect.name == "sqlite" else chosen.cte("some")
        gone = sa.delete(shelf.table).where(_key(shelf.table).in_(sa.select(*some.c))).returning(shelf.order)
        reached = list(connection.scalars(gone, given))
        return Batch(len(reached), len(reached), max(reached, default=since))
    rows = connection.execute(chosen.add_columns(shelf.order), given).all()
    if not rows:
        return Batch(0, 0, since)
    number = shelf.together(connection, [row[0] for row in rows], given)
    return Batch(len(rows), number, max(row[-1] for row in rows))


def count(connection: sa.Connection, shelf: Shelf, before: datetime) -> int:
    """Count what may go of a kind."""
    query = sa.select(sa.func.count()).select_from(_chosen(shelf).order_by(None).subquery("some"))
    return int(connection.execute(query, {"before": before}).scalar_one())


def _chosen(shelf: Shelf, since: sa.ColumnElement[Any] | None = None) -> sa.Select[Any]:
    chosen = sa.select(*shelf.table.primary_key.columns).where(*shelf.may_go).order_by(shelf.order)
    return chosen if since is None else chosen.where(shelf.order >= since)


def _key(table: sa.Table) -> Any:
    columns = list(table.primary_key.columns)
    return columns[0] if len(columns) == 1 else sa.tuple_(*columns)


_before = parts.before

SHELVES: dict[str, Shelf] = {
    "messages": Shelf(
        outbox,
        (
            one_of(outbox.c.state, ("sent", "bundled", "dropped")),
            outbox.c.created_at < _before,
            # What went out in a bundle goes after it: until then the bundle is written from it.
            sa.not_(parts.is_in_a_bundle_to_come),
        ),
        outbox.c.created_at,
    ),
    "contents": Shelf(
        report_runs,
        (
            report_runs.c.content.is_not(None),
            report_runs.c.due_at < _before,
            sa.not_(parts.has_letters_to_come),
        ),
        report_runs.c.due_at,
        parts.empty_reports,
        # A picture is a hundred kilobytes.
        weight=10,
    ),
    "reports": Shelf(
        report_runs,
        (
            report_runs.c.due_at < _before,
            report_runs.c.state != named("planned"),
            sa.not_(parts.has_letters_to_come),
            # The newest of each kind says from where on the next ones are planned.
            report_runs.c.sent_on < parts.last_report,
        ),
        report_runs.c.due_at,
        parts.forget_reports,
        weight=10,
    ),
    "events of Stripe": Shelf(
        stripe_events,
        (one_of(stripe_events.c.state, ("handled", "ignored")), stripe_events.c.handled_at < _before),
        stripe_events.c.handled_at,
    ),
    "wishes": Shelf(wishes, (wishes.c.taken_at < _before,), wishes.c.taken_at),
    "parked": Shelf(
        parked,
        (one_of(parked.c.state, ("replayed", "dropped")), parked.c.settled_at < _before),
        parked.c.settled_at,
    ),
    "ticks": Shelf(
        job_runs,
        (
            job_runs.c.state == named("done"),
            job_runs.c.slot < _before,
            # The last of each job tells how long ago it was done.
            job_runs.c.slot < parts.last_tick,
        ),
        job_runs.c.slot,
    ),
    # One that still runs when its lease is over was killed.
    "failed ticks": Shelf(
        job_runs, (job_runs.c.state != named("done"), job_runs.c.lease_until < _before), job_runs.c.lease_until
    ),
    "audits": Shelf(
        audit_runs,
        # By number, which is their order in time: nothing behind the first that is young enough is read.
        (audit_runs.c.finished_at < _before, audit_runs.c.id < parts.first_audit_kept),
        audit_runs.c.id,
    ),
    "histories": Shelf(
        tickets,
        parts.history_may_go,
        tickets.c.updated_at,
        parts.forget_histories,
        # So many events a ticket has.
        weight=10,
    ),
    "usage": Shelf(
        usage_batches,
        parts.batch_may_go,
        usage_batches.c.sealed_at,
        parts.forget_batches,
        weight=4,
    ),
    "usage never billed": Shelf(
        usage_facts, parts.fact_may_go, usage_facts.c.recorded_at, parts.forget_facts, weight=2
    ),
}
