"""What a clock runs under, as far as a replay of its history has to know. Pure.

The two questions that a policy answers are asked here and nowhere else in the replay, the explanation and the audit:
`under`, which calendar and which pauses; `promised`, how long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

from ticket_system.sla.policies import DEFAULT_POLICY, Policy


class OpenHours(Protocol):
    """The part of a calendar that an explanation reads."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def zone(self) -> tzinfo:
        """Whose wall clock it follows."""

    @property
    def days_off(self) -> Callable[[int], Mapping[Any, str]]:
        """The local dates off in a year, with what they are called."""

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Return the open time from start to end."""

    def windows(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Return the open windows from start to end, cut off there."""


@dataclass(frozen=True)
class Terms:
    """The policy of one clock: its calendar (None: around the clock), its pauses, its promises by priority."""

    policy: str
    calendar: OpenHours | None
    pausing: frozenset[str]
    hours: Mapping[int, int]


class Fact(NamedTuple):
    """One event of a ticket, as far as it says anything about clocks."""

    id: int
    at: datetime
    kind: str
    actor: str
    old: str | None
    new: str | None
    note: str | None
    key: str | None
    detail: str | None
    #: When it was written down; of a breach only, which was found then. Elsewhere it decides nothing.
    recorded_at: datetime | None = None


#: Tells the terms of the clock of a target that this event started.
TermsOf: TypeAlias = Callable[[str, Fact], Terms]


def under(policy: Policy) -> TermsOf:
    """Every clock runs under this one policy, around the clock."""
    terms = Terms(policy.name, None, policy.pausing, policy.hours)
    return lambda _target, _started: terms


BUILT_IN = under(DEFAULT_POLICY)


def promised(fact: Fact, _target: str, terms: Terms) -> timedelta | None:
    """Return what an event promises from its moment on; None where neither it nor the policy tells."""
    hours = known(fact.new if fact.kind == "created" else fact.detail).get("sla_hours")
    if hours is None and fact.kind == "priority":
        # Before details were kept, the hours stood in the note.
        words = (fact.note or "").split()
        hours = int(words[0]) if words and words[0].isdecimal() else None
    if hours is None and fact.kind != "created" and (fact.new or "").isdecimal():
        hours = terms.hours.get(int(fact.new or ""))
    return timedelta(hours=hours) if isinstance(hours, int) else None


@lru_cache(maxsize=1024)
def known(text: str | None) -> Mapping[str, Any]:
    """Read the JSON object of an event; whatever else stands there tells nothing."""
    # Most tickets are opened with one of a few: the same text over and over.
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    return MappingProxyType(found if isinstance(found, dict) else {})
