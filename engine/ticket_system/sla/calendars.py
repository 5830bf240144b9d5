"""Open hours: which instants count. Adds, subtracts and measures working time, exact to the microsecond. Pure.

A calendar is a zone, hours per weekday and days off, all in wall-clock time (rules 1 to 4). What it means in UTC is a
table of open windows, built by local years when first needed: an answer costs about a microsecond, whether it lies
four hours ahead or two thousand. The one calendar that is always open needs no table.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ticket_system.errors import PolicyError
from ticket_system.sla.mappings import Frozen
from ticket_system.sla.windows import EPOCH, MICROSECOND, Table, instant, micros, midnight, spells

#: A calendar that stays closed for longer is a mistake (rule 3).
LONGEST_CLOSURE = timedelta(days=400)

#: The days off of a year, with what they are called.
DaysOffByYear = Callable[[int], Mapping[date, str]]

_NO_DAYS: Mapping[date, str] = Frozen()


def none_off(_year: int) -> Mapping[date, str]:
    """The days off of a calendar that has none."""
    return _NO_DAYS


class Hours(NamedTuple):
    """From when to when it is open, counted from midnight of the day it opens; an overnight shift ends beyond 24 h."""

    opens: timedelta
    closes: timedelta

    @classmethod
    def of(cls, opens: time, closes: time) -> Hours:
        """Read two times of day; the end belongs to the next day when it is not after the beginning."""
        start, end = (
            timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond)
            for at in (opens, closes)
        )
        return cls(start, end if end > start else end + timedelta(days=1))


class _Built:
    """What a calendar has worked out so far; a copy in another process begins anew."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Built], tuple[()]]:
        return _Built, ()


@dataclass(frozen=True)
class Calendar:
    """Open hours by weekday (0 is Monday) in a zone, except on days off. Safe to share between threads."""

    name: str
    zone: ZoneInfo
    hours: Mapping[int, tuple[Hours, ...]]
    #: An overnight shift belongs to the day it starts on.
    days_off: DaysOffByYear = none_off
    _built: _Built = field(default_factory=_Built, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hours", Frozen({day: tuple(shifts) for day, shifts in self.hours.items()}))

    def add(self, start: datetime, span: timedelta) -> datetime:
        """Return the earliest instant at which so much open time has passed since the start (rule 2).

        Used up exactly at closing time is closing time, not the next opening.
        """
        wanted = span // MICROSECOND
        if wanted <= 0:
            return self.subtract(start, -span) if wanted else start.astimezone(UTC)
        # What Table.open_before and Table.at do, written out: this is asked for every deadline there is.
        begin = (start - EPOCH) // MICROSECOND
        table = self._built.table
        if table is None or not table.safe_from <= begin < table.safe_until:
            table = self._covering(begin)
        index = bisect_right(table.opens, begin) - 1
        closes, after = table.closes[index], table.after
        target = after[index] + wanted if begin >= closes else after[index] - closes + begin + wanted
        while target > table.total:
            table, ahead = self._extended(table, later=True), table
            target += table.open_before(ahead.safe_from) - ahead.open_before(ahead.safe_from)
        index = bisect_left(table.after, target, index if after is table.after else 0)
        return EPOCH + (table.closes[index] - table.after[index] + target) * MICROSECOND

    def subtract(self, end: datetime, span: timedelta) -> datetime:
        """Return the latest instant from which so much open time passes until the end."""
        wanted = span // MICROSECOND
        if wanted <= 0:
            return self.add(end, -span) if wanted else end.astimezone(UTC)
        finish = micros(end)
        table = self._covering(finish)
        while table.open_before(finish) < wanted:
            table = self._extended(table, later=False)
        return instant(table.latest_at(table.open_before(finish) - wanted))

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Return the open time from start to end; negative when end lies before start."""
        first, last = micros(start), micros(end)
        self._covering(first)
        table = self._covering(last)
        return (table.open_before(last) - table.open_before(first)) * MICROSECOND

    def is_open(self, at: datetime) -> bool:
        """Tell whether the instant counts; opening time does, closing time does not."""
        looked = micros(at)
        table = self._covering(looked)
        return looked < table.closes[bisect_right(table.opens, looked) - 1]

    def next_opening(self, at: datetime) -> datetime:
        """Return the instant itself when it is open, else the next one that is."""
        looked = micros(at)
        table = self._covering(looked)
        while (index := bisect_right(table.closes, looked)) == len(table.opens):
            table = self._extended(table, later=True)
        return instant(max(looked, table.opens[index]))

    def windows(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Return the open windows from start to end, cut off there."""
        first, last = micros(start), micros(end)
        self._covering(first)
        table = self._covering(last)
        found = range(bisect_right(table.closes, first), bisect_left(table.opens, last) if first < last else 0)
        return [(instant(max(table.opens[one], first)), instant(min(table.closes[one], last))) for one in found]

    def hours_of(self, day: date) -> timedelta:
        """Return how long the hours of a local date are by the clock on the wall; nothing on a day off."""
        return (
            sum((closes - opens for opens, closes in self._shifts(day, self.days_off(day.year))), start=0) * MICROSECOND
        )

    def business_day(self) -> timedelta:
        """Return what "one business day" means here: the usual hours of an open weekday, the longer of two (rule 4)."""
        lengths = Counter(
            sum((shift.closes - shift.opens for shift in shifts), timedelta(0))
            for shifts in self.hours.values()
            if shifts
        )
        return max(lengths, key=lambda length: (lengths[length], length), default=timedelta(0))

    def check(self, since: datetime) -> None:
        """Raise PolicyError for a calendar that does not open within 400 days of an instant (rule 3)."""
        day = since.astimezone(self.zone).date()
        until = day + LONGEST_CLOSURE
        while day <= until:
            if self._shifts(day, self.days_off(day.year)):
                return
            day += timedelta(days=1)
        raise PolicyError(f"the calendar {self.name!r} has no open time within {LONGEST_CLOSURE.days} days")

    def _shifts(self, day: date, off: Mapping[date, str]) -> list[tuple[int, int]]:
        """Return the open hours of a local date as wall-clock microseconds since 1970."""
        shifts = self.hours.get(day.weekday(), ())
        if not shifts or day in off:
            return []
        start = midnight(day)
        return [(start + shift.opens // MICROSECOND, start + shift.closes // MICROSECOND) for shift in shifts]

    def _covering(self, looked: int) -> Table:
        """Return a table that reaches a year beyond the instant on either side."""
        table = self._built.table
        if table is not None and table.safe_from <= looked < table.safe_until:
            return table
        year = instant(looked).year
        return self._reaching(year - 1, year + 1)

    def _extended(self, table: Table, *, later: bool) -> Table:
        """Return a table that reaches twice as far, so that decades are not built year by year."""
        more = table.last_year - table.first_year + 1
        if later and table.last_year < MAXYEAR - 1:
            longer = self._reaching(table.first_year, min(table.last_year + more, MAXYEAR - 1))
        elif not later and table.first_year > MINYEAR + 1:
            longer = self._reaching(max(table.first_year - more, MINYEAR + 1), table.last_year)
        else:
            raise self._beyond()
        if longer.total == table.total:
            # At least three years more, and nothing open in them: what is asked for would never come.
            raise PolicyError(f"the calendar {self.name!r} has no open time in {more} years")
        return longer

    def _reaching(self, first: int, last: int) -> Table:
        if not MINYEAR < first <= last < MAXYEAR:
            raise self._beyond()
        with self._built.lock:
            table = self._built.table
            if table is None:
                windows = list(self._windows(first, last))
            else:
                first, last = min(first, table.first_year), max(last, table.last_year)
                if (first, last) == (table.first_year, table.last_year):
                    return table
                windows = [
                    *self._windows(first, table.first_year - 1),
                    *table.windows(),
                    *self._windows(table.last_year + 1, last),
                ]
            # Replaced as a whole: whoever looks meanwhile goes on with the old one.
            self._built.table = table = Table(first, last, windows)
            return table

    def _beyond(self) -> PolicyError:
        return PolicyError(f"the calendar {self.name!r} does not reach beyond the years {MINYEAR + 1} to {MAXYEAR - 1}")

    def _windows(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Build the open windows of local years in UTC, in order of the dates they belong to."""
        for year in range(first, last + 1):
            off, stretches = self.days_off(year), spells(self.zone, year)
            day, end = date(year, 1, 1), date(year + 1, 1, 1)
            while day < end:
                for opens, closes in self._shifts(day, off):
                    # What counts is what the clock on the wall shows: a missing hour never, a repeated one twice.
                    for spell in stretches:
                        start, stop = max(opens - spell.offset, spell.begins), min(closes - spell.offset, spell.ends)
                        if start < stop:
                            yield start, stop
                day += timedelta(days=1)


@dataclass(frozen=True)
class AroundTheClock(Calendar):
    """The calendar that is always open: its arithmetic is that of wall time."""

    name: str = "around the clock"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    hours: Mapping[int, tuple[Hours, ...]] = field(
        default_factory=lambda: dict.fromkeys(range(7), (Hours.of(time(), time()),))
    )

    def add(self, start: datetime, span: timedelta) -> datetime:  # noqa: D102
        return start.astimezone(UTC) + span

    def subtract(self, end: datetime, span: timedelta) -> datetime:  # noqa: D102
        return end.astimezone(UTC) - span

    def between(self, start: datetime, end: datetime) -> timedelta:  # noqa: D102
        return end.astimezone(UTC) - start.astimezone(UTC)

    def is_open(self, at: datetime) -> bool:  # noqa: ARG002, D102
        return True

    def next_opening(self, at: datetime) -> datetime:  # noqa: D102
        return at.astimezone(UTC)

    def windows(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:  # noqa: D102
        return [(start.astimezone(UTC), end.astimezone(UTC))] if start < end else []


AROUND_THE_CLOCK = AroundTheClock()
