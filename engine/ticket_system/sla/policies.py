"""shim until the real one lands"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar
from ticket_system.sla.clocks import RESOLUTION
from ticket_system.tickets import DEFAULT_SLA, Ticket


@dataclass(frozen=True)
class TargetRule:
    seconds: Mapping[int, int]
    calendar: str = "around the clock"
    pausing: frozenset[str] = frozenset({"on_hold"})


@dataclass(frozen=True)
class Policy:
    """A set of promises. The default one runs around the clock and pauses on hold."""

    name: str = "default"
    hours: Mapping[int, int] = field(default_factory=lambda: MappingProxyType(dict(DEFAULT_SLA)))
    pausing: frozenset[str] = frozenset({"on_hold"})
    reopen: str = "resume"
    without_response: str = "met"
    more: Mapping[str, TargetRule] = field(default_factory=dict)

    @property
    def targets(self) -> Mapping[str, TargetRule]:
        rule = TargetRule({p: h * 3600 for p, h in self.hours.items()}, pausing=self.pausing)
        return {RESOLUTION: rule} | dict(self.more)


DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class PolicyBook:
    policies: tuple[Policy, ...]
    calendars: Mapping[str, Calendar] = field(default_factory=lambda: {"around the clock": AROUND_THE_CLOCK})

    def pick(self, ticket: Ticket) -> Policy:
        return self.policies[0]

    def policy(self, name: str) -> Policy:
        return next(p for p in self.policies if p.name == name)


DEFAULT_BOOK = PolicyBook((DEFAULT_POLICY,))


def step_up(priority: int) -> int:
    """Return the next more urgent priority; 1 stays 1."""
    return max(1, priority - 1)
