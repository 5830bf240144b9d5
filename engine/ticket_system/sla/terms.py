"""What a clock runs under, as far as a replay of its history has to know. Pure.

The two questions that a policy answers are asked here and nowhere else in the replay, the explanation and the audit:
`TermsOf`, which calendar and which pauses; `promised`, how long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from ticket_system.sla.calendars import Calendar
from ticket_system.sla.policies import DEFAULT_POLICY, Policy


@dataclass(frozen=True)
class Terms:
    """The policy of one clock: its calendar (None: around the clock), its pauses, its promises by priority."""

    policy: str
    calendar: Calendar | None
    pausing: frozenset[str]
    hours: Mapping[int, int]
    reopen: str = "resume"
    without_response: str = "met"


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


def under(policy: Policy) -> TermsOf:
    """Every clock runs under this one policy, around the clock."""
    terms = Terms(policy.name, None, policy.pausing, policy.hours, policy.reopen, policy.without_response)
    return lambda _target, _policy, _rules: terms


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
        hours = terms.hours.get(int(fact.new or ""))
    return timedelta(hours=hours) if isinstance(hours, int) else None


def known(text: str | None) -> Mapping[str, Any]:
    """Read the JSON object of an event; whatever else stands there tells nothing."""
    # Most tickets are opened with one of a few: the same text over and over.
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    return MappingProxyType(found if isinstance(found, dict) else {})
