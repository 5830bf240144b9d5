"""The two sweeps: find breaches, and escalate what was found. A batch at a time, each in one transaction.

On PostgreSQL a batch is one statement: a claim that skips what another worker holds, and data-modifying CTEs that
feed on it. SQLite has neither; there the claim goes into a temporary table and the same parts run one after the
other, in one writing transaction. Either way the cost is what is due, not what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.outbox import MAIL
from ticket_system.storage.tables import (
    Instant,
    clocks,
    comments,
    events,
    is_active,
    named,
    once_only,
    outbox,
    tickets,
)
from ticket_system.tickets import utc_now

#: Before every claim: where a run begins.
START = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did: how many, where the next one continues, and how late the latest was."""

    found: int
    until: datetime
    slowest: timedelta = timedelta(0)


def find_breaches(connection: sa.Connection, now: datetime | None, since: datetime, limit: int) -> Batch:
    """Give clocks whose deadline has passed their verdict, with its event and its notice (rules 5 to 8, 25)."""
    return _sweep(connection, "breached", now, since, limit)


def escalate(connection: sa.Connection, now: datetime | None, since: datetime, limit: int) -> Batch:
    """Raise the priority of tickets whose breach is new, with an event and an internal comment; no clock moves (11)."""
    return _sweep(connection, "escalated", now, since, limit)


def anything(connection: sa.Connection, kind: str, now: datetime) -> bool:
    """Tell whether a sweep would find something; reads only."""
    return connection.execute(_claim_one(kind), {"now": now, "since": START}).first() is not None


def _sweep(connection: sa.Connection, kind: str, now: datetime | None, since: datetime, limit: int) -> Batch:
    given: dict[str, Any] = {"since": since}
    if connection.dialect.name == "sqlite":
        return _one_by_one(connection, kind, limit, given | {"now": now or utc_now()})
    if now is not None:
        given["now"] = now
    found, until, slowest = connection.execute(_at_once(kind, limit, live=now is None), given).one()
    return Batch(found, until, slowest) if found else Batch(0, since)


# --- what both databases share -----------------------------------------------------------------------------------

_KEY = ("ticket_id", "target", "cycle")
_STATE_BEFORE = {"breached": "running", "escalated": "breached"}
_LEVEL = {"breached": 0, "escalated": 1}
_now = sa.bindparam("now", type_=Instant)


def _claim(kind: str, now: sa.ColumnElement[datetime], limit: int, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select the oldest due clocks of a kind, from where the batch before ended.

    The lower bound keeps a batch from walking the index entries that the batches before it left dead: while any
    old snapshot is held they cannot be removed.
    """
    claim = sa.select(*[clocks.c[name] for name in _KEY], clocks.c.next_check_at, clocks.c.due_at, *more).where(
        clocks.c.state == named(_STATE_BEFORE[kind]),
        clocks.c.next_check_at < now if kind == "breached" else clocks.c.next_check_at <= now,
        clocks.c.next_check_at >= sa.bindparam("since", type_=Instant),
    )
    if kind == "escalated":
        claim = claim.add_columns(tickets.c.priority).join(tickets, tickets.c.id == clocks.c.ticket_id).where(is_active)
    # Spelt out: a planner that does not know the limit plans every execution anew, which costs more than the look.
    return claim.order_by(clocks.c.next_check_at).limit(sa.literal_column(str(limit), sa.Integer))


def _outcome(kind: str, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what becomes of a claimed clock."""
    if kind == "escalated":
        return {"next_check_at": sa.null()}
    return {
        "state": named("breached"),
        "breached_at": clocks.c.due_at,
        "detected_at": now,
        # The escalation is due at once.
        "next_check_at": now,
        "cause": named("deadline"),
    }


def _event(kind: str, claimed: sa.FromClause, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what is written down about a claimed clock."""
    of, slash = claimed.c, named("/")
    old, new = _old_and_new(kind, claimed)
    return {
        "ticket_id": of.ticket_id,
        "at": of.due_at if kind == "breached" else now,
        "recorded_at": now,
        "kind": named(kind),
        "actor": named("system"),
        "old": old,
        "new": new,
        "note": of.target + named(" deadline"),
        "key": of.ticket_id
        + slash
        + of.target
        + slash
        + sa.cast(of.cycle, sa.Text)
        + named(f"/{kind}/{_LEVEL[kind]}/0"),
    }


def _old_and_new(kind: str, claimed: sa.FromClause) -> tuple[Any, Any]:
    if kind == "breached":
        return named("running"), named("breached")
    return sa.cast(claimed.c.priority, sa.Text), sa.cast(_raised(claimed.c.priority), sa.Text)


def _raised(priority: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """One step up, as `policies.step_up`."""
    return sa.case((priority > 1, priority - 1), else_=1)


def _notice(event: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what goes out because of a breach."""
    return {
        "key": event.key + named(f"/{MAIL}"),
        "destination": named(MAIL),
        "kind": named("breach"),
        "ticket_id": event.ticket_id,
        "state": named("pending"),
        "attempts": sa.literal_column("0", sa.Integer),
        "created_at": now,
        "next_attempt_at": now,
    }


def _remark(event: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what the people who work on an escalated ticket read."""
    return {
        "id": sa.cast(sa.func.gen_random_uuid(), sa.Text),
        "ticket_id": event.ticket_id,
        "author": named("system"),
        "body": named("Escalated: the ")
        + sa.func.replace(event.note, named("_"), named(" "), type_=sa.Text)
        + named(" has passed; priority ")
        + event.old
        + named(" → ")
        + event.new,
        "is_internal": sa.true(),
        "created_at": now,
    }


def _insert(dialect: ModuleType, table: sa.Table, values: dict[str, Any], rows: sa.FromClause) -> Any:
    # Without a WHERE, SQLite reads the ON of a following ON CONFLICT as that of a join.
    chosen = sa.select(*values.values()).select_from(rows).where(sa.true())
    return dialect.insert(table).from_select(list(values), chosen)


def _same_clock(claimed: Any) -> sa.ColumnElement[bool]:
    return sa.and_(*[clocks.c[name] == claimed.c[name] for name in _KEY])


# --- PostgreSQL: one statement -----------------------------------------------------------------------------------


@cache
def _at_once(kind: str, limit: int, *, live: bool) -> sa.Select[*tuple[Any, ...]]:
    """Build the whole batch as one statement; `live` takes the time from the database."""
    now: sa.ColumnElement[datetime] = sa.func.statement_timestamp(type_=Instant) if live else _now
    locked = [clocks] if kind == "breached" else [clocks, tickets]
    due = _claim(kind, now, limit).with_for_update(skip_locked=True, key_share=True, of=locked).cte("due")
    marked = (
        sa.update(clocks)
        .values(_outcome(kind, now))
        .where(_same_clock(due))
        .returning(due.c.next_check_at)
        .cte("marked")
    )
    noted = (
        _insert(postgresql, events, _event(kind, due, now), due)
        .on_conflict_do_nothing(
            index_elements=[events.c.key], index_where=once_only.dialect_options["postgresql"]["where"]
        )
        .returning(events.c.ticket_id, events.c.key, events.c.old, events.c.new, events.c.note)
        .cte("noted")
    )
    waited = now - sa.func.min(marked.c.next_check_at)
    summary = sa.select(sa.func.count(), sa.func.max(marked.c.next_check_at), waited).select_from(marked)
    if kind == "breached":
        notice = _insert(postgresql, outbox, _notice(noted.c, now), noted)
        return summary.add_cte(notice.on_conflict_do_nothing(index_elements=[outbox.c.key]).cte("notified"))
    raised = (
        sa.update(tickets)
        .values(priority=sa.cast(noted.c.new, sa.SmallInteger), updated_at=now)
        .where(tickets.c.id == noted.c.ticket_id)
    )
    remark = _insert(postgresql, comments, _remark(noted.c, now), noted)
    return summary.add_cte(raised.cte("raised"), remark.cte("remarked"))


# --- SQLite: a temporary table, and the parts in turn ------------------------------------------------------------

_claimed = sa.Table(
    "claimed",
    sa.MetaData(schema="temp"),
    sa.Column("row", sa.Integer, primary_key=True),
    *[sa.Column(name, clocks.c[name].type) for name in _KEY],
    sa.Column("next_check_at", Instant),
    sa.Column("due_at", Instant),
    sa.Column("priority", sa.SmallInteger),
)
_row = sa.literal_column("clocks.rowid", sa.Integer)
_CREATE = sa.schema.CreateTable(_claimed, if_not_exists=True)
_CLEAR = sa.delete(_claimed)
_SUMMARY = sa.select(sa.func.max(_claimed.c.next_check_at), sa.func.min(_claimed.c.next_check_at))


@cache
def _claim_one(kind: str) -> sa.Select[Any]:
    return _claim(kind, _now, 1)


@cache
def _parts(kind: str) -> tuple[sa.Executable, ...]:
    """Build the steps after the claim."""
    mine = sa.select(_claimed.c.row).scalar_subquery()
    event = _event(kind, _claimed, _now)
    marked = sa.update(clocks).values(_outcome(kind, _now)).where(_row.in_(mine))
    noted = _insert(sqlite, events, event, _claimed)
    if kind == "breached":
        once = noted.on_conflict_do_nothing(
            index_elements=[events.c.key], index_where=once_only.dialect_options["sqlite"]["where"]
        )
        written = sa.select(event["key"].label("key"), _claimed.c.ticket_id).subquery()
        notice = _insert(sqlite, outbox, _notice(written.c, _now), written)
        return marked, once, notice.on_conflict_do_nothing(index_elements=[outbox.c.key])
    # One that was escalated before (a reopened ticket) is only taken off the list.
    done_before = sa.delete(_claimed).where(sa.exists().where(events.c.key == event["key"]))
    raised = (
        sa.update(tickets)
        .values(priority=_raised(tickets.c.priority), updated_at=_now)
        .where(tickets.c.id.in_(sa.select(_claimed.c.ticket_id)))
    )
    old, new = _old_and_new(kind, _claimed)
    told = [old.label("old"), new.label("new"), event["note"].label("note")]
    written = sa.select(_claimed.c.ticket_id, *told).subquery()
    return marked, done_before, noted, raised, _insert(sqlite, comments, _remark(written.c, _now), written)


@cache
def _claim_into(kind: str, limit: int) -> sa.Insert:
    claim = _claim(kind, _now, limit, _row.label("row"))
    return sa.insert(_claimed).from_select([column.name for column in claim.selected_columns], claim)


def _one_by_one(connection: sa.Connection, kind: str, limit: int, given: dict[str, Any]) -> Batch:
    connection.execute(_CREATE)
    connection.execute(_CLEAR)
    found = connection.execute(_claim_into(kind, limit), given).rowcount
    if not found:
        return Batch(0, given["since"])
    until, oldest = connection.execute(_SUMMARY).one()
    for part in _parts(kind):
        connection.execute(part, {"now": given["now"]})
    return Batch(found, until, given["now"] - oldest)
