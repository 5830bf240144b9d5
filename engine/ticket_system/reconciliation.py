"""Is what was counted what was sent? What is looked for, and what follows from what was found.

Nothing here asks anybody: a caller asks what was counted, between `to_look_for` and `observe`, and between
`to_compare` and `compare`, with no transaction open.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.billing import course
from ticket_system.billing.deliveries import COUNTED, STUCK, Delivery, State
from ticket_system.billing.usage import HOUR, MINUTE, Window, hour_of, minute_of
from ticket_system.storage import deliveries, lanes
from ticket_system.storage.database import Database
from ticket_system.storage.deliveries import Row
from ticket_system.storage.lanes import Lane
from ticket_system.storage.moments import moment

__all__ = ["Lane", "Row"]

#: How far back what was counted is compared: every hour, and every day.
OFTEN = timedelta(hours=72)
DEEP = timedelta(days=35)
#: What takes part in a comparison; what is on its way does not.
_COMPARED = (*COUNTED, *STUCK)


class Comparison(NamedTuple):
    """A lane, the hours to compare, and what was sent in them."""

    lane: Lane
    span: Window
    rows: list[Row]


class Difference(NamedTuple):
    """A delivery that turned out not to be what it was taken for."""

    row: Row
    before: str
    after: Delivery


class Compared(NamedTuple):
    """What a comparison came to."""

    differences: list[Difference]
    #: Counted, and sent by nobody we know.
    surplus: int


def minute(row: Row) -> Window:
    """Return the minute that belongs to a delivery alone."""
    start = minute_of(row.delivery.event_at)
    return Window(start, start + MINUTE)


def to_look_for(database: Database, *, livemode: bool, limit: int = 100, now: datetime | None = None) -> list[Row]:
    """Return what may or may not have arrived, and has waited long enough to be looked for."""
    with database.read() as connection:
        return deliveries.to_look_for(connection, now or moment(connection), limit, livemode=livemode)


def observe(database: Database, row: Row, total: int, *, now: datetime | None = None) -> Delivery:
    """Store what follows from what was counted in the minute of a delivery."""
    with database.write() as connection:
        at = now or moment(connection)
        return _observe(connection, row, total, at)


def missed(database: Database, row: Row, *, now: datetime | None = None) -> Delivery:
    """Store what follows from an invoice item that is not there."""
    with database.write() as connection:
        at = now or moment(connection)
        return _keep(connection, row, course.missed(row.delivery, at), at)


def to_compare(database: Database, *, livemode: bool, limit: int = 20, now: datetime | None = None) -> list[Comparison]:
    """Return lanes whose turn it is, each with the hours to compare: three days, and once a day all that is kept."""
    with database.read() as connection:
        at = now or moment(connection)
        found = []
        for lane, deep_at in lanes.to_compare(connection, at, limit, livemode=livemode):
            is_deep = deep_at is None or at - deep_at >= timedelta(days=1)
            span = Window(hour_of(at - (DEEP if is_deep else OFTEN)), hour_of(at))
            found.append(Comparison(lane, span, deliveries.counted_in(connection, lane.id, *span)))
        return found


def disagreements(one: Comparison, totals: Mapping[datetime, int]) -> list[Window]:
    """Return the hours in which something else was counted than was sent, or in which it is not certain what was."""
    hours = {hour_of(row.delivery.event_at) for row in one.rows} | {
        hour_of(at) for at, total in totals.items() if total
    }
    sent: dict[datetime, int] = dict.fromkeys(hours, 0)
    open_questions: set[datetime] = set()
    for row in one.rows:
        hour = hour_of(row.delivery.event_at)
        if row.delivery.state in COUNTED:
            sent[hour] += row.delivery.quantity
        elif row.delivery.state in STUCK or row.delivery.state == State.UNKNOWN:
            open_questions.add(hour)
    by_hour: dict[datetime, int] = dict.fromkeys(hours, 0)
    for at, total in totals.items():
        by_hour[hour_of(at)] = by_hour.get(hour_of(at), 0) + total
    differ = (hour for hour in sorted(hours) if sent[hour] != by_hour[hour] or hour in open_questions)
    return [Window(hour, hour + HOUR) for hour in differ]


def compare(
    database: Database,
    one: Comparison,
    totals: Mapping[datetime, int],
    minutes: Mapping[int, int],
    *,
    now: datetime | None = None,
) -> Compared:
    """Store what a comparison came to; returns what was not what it was taken for, and what nobody sent.

    `totals`: what was counted by hour; `minutes`: by delivery, what was counted in its minute, where the hour differs.
    """
    with database.write() as connection:
        at = now or moment(connection)
        found: list[Difference] = []
        for row in one.rows:
            if row.delivery.state not in _COMPARED:
                continue
            # Where the whole hour agrees, so does every delivery in it.
            total = minutes.get(row.delivery.id, row.delivery.quantity if row.delivery.state in COUNTED else None)
            if total is None:
                continue
            after = _observe(connection, row, total, at)
            if after.state != row.delivery.state and after.state in STUCK:
                found.append(Difference(row, row.delivery.state, after))
        surplus, is_deep = _surplus(one, totals, minutes), one.span.end - one.span.start > OFTEN
        lanes.compare(connection, one.lane.id, _next_turn(one, at), surplus=surplus, deep_at=at if is_deep else None)
        return Compared(found, surplus)


def _surplus(one: Comparison, totals: Mapping[datetime, int], minutes: Mapping[int, int]) -> int:
    """Return what was counted outside of every minute that belongs to a delivery."""
    inside = sum(
        minutes.get(row.delivery.id, row.delivery.quantity if row.delivery.state in COUNTED else 0) for row in one.rows
    )
    return sum(totals.values()) - inside


def _next_turn(one: Comparison, now: datetime) -> datetime | None:
    newest = max((row.delivery.event_at for row in one.rows), default=None)
    if newest is None or now - newest > DEEP:
        return None
    unsettled = any(row.delivery.state in {State.ACCEPTED, State.UNKNOWN, *STUCK} for row in one.rows)
    return now + (HOUR if unsettled or now - newest < OFTEN else timedelta(days=1))


def _observe(connection: sa.Connection, row: Row, total: int, at: datetime) -> Delivery:
    return _keep(connection, row, course.observed(row.delivery, total, at), at)


def _keep(connection: sa.Connection, row: Row, after: Delivery, at: datetime) -> Delivery:
    if after.state == State.ABSENT and row.is_final:
        after = course.expired(after, course.FINAL)
    if after == row.delivery or not deliveries.save(connection, row.delivery, after):
        return row.delivery
    if after.state == State.ABSENT:
        deliveries.add_generation(connection, row, at)
    if after.state == State.ACCEPTED:
        lanes.compare_soon(connection, row.lane.id, at + HOUR)
    return after
