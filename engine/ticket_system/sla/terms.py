"""What a clock runs under: by the rules, and by what its history tells. Pure.

The two questions that a policy answers are asked here and nowhere else in the replay, the explanation and the audit:
`TermsOf`, which calendar and which pauses; `promised`, how long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

from ticket_system.errors import PolicyError
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import DEFAULT_POLICY, NO_SLA, Policy


@dataclass(frozen=True, slots=True)
class Terms:
    """What one clock runs under."""

    #: The version of the rules; None: those built in.
    version: int | None
    policy: Policy
    calendar: Calendar
    #: Promised seconds of open time, by priority; one that is missing is not promised.
    seconds: Mapping[int, int]
    pausing: frozenset[str]


class Rules(Protocol):
    """Where the rules are: those in force, and those of the version that a clock started with."""

    def in_force(self) -> tuple[int | None, PolicyBook]:
        """Return what new promises are made by, and its version; None: the rules built in."""

    def of_version(self, version: int | None) -> PolicyBook:
        """Return the rules of a version."""


class OneBook(NamedTuple):
    """One book of policies for everything, as if it had always been in force."""

    book: PolicyBook
    version: int = 0

    def in_force(self) -> tuple[int | None, PolicyBook]:
        """Return the book."""
        return self.version, self.book

    def of_version(self, _version: int | None) -> PolicyBook:
        """Return the book."""
        return self.book


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


#: Tells what a clock runs under: its target, its policy, and the version of the rules; None: those built in.
TermsOf: TypeAlias = Callable[[str, str, int | None], Terms]


def terms_for(book: PolicyBook, version: int | None, policy: Policy, target: str) -> Terms:
    """Return what a policy of a book says of a target; of one it does not promise: around the clock, no seconds."""
    rule = policy.targets.get(target)
    calendar = book.calendar(policy, target)
    return Terms(version, policy, calendar, rule.seconds if rule else {}, rule.pausing if rule else frozenset())


def terms_of(book: PolicyBook, clock: Clock) -> Terms:
    """Return what a clock runs under by the rules that it started with; PolicyError when they know no such promise."""
    # The rules built in are one policy, which another program may have called by another name.
    named = (one for one in book.policies if clock.rules is None or one.name == clock.policy)
    policy = next(named, NO_SLA)
    if clock.target not in policy.targets:
        raise PolicyError(f"version {clock.rules} of the rules promises no {clock.target} under {clock.policy!r}")
    return terms_for(book, clock.rules, policy, clock.target)


def under(policy: Policy) -> TermsOf:
    """Every clock runs under this one policy."""
    book = PolicyBook((policy,))
    return lambda target, _policy, _rules: terms_for(book, None, policy, target)


BUILT_IN = under(DEFAULT_POLICY)


def promises(fact: Fact) -> dict[str, Any] | None:
    """Return what an event promises by target, in seconds, under rules that were put in force; else None."""
    found = known(fact.new if fact.kind == "created" else fact.detail).get("promises")
    return found if isinstance(found, dict) else None


def promised(fact: Fact, target: str, terms: Terms) -> timedelta | None:
    """Return what an event promises from its moment on; None where neither it nor the policy tells."""
    named = promises(fact)
    if named is not None:
        seconds = named.get(target)
        return timedelta(seconds=seconds) if isinstance(seconds, int) else None
    hours = known(fact.new if fact.kind == "created" else fact.detail).get("sla_hours")
    if hours is None and fact.kind == "priority":
        # Before details were kept, the hours stood in the note.
        words = (fact.note or "").split()
        hours = int(words[0]) if words and words[0].isdecimal() else None
    if hours is None and fact.kind != "created" and (fact.new or "").isdecimal():
        hours = terms.policy.hours.get(int(fact.new or ""))
    return timedelta(hours=hours) if isinstance(hours, int) else None


def reclassified(old: str | None, new: str | None) -> str:
    """Say which fields a ticket was given anew, as an event of the kind `classified` tells it."""
    before = known(old)
    return ", ".join(f"{what} {_said(before.get(what))} → {_said(value)}" for what, value in known(new).items())


def _said(value: Any) -> str:
    return " + ".join(map(str, value)) or "none" if isinstance(value, list) else str(value or "none")


def known(text: str | None) -> Mapping[str, Any]:
    """Read the JSON object of an event; whatever else stands there tells nothing."""
    # Most tickets are opened with one of a few: the same text over and over.
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    return MappingProxyType(found if isinstance(found, dict) else {})
