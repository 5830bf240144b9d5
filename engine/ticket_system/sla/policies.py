"""What is promised: how long, what pauses it, what an automatic escalation does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ticket_system.tickets import DEFAULT_SLA


@dataclass(frozen=True)
class Policy:
    """A set of promises. The default one runs around the clock and pauses on hold."""

    name: str = "default"
    #: Hours to resolution, by priority.
    hours: Mapping[int, int] = field(default_factory=lambda: MappingProxyType(dict(DEFAULT_SLA)))
    #: Statuses in which the resolution clock stands still (rule 12).
    pausing: frozenset[str] = frozenset({"on_hold"})


DEFAULT_POLICY = Policy()


def step_up(priority: int) -> int:
    """Return the next more urgent priority; 1 stays 1."""
    return max(1, priority - 1)
