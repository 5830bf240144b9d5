"""The arithmetic of reports: backlogs of the past, percentiles, projections, who comes first, and changes. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ticket_system.reports.contents import Age, Kept, Load, Totals
from ticket_system.reports.weeks import zone_of

#: Half of them, and nine of ten.
SHARES = (50, 90)
#: The first whole day of each age.
AGES = (0, 3, 8, 31)
_A_WEEK = timedelta(days=7)
_INSTANT = timedelta(microseconds=1)
#: A period that began less than so long ago says nothing of its end.
_HARDLY_BEGUN = timedelta(days=1)


class Standing(NamedTuple):
    """Active tickets of one agent and age that were created in one bucket."""

    assignee: str | None
    age: int
    created: int
    tickets: int


class Crossing(NamedTuple):
    """Moves between active and done, by the bucket of the ticket's creation and that of the move."""

    created: int
    moved: int
    #: Whether they became active again.
    returned: bool
    moves: int


class Counted(NamedTuple):
    """Promises that came to one end, of one target, priority and agent."""

    target: str
    priority: int
    assignee: str | None
    #: `met`, `breached`, `waived` or `cancelled`.
    end: str
    promises: int


class Happened:
    """What was counted by buckets between instants, in their order, asked for any stretch between two of them."""

    def __init__(
        self,
        instants: Sequence[datetime],
        opened: Mapping[int, int],
        crossings: Iterable[Crossing],
        standing: Iterable[Standing],
    ) -> None:
        self._instants, self._opened = instants, opened
        self._crossings, self._standing = list(crossings), list(standing)

    def opened(self, since: datetime, until: datetime) -> int:
        """Return how many tickets were created from `since` up to, and not including, `until`."""
        first, last = self._after(since), self._after(until)
        return sum(number for bucket, number in self._opened.items() if first <= bucket < last)

    def reopened(self, since: datetime, until: datetime) -> int:
        """Return how many moves took a ticket that was done back."""
        first, last = self._after(since), self._after(until)
        return sum(one.moves for one in self._crossings if one.returned and first <= one.moved < last)

    def backlog(self, at: datetime) -> int:
        """Return how many tickets were active at an instant: those of now, with all that happened since undone."""
        bound = self._after(at)
        now = sum(one.tickets for one in self._standing if one.created < bound)
        since = (one for one in self._crossings if one.created < bound <= one.moved)
        # A history that was never whole (an import) must not come to less than nothing.
        return max(now - sum(one.moves if one.returned else -one.moves for one in since), 0)

    def _after(self, at: datetime) -> int:
        """Return the bucket that begins at an instant."""
        return bisect_right(self._instants, at)


def week_before(ends_at: datetime, zone: str) -> datetime:
    """Return the instant seven local days earlier, at the same time on the wall."""
    return (ends_at.astimezone(zone_of(zone)) - _A_WEEK).astimezone(ends_at.tzinfo)


def age_bounds(as_of: datetime) -> list[datetime]:
    """Return the instants between ages, oldest first: what is created before one has that many whole days, or more."""
    return [as_of - timedelta(days=days) + _INSTANT for days in reversed(AGES[1:])]


def ages(standing: Iterable[Standing]) -> tuple[Age, ...]:
    """Return active tickets by age, the youngest first."""
    found: Counter[int] = Counter()
    for one in standing:
        found[len(AGES) - 1 - one.age] += one.tickets
    ends = [days - 1 for days in AGES[1:]]
    return tuple(
        Age(from_days=first, to_days=last, tickets=found[number])
        for number, (first, last) in enumerate(zip(AGES, [*ends, None], strict=True))
    )


def kept(counted: Iterable[Counted], targets: Sequence[str]) -> tuple[Kept, ...]:
    """Return how each target was kept at each priority, in the order of these targets."""
    found: dict[tuple[str, int], Counter[str]] = {}
    for one in counted:
        found.setdefault((one.target, one.priority), Counter())[one.end] += one.promises
    order = sorted(found, key=lambda key: (targets.index(key[0]), key[1]))
    return tuple(Kept(target=target, priority=priority, **found[target, priority]) for target, priority in order)


def loads(
    standing: Iterable[Standing], solved: Mapping[str | None, int], counted: Iterable[Counted]
) -> tuple[Load, ...]:
    """Return what each agent has, the busiest first; None is what nobody has."""
    opened: Counter[str | None] = Counter()
    broken: Counter[str | None] = Counter()
    for one in standing:
        opened[one.assignee] += one.tickets
    for count in counted:
        broken[count.assignee] += count.promises if count.end == "breached" else 0
    agents = opened.keys() | solved.keys() | {agent for agent, number in broken.items() if number}
    found = [Load(agent=one, open=opened[one], solved=solved.get(one, 0), breached=broken[one]) for one in agents]
    return tuple(sorted(found, key=lambda one: (-one.open, -one.solved, -one.breached, one.agent or "")))


def attainment(totals: Totals) -> float | None:
    """Return met ÷ (met + breached); None where nothing was decided (24)."""
    decided = totals.met + totals.breached
    return totals.met / decided if decided else None


def percent(now: int, before: int) -> float | None:
    """Return by how many percent a count changed; None where it was nothing."""
    return 100 * (now - before) / before if before else None


def points(now: float | None, before: float | None) -> float | None:
    """Return by how many percentage points a rate changed; None where one of them is missing."""
    return None if now is None or before is None else 100 * (now - before)


def percentile(values: Mapping[int, float], count: int, share: int) -> float:
    """Interpolate between the two values, by their places, around that share of so many sorted ones."""
    lower, rest = divmod((count - 1) * share, 100)
    return values[lower] + (values[lower + 1] - values[lower]) * rest / 100 if rest else values[lower]


def projected(used: int, starts_at: datetime, ends_at: datetime | None, now: datetime) -> int | None:
    """Return what usage comes to by the end of its period at this pace; None: it has no end, or has hardly begun."""
    gone = now - starts_at
    if ends_at is None or gone < _HARDLY_BEGUN:
        return None
    return round(used * ((ends_at - starts_at) / min(gone, ends_at - starts_at)))
