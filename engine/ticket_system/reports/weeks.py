"""When a report is due: local days, and the instants behind them. Pure.

A weekly report covers the seven local days before the day it is sent on, a daily one the day before. Its day is a
date in the organisation's zone, never an instant: a change of zone cannot make a second report of the same week.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ticket_system.reports.contents import DAILY, WEEKLY, WEEKS, Period

#: A report that could not be sent for so long is not sent any more, and shown as missed.
CATCH_UP = timedelta(hours=36)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Where and when an organisation reads its report: `weekday` 0 is Monday; `hour` by the clock on its wall."""

    zone: str
    weekday: int = 0
    hour: int = 9


class Hour(NamedTuple):
    """When one reader gets it on that day, by their own clock."""

    zone: str
    hour: int


def zone_of(name: str) -> ZoneInfo:
    """Return a zone by its name; UTC for one that the zone data of this machine no longer knows.

    Names are checked where they enter. A report at another hour is better than none, of this organisation or of all.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def instant(day: date, hour: int, zone: str) -> datetime:
    """Return the instant at which a clock on the wall shows that hour; where it is skipped, the one that follows it.

    An hour that comes twice is meant the first time.
    """
    return datetime.combine(day, time(hour), zone_of(zone)).astimezone(UTC)


def step(kind: str) -> timedelta:
    """Return how far apart two reports of a kind are."""
    return _DAY if kind == DAILY else 7 * _DAY


def period(kind: str, sent_on: date, zone: str) -> Period:
    """Return what the report of a day covers."""
    starts_on = sent_on - step(kind)
    return Period(
        zone=zone,
        starts_on=starts_on,
        ends_on=sent_on - _DAY,
        starts_at=instant(starts_on, 0, zone),
        ends_at=instant(sent_on, 0, zone),
    )


def week_ends(sent_on: date, zone: str) -> list[tuple[datetime, date]]:
    """Return when each of the last weeks was over, and the last day of it, the oldest first."""
    days = [sent_on - number * step(WEEKLY) for number in range(WEEKS - 1, -1, -1)]
    return [(instant(day, 0, zone), day - _DAY) for day in days]


def days_from(kind: str, timetable: Timetable, earliest: date) -> Iterator[date]:
    """Yield the days on which reports of a kind are sent, from that day on."""
    ahead = 0 if kind == DAILY else (timetable.weekday - earliest.weekday()) % 7
    day = earliest + ahead * _DAY
    while True:
        yield day
        day += step(kind)


def newest_day(kind: str, timetable: Timetable, now: datetime) -> date:
    """Return the last day of a report whose period is over."""
    today = now.astimezone(zone_of(timetable.zone)).date()
    return today if kind == DAILY else today - (today.weekday() - timetable.weekday) % 7 * _DAY


def due_at(sent_on: date, timetable: Timetable, reader: Hour | None = None) -> datetime:
    """Return when the report of a day goes to a reader: at their own hour, but not before the period is over."""
    zone, hour = reader or (timetable.zone, timetable.hour)
    return max(instant(sent_on, hour, zone), instant(sent_on, 0, timetable.zone))


def first_due(sent_on: date, timetable: Timetable, readers: Iterable[Hour]) -> datetime:
    """Return when the report of a day is made: when it is due for the first who gets it."""
    return min((due_at(sent_on, timetable, reader) for reader in readers), default=due_at(sent_on, timetable))


def next_day(
    kind: str,
    timetable: Timetable,
    readers: Iterable[Hour],
    *,
    since: datetime,
    after: date | None,
    owed: date | None = None,
) -> tuple[date, datetime]:
    """Return the next day on which a report is sent, and when.

    `since`: what was due before is nobody's business, but for the day that is `owed`. `after`: the day of the last
    report; no day is told of twice.
    """
    earliest = since.astimezone(zone_of(timetable.zone)).date() - 2 * _DAY
    if after is not None:
        earliest = max(earliest, after + step(kind))
    hours = list(readers)
    for day in days_from(kind, timetable, earliest):
        at = first_due(day, timetable, hours)
        if at >= since or day == owed:
            return day, at
    raise AssertionError("days never end")
