"""The look before a sweep: whether anything is due, and what it costs to find that out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.storage import sweep_parts as parts
from ticket_system.storage.tables import Instant, clocks
from ticket_system.tickets import utc_now


def anything(connection: sa.Connection, now: datetime | None, since: datetime) -> bool:
    """Tell whether a sweep might find something; reads only, and costs next to nothing."""
    if now is None and connection.dialect.name != "sqlite":
        return connection.execute(_ANYTHING_LIVE, {"since": since}).first() is not None
    return connection.execute(_ANYTHING, {"now": now or utc_now(), "since": since}).first() is not None


class Walk(NamedTuple):
    """How many pages a look reads, and the database's time just before it was tried."""

    pages: int
    at: datetime


def walk(connection: sa.Connection, since: datetime) -> Walk:
    """Find out what such a look reads, by doing it once more; PostgreSQL only.

    How long a look took says less: on a busy machine any takes long.
    """
    at = connection.execute(_NOW).scalar_one()
    question = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_ANYTHING_LIVE.compile(dialect=connection.dialect)}"
    [told] = connection.exec_driver_sql(question, {"since": since}).scalar_one()
    return Walk(told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"], at)


def _anything(now: sa.ColumnElement[datetime]) -> sa.Select[Any]:
    due = sa.exists().where(clocks.c.next_check_at < now, clocks.c.next_check_at >= parts.since_given)
    return sa.select(sa.literal_column("1")).where(sa.or_(due, parts.left))


_live = sa.func.statement_timestamp(type_=Instant)
_ANYTHING, _ANYTHING_LIVE = _anything(parts.now_given), _anything(_live)
_NOW = sa.select(_live)
