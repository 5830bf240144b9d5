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
from datetime import UTC, datetime, timedelta
from functools import cache
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.sla.alarms import ESCALATED
from ticket_system.storage.outbox import GROUP, MAIL
from ticket_system.storage.tables import (
    Instant,
    alarms,
    clocks,
    comments,
    events,
    named,
    once_only,
    outbox,
    step_notices,
    steps,
    tickets,
)
from ticket_system.tickets import utc_now

#: Before every claim: where a run begins.
START = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch did: clocks looked at, breaches found, alarms raised, and where the next batch continues."""

    found: int
    until: datetime
    breaches: int = 0
    alarms: int = 0
    #: How late the latest was.
    slowest: timedelta = timedelta(0)
    #: Whether levels were raised, now or earlier, that have something left to be done by hand.
    to_finish: bool = False


def sweep(connection: sa.Connection, now: datetime | None, since: datetime, limit: int) -> Batch:
    """Look at clocks whose time has come: verdicts, alarms, and whatever follows from them (rules 5 to 8, 21 to 25)."""
    return _run(connection, limit, now, {"since": since}, otherwise=since)


def catch_up(connection: sa.Connection, ticket_id: str, now: datetime) -> Batch:
    """Do for one ticket, locked before, what a sweep would have done by now (rule 7)."""
    return _run(connection, None, now, {"this_ticket": ticket_id}, otherwise=now)


def anything(connection: sa.Connection, now: datetime | None) -> bool:
    """Tell whether a sweep might find something; reads only, and costs next to nothing."""
    if now is None and connection.dialect.name != "sqlite":
        return connection.execute(_ANYTHING_LIVE).first() is not None
    return connection.execute(_ANYTHING, {"now": now or utc_now()}).first() is not None


def _run(
    connection: sa.Connection, limit: int | None, now: datetime | None, given: dict[str, Any], *, otherwise: datetime
) -> Batch:
    if connection.dialect.name == "sqlite":
        row = _one_by_one(connection, limit, given | {"now": now or utc_now()})
    else:
        row = connection.execute(
            _at_once(limit, live=now is None), given if now is None else given | {"now": now}
        ).one()
    found, until, slowest, breaches, raised, by_hand, left = row
    if not found:
        return Batch(0, otherwise, to_finish=bool(left))
    return Batch(found, until, breaches or 0, raised or 0, slowest, to_finish=bool(left or by_hand))


# --- what both databases share -----------------------------------------------------------------------------------

_KEY = ("ticket_id", "target", "cycle")
_now = sa.bindparam("now", type_=Instant)
_LEFT = sa.exists().where(alarms.c.raised_at.is_not(None))


def _anything(now: sa.ColumnElement[datetime]) -> sa.Select[Any]:
    return sa.select(sa.literal_column("1")).where(sa.or_(sa.exists().where(clocks.c.next_check_at < now), _LEFT))


_ANYTHING, _ANYTHING_LIVE = _anything(_now), _anything(sa.func.statement_timestamp(type_=Instant))


def _claim(now: sa.ColumnElement[datetime], limit: int | None, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select the clocks whose next look has come, the longest waiting first, from where the batch before ended.

    The lower bound keeps a batch from walking the index entries that the batches before it left dead: while any
    old snapshot is held they cannot be removed. Without a limit: all those of one ticket.
    """
    late = sa.and_(clocks.c.state == named("running"), clocks.c.due_at < now)
    of_ticket = [tickets.c[name] for name in ("priority", "assignee", "requester", "group")]
    of_clock = [clocks.c[name] for name in (*_KEY, "state", "due_at", "next_check_at")]
    claim = (
        sa.select(*of_clock, late.label("late"), *of_ticket, *more)
        .join(tickets, tickets.c.id == clocks.c.ticket_id)
        .where(clocks.c.next_check_at < now)
        .order_by(clocks.c.next_check_at)
    )
    if limit is None:
        return claim.where(clocks.c.ticket_id == sa.bindparam("this_ticket"))
    # Spelt out: a planner that does not know the limit plans every execution anew, which costs more than the look.
    from_here = clocks.c.next_check_at >= sa.bindparam("since", type_=Instant)
    return claim.where(from_here).limit(sa.literal_column(str(limit), sa.Integer))


def _pending(due: Any, now: sa.ColumnElement[datetime]) -> list[sa.ColumnElement[bool]]:
    """Say which alarms of claimed clocks are due."""
    mine = [alarms.c[name] == due.c[name] for name in _KEY]
    return [*mine, alarms.c.at < now, alarms.c.raised_at.is_(None)]


def _ready(due: Any, pending: Any, matches: Any, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select the alarms of claimed clocks that are due, each with its place among them: the first is raised."""
    key = [due.c[name] for name in _KEY]
    is_level = steps.c.kind == named(ESCALATED)
    severity = [
        sa.case((is_level, 0), else_=1),
        # A repeat of a lower level may come after a higher one, and is less all the same (23).
        sa.case((is_level, steps.c.number), else_=0).desc(),
        pending.c.at.desc(),
        steps.c.number.desc(),
        pending.c.repeat.desc(),
    ]
    placed = (
        sa.select(
            *due.c,
            *[pending.c[name] for name in ("step_id", "repeat", "at")],
            *[steps.c[name] for name in ("kind", "number", "raises", "by_hand")],
            *more,
            sa.func.row_number(type_=sa.Integer).over(partition_by=key, order_by=severity).label("place"),
        )
        .join_from(due, pending, matches)
        .join(steps, steps.c.id == pending.c.step_id)
        .subquery("placed")
    )
    # Two clocks of one ticket may raise it at once: then by two steps.
    rises = sa.and_(placed.c.place == 1, placed.c.raises)
    turn = sa.func.row_number(type_=sa.Integer).over(
        partition_by=[placed.c.ticket_id, sa.case((rises, 1), else_=0)], order_by=[placed.c.target, placed.c.cycle]
    )
    is_told = sa.exists().where(step_notices.c.step_id == placed.c.step_id)
    reaches = sa.exists().where(
        step_notices.c.step_id == placed.c.step_id, _somebody(step_notices.c.destination, placed)
    )
    nobody = sa.and_(placed.c.kind == named(ESCALATED), placed.c.place == 1, is_told, sa.not_(reaches))
    slash = named("/")
    return sa.select(
        *placed.c,
        rises.label("rises"),
        turn.label("turn"),
        nobody.label("nobody"),
        (
            (placed.c.ticket_id + slash + placed.c.target + slash + _text(placed.c.cycle) + slash + placed.c.kind)
            + (slash + _text(placed.c.number) + slash + _text(placed.c.repeat))
        ).label("key"),
    )


def _somebody(destination: sa.ColumnElement[str], ticket: Any) -> sa.ColumnElement[bool]:
    """Tell whether a destination that depends on the ticket leads anywhere."""
    return sa.case(
        (destination == named(f"{MAIL}:assignee"), sa.func.coalesce(ticket.c.assignee, named("")).like(named("%@%"))),
        (destination == named(f"{MAIL}:requester"), ticket.c.requester.like(named("%@%"))),
        (destination == named(GROUP), ticket.c.group.is_not(None)),
        else_=sa.true(),
    )


def _text(number: Any) -> sa.ColumnElement[str]:
    return sa.cast(number, sa.Text)


def _after(due: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what becomes of a claimed clock: its verdict, and when somebody looks again."""
    mine = [alarms.c[name] == due.c[name] for name in _KEY]
    ahead = sa.select(sa.func.min(alarms.c.at)).where(*mine, alarms.c.at >= now, alarms.c.raised_at.is_(None))
    alarm = ahead.correlate(due).scalar_subquery()
    runs_on = sa.and_(due.c.state == named("running"), sa.not_(due.c.late))
    return {
        "state": sa.case((due.c.late, named("breached")), else_=due.c.state).label("state"),
        "found_at": sa.case((due.c.late, now)).label("found_at"),
        "alarm_at": alarm.label("alarm_at"),
        "deadline": sa.case((runs_on, due.c.due_at)).label("deadline"),
    }


def _marks(after: Any) -> dict[str, Any]:
    """Write it into the clock."""
    found = after.c.found_at
    first = sa.case((sa.or_(after.c.alarm_at.is_(None), after.c.deadline < after.c.alarm_at), after.c.deadline))
    return {
        "state": after.c.state,
        "breached_at": sa.case((found.is_not(None), clocks.c.due_at), else_=clocks.c.breached_at),
        "detected_at": sa.func.coalesce(found, clocks.c.detected_at),
        "cause": sa.case((found.is_not(None), named("deadline")), else_=clocks.c.cause),
        "next_check_at": sa.func.coalesce(first, after.c.alarm_at),
    }


def _history(due: Any, ready: Any, now: sa.ColumnElement[datetime]) -> sa.Select[Any]:
    """Select what is written down: the breaches first, then the alarms they belong to."""
    slash = named("/")
    breach = sa.select(
        due.c.ticket_id,
        due.c.due_at.label("at"),
        now.label("recorded_at"),
        named("breached").label("kind"),
        named("system").label("actor"),
        named("running").label("old"),
        named("breached").label("new"),
        (due.c.target + named(" deadline")).label("note"),
        (due.c.ticket_id + slash + due.c.target + slash + _text(due.c.cycle) + named("/breached/0/0")).label("key"),
    ).where(due.c.late)
    first = ready.c.place == 1
    what = sa.case((ready.c.kind == named(ESCALATED), named(" level ")), else_=named(" warning "))
    why = sa.case(
        (sa.not_(first), named(": passed over, a more urgent one was due")),
        (ready.c.nobody, named(": nobody to tell")),
        else_=named(""),
    )
    again = sa.case((ready.c.repeat > 0, named(", repeat ") + _text(ready.c.repeat)), else_=named(""))
    alarm = sa.select(
        ready.c.ticket_id,
        now,
        now,
        sa.case((first, ready.c.kind), else_=named("collapsed")),
        named("system"),
        sa.case((ready.c.rises, _text(_raised(ready.c.priority, ready.c.turn - 1)))),
        sa.case((ready.c.rises, _text(_raised(ready.c.priority, ready.c.turn)))),
        ready.c.target + what + _text(ready.c.number) + again + why,
        ready.c.key,
    )
    return sa.union_all(breach, alarm).subquery("history").select()


_HISTORY = ("ticket_id", "at", "recorded_at", "kind", "actor", "old", "new", "note", "key")


def _raised(priority: sa.ColumnElement[int], steps_up: Any) -> sa.ColumnElement[int]:
    """So many steps up, as `policies.step_up`."""
    return sa.case((priority - steps_up > 1, priority - steps_up), else_=1)


def _notices(told: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what goes out because of an alarm, and where."""
    where = sa.case(
        (step_notices.c.destination == named(GROUP), named(f"{GROUP}:") + told.c.group),
        else_=step_notices.c.destination,
    )
    return {
        "key": told.c.key + named("/") + where,
        "destination": where,
        "kind": told.c.kind,
        "ticket_id": told.c.ticket_id,
        "state": named("pending"),
        "attempts": sa.literal_column("0", sa.Integer),
        "created_at": now,
        "next_attempt_at": now,
    }


def _remarks(told: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what the people who work on a ticket read when it was raised."""
    target = sa.func.replace(told.c.target, named("_"), named(" "), type_=sa.Text)
    past = sa.case(
        (told.c.due_at < now, named(" deadline has passed; priority ")), else_=named(" is due soon; priority ")
    )
    return {
        "id": sa.cast(sa.func.gen_random_uuid(), sa.Text),
        "ticket_id": told.c.ticket_id,
        "author": named("system"),
        "body": named("Escalated: the ")
        + target
        + past
        + _text(_raised(told.c.priority, told.c.turn - 1))
        + named(" → ")
        + _text(_raised(told.c.priority, told.c.turn)),
        "is_internal": sa.true(),
        "created_at": now,
    }


def _insert(dialect: ModuleType, table: sa.Table, values: dict[str, Any], rows: sa.FromClause, *where: Any) -> Any:
    # Without a WHERE, SQLite reads the ON of a following ON CONFLICT as that of a join.
    chosen = sa.select(*values.values()).select_from(rows).where(*(where or (sa.true(),)))
    return dialect.insert(table).from_select(list(values), chosen)


def _same(table: sa.Table, row: Any, *more: str) -> sa.ColumnElement[bool]:
    return sa.and_(*[table.c[name] == row.c[name] for name in (*_KEY, *more)])


def _stays(ready: Any) -> sa.ColumnElement[bool]:
    """What is left of an alarm that was raised is done by hand: by whoever knows the rules."""
    return sa.and_(ready.c.place == 1, sa.or_(ready.c.by_hand, ready.c.nobody))


# --- PostgreSQL: one statement -----------------------------------------------------------------------------------


@cache
def _at_once(limit: int | None, *, live: bool) -> sa.Select[*tuple[Any, ...]]:
    """Build the whole batch as one statement; `live` takes the time from the database."""
    now: sa.ColumnElement[datetime] = sa.func.statement_timestamp(type_=Instant) if live else _now
    claim = _claim(now, limit).with_for_update(skip_locked=True, key_share=True, of=[clocks, tickets])
    due = claim.cte("due")
    # For each clock by itself, however few alarms there are: a join would read them all until there are very many.
    of_alarm = [alarms.c[name] for name in ("step_id", "repeat", "at")]
    pending = (
        sa.select(*of_alarm).where(*_pending(due, now)).correlate(due).offset(sa.literal_column("0")).lateral("pending")
    )
    ready = _ready(due, pending, sa.true()).cte("ready")
    # Asked once: written into the update, the next alarm would be looked up for each of its uses.
    following = sa.select(*[due.c[name] for name in _KEY], *_after(due, now).values())
    after = following.cte("after").prefix_with("MATERIALIZED")
    marked = sa.update(clocks).values(_marks(after)).where(_same(clocks, after))
    here = _same(alarms, ready, "step_id", "repeat")
    gone = sa.delete(alarms).where(here, sa.not_(_stays(ready)))
    kept = sa.update(alarms).values(raised_at=now).where(here, _stays(ready))
    history = _history(due, ready, now)
    noted = (
        postgresql.insert(events)
        .from_select(_HISTORY, history)
        .on_conflict_do_nothing(
            index_elements=[events.c.key], index_where=once_only.dialect_options["postgresql"]["where"]
        )
        .returning(events.c.key)
        .cte("noted")
    )
    told = sa.select(*ready.c).join(noted, noted.c.key == ready.c.key).where(ready.c.place == 1).cte("told")
    to = sa.join(told, step_notices, step_notices.c.step_id == told.c.step_id)
    notice = _insert(
        postgresql, outbox, _notices(told, now), to, _somebody(step_notices.c.destination, told)
    ).on_conflict_do_nothing(index_elements=[outbox.c.key])
    rises = sa.select(told.c.ticket_id, sa.func.max(told.c.turn).label("by")).where(told.c.rises)
    up = rises.group_by(told.c.ticket_id).cte("up")
    raised = (
        sa.update(tickets)
        .values(priority=_raised(tickets.c.priority, up.c.by), updated_at=now)
        .where(tickets.c.id == up.c.ticket_id)
    )
    remark = _insert(postgresql, comments, _remarks(told, now), told, told.c.rises)
    return _summary(due, ready, now).add_cte(
        marked.cte("marked"),
        gone.cte("gone"),
        kept.cte("kept"),
        notice.cte("notified"),
        raised.cte("raised"),
        remark.cte("remarked"),
    )


def _summary(due: Any, ready: Any, now: sa.ColumnElement[datetime]) -> sa.Select[*tuple[Any, ...]]:
    of_ready = sa.select(
        sa.func.sum(sa.case((ready.c.place == 1, 1), else_=0)).label("raised"),
        sa.func.max(sa.case((_stays(ready), 1), else_=0)).label("by_hand"),
    ).subquery("of_ready")
    return sa.select(
        sa.func.count(),
        sa.func.max(due.c.next_check_at),
        now - sa.func.min(due.c.next_check_at),
        sa.func.sum(sa.case((due.c.late, 1), else_=0)),
        sa.select(of_ready.c.raised).scalar_subquery(),
        sa.select(of_ready.c.by_hand).scalar_subquery(),
        sa.select(_LEFT).scalar_subquery(),
    ).select_from(due)


# --- SQLite: temporary tables, and the parts in turn -------------------------------------------------------------

_row = sa.literal_column("clocks.rowid", sa.Integer)
_alarm_row = sa.literal_column("alarms.rowid", sa.Integer)


def _temporary(name: str, like: sa.Select[Any], key: str) -> sa.Table:
    columns = [sa.Column(one.name, one.type, primary_key=one.name == key) for one in like.selected_columns]
    return sa.Table(name, sa.MetaData(schema="temp"), *columns)


_claimed = _temporary("claimed", _claim(_now, 1, _row.label("row")), "row")
_in_turn = _ready(_claimed, alarms, sa.and_(*_pending(_claimed, _now)), _alarm_row.label("alarm_row"))
_due_alarms = _temporary("due_alarms", _in_turn, "alarm_row")


def _into(table: sa.Table, rows: sa.Select[Any]) -> sa.Insert:
    return sa.insert(table).from_select([column.name for column in rows.selected_columns], rows)


@cache
def _claim_into(limit: int | None) -> sa.Insert:
    return _into(_claimed, _claim(_now, limit, _row.label("row")))


@cache
def _parts() -> tuple[sa.Executable, ...]:
    return tuple(_steps_in_turn())


def _steps_in_turn() -> Iterator[sa.Executable]:
    """Build the steps after the claim."""
    due, ready = _claimed, _due_alarms
    # What was written down before is not raised again, only taken off the list.
    known = sa.exists().where(events.c.key == ready.c.key)
    yield _into(ready, _in_turn)
    after = sa.select(*[due.c[name] for name in _KEY], *_after(due, _now).values()).subquery("after")
    yield sa.update(clocks).values(_marks(after)).where(_same(clocks, after))
    rows = sa.select(ready.c.alarm_row)
    yield sa.update(alarms).values(raised_at=_now).where(_alarm_row.in_(rows.where(_stays(ready), sa.not_(known))))
    yield sa.delete(alarms).where(_alarm_row.in_(rows), alarms.c.raised_at.is_(None))
    yield sa.delete(ready).where(known)
    once = sqlite.insert(events).from_select(_HISTORY, _history(due, ready, _now).where(sa.true()))
    yield once.on_conflict_do_nothing(
        index_elements=[events.c.key], index_where=once_only.dialect_options["sqlite"]["where"]
    )
    first = ready.c.place == 1
    to = sa.join(ready, step_notices, step_notices.c.step_id == ready.c.step_id)
    notice = _insert(sqlite, outbox, _notices(ready, _now), to, first, _somebody(step_notices.c.destination, ready))
    yield notice.on_conflict_do_nothing(index_elements=[outbox.c.key])
    rises = sa.select(ready.c.ticket_id, sa.func.max(ready.c.turn).label("by")).where(ready.c.rises)
    up = rises.group_by(ready.c.ticket_id).subquery("up")
    yield (
        sa.update(tickets)
        .values(priority=_raised(tickets.c.priority, up.c.by), updated_at=_now)
        .where(tickets.c.id == up.c.ticket_id)
    )
    yield _insert(sqlite, comments, _remarks(ready, _now), ready, ready.c.rises)


_LOOKED_AT = sa.select(
    sa.func.max(_claimed.c.next_check_at),
    sa.func.min(_claimed.c.next_check_at),
    sa.func.sum(sa.case((_claimed.c.late, 1), else_=0)),
)
_RAISED = sa.select(
    sa.func.sum(sa.case((_due_alarms.c.place == 1, 1), else_=0)),
    sa.func.max(sa.case((_stays(_due_alarms), 1), else_=0)),
)


def _one_by_one(connection: sa.Connection, limit: int | None, given: dict[str, Any]) -> tuple[Any, ...]:
    for table in (_claimed, _due_alarms):
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        connection.execute(sa.delete(table))
    found = connection.execute(_claim_into(limit), given).rowcount
    left = connection.execute(sa.select(_LEFT)).scalar_one()
    if not found:
        return (0, None, None, 0, 0, False, left)
    for part in _parts():
        connection.execute(part, {"now": given["now"]})
    until, oldest, breaches = connection.execute(_LOOKED_AT).one()
    raised, by_hand = connection.execute(_RAISED).one()
    return (found, until, given["now"] - oldest, breaches, raised, by_hand, left)
