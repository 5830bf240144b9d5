"""The figures of weekly and daily reports: a handful of statements, each by its index, grouped by the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ticket_system.reports.arithmetic import SHARES, Counted, Crossing, Standing, age_bounds, percentile
from ticket_system.reports.contents import Scope, Took
from ticket_system.sla.clocks import TARGETS
from ticket_system.storage.moments import seconds_between
from ticket_system.storage.report_parts import Stretch, broken, bucket, ended, of_scope, with_tickets
from ticket_system.storage.tables import CROSSING, clocks, events, is_active, one_of, tickets
from ticket_system.tickets import ACTIVE_STATUSES

_number = sa.func.count().label("number")


def opened(connection: sa.Connection, scope: Scope, instants: Sequence[datetime]) -> dict[int, int]:
    """Count the tickets created since the first instant, by bucket."""
    query = (
        sa.select(bucket(tickets.c.created_at, instants).label("bucket"), _number)
        .where(tickets.c.created_at >= instants[0], *of_scope(scope))
        .group_by("bucket")
    )
    return dict(connection.execute(query).all())


def without_promise(connection: sa.Connection, scope: Scope, stretch: Stretch) -> int:
    """Count the tickets created within that have no clock."""
    promised = sa.exists().where(clocks.c.ticket_id == tickets.c.id)
    query = sa.select(_number).where(*stretch.holds(tickets.c.created_at), ~promised, *of_scope(scope))
    return connection.execute(query).scalar_one()


def crossings(connection: sa.Connection, scope: Scope, instants: Sequence[datetime]) -> list[Crossing]:
    """Count the moves between active and done since the first instant."""
    query = (
        sa.select(
            bucket(tickets.c.created_at, instants).label("created"),
            bucket(events.c.at, instants).label("moved"),
            one_of(events.c.new, ACTIVE_STATUSES).label("returned"),
            _number,
        )
        .join_from(events, tickets, tickets.c.id == events.c.ticket_id)
        .where(sa.text(CROSSING), events.c.at >= instants[0], *of_scope(scope))
        .group_by("created", "moved", "returned")
    )
    return [Crossing(created, moved, bool(returned), n) for created, moved, returned, n in connection.execute(query)]


def standing(connection: sa.Connection, scope: Scope, instants: Sequence[datetime], as_of: datetime) -> list[Standing]:
    """Count the tickets that are active, by agent, age, and the bucket of their creation."""
    query = (
        sa.select(
            tickets.c.assignee,
            bucket(tickets.c.created_at, age_bounds(as_of)).label("age"),
            bucket(tickets.c.created_at, instants).label("created"),
            _number,
        )
        .where(is_active, *of_scope(scope))
        .group_by(tickets.c.assignee, "age", "created")
    )
    return [Standing(*row) for row in connection.execute(query)]


def solved(connection: sa.Connection, scope: Scope, stretch: Stretch) -> dict[str | None, int]:
    """Count the tickets whose last resolution lies within, by agent."""
    query = (
        sa.select(tickets.c.assignee, _number)
        .where(*stretch.holds(tickets.c.resolved_at), *of_scope(scope))
        .group_by(tickets.c.assignee)
    )
    return dict(connection.execute(query).all())


def counted(connection: sa.Connection, scope: Scope, stretch: Stretch) -> list[Counted]:
    """Count the promises that came to an end within (24), by target, priority and agent; those not broken have none."""
    stopped = sa.select(clocks.c.ticket_id, clocks.c.target, clocks.c.state.label("end")).where(
        *ended(stretch, "met", "cancelled")
    )
    within = stopped.subquery("stopped")
    beside, mine = with_tickets(within, scope)
    query = (
        sa.select(within.c.target, tickets.c.priority, sa.null(), within.c.end, _number)
        .select_from(beside)
        .where(*mine)
        .group_by(within.c.target, tickets.c.priority, within.c.end)
    )
    late = broken(stretch).subquery("late")
    beside, mine = with_tickets(late, scope)
    end = sa.case((late.c.waived_at.is_(None), "breached"), else_="waived").label("end")
    breaches = (
        sa.select(late.c.target, tickets.c.priority, tickets.c.assignee, end, _number)
        .select_from(beside)
        .where(*mine)
        .group_by(late.c.target, tickets.c.priority, tickets.c.assignee, "end")
    )
    return [Counted(*row) for one in (query, breaches) for row in connection.execute(one)]


def took(connection: sa.Connection, scope: Scope, stretch: Stretch) -> tuple[Took, ...]:
    """Return how long it took until each target was done, of those that were done within."""
    wall = seconds_between(connection.dialect.name, clocks.c.started_at, clocks.c.stopped_at)
    # As floating point: percentiles of numeric and interval take several times as long.
    measures = {
        "wall": sa.cast(wall, sa.Double),
        "working": sa.cast(sa.type_coerce(clocks.c.worked, sa.BigInteger), sa.Double) / 1e6,
    }
    done = sa.select(clocks.c.target, *[value.label(name) for name, value in measures.items()])
    if mine := of_scope(scope):
        done = done.join_from(clocks, tickets, tickets.c.id == clocks.c.ticket_id).where(*mine)
    done = done.where(*ended(stretch, "met", "breached"))
    told = _ranked if connection.dialect.name == "sqlite" else _aggregated
    found: dict[str, dict[str, Any]] = {}
    for target, count, name, values in told(connection, done.subquery("done"), list(measures)):
        told_of = found.setdefault(target, {"target": target, "count": count})
        told_of |= {f"{name}_p{share}": value for share, value in zip(SHARES, values, strict=True)}
    return tuple(Took(**found[target]) for target in TARGETS if target in found)


def _aggregated(
    connection: sa.Connection, done: sa.Subquery, measures: Sequence[str]
) -> Iterable[tuple[str, int, str, list[float]]]:
    shares: sa.ColumnElement[Any] = sa.literal_column(f"ARRAY[{', '.join(str(share / 100) for share in SHARES)}]")
    values = [sa.func.percentile_cont(shares).within_group(done.c[name]).label(name) for name in measures]
    query = sa.select(done.c.target, sa.func.count(), *values).group_by(done.c.target)
    for target, count, *both in connection.execute(query):
        for name, found in zip(measures, both, strict=True):
            yield target, count, name, found


def _ranked(
    connection: sa.Connection, done: sa.Subquery, measures: Sequence[str]
) -> Iterable[tuple[str, int, str, list[float]]]:
    """Do what percentile_cont does: sort, and interpolate between the two values around each share."""
    for name in measures:
        place = (sa.func.row_number().over(partition_by=done.c.target, order_by=done.c[name]) - 1).label("place")
        count = sa.func.count().over(partition_by=done.c.target).label("count")
        ranked = sa.select(done.c.target, count, place, done.c[name].label("value")).subquery("ranked")
        lower = [(ranked.c.count - 1) * share // 100 for share in SHARES]
        near = sa.or_(*[ranked.c.place.between(one, one + 1) for one in lower])
        found: dict[tuple[str, int], dict[int, float]] = {}
        for target, number, where, value in connection.execute(sa.select(*ranked.c).where(near)):
            found.setdefault((target, number), {})[where] = value
        for (target, number), values in found.items():
            yield target, number, name, [percentile(values, number, share) for share in SHARES]
