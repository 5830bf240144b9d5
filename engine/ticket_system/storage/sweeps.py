"""The sweep: deadlines that have passed get their verdict, alarms that are due are raised. A batch is one transaction.

On PostgreSQL a batch is one statement: a claim that skips what another worker holds, and data-modifying CTEs that
feed on it. SQLite has neither; there the claim and the due alarms go into temporary tables, and the same parts run
one after the other. Either way the cost is what is due, not what is stored.

    due      clocks whose next look has come, locked with their tickets
    ready    their alarms that are due; of each clock the most severe is raised, the others are passed over (21, 23)
    noted    what was written down about either; a key that is taken is not written again, and then nothing follows (8)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage import sweep_parts as parts
from ticket_system.storage.billing_tables import usage_facts
from ticket_system.storage.tables import (
    Instant,
    alarms,
    clocks,
    comments,
    events,
    once_only,
    outbox,
    step_notices,
    steps,
    tickets,
)
from ticket_system.tickets import utc_now

LATENCIES = parts.LATENCIES


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did: clocks looked at, breaches found, alarms raised, and where the next batch continues."""

    found: int
    until: datetime
    breaches: int = 0
    alarms: int = 0
    #: How late the latest was.
    slowest: timedelta = timedelta(0)
    #: Breaches by how long they lay unseen, one class for each of LATENCIES and one beyond; and their sum, in seconds.
    latencies: tuple[int, ...] = (0,) * (len(LATENCIES) + 1)
    latency_seconds: float = 0.0
    #: Whether levels were raised, now or earlier, that have something left to be done by hand.
    to_finish: bool = False


def sweep(connection: sa.Connection, now: datetime | None, since: datetime, limit: int) -> Batch:
    """Look at clocks whose time has come: verdicts, alarms, and whatever follows from them (rules 5 to 8, 21 to 25)."""
    return _run(connection, limit, now, {"since": since}, otherwise=since)


def catch_up(connection: sa.Connection, ticket_id: str, now: datetime) -> Batch:
    """Do for one ticket, locked before, what a sweep would have done by now (rule 7)."""
    return _run(connection, None, now, {"this_ticket": ticket_id}, otherwise=now)


def _run(
    connection: sa.Connection, limit: int | None, now: datetime | None, given: dict[str, Any], *, otherwise: datetime
) -> Batch:
    if connection.dialect.name == "sqlite":
        row = _one_by_one(connection, limit, given | {"now": now or utc_now()})
    else:
        row = connection.execute(
            _at_once(limit, live=now is None), given if now is None else given | {"now": now}
        ).one()
    found, until, slowest, raised, by_hand, left, breaches, unseen, *within = row
    if not found:
        return Batch(0, otherwise, to_finish=bool(left))
    # Counted up to each bound; a class is what lies between two of them.
    up_to = [*within, breaches]
    classes = tuple(more - less for less, more in pairwise((0, *up_to)))
    return Batch(
        found, until, breaches, raised or 0, slowest, classes, float(unseen or 0), to_finish=bool(left or by_hand)
    )


# --- PostgreSQL: one statement -----------------------------------------------------------------------------------


@cache
def _at_once(limit: int | None, *, live: bool) -> sa.Select[*tuple[Any, ...]]:
    """Build the whole batch as one statement; `live` takes the time from the database."""
    now: sa.ColumnElement[datetime] = sa.func.statement_timestamp(type_=Instant) if live else parts.now_given
    claim = parts.claim(now, limit).with_for_update(skip_locked=True, key_share=True, of=[clocks, tickets])
    due = claim.cte("due")
    # For each clock by itself, however few alarms there are: a join would read them all until there are very many.
    of_alarm = [*[alarms.c[name] for name in ("step_id", "repeat", "at")], _alarm_place.label("alarm_row")]
    pending = _one_by_one_of(due, sa.select(*of_alarm).where(*parts.pending_alarms(due, now)), "pending")
    # And for each alarm by itself: a planner that takes steps for few would look for the alarms of each.
    its = sa.select(*[steps.c[name] for name in parts.OF_STEP]).where(steps.c.id == pending.c.step_id)
    step = _one_by_one_of(pending, its, "step")
    ready = parts.ready_alarms(due, pending, sa.true(), step, sa.true(), pending.c.alarm_row).cte("ready")
    # Asked once: written into the update, the next alarm would be looked up for each of its uses.
    following = sa.select(*[due.c[name] for name in parts.KEY], *parts.what_follows(due, now).values())
    after = following.cte("after").prefix_with("MATERIALIZED")
    marked = sa.update(clocks).values(parts.marks(after)).where(parts.same(clocks, after))
    # By their places, which leaves a planner no choice: any way to join with them is the wrong one for some numbers.
    gone = sa.delete(alarms).where(_at_any_of(ready.c.alarm_row, sa.not_(parts.stays(ready))))
    kept = sa.update(alarms).values(raised_at=now).where(_at_any_of(ready.c.alarm_row, parts.stays(ready)))
    history = parts.history(due, ready, now)
    noted = (
        postgresql.insert(events)
        .from_select(parts.HISTORY, history)
        .on_conflict_do_nothing(
            index_elements=[events.c.key], index_where=once_only.dialect_options["postgresql"]["where"]
        )
        .returning(events.c.key)
        .cte("noted")
    )
    told = sa.select(*ready.c).join(noted, noted.c.key == ready.c.key).where(ready.c.place == 1).cte("told")
    to = sa.join(told, step_notices, step_notices.c.step_id == told.c.step_id)
    notice = parts.insert(
        postgresql, outbox, parts.notices(told, now), to, parts.reaches_somebody(step_notices.c.destination, told)
    ).on_conflict_do_nothing(index_elements=[outbox.c.key])
    rises = sa.select(told.c.ticket_id, sa.func.max(told.c.turn).label("by")).where(told.c.rises)
    up = rises.group_by(told.c.ticket_id).cte("up")
    raised = (
        sa.update(tickets)
        .values(priority=parts.steps_up(tickets.c.priority, up.c.by), updated_at=now)
        .where(tickets.c.id == up.c.ticket_id)
    )
    remark = parts.insert(postgresql, comments, parts.remarks(told, now), told, told.c.rises)
    # Every part sees the tickets as they were before the statement.
    critical = (
        postgresql.insert(usage_facts)
        .from_select(*parts.critical_facts(up, now))
        .on_conflict_do_nothing(index_elements=[usage_facts.c.key])
    )
    return _summary(due, ready, now).add_cte(
        marked.cte("marked"),
        gone.cte("gone"),
        kept.cte("kept"),
        notice.cte("notified"),
        raised.cte("raised"),
        remark.cte("remarked"),
        critical.cte("counted"),
    )


_alarm_place: sa.ColumnElement[Any] = sa.literal_column("alarms.ctid")


def _at_any_of(place: sa.ColumnElement[Any], which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Say that an alarm lies in one of these places."""
    return _alarm_place == sa.any_(sa.func.array(sa.select(place).where(which).scalar_subquery()))


def _one_by_one_of(outer: Any, rows: sa.Select[Any], name: str) -> Any:
    """Have rows looked up for each of the outer ones, whatever a planner thinks of their numbers."""
    return rows.correlate(outer).offset(sa.literal_column("0")).lateral(name)


def _summary(due: Any, ready: Any, now: sa.ColumnElement[datetime]) -> sa.Select[*tuple[Any, ...]]:
    of_ready = sa.select(
        sa.func.sum(sa.case((ready.c.place == 1, 1), else_=0)).label("raised"),
        sa.func.max(sa.case((parts.stays(ready), 1), else_=0)).label("by_hand"),
    ).subquery("of_ready")
    return sa.select(
        sa.func.count(),
        sa.func.max(due.c.next_check_at),
        now - sa.func.min(due.c.next_check_at),
        sa.select(of_ready.c.raised).scalar_subquery(),
        sa.select(of_ready.c.by_hand).scalar_subquery(),
        sa.select(parts.left).scalar_subquery(),
        *parts.breaches(due, now, "postgresql", [now - parts.span(bound) for bound in LATENCIES]),
    ).select_from(due)


# --- SQLite: temporary tables, and the parts in turn -------------------------------------------------------------

_row = sa.literal_column("clocks.rowid", sa.Integer)
_alarm_row = sa.literal_column("alarms.rowid", sa.Integer)


def _temporary(name: str, like: sa.Select[Any], key: str) -> sa.Table:
    columns = [sa.Column(one.name, one.type, primary_key=one.name == key) for one in like.selected_columns]
    return sa.Table(name, sa.MetaData(schema="temp"), *columns)


_claimed = _temporary("claimed", parts.claim(parts.now_given, 1, _row.label("row")), "row")
#: By a sum, which no index knows: else SQLite goes through all steps that ever were, and looks for their alarms.
_its_step = steps.c.id == alarms.c.step_id + sa.literal_column("0", sa.Integer)
_in_turn = parts.ready_alarms(
    _claimed,
    alarms,
    sa.and_(*parts.pending_alarms(_claimed, parts.now_given)),
    steps,
    _its_step,
    _alarm_row.label("alarm_row"),
)
_due_alarms = _temporary("due_alarms", _in_turn, "alarm_row")


def _into(table: sa.Table, rows: sa.Select[Any]) -> sa.Insert:
    return sa.insert(table).from_select([column.name for column in rows.selected_columns], rows)


@cache
def _claim_into(limit: int | None) -> sa.Insert:
    return _into(_claimed, parts.claim(parts.now_given, limit, _row.label("row")))


@cache
def _parts() -> tuple[sa.Executable, ...]:
    return tuple(_steps_in_turn())


def _steps_in_turn() -> Iterator[sa.Executable]:
    """Build the steps after the claim."""
    due, ready = _claimed, _due_alarms
    # What was written down before is not raised again, only taken off the list.
    known = sa.exists().where(events.c.key == ready.c.key)
    yield _into(ready, _in_turn)
    after = sa.select(
        *[due.c[name] for name in parts.KEY], *parts.what_follows(due, parts.now_given).values()
    ).subquery("after")
    yield sa.update(clocks).values(parts.marks(after)).where(parts.same(clocks, after))
    rows = sa.select(ready.c.alarm_row)
    yield (
        sa.update(alarms)
        .values(raised_at=parts.now_given)
        .where(_alarm_row.in_(rows.where(parts.stays(ready), sa.not_(known))))
    )
    yield sa.delete(alarms).where(_alarm_row.in_(rows), alarms.c.raised_at.is_(None))
    yield sa.delete(ready).where(known)
    once = sqlite.insert(events).from_select(parts.HISTORY, parts.history(due, ready, parts.now_given).where(sa.true()))
    yield once.on_conflict_do_nothing(
        index_elements=[events.c.key], index_where=once_only.dialect_options["sqlite"]["where"]
    )
    first = ready.c.place == 1
    to = sa.join(ready, step_notices, step_notices.c.step_id == ready.c.step_id)
    notice = parts.insert(
        sqlite,
        outbox,
        parts.notices(ready, parts.now_given),
        to,
        first,
        parts.reaches_somebody(step_notices.c.destination, ready),
    )
    yield notice.on_conflict_do_nothing(index_elements=[outbox.c.key])
    rises = sa.select(ready.c.ticket_id, sa.func.max(ready.c.turn).label("by")).where(ready.c.rises)
    up = rises.group_by(ready.c.ticket_id).subquery("up")
    # Before they are raised: afterwards nobody sees which of them became critical.
    yield (
        sqlite.insert(usage_facts)
        .from_select(*parts.critical_facts(up, parts.now_given))
        .on_conflict_do_nothing(index_elements=[usage_facts.c.key])
    )
    yield (
        sa.update(tickets)
        .values(priority=parts.steps_up(tickets.c.priority, up.c.by), updated_at=parts.now_given)
        .where(tickets.c.id == up.c.ticket_id)
    )
    yield parts.insert(sqlite, comments, parts.remarks(ready, parts.now_given), ready, ready.c.rises)


_LOOKED_AT = sa.select(
    sa.func.max(_claimed.c.next_check_at),
    sa.func.min(_claimed.c.next_check_at),
    *parts.breaches(
        _claimed, parts.now_given, "sqlite", [sa.bindparam(f"within_{bound}", type_=Instant) for bound in LATENCIES]
    ),
)
_RAISED = sa.select(
    sa.func.sum(sa.case((_due_alarms.c.place == 1, 1), else_=0)),
    sa.func.max(sa.case((parts.stays(_due_alarms), 1), else_=0)),
)


def _one_by_one(connection: sa.Connection, limit: int | None, given: dict[str, Any]) -> tuple[Any, ...]:
    for table in (_claimed, _due_alarms):
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        connection.execute(sa.delete(table))
    found = connection.execute(_claim_into(limit), given).rowcount
    left = connection.execute(sa.select(parts.left)).scalar_one()
    if not found:
        return (0, None, None, 0, False, left, 0, 0.0, *[0] * len(LATENCIES))
    for part in _parts():
        connection.execute(part, {"now": given["now"]})
    now = given["now"]
    within = {f"within_{bound}": now - timedelta(seconds=bound) for bound in LATENCIES}
    until, oldest, *breaches = connection.execute(_LOOKED_AT, {"now": now} | within).one()
    raised, by_hand = connection.execute(_RAISED).one()
    return (found, until, now - oldest, raised, by_hand, left, *breaches)
