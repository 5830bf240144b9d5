"""Which policy agrees best with recorded verdicts: the candidates, and the hours that fit each of them. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import time, timedelta
from itertools import product
from math import ceil
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.benchmarks.incident_log import AWAITING, Course, End, Incident, Reading, Start, course, used
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar, Hours
from ticket_system.sla.days_off import DaysOff

ENDS: tuple[End, ...] = ("Resolved, resume", "Resolved, restart", "Resolved, first close", "Closed")
STARTS: tuple[Start, ...] = ("opened_at", "sys_created_at", "first event")
PAUSES = {
    "all Awaiting": frozenset(AWAITING),
    "Awaiting User Info": frozenset(AWAITING[:1]),
    "all but Awaiting Problem": frozenset(AWAITING) - {"Awaiting Problem"},
    "none": frozenset[str](),
}
_PLACES = (
    ("Europe/Lisbon", "PT"), ("Europe/Berlin", "DE"), ("America/New_York", "US"), ("America/Sao_Paulo", "BR"),
    ("Asia/Kolkata", "IN"),
)  # fmt: skip
_SHIFTS = ((8, 17), (9, 17), (9, 18), (8, 18), (8, 20), (7, 19), (0, 0))
_WEEKS = {"Mon-Fri": range(5), "Mon-Sat": range(6)}
HOUR = timedelta(hours=1)


class Office(NamedTuple):
    """A calendar, by the clock of the log; and what it is called."""

    calendar: Calendar
    hours: str
    zone: str
    days_off: str


class Candidate(NamedTuple):
    """A policy, but for its hours."""

    office: Office
    reading: Reading
    pausing: str


def offices() -> Iterator[Office]:
    """Return the calendars that are tried. The log's times are local to each zone: zones differ by their summer time."""
    yield Office(AROUND_THE_CLOCK, "around the clock", "-", "-")
    for (zone, country), (opens, closes), (week, days) in product(_PLACES, _SHIFTS, _WEEKS.items()):
        shift = Hours.of(time(opens), time(closes))
        hours = f"{week} {opens:02}-{closes or 24:02}"
        for named, days_off in (("none", DaysOff()), (country, DaysOff(country=country))):
            calendar = Calendar(hours, ZoneInfo(zone), dict.fromkeys(days, (shift,)), days_off)
            yield Office(calendar, hours, zone, named)


class Fit(NamedTuple):
    """Hours that agree best with some verdicts; any from `low` to `high` would agree as well (None: no bound)."""

    hours: int
    low: int | None
    high: int | None
    right: int

    @property
    def as_good(self) -> str:
        """Return the span for people."""
        if self.low is None:
            return "any" if self.high is None else f"up to {self.high}"
        return f"{self.low} and more" if self.high is None else f"{self.low} to {self.high}"


def best_hours(judged: Iterable[tuple[float, bool]]) -> Fit:
    """Fit a target in whole hours to (hours used, made it); of equally good ones the middle of the widest span."""
    judged = list(judged)
    made = sorted(hours for hours, good in judged if good)
    missed = sorted(hours for hours, good in judged if not good)
    # Only here does the number of right verdicts change.
    steps = sorted({1} | {max(ceil(hours), 1) for hours, _ in judged})
    rights = [bisect_right(made, step) + len(missed) - bisect_right(missed, step) for step in steps]
    spans: list[Fit] = []
    best = max(rights)
    for number, right in enumerate(rights):
        if right != best:
            continue
        goes_on = number > 0 and rights[number - 1] == best
        low = spans.pop().low if goes_on else steps[number] if number else None
        high = steps[number + 1] - 1 if number + 1 < len(steps) else None
        spans.append(Fit(((low or 1) + (high or steps[-1])) // 2, low, high, right))
    return max(spans, key=lambda fit: (fit.high or steps[-1]) - (fit.low or 1))


def balanced(pairs: Iterable[tuple[bool, bool]]) -> float | None:
    """Return the mean of the shares of true and of false that were told right; None where there is one kind only."""
    pairs = list(pairs)
    shares = []
    for kind in (True, False):
        told = [ours for theirs, ours in pairs if theirs is kind]
        if not told:
            return None
        shares.append(sum(ours is kind for ours in told) / len(told))
    return sum(shares) / 2


def separation(true: Iterable[float], false: Iterable[float]) -> float | None:
    """Return how often a figure is higher where the verdict is false: 1 always, 0 never, a half tells nothing."""
    ordered, missed = sorted(true), list(false)
    if not ordered or not missed:
        return None
    below = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in missed)
    return below / 2 / len(ordered) / len(missed)


@dataclass(frozen=True)
class Result:
    """A candidate with the hours that fit the even half best, and how it does on both."""

    candidate: Candidate
    fits: dict[int, Fit]
    right_even: int
    right_odd: int


class Bench:
    """The incidents as each zone reads them, and what is counted only once."""

    def __init__(self, by_zone: dict[str, list[Incident]]) -> None:
        self._by_zone = by_zone
        self._counted: dict[tuple[Course, Office], float] = {}
        self._courses: dict[tuple[str, Reading], list[Course]] = {}

    def incidents(self, office: Office) -> list[Incident]:
        """Return the incidents with their times local to a calendar's zone."""
        return self._by_zone[office.calendar.zone.key]

    def hours(self, candidate: Candidate) -> list[float]:
        """Return the hours that each incident took, by the engine's clock."""
        office, zone = candidate.office, candidate.office.calendar.zone.key
        courses = self._courses.get((zone, candidate.reading))
        if courses is None:
            courses = [course(incident, candidate.reading) for incident in self._by_zone[zone]]
            self._courses[zone, candidate.reading] = courses
        counted = []
        for happened in courses:
            known = self._counted.get((happened, office))
            if known is None:
                known = self._counted[happened, office] = used(happened, office.calendar) / HOUR
            counted.append(known)
        return counted

    def forget(self) -> None:
        """Let go of what was counted by a calendar that is done with."""
        self._counted.clear()

    def fitted(self, candidate: Candidate) -> Result:
        """Fit the hours of each priority to the even half."""
        judged: dict[int, list[tuple[float, bool, bool]]] = {}
        for incident, hours in zip(self.incidents(candidate.office), self.hours(candidate), strict=True):
            judged.setdefault(incident.priority, []).append((hours, incident.made_sla, incident.is_even))
        fits, even, odd = {}, 0, 0
        for priority, all_of in sorted(judged.items()):
            # A priority of which the even half has none is not promised anything that could be known.
            fit = best_hours([(hours, made) for hours, made, is_even in all_of if is_even] or [(1, True)])
            fits[priority] = fit
            right = [((hours <= fit.hours) is made, is_even) for hours, made, is_even in all_of]
            even += sum(good for good, is_even in right if is_even)
            odd += sum(good for good, is_even in right if not is_even)
        return Result(candidate, fits, even, odd)


def search(bench: Bench, progress: Callable[[int, int], None] | None = None) -> list[Result]:
    """Fit every candidate; the best on the even half first, of equal ones the simplest, as they are listed above."""
    found: list[Result] = []
    every = list(offices())
    for number, office in enumerate(every):
        for end, start, (named, pausing) in product(ENDS, STARTS, PAUSES.items()):
            found.append(bench.fitted(Candidate(office, Reading(start, pausing, end), named)))
        bench.forget()
        if progress:
            progress(number + 1, len(every))
    found.sort(key=lambda result: -result.right_even)
    return found


def zones() -> list[str]:
    """Return the zones in which the log has to be read."""
    return list(dict.fromkeys(office.calendar.zone.key for office in offices()))
