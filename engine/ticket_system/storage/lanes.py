"""The lanes by which usage leaves: one call at a time in each, and when what was counted there is compared."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.billing.deliveries import TO_SEND
from ticket_system.billing.usage import ITEMS
from ticket_system.storage.billing_tables import usage_deliveries, usage_lanes
from ticket_system.storage.tables import one_of


class Lane(NamedTuple):
    """Where one call at a time goes out: a customer of theirs, and a meter."""

    id: int
    livemode: bool
    stripe_customer: str
    event_name: str


def lane(connection: sa.Connection, stripe_customer: str, event_name: str, *, livemode: bool) -> int:
    """Return the id of a lane, made if need be."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    key = {"livemode": livemode, "stripe_customer": stripe_customer, "event_name": event_name}
    connection.execute(dialect.insert(usage_lanes).values(key).on_conflict_do_nothing())
    mine = [usage_lanes.c[name] == value for name, value in key.items()]
    return int(connection.execute(sa.select(usage_lanes.c.id).where(*mine)).scalar_one())


def claim(connection: sa.Connection, now: datetime, *, livemode: bool, holder: str, until: datetime) -> Lane | None:
    """Take the lane whose deliveries have waited longest, among those by which nothing is under way."""
    waits = sa.func.min(usage_deliveries.c.next_attempt_at)
    due = (
        sa.select(usage_deliveries.c.lane_id, waits.label("since"))
        .where(one_of(usage_deliveries.c.state, TO_SEND), usage_deliveries.c.next_attempt_at <= now)
        .group_by(usage_deliveries.c.lane_id)
        .subquery("due")
    )
    free = sa.or_(usage_lanes.c.lease_until.is_(None), usage_lanes.c.lease_until <= now)
    found = connection.execute(
        sa.select(*[usage_lanes.c[name] for name in Lane._fields])
        .join(due, due.c.lane_id == usage_lanes.c.id)
        .where(usage_lanes.c.livemode == livemode, free)
        .order_by(due.c.since, usage_lanes.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=usage_lanes)
    ).one_or_none()
    if found is None:
        return None
    mine = sa.update(usage_lanes).where(usage_lanes.c.id == found.id)
    connection.execute(mine.values(lease=holder, lease_until=until))
    return Lane(*found)


def hold(connection: sa.Connection, lane_id: int, *, holder: str, until: datetime | None) -> bool:
    """Keep a lane for longer, or give it back; False: somebody else has it."""
    mine = sa.update(usage_lanes).where(usage_lanes.c.id == lane_id, usage_lanes.c.lease == holder)
    values = {"lease_until": until} if until else {"lease": None, "lease_until": None}
    return connection.execute(mine.values(**values)).rowcount == 1


def to_compare(
    connection: sa.Connection, now: datetime, limit: int, *, livemode: bool
) -> list[tuple[Lane, datetime | None]]:
    """Return lanes whose counts are to be compared, the longest waiting first; and when all was compared."""
    due = (usage_lanes.c.compare_at <= now, usage_lanes.c.livemode == livemode)
    query = sa.select(*[usage_lanes.c[name] for name in Lane._fields], usage_lanes.c.deep_at).where(*due)
    found = connection.execute(query.order_by(usage_lanes.c.compare_at, usage_lanes.c.id).limit(limit))
    return [(Lane(*row[:-1]), row[-1]) for row in found]


def compare(
    connection: sa.Connection, lane_id: int, at: datetime | None, *, surplus: int, deep_at: datetime | None
) -> None:
    """Say when a lane is compared next, and what it counted that nobody sent."""
    values: dict[str, Any] = {"compare_at": at, "surplus": surplus} | ({"deep_at": deep_at} if deep_at else {})
    connection.execute(sa.update(usage_lanes).where(usage_lanes.c.id == lane_id).values(**values))


def compare_soon(connection: sa.Connection, lane_id: int, at: datetime) -> None:
    """Have a lane compared by then, or earlier."""
    later = sa.or_(usage_lanes.c.compare_at.is_(None), usage_lanes.c.compare_at > at)
    connection.execute(sa.update(usage_lanes).where(usage_lanes.c.id == lane_id, later).values(compare_at=at))


def compare_meter(connection: sa.Connection, event_name: str | None, at: datetime, *, livemode: bool) -> int:
    """Have all lanes of a meter, or of every meter, compared; returns how many."""
    theirs = sa.update(usage_lanes).where(usage_lanes.c.livemode == livemode, usage_lanes.c.event_name != ITEMS)
    if event_name is not None:
        theirs = theirs.where(usage_lanes.c.event_name == event_name)
    return connection.execute(theirs.values(compare_at=at)).rowcount


def surpluses(connection: sa.Connection) -> list[tuple[Lane, int]]:
    """Return lanes where something was counted that nobody sent."""
    query = sa.select(*[usage_lanes.c[name] for name in Lane._fields], usage_lanes.c.surplus)
    return [
        (Lane(*row[:-1]), row[-1])
        for row in connection.execute(query.where(usage_lanes.c.surplus != sa.literal_column("0")))
    ]
