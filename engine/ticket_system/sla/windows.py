"""Open windows in UTC, searched by bisection over the open time gone by. Pure.

Instants are whole microseconds since 1970, so that nothing is ever rounded and a comparison costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY = 86_400_000_000

_DAY_ZERO = date(1970, 1, 1)
#: Zones change their offset at most once in so long a time, but for a handful of oddities a century ago.
_LOOK_EVERY = timedelta(hours=12)
#: Local years begin up to a day off, and shifts end up to two days after they began.
_AROUND = timedelta(days=4)


def micros(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970."""
    return (at - EPOCH) // MICROSECOND


def instant(gone: int) -> datetime:
    """Return microseconds since 1970 as an instant in UTC."""
    return EPOCH + gone * MICROSECOND


def midnight(day: date) -> int:
    """Return the midnight that begins a date, read off a clock that never changes."""
    return (day - _DAY_ZERO).days * DAY


class Table:
    """The open windows of some years in order, with the open time before each."""

    __slots__ = ("after", "before", "closes", "first_year", "last_year", "opens", "safe_from", "safe_until", "total")

    def __init__(self, first_year: int, last_year: int, windows: Iterable[tuple[int, int]]) -> None:
        self.first_year, self.last_year = first_year, last_year
        #: Instants with a whole year of the table on either side.
        self.safe_from, self.safe_until = midnight(date(first_year + 1, 1, 1)), midnight(date(last_year, 1, 1))
        # An empty window stands before all others, so that every instant lies in or after one.
        ordered = [(beginning := midnight(date(first_year, 1, 1)) - 3 * DAY, beginning), *merged(windows)]
        self.opens = [opens for opens, _ in ordered]
        self.closes = [closes for _, closes in ordered]
        lengths = [closes - opens for opens, closes in ordered]
        self.after = list(accumulate(lengths))
        self.before = [after - length for after, length in zip(self.after, lengths, strict=True)]
        self.total = self.after[-1]

    def open_before(self, at: int) -> int:
        """Return the open time from the table's beginning to the instant."""
        index = bisect_right(self.opens, at) - 1
        closes = self.closes[index]
        return self.after[index] if at >= closes else self.after[index] - closes + at

    def at(self, gone: int) -> int:
        """Return the first instant by which so much open time has gone."""
        index = bisect_left(self.after, gone)
        return self.closes[index] - self.after[index] + gone

    def latest_at(self, gone: int) -> int:
        """Return the last instant by which no more open time has gone."""
        index = bisect_right(self.before, gone) - 1
        return self.opens[index] + gone - self.before[index]

    def windows(self) -> Iterator[tuple[int, int]]:
        """Return the windows, without the empty one in front."""
        return zip(self.opens[1:], self.closes[1:], strict=True)


class Spell(NamedTuple):
    """A stretch of time in which a zone keeps one offset."""

    begins: int
    ends: int
    offset: int


@lru_cache(maxsize=4096)
def spells(zone: ZoneInfo, year: int) -> tuple[Spell, ...]:
    """Cut a year and some days around it into stretches of one offset; all calendars of a zone share the answer."""
    return tuple(
        _spells(zone, datetime(year, 1, 1, tzinfo=UTC) - _AROUND, datetime(year + 1, 1, 1, tzinfo=UTC) + _AROUND)
    )


def _spells(zone: ZoneInfo, at: datetime, end: datetime) -> Iterator[Spell]:
    """A change is found by halving the time between two looks."""
    begins = at
    offset = _offset(zone, at)
    while at < end:
        later = at + _LOOK_EVERY
        if _offset(zone, later) != offset:
            low, high = at, later
            while high - low > MICROSECOND:
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            yield Spell(micros(begins), micros(high), offset)
            begins, offset, later = high, _offset(zone, high), high
        at = later
    yield Spell(micros(begins), micros(end), offset)


def merged(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put windows in order and join those that touch."""
    joined: list[tuple[int, int]] = []
    for opens, closes in sorted(windows):
        if joined and opens <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], closes)
        else:
            joined.append((opens, closes))
    return joined


def _offset(zone: ZoneInfo, at: datetime) -> int:
    return (at.astimezone(zone).utcoffset() or timedelta(0)) // MICROSECOND
