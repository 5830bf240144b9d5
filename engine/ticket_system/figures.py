"""What stands in a report, counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from ticket_system.reports.contents import Daily, Period, Scope, Totals, Weekly
from ticket_system.rulebook import Rulebook
from ticket_system.storage.database import Database


def weekly(
    database: Database,
    rules: Rulebook,
    *,
    organisation: str,
    scope: Scope,
    period: Period,
    week_ends: Sequence[tuple[datetime, date]],
    before: Totals | None,
    as_of: datetime | None = None,
) -> Weekly:
    """Stand-in."""
    with database.read() as connection:
        import sqlalchemy as sa

        from ticket_system.storage.tables import tickets

        opened = connection.execute(
            sa.select(sa.func.count())
            .select_from(tickets)
            .where(tickets.c.created_at >= period.starts_at, tickets.c.created_at < period.ends_at)
        ).scalar_one()
    return Weekly(
        organisation=organisation,
        customer=scope.customer,
        group=scope.group,
        zone=period.zone,
        starts_on=period.starts_on,
        ends_on=period.ends_on,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        as_of=as_of or period.ends_at,
        totals=Totals(opened=opened),
        before=before,
    )


def daily(
    database: Database,
    rules: Rulebook,
    *,
    organisation: str,
    scope: Scope,
    period: Period,
    as_of: datetime | None = None,
) -> Daily:
    """Stand-in."""
    return Daily(
        organisation=organisation,
        customer=scope.customer,
        group=scope.group,
        zone=period.zone,
        starts_on=period.starts_on,
        ends_on=period.ends_on,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        as_of=as_of or period.ends_at,
    )
