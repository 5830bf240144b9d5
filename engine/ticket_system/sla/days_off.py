"""Days off: public holidays by country, own dates, iCalendar files, merged. Pure, but for reading a file it is given.

Everything is worked out by the year, when first asked for.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import holidays
from dateutil.rrule import rrule, rruleset, rrulestr
from holidays.registry import COUNTRIES
from icalendar import Calendar as ICalendar

from ticket_system.errors import PolicyError, shown
from ticket_system.sla.mappings import Frozen

#: Every year on the same date, before its first mention too.
YEARLY = "yearly"
_LEAP_YEAR = 2000


@dataclass(frozen=True, order=True)
class DayOff:
    """One day off, or several in a row; once, every year, or by an iCalendar rule."""

    first: date
    name: str
    days: int = 1
    #: Empty for once, `yearly`, or what follows `RRULE:` in an iCalendar file.
    repeats: str = ""
    #: Beginnings that the rule names but that do not take place.
    but_not: tuple[date, ...] = ()

    @classmethod
    def every_year(cls, month: int, day: int, name: str) -> DayOff:
        """Return the same date of every year; 29 February is one of leap years only."""
        return cls(date(_LEAP_YEAR, month, day), name, repeats=YEARLY)

    def within(self, year: int) -> list[date]:
        """Return the days of a year that are off because of this."""
        days = (begins + timedelta(days=number) for begins in self._beginnings(year) for number in range(self.days))
        return [day for day in days if day.year == year]

    def _beginnings(self, year: int) -> list[date]:
        if not self.repeats:
            return [self.first]
        if self.repeats == YEARLY:
            leap_day = (self.first.month, self.first.day) == (2, 29)
            return [] if leap_day and not isleap(year) else [self.first.replace(year=year)]
        # A stretch that began last year may reach into this one.
        since, until = datetime(max(year - 1, 1), 1, 1), datetime(year, 12, 31)  # noqa: DTZ001 -- dates, not instants
        days = [at.date() for at in _rule(self.repeats, self.first).between(since, until, inc=True)]
        return [day for day in days if day not in self.but_not]


@dataclass(frozen=True)
class DaysOff:
    """Every day off of a calendar; called with a year, it returns that year's, with their names."""

    country: str | None = None
    subdivision: str | None = None
    own: tuple[DayOff, ...] = ()
    _years: dict[int, Mapping[date, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.country is not None:
            check_country(self.country, self.subdivision)
        elif self.subdivision is not None:
            raise PolicyError(f"subdivision: {shown(self.subdivision)} needs a country beside it")

    def __call__(self, year: int) -> Mapping[date, str]:
        """Return the days off of a year, with what they are called."""
        found = self._years.get(year)
        if found is None:
            # Two threads may both work it out; they come to the same.
            found = self._years[year] = Frozen(self._within(year))
        return found

    def _within(self, year: int) -> dict[date, str]:
        found: dict[date, str] = {}
        if self.country is not None:
            public = holidays.country_holidays(self.country, subdiv=self.subdivision, years=year, language="en_US")
            found |= {day: name for day, name in public.items() if day.year == year}
        for own in self.own:
            found |= dict.fromkeys(own.within(year), own.name)
        return found


def check_country(country: str, subdivision: str | None = None) -> None:
    """Raise PolicyError unless there are public holidays for this country, and for this part of it."""
    known = holidays.list_supported_countries(include_aliases=True)
    if country not in known:
        names = {names[0].lower(): names[1] for names in COUNTRIES.values()}
        close = [names[name] for name in get_close_matches(country.lower().replace(" ", ""), names, n=2, cutoff=0.7)]
        close += get_close_matches(country.upper(), known, n=2, cutoff=0.5)
        raise PolicyError(
            f"country: no public holidays are known for {shown(country)}; "
            f"expected a code such as DE or US{perhaps(close)}"
        )
    if subdivision is not None and subdivision not in known[country]:
        close = [part for part in known[country] if part.lower() == subdivision.lower()]
        close += get_close_matches(subdivision, known[country], n=3, cutoff=0.5)
        expected = f"one of {', '.join(sorted(known[country]))}" if known[country] else "none, it has no parts"
        raise PolicyError(
            f"subdivision: {shown(subdivision)} is not a part of {country}; expected {expected}{perhaps(close)}"
        )


def perhaps(close: Iterable[str]) -> str:
    """Return the end of a message that offers near misses, if there are any."""
    offered = list(dict.fromkeys(close))
    return f"; did you mean {' or '.join(offered)}?" if offered else ""


def read_icalendar(file: Path) -> tuple[DayOff, ...]:
    """Return the all-day events of an iCalendar file; events with a time of day are none (DTEND is the day after)."""
    try:
        parsed = ICalendar.from_ical(file.read_bytes())
        found = [day_off for event in parsed.walk("VEVENT") if (day_off := _day_off(event)) is not None]
    except OSError as error:
        near = get_close_matches(file.name, [one.name for one in file.parent.glob("*.ics")], n=3)
        raise PolicyError(f"icalendar: cannot read {file}: {error.strerror or error}{perhaps(near)}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PolicyError(f"icalendar: {file} is not an iCalendar file: {error}") from error
    if not found:
        raise PolicyError(f"icalendar: {file} holds no all-day event")
    return tuple(sorted(found))


def _day_off(event: Any) -> DayOff | None:
    begins = event["DTSTART"].dt
    if isinstance(begins, datetime) or str(event.get("STATUS", "")) == "CANCELLED":
        return None
    if "DTEND" in event:
        days = (event["DTEND"].dt - begins).days
    else:
        days = event["DURATION"].dt.days if "DURATION" in event else 1
    rule = event["RRULE"].to_ical().decode() if "RRULE" in event else ""
    if rule:
        _rule(rule, begins)  # raises ValueError unless it is one
    return DayOff(begins, str(event.get("SUMMARY", "day off")), max(days, 1), rule, _exceptions(event.get("EXDATE")))


def _exceptions(value: Any) -> tuple[date, ...]:
    lists = value if isinstance(value, list) else [value] if value is not None else []
    moments = [one.dt for many in lists for one in many.dts]
    return tuple(sorted(at.date() if isinstance(at, datetime) else at for at in moments))


def _rule(repeats: str, first: date) -> rrule | rruleset:
    return rrulestr(repeats, dtstart=datetime(first.year, first.month, first.day))  # noqa: DTZ001 -- dates, not instants
