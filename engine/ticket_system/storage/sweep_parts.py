"""What a sweep does to the clocks it claimed, in parts that both databases share: selections, and what is written.

Each part takes the rows it works on: CTEs on PostgreSQL, temporary tables on SQLite; `sweeps` puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from ticket_system.billing.usage import CRITICAL_TICKET, TICKET_OPENED
from ticket_system.sla.alarms import ESCALATED
from ticket_system.storage.billing_tables import customers, usage_facts
from ticket_system.storage.moments import seconds_between
from ticket_system.storage.outbox import GROUP, MAIL
from ticket_system.storage.tables import Instant, alarms, clocks, named, step_notices, tickets

#: How breaches are sorted by the seconds from their deadline to their record; beyond the last is a class of its own.
LATENCIES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
KEY = ("ticket_id", "target", "cycle")
OF_STEP = ("kind", "number", "raises", "by_hand")
now_given, since_given = sa.bindparam("now", type_=Instant), sa.bindparam("since", type_=Instant)
left = sa.exists().where(alarms.c.raised_at.is_not(None))


def claim(now: sa.ColumnElement[datetime], limit: int | None, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select the clocks whose next look has come, the longest waiting first, from where the batch before ended.

    The lower bound keeps a batch from walking the index entries that the batches before it left dead: while any
    old snapshot is held they cannot be removed. Without a limit: all those of one ticket.
    """
    late = sa.and_(clocks.c.state == named("running"), clocks.c.due_at < now)
    of_ticket = [tickets.c[name] for name in ("priority", "assignee", "requester", "group")]
    of_clock = [clocks.c[name] for name in (*KEY, "state", "due_at", "next_check_at")]
    claim = (
        sa.select(*of_clock, late.label("late"), *of_ticket, *more)
        .join(tickets, tickets.c.id == clocks.c.ticket_id)
        .where(clocks.c.next_check_at < now)
        .order_by(clocks.c.next_check_at)
    )
    if limit is None:
        return claim.where(clocks.c.ticket_id == sa.bindparam("this_ticket"))
    # Spelt out: a planner that does not know the limit plans every execution anew, which costs more than the look.
    return claim.where(clocks.c.next_check_at >= since_given).limit(sa.literal_column(str(limit), sa.Integer))


def pending_alarms(due: Any, now: sa.ColumnElement[datetime]) -> list[sa.ColumnElement[bool]]:
    """Say which alarms of claimed clocks are due."""
    mine = [alarms.c[name] == due.c[name] for name in KEY]
    return [*mine, alarms.c.at < now, alarms.c.raised_at.is_(None)]


def ready_alarms(
    due: Any, pending: Any, matches: Any, step: Any, is_its: Any, *more: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Select the alarms of claimed clocks that are due, each with its place among them: the first is raised."""
    key = [due.c[name] for name in KEY]
    is_level = step.c.kind == named(ESCALATED)
    severity = [
        sa.case((is_level, 0), else_=1),
        # A repeat of a lower level may come after a higher one, and is less all the same (23).
        sa.case((is_level, step.c.number), else_=0).desc(),
        pending.c.at.desc(),
        step.c.number.desc(),
        pending.c.repeat.desc(),
    ]
    placed = (
        sa.select(
            *due.c,
            *[pending.c[name] for name in ("step_id", "repeat", "at")],
            *[step.c[name] for name in OF_STEP],
            *more,
            sa.func.row_number(type_=sa.Integer).over(partition_by=key, order_by=severity).label("place"),
        )
        .join_from(due, pending, matches)
        .join(step, is_its)
        .subquery("placed")
    )
    # Two clocks of one ticket may raise it at once: then by two steps.
    rises = sa.and_(placed.c.place == 1, placed.c.raises)
    turn = sa.func.row_number(type_=sa.Integer).over(
        partition_by=[placed.c.ticket_id, sa.case((rises, 1), else_=0)], order_by=[placed.c.target, placed.c.cycle]
    )
    is_told = sa.exists().where(step_notices.c.step_id == placed.c.step_id)
    reaches = sa.exists().where(
        step_notices.c.step_id == placed.c.step_id, reaches_somebody(step_notices.c.destination, placed)
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


def reaches_somebody(destination: sa.ColumnElement[str], ticket: Any) -> sa.ColumnElement[bool]:
    """Tell whether a destination that depends on the ticket leads anywhere."""
    return sa.case(
        (destination == named(f"{MAIL}:assignee"), sa.func.coalesce(ticket.c.assignee, named("")).like(named("%@%"))),
        (destination == named(f"{MAIL}:requester"), ticket.c.requester.like(named("%@%"))),
        (destination == named(GROUP), ticket.c.group.is_not(None)),
        else_=sa.true(),
    )


def _text(number: Any) -> sa.ColumnElement[str]:
    return sa.cast(number, sa.Text)


def what_follows(due: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
    """Say what becomes of a claimed clock: its verdict, and when somebody looks again."""
    mine = [alarms.c[name] == due.c[name] for name in KEY]
    ahead = sa.select(sa.func.min(alarms.c.at)).where(*mine, alarms.c.at >= now, alarms.c.raised_at.is_(None))
    alarm = ahead.correlate(due).scalar_subquery()
    runs_on = sa.and_(due.c.state == named("running"), sa.not_(due.c.late))
    return {
        "state": sa.case((due.c.late, named("breached")), else_=due.c.state).label("state"),
        "found_at": sa.case((due.c.late, now)).label("found_at"),
        "alarm_at": alarm.label("alarm_at"),
        "deadline": sa.case((runs_on, due.c.due_at)).label("deadline"),
    }


def marks(after: Any) -> dict[str, Any]:
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


def history(due: Any, ready: Any, now: sa.ColumnElement[datetime]) -> sa.Select[Any]:
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
        sa.case((ready.c.rises, _text(steps_up(ready.c.priority, ready.c.turn - 1)))),
        sa.case((ready.c.rises, _text(steps_up(ready.c.priority, ready.c.turn)))),
        ready.c.target + what + _text(ready.c.number) + again + why,
        ready.c.key,
    )
    return sa.union_all(breach, alarm).subquery("history").select()


HISTORY = ("ticket_id", "at", "recorded_at", "kind", "actor", "old", "new", "note", "key")


def steps_up(priority: sa.ColumnElement[int], steps_up: Any) -> sa.ColumnElement[int]:
    """So many steps up, as `policies.step_up`."""
    return sa.case((priority - steps_up > 1, priority - steps_up), else_=1)


def notices(told: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
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


def remarks(told: Any, now: sa.ColumnElement[datetime]) -> dict[str, Any]:
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
        + _text(steps_up(told.c.priority, told.c.turn - 1))
        + named(" → ")
        + _text(steps_up(told.c.priority, told.c.turn)),
        "is_internal": sa.true(),
        "created_at": now,
    }


def critical_facts(up: Any, now: sa.ColumnElement[datetime]) -> tuple[list[str], sa.Select[Any]]:
    """Select what a sweep writes down for tickets that it raises to critical; before it raises them.

    `up` has their ids, and by how many steps they rise.
    """
    earlier = usage_facts.alias("earlier")
    mine = (earlier.c.ticket_id == tickets.c.id, earlier.c.kind == named(CRITICAL_TICKET), earlier.c.quantity > 0)
    times = sa.select(sa.func.count()).select_from(earlier).where(*mine).correlate(tickets).scalar_subquery()
    counted = sa.exists().where(*mine, earlier.c.forgiven_at.is_(None)).correlate(tickets)
    opening = (earlier.c.ticket_id == tickets.c.id, earlier.c.kind == named(TICKET_OPENED), earlier.c.quantity > 0)
    costs_nothing = sa.exists().where(*opening, earlier.c.forgiven_at.is_not(None)).correlate(tickets)
    route = sa.select(customers.c.critical).where(customers.c.name == tickets.c.customer).correlate(tickets)
    values: dict[str, sa.ColumnElement[Any]] = {
        "key": named(f"{CRITICAL_TICKET}/") + tickets.c.id + named("/") + sa.cast(times + 1, sa.Text),
        "kind": named(CRITICAL_TICKET),
        "ticket_id": tickets.c.id,
        "customer": tickets.c.customer,
        "occurred_at": now,
        "recorded_at": now,
        "quantity": sa.literal_column("1", sa.Integer),
        "route": route.scalar_subquery(),
    }
    rows = (
        sa.select(*values.values())
        .join_from(up, tickets, tickets.c.id == up.c.ticket_id)
        .where(
            tickets.c.customer.is_not(None),
            tickets.c.priority > 1,
            tickets.c.priority - up.c.by <= 1,
            sa.not_(counted),
            sa.not_(costs_nothing),
            tickets.c.usage_pruned_at.is_(None),
        )
    )
    return list(values), rows


def insert(dialect: ModuleType, table: sa.Table, values: dict[str, Any], rows: sa.FromClause, *where: Any) -> Any:
    """Write rows that follow from others."""
    # Without a WHERE, SQLite reads the ON of a following ON CONFLICT as that of a join.
    chosen = sa.select(*values.values()).select_from(rows).where(*(where or (sa.true(),)))
    return dialect.insert(table).from_select(list(values), chosen)


def same(table: sa.Table, row: Any) -> sa.ColumnElement[bool]:
    """Say that two rows are about the same clock."""
    return sa.and_(*[table.c[name] == row.c[name] for name in KEY])


def stays(ready: Any) -> sa.ColumnElement[bool]:
    """What is left of an alarm that was raised is done by hand: by whoever knows the rules."""
    return sa.and_(ready.c.place == 1, sa.or_(ready.c.by_hand, ready.c.nobody))


def span(seconds: float) -> sa.ColumnElement[timedelta]:
    """Spell out a length of time, in PostgreSQL's own words."""
    return sa.literal_column(f"interval '{seconds} seconds'", sa.Interval)


def breaches(
    due: Any, now: sa.ColumnElement[datetime], dialect: str, bounds: Sequence[sa.ColumnElement[datetime]]
) -> list[sa.ColumnElement[Any]]:
    """Count the breaches among claimed clocks, add up how long they lay unseen, count those from each bound on."""
    unseen = sa.func.sum(seconds_between(dialect, due.c.due_at, now)).filter(due.c.late)
    within = [sa.func.count().filter(due.c.late, due.c.due_at >= bound) for bound in bounds]
    return [sa.func.count().filter(due.c.late), unseen, *within]
