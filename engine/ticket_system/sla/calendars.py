"""Open hours: which instants count. Adds, subtracts and measures working time, exact to the microsecond. Pure.

A calendar is a zone, hours per weekday and days off, all in wall-clock time (rules 1 to 4). What it means in UTC is a
table of open windows, built a local year at a time when first needed, and searched by bisection over the open time gone
by: an answer costs about a microsecond, whether it lies four hours ahead or two thousand.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ticket_system.errors import PolicyError

#: A calendar that stays closed for longer is a mistake (rule 3).
LONGEST_CLOSURE = timedelta(days=400)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ZERO = date(1970, 1, 1)
_DAY = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
#: Zones change their offset at most once in so long a time, but for a handful of oddities a century ago.
_LOOK_EVERY = timedelta(hours=6)

DaysOff = Callable[[int], Mapping[date, str]]


def _none_off(_year: int) -> Mapping[date, str]:
    return MappingProxyType({})


class Hours(NamedTuple):
    """From when to when it is open, counted from midnight of the day it opens; an overnight shift ends beyond 24 h."""

    opens: timedelta
    closes: timedelta

    @classmethod
    def of(cls, opens: time, closes: time) -> Hours:
        """Read two times of day; the end belongs to the next day when it is not after the beginning."""
        start, end = _since_midnight(opens), _since_midnight(closes)
        return cls(start, end if end > start else end + timedelta(days=1))


@dataclass(frozen=True)
class Calendar:
    """Open hours by weekday (0 is Monday) in a zone, except on days off. Safe to share between threads."""

    name: str
    zone: ZoneInfo
    hours: Mapping[int, tuple[Hours, ...]]
    #: Days off of a year, with what they are called; an overnight shift belongs to the day it starts on.
    days_off: DaysOff = field(default=_none_off, compare=False)
    _built: _Built = field(default_factory=lambda: _Built(), init=False, repr=False, compare=False)

    def add(self, start: datetime, span: timedelta) -> datetime:
        """Return the earliest instant at which so much open time has passed since the start (rule 2).

        Used up exactly at closing time is closing time, not the next opening.
        """
        if not span:
            return start
        begin, wanted = _micros(start), span // _MICROSECOND
        table = self._covering(begin)
        target = table.open_before(begin) + wanted
        while target > table.total:
            table = self._extended(table.last_year + 1)
        return _instant(table.at(target))

    def subtract(self, end: datetime, span: timedelta) -> datetime:
        """Return the latest instant from which so much open time passes until the end."""
        if not span:
            return end
        finish, wanted = _micros(end), span // _MICROSECOND
        table = self._covering(finish)
        while table.open_before(finish) < wanted:
            table = self._extended(table.first_year - 1)
        return _instant(table.latest_at(table.open_before(finish) - wanted))

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Return the open time from start to end; negative when end lies before start."""
        first, last = _micros(start), _micros(end)
        self._covering(first)
        table = self._covering(last)
        return (table.open_before(last) - table.open_before(first)) * _MICROSECOND

    def is_open(self, at: datetime) -> bool:
        """Tell whether the instant counts; opening time does, closing time does not."""
        instant = _micros(at)
        table = self._covering(instant)
        index = bisect_right(table.opens, instant) - 1
        return index >= 0 and instant < table.closes[index]

    def next_opening(self, at: datetime) -> datetime:
        """Return the instant itself when it is open, else the next one that is."""
        instant = _micros(at)
        table = self._covering(instant)
        index = bisect_right(table.closes, instant)
        while index == len(table.opens):
            table = self._extended(table.last_year + 1)
            index = bisect_right(table.closes, instant)
        return _instant(max(instant, table.opens[index]))

    def windows(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Return the open windows from start to end, cut off there."""
        first, last = _micros(start), _micros(end)
        self._covering(first)
        table = self._covering(last)
        found = range(bisect_right(table.closes, first), bisect_left(table.opens, last))
        cut = ((max(table.opens[index], first), min(table.closes[index], last)) for index in found)
        return [(_instant(opens), _instant(closes)) for opens, closes in cut]

    def hours_of(self, day: date) -> timedelta:
        """Return how long it is open on a local date: what "one business day" means there (rule 4)."""
        return (
            sum((closes - opens for opens, closes in self._shifts(day, self.days_off(day.year))), start=0)
            * _MICROSECOND
        )

    def check(self, since: datetime) -> None:
        """Raise PolicyError for a calendar that does not open within 400 days of an instant (rule 3)."""
        until = since.astimezone(self.zone).date() + LONGEST_CLOSURE
        day = since.astimezone(self.zone).date()
        while day <= until:
            if self._shifts(day, self.days_off(day.year)):
                return
            day += timedelta(days=1)
        raise PolicyError(f"the calendar {self.name!r} has no open time within {LONGEST_CLOSURE.days} days")

    def _shifts(self, day: date, off: Mapping[date, str]) -> list[tuple[int, int]]:
        """Return the open hours of a local date as wall-clock microseconds since 1970."""
        if day in off:
            return []
        midnight = (day - _DAY_ZERO).days * _DAY
        return [
            (midnight + shift.opens // _MICROSECOND, midnight + shift.closes // _MICROSECOND)
            for shift in self.hours.get(day.weekday(), ())
        ]

    def _covering(self, instant: int) -> _Table:
        """Return a table that reaches a year beyond the instant on either side."""
        table = self._built.table
        if table is not None and table.safe_from <= instant < table.safe_until:
            return table
        year = _instant(instant).year
        return self._extended(year - 1, year + 1)

    def _extended(self, *years: int) -> _Table:
        with self._built.lock:
            table = self._built.table
            first, last = min(years), max(years)
            if table is not None:
                first, last = min(first, table.first_year), max(last, table.last_year)
                if (first, last) == (table.first_year, table.last_year):
                    return table
            if not MINYEAR < first <= last < MAXYEAR:
                raise PolicyError(f"the calendar {self.name!r} does not reach beyond the years 2 to 9998")
            if table is not None and first == table.first_year:
                windows = [*zip(table.opens, table.closes, strict=True), *self._windows(table.last_year + 1, last)]
            else:
                windows = list(self._windows(first, last))
            # Replaced as a whole: whoever looks meanwhile goes on with the old one.
            self._built.table = table = _Table(first, last, _merged(windows))
            return table

    def _windows(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Build the open windows of local years in UTC, in order of the dates they belong to."""
        spells = list(_spells(self.zone, first, last))
        for year in range(first, last + 1):
            off = self.days_off(year)
            mine = [
                spell
                for spell in spells
                if spell.ends >= _new_year(year) - 3 * _DAY and spell.begins <= _new_year(year + 1) + 3 * _DAY
            ]
            day, end = date(year, 1, 1), date(year + 1, 1, 1)
            while day < end:
                for opens, closes in self._shifts(day, off):
                    # An instant counts when its wall clock shows open hours: a missing hour counts never, a repeated one twice.
                    for spell in mine:
                        start, stop = max(opens - spell.offset, spell.begins), min(closes - spell.offset, spell.ends)
                        if start < stop:
                            yield start, stop
                day += timedelta(days=1)


class _Spell(NamedTuple):
    """A stretch of time in which a zone keeps one offset."""

    begins: int
    ends: int
    offset: int


class _Built:
    """What a calendar has worked out so far."""

    def __init__(self) -> None:
        self.table: _Table | None = None
        self.lock = threading.Lock()


class _Table:
    """Open windows in order, with the open time before each."""

    def __init__(self, first_year: int, last_year: int, windows: list[tuple[int, int]]) -> None:
        self.first_year, self.last_year = first_year, last_year
        #: Instants with a whole year of the table on either side.
        self.safe_from, self.safe_until = _new_year(first_year + 1), _new_year(last_year)
        self.opens = [opens for opens, _ in windows]
        self.closes = [closes for _, closes in windows]
        lengths = [closes - opens for opens, closes in windows]
        self.after = list(accumulate(lengths))
        self.before = [after - length for after, length in zip(self.after, lengths, strict=True)]
        self.total = self.after[-1] if windows else 0

    def open_before(self, instant: int) -> int:
        """Return the open time from the table's beginning to the instant."""
        index = bisect_right(self.opens, instant) - 1
        return self.before[index] + min(instant, self.closes[index]) - self.opens[index] if index >= 0 else 0

    def at(self, gone: int) -> int:
        """Return the first instant by which so much open time has gone."""
        index = bisect_left(self.after, gone)
        return self.opens[index] + gone - self.before[index]

    def latest_at(self, gone: int) -> int:
        """Return the last instant by which no more open time has gone."""
        index = bisect_right(self.before, gone) - 1
        return self.opens[index] + gone - self.before[index]


def _merged(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put windows in order and join those that touch."""
    joined: list[tuple[int, int]] = []
    for opens, closes in sorted(windows):
        if joined and opens <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], closes)
        else:
            joined.append((opens, closes))
    return joined


def _spells(zone: ZoneInfo, first: int, last: int) -> Iterator[_Spell]:
    """Cut the years into stretches of one offset; a change is found by halving the time between two looks."""
    begins = at = datetime(first - 1, 12, 1, tzinfo=UTC)
    end = datetime(last + 1, 2, 1, tzinfo=UTC)
    offset = _offset(zone, at)
    while at < end:
        later = at + _LOOK_EVERY
        if _offset(zone, later) != offset:
            low, high = at, later
            while high - low > _MICROSECOND:
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            yield _Spell(_micros(begins), _micros(high), offset)
            begins, offset, later = high, _offset(zone, high), high
        at = later
    yield _Spell(_micros(begins), _micros(end), offset)


def _offset(zone: ZoneInfo, at: datetime) -> int:
    return (at.astimezone(zone).utcoffset() or timedelta(0)) // _MICROSECOND


def _new_year(year: int) -> int:
    return (date(year, 1, 1) - _DAY_ZERO).days * _DAY


def _micros(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _since_midnight(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond)


class _AroundTheClock(Calendar):
    """Always open."""

    def add(self, start: datetime, span: timedelta) -> datetime:
        return start + span

    def between(self, start: datetime, end: datetime) -> timedelta:
        return end - start


AROUND_THE_CLOCK = _AroundTheClock("around the clock", ZoneInfo("UTC"), {})
