"""What time it is, and whose clock says so: the server's, which all workers share; ours in an embedded database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.storage.tables import Instant
from ticket_system.tickets import utc_now

#: The time by PostgreSQL's clock, which all workers share; a worker whose own clock is off decides nothing.
database_clock = sa.func.clock_timestamp(type_=Instant)


def moment(connection: sa.Connection) -> datetime:
    """Return the time by the database's clock; an embedded database has ours."""
    if uses_its_own_clock(connection):
        return connection.execute(_CLOCK).scalar_one()
    # Another clock, to live through days in a moment.
    clock: Callable[[], datetime] | None = connection.get_execution_options().get("tickets_clock")
    return utc_now() if clock is None else clock()


def uses_its_own_clock(connection: sa.Connection) -> bool:
    """Tell whether it is the server that says what time it is."""
    return connection.dialect.name != "sqlite" and connection.get_execution_options().get("tickets_clock") is None


def later(
    connection: sa.Connection, now: datetime | None, wait: timedelta = timedelta()
) -> datetime | sa.ColumnElement[datetime]:
    """Return the moment so long after `now`, to be written; without one, after that by the clock of `moment`.

    Where it is the server that says what time it is, it does so in the statement that writes it: it is not asked first.
    """
    if now is None and uses_its_own_clock(connection):
        return database_clock + sa.literal(wait, sa.Interval) if wait else database_clock
    return (now or moment(connection)) + wait


def clock_of(connection: sa.Connection, now: datetime | None) -> sa.ColumnElement[datetime]:
    """Return `now` as SQL; without one, the database's own clock when the statement starts."""
    if now is None and connection.dialect.name != "sqlite":
        return sa.func.statement_timestamp(type_=Instant)
    return sa.bindparam("now", now or utc_now(), type_=Instant)


def seconds_between(
    dialect: str, start: sa.ColumnElement[datetime], end: sa.ColumnElement[datetime]
) -> sa.ColumnElement[Any]:
    """Return `end - start` in seconds, as SQL."""
    if dialect == "sqlite":
        return (sa.func.julianday(end, type_=sa.Float) - sa.func.julianday(start, type_=sa.Float)) * 86400.0
    return sa.extract("epoch", end - start)


_CLOCK = sa.select(database_clock)
