"""The figures of `generate_report`, each from one index."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ticket_system.reports.summary import Figures
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.storage.moments import seconds_between
from ticket_system.storage.report_parts import Stretch, broken, ended
from ticket_system.storage.tables import clocks, is_active, named, tickets


def figures(connection: sa.Connection, since: datetime, until: datetime) -> Figures:
    """Count what happened from `since` up to and including `until`, which is now."""
    stretch = Stretch(since, until, as_of=until, closed=True)
    is_resolution = clocks.c.target == named(RESOLUTION)
    opened = (
        sa.select(tickets.c.priority, sa.func.count())
        .where(*stretch.holds(tickets.c.created_at))
        .group_by(tickets.c.priority)
    )
    took = seconds_between(connection.dialect.name, tickets.c.created_at, tickets.c.resolved_at)
    resolved = (
        sa.select(tickets.c.priority, sa.func.count(), sa.func.sum(took))
        .where(*stretch.holds(tickets.c.resolved_at))
        .group_by(tickets.c.priority)
    )
    active = sa.select(tickets.c.assignee, sa.func.count()).where(is_active).group_by(tickets.c.assignee)
    met = sa.select(sa.func.count()).select_from(clocks).where(is_resolution, *ended(stretch, "met"))
    late = broken(stretch, is_resolution).subquery("late")
    # A waived breach is left out (9).
    breached = sa.select(sa.func.count()).select_from(late).where(late.c.waived_at.is_(None))
    resolved_rows = connection.execute(resolved).all()
    return Figures(
        opened=dict(connection.execute(opened).all()),
        resolved={priority: number for priority, number, _ in resolved_rows},
        resolution_seconds=sum(float(seconds) for _, _, seconds in resolved_rows),
        met=connection.execute(met).scalar_one(),
        breached=connection.execute(breached).scalar_one(),
        active=dict(connection.execute(active).all()),
    )
