"""What is promised: how long, on which calendar, what pauses it, when it warns, who is called, and to whom it applies.

Plain values that nobody changes: they compare and hash by what they say. Numbers in brackets are rules. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from ticket_system.sla.calendars import AROUND_THE_CLOCK
from ticket_system.sla.clocks import NEXT_RESPONSE, RESOLUTION
from ticket_system.sla.mappings import Frozen
from ticket_system.tickets import DEFAULT_SLA, Ticket

ON_HOLD = frozenset({"on_hold"})
#: Whoever has the ticket; the desk while nobody has it.
ASSIGNEE_OR_DESK = "assignee-or-desk"
#: Recipients that every ticket has; others are named in the file, and known to whoever delivers.
BUILT_IN_RECIPIENTS = ("assignee", ASSIGNEE_OR_DESK, "desk", "group", "requester")

Reopen = Literal["resume", "restart", "first_close"]
WithoutResponse = Literal["met", "cancelled"]


def default_pausing(target: str) -> frozenset[str]:
    """Return what pauses a target unless the policy says otherwise: on hold, but never the first response (12)."""
    return ON_HOLD if target in {NEXT_RESPONSE, RESOLUTION} else frozenset()


@dataclass(frozen=True)
class TargetRule:
    """One promise: seconds of open time by priority, on a calendar, standing still in some statuses (4, 12).

    A priority that is missing has no such promise.
    """

    seconds: Mapping[int, int]
    calendar: str = AROUND_THE_CLOCK.name
    pausing: frozenset[str] = ON_HOLD

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", Frozen(self.seconds))

    def target(self, priority: int) -> timedelta | None:
        """Return what is promised to a priority; None when nothing is."""
        seconds = self.seconds.get(priority)
        return None if seconds is None else timedelta(seconds=seconds)


@dataclass(frozen=True)
class Warn:
    """A warning ahead of the due instant, in open time: at a share of the target gone, or so long before due (21)."""

    percent: int | None = None
    seconds_before: int | None = None
    notify: tuple[str, ...] = (ASSIGNEE_OR_DESK,)
    #: For these targets; empty means all.
    targets: frozenset[str] = frozenset()

    def left(self, target: timedelta) -> timedelta | None:
        """Return the open time still left when it warns; None when the target is too short to be warned of."""
        seconds = int(target.total_seconds())
        left = seconds - seconds * self.percent // 100 if self.percent is not None else self.seconds_before or 0
        return timedelta(seconds=left) if 0 < left < seconds else None


@dataclass(frozen=True)
class Level:
    """One step of the escalation chain: when, whom to tell, and what to do (22)."""

    #: From the due instant; negative means before it.
    offset_seconds: int = 0
    #: Counted in open time of the target's calendar, or by the clock on the wall.
    working_time: bool = True
    notify: tuple[str, ...] = ()
    raise_priority: bool = False
    #: Whether the raised priority moves the deadline too (11).
    retarget: bool = False
    reassign_to: str | None = None
    tag: str | None = None
    #: The name of a destination; its address and secret are no part of a policy.
    webhook: str | None = None
    repeat_seconds: int | None = None
    max_repeats: int = 0
    #: For these targets; empty means all.
    targets: frozenset[str] = frozenset()

    @property
    def acts(self) -> bool:
        """Whether it does more than tell somebody."""
        return self.raise_priority or any((self.reassign_to, self.tag, self.webhook))


@dataclass(frozen=True)
class Facts:
    """What a policy may look at when it is picked."""

    priority: int
    customer: str | None = None
    plan: str | None = None
    group: str | None = None
    tags: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ticket: Ticket) -> Facts:
        """Return what a ticket says of itself."""
        customer, plan, group = (getattr(ticket, name, None) for name in ("customer", "plan", "group"))
        return cls(ticket.priority, customer, plan, group, frozenset(ticket.tags))


@dataclass(frozen=True)
class Match:
    """The tickets a policy is for: every condition that is not empty has to hold; of its values any one does (17)."""

    priorities: frozenset[int] = frozenset()
    customers: frozenset[str] = frozenset()
    plans: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def takes(self, facts: Facts) -> bool:
        """Tell whether every condition holds."""
        return (
            (not self.priorities or facts.priority in self.priorities)
            and (not self.customers or facts.customer in self.customers)
            and (not self.plans or facts.plan in self.plans)
            and (not self.groups or facts.group in self.groups)
            and (not self.tags or not self.tags.isdisjoint(facts.tags))
        )

    def fields(self) -> frozenset[str]:
        """Return the fields of a ticket it looks at, as `Facts` names them."""
        looked_at = {
            "priority": self.priorities,
            "customer": self.customers,
            "plan": self.plans,
            "tags": self.tags,
            "group": self.groups,
        }
        return frozenset(name for name, wanted in looked_at.items() if wanted)


def _default_targets() -> Mapping[str, TargetRule]:
    return {RESOLUTION: TargetRule({priority: hours * 3600 for priority, hours in DEFAULT_SLA.items()})}


#: At once when a resolution is late: one step up, the deadline stays (11), and whoever has the ticket is told.
DEFAULT_CHAIN = (Level(raise_priority=True, notify=(ASSIGNEE_OR_DESK,)),)


@dataclass(frozen=True)
class Policy:
    """A set of promises. The default one is resolution around the clock, paused on hold."""

    name: str = "default"
    #: The lowest that matches wins; ties by name (17).
    rank: int = 1000
    #: Counted up by whoever stores it, when what it says has changed; a clock pins it (18).
    version: int = 1
    match: Match = Match()
    targets: Mapping[str, TargetRule] = field(default_factory=_default_targets)
    #: What becomes of the resolution when a ticket is reopened (14).
    reopen: Reopen = "resume"
    #: What becomes of a first response that nobody gave, when the ticket is resolved (15).
    without_response: WithoutResponse = "met"
    warnings: tuple[Warn, ...] = ()
    chain: tuple[Level, ...] = DEFAULT_CHAIN
    #: Seconds after which an acknowledged chain goes on; None means never (22).
    ack_expires_seconds: int | None = None
    #: Promises nothing, and says so (17).
    no_sla: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", Frozen({} if self.no_sla else self.targets))

    @property
    def hours(self) -> Mapping[int, int]:
        """Hours to resolution by priority, rounded up to whole ones."""
        rule = self.targets.get(RESOLUTION)
        return Frozen({priority: -(-seconds // 3600) for priority, seconds in rule.seconds.items()} if rule else {})

    @property
    def pausing(self) -> frozenset[str]:
        """Statuses in which the resolution stands still."""
        rule = self.targets.get(RESOLUTION)
        return rule.pausing if rule else frozenset()

    def target(self, target: str, priority: int) -> timedelta | None:
        """Return what is promised; None when nothing is."""
        rule = self.targets.get(target)
        return rule.target(priority) if rule else None

    def warnings_of(self, target: str) -> tuple[tuple[int, Warn], ...]:
        """Return the warnings of a target, each with its number in the policy, from 1."""
        return tuple(
            (number, one) for number, one in enumerate(self.warnings, 1) if not one.targets or target in one.targets
        )

    def chain_of(self, target: str) -> tuple[tuple[int, Level], ...]:
        """Return the chain levels of a target, each with its number in the policy, from 1."""
        return tuple(
            (number, one) for number, one in enumerate(self.chain, 1) if not one.targets or target in one.targets
        )


DEFAULT_POLICY = Policy()
#: What a ticket gets that no policy is for.
NO_SLA = Policy("no SLA", rank=1_000_000, chain=(), no_sla=True)


def by_hours(hours: Mapping[int, int], *, pausing: frozenset[str] = ON_HOLD, name: str = "default") -> Policy:
    """Return a policy that promises only a resolution, in hours around the clock."""
    seconds = {priority: wanted * 3600 for priority, wanted in hours.items()}
    return Policy(name, targets={RESOLUTION: TargetRule(seconds, pausing=pausing)})


def step_up(priority: int) -> int:
    """Return the next more urgent priority; 1 stays 1."""
    return max(1, priority - 1)
