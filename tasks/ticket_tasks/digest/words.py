"""How figures, instants and names are written for one reader: as their locale has it, in their zone.

Whatever a customer wrote is made one line, cut, and loses what turns text around: it can start no header, no paragraph
and no other direction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_interval, format_skeleton
from babel.numbers import format_currency, format_decimal, format_percent

from ticket_system.billing.money import units
from ticket_system.reports.readers import Reader
from ticket_system.reports.weeks import zone_of
from ticket_system.tickets import PRIORITY_LABELS
from ticket_tasks.letters import one_line

FALLBACK: Final = "en_GB"
LONGEST_NAME: Final = 60
LONGEST_TITLE: Final = 140
_MARK = "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
#: No script stacks more; beyond that they run over the lines around.
_STACKED = re.compile(f"({_MARK}{{3}}){_MARK}+")
_TURNS_AROUND = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Words:
    """The ways of one reader."""

    locale: Locale
    zone: ZoneInfo

    def number(self, value: float) -> str:
        """Write a count."""
        return format_decimal(value, locale=self.locale)

    def percent(self, share: float) -> str:
        """Write a share; what is not all of it is never written as if it were, nor what is something as nothing."""
        if share == 0 or 0.01 <= share <= 0.99 or share >= 1:  # noqa: PLR2004 - whole percents say enough
            return format_percent(share, locale=self.locale)
        tenths = min(max(round(share * 1000), 1), 999)
        return format_percent(tenths / 1000, locale=self.locale, format=_with_tenths(self.locale))

    def points(self, difference: float) -> str:
        """Write a difference of two shares, in points."""
        return format_decimal(round(difference, 1), format="#,##0.#", locale=self.locale)

    def money(self, amount: int, currency: str) -> str:
        """Write an amount that is given in the smallest unit of its currency."""
        return format_currency(units(amount, currency), currency.upper(), locale=self.locale)

    def day(self, day: date) -> str:
        """Write a date without its year."""
        return format_skeleton("MMMd", day, locale=self.locale)

    def period(self, first: date, last: date) -> str:
        """Write a stretch of days, or one day."""
        if first == last:
            return format_date(first, format="full", locale=self.locale)
        return format_interval(first, last, skeleton="yMMMd", locale=self.locale)

    def moment(self, at: datetime) -> str:
        """Write an instant by the reader's clock."""
        local = at.astimezone(self.zone)
        return (
            f"{format_skeleton('MMMEd', local, locale=self.locale)}, {format_skeleton('Hm', local, locale=self.locale)}"
        )

    def span(self, seconds: float) -> str:
        """Write a length of time by the clock on the wall, in its two largest units."""
        days, rest = divmod(max(seconds, 0), _DAY)
        hours, minutes = int(rest // _HOUR), int(rest % _HOUR // _MINUTE)
        if days:
            return f"{self.number(int(days))} d" + (f" {hours} h" if hours else "")
        return self.working(rest) if hours or minutes else "under a minute"

    def working(self, seconds: float) -> str:
        """Write a length of working time: hours and minutes, because a working day is not a day."""
        minutes = int(max(seconds, 0) // _MINUTE)
        hours, minutes = divmod(minutes, 60)
        if not hours:
            return f"{minutes} min" if minutes else "under a minute"
        return f"{self.number(hours)} h" + (f" {minutes} min" if minutes else "")


def words_of(reader: Reader) -> Words:
    """Return the ways of a reader; a locale that nobody knows is that of its language, or English."""
    return Words(_locale(reader.locale), zone_of(reader.zone))


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    """Return what somebody wrote as one line that says nothing but itself."""
    line = one_line(_STACKED.sub(r"\1", _TURNS_AROUND.sub("", text)))
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def target(name: str) -> str:
    """Write the name of a target."""
    return plain(name).replace("_", " ")


def priority(number: int) -> str:
    """Write a priority."""
    return PRIORITY_LABELS.get(number, str(number))


def plural(count: int, one: str, many: str) -> str:
    """Return the word that fits a count."""
    return one if count == 1 else many


def _locale(name: str) -> Locale:
    for known in (name, name.partition("_")[0], FALLBACK):
        try:
            return Locale.parse(known)
        except (UnknownLocaleError, ValueError):
            continue
    raise AssertionError("the fallback is known")


def _with_tenths(locale: Locale) -> str:
    pattern: str = locale.percent_formats[None].pattern
    return pattern.replace("#,##0", "#,##0.0").replace("#,##,##0", "#,##,##0.0")
