"""The figures of a report, each from one index."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ticket_system.reports.summary import Figures
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.storage.database import seconds_between
from ticket_system.storage.tables import clocks, is_active, named, tickets


def figures(connection: sa.Connection, since: datetime, until: datetime) -> Figures:
    """Count what happened from `since` up to and including `until`."""

    def period(column: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[bool], ...]:
        return column >= since, column <= until

    def count(*where: sa.ColumnElement[bool]) -> int:
        mine = sa.select(sa.func.count()).select_from(clocks).where(clocks.c.target == named(RESOLUTION), *where)
        return connection.execute(mine).scalar_one()

    opened = (
        sa.select(tickets.c.priority, sa.func.count()).where(*period(tickets.c.created_at)).group_by(tickets.c.priority)
    )
    took = seconds_between(connection.dialect.name, tickets.c.created_at, tickets.c.resolved_at)
    resolved = (
        sa.select(tickets.c.priority, sa.func.count(), sa.func.sum(took))
        .where(*period(tickets.c.resolved_at))
        .group_by(tickets.c.priority)
    )
    active = sa.select(tickets.c.assignee, sa.func.count()).where(is_active).group_by(tickets.c.assignee)
    resolved_rows = connection.execute(resolved).all()
    return Figures(
        opened=dict(connection.execute(opened).all()),
        resolved={priority: number for priority, number, _ in resolved_rows},
        resolution_seconds=sum(float(seconds) for _, _, seconds in resolved_rows),
        met=count(clocks.c.state == named("met"), *period(clocks.c.stopped_at)),
        # Overdue and not found yet is a breach all the same (rule 24).
        # A waived breach is left out (rule 9).
        breached=count(clocks.c.state == named("breached"), clocks.c.waived_at.is_(None), *period(clocks.c.breached_at))
        + count(
            clocks.c.state == named("running"),
            clocks.c.due_at < until,
            clocks.c.due_at >= since,
            # Somebody looks at it no later than that: by this it is found in the index of what is to be looked at.
            clocks.c.next_check_at < until,
        ),
        active=dict(connection.execute(active).all()),
    )
