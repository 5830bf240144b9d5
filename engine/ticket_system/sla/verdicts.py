"""Verdicts under two books of policies side by side: how many of which, and which of them change (24, 28). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from ticket_system.sla.clocks import TARGETS, Clock, ClockState
from ticket_system.tickets import Ticket

KEPT, LOST = "kept", "lost"
PROMISED, PROMISED_NO_MORE = "newly promised", "promised no more"
#: Met by one book, open by the other: a reopening counts differently. Or a breach that only there is waived.
OTHERWISE = "otherwise"
#: How a verdict can change, the worst first.
CHANGES = (LOST, KEPT, PROMISED, PROMISED_NO_MORE, OTHERWISE)

_BROKEN = {"breached", "waived"}
#: A target and its cycle.
Key: TypeAlias = tuple[str, int]


class Verdict(NamedTuple):
    """What became of a promise as of a moment: met, breached, waived, cancelled or undecided; and since when."""

    kind: str
    at: datetime | None = None


_UNDECIDED = Verdict("undecided")


class Standing(NamedTuple):
    """A stored clock, as far as its verdict goes."""

    target: str
    cycle: int
    state: str
    due_at: datetime | None
    stopped_at: datetime | None
    breached_at: datetime | None
    waived_at: datetime | None


class Change(NamedTuple):
    """A verdict that the proposed book comes to differently; None where nothing is promised."""

    ticket_id: str
    priority: int
    target: str
    cycle: int
    kind: str
    now: Verdict | None
    proposed: Verdict | None


@dataclass(slots=True)
class Tally:
    """How many promises came to which verdict. What is waived, cancelled or undecided is told apart (24)."""

    met: int = 0
    breached: int = 0
    waived: int = 0
    cancelled: int = 0
    undecided: int = 0

    @property
    def attainment(self) -> float | None:
        """Return met ÷ (met + breached), overdue and still running counted as breached; None: nothing was decided."""
        decided = self.met + self.breached
        return self.met / decided if decided else None

    def add(self, kind: str) -> None:
        """Count a verdict of this kind."""
        setattr(self, kind, getattr(self, kind) + 1)

    def merge(self, other: Tally) -> None:
        """Count what another one has counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(slots=True)
class Line:
    """One target at one priority, which is the ticket's present one: as stored, and as proposed."""

    now: Tally = field(default_factory=Tally)
    proposed: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Simulation:
    """What a proposed book would have meant for the tickets opened since a moment."""

    since: datetime
    until: datetime
    tickets: int = 0
    #: Tickets whose events do not tell how they were opened, or do not fit together: they are in no other figure.
    untold: int = 0
    #: Tickets to which nothing was promised, or that came done.
    without: int = 0
    without_proposed: int = 0
    lines: dict[tuple[str, int], Line] = field(default_factory=dict)
    #: How many verdicts change, and how.
    changed: Counter[str] = field(default_factory=Counter)
    #: How many tickets have a verdict that changes.
    tickets_changed: int = 0

    def ordered(self) -> Iterator[tuple[str, int, Line]]:
        """Yield the lines by target, in the order of a ticket's life, and by priority."""
        for target, priority in sorted(self.lines, key=lambda key: (TARGETS.index(key[0]), key[1])):
            yield target, priority, self.lines[target, priority]

    def totals(self, target: str | None = None) -> Line:
        """Return the lines added up, of one target or of all."""
        both = Line()
        for (one, _), line in self.lines.items():
            if target in {None, one}:
                both.now.merge(line.now)
                both.proposed.merge(line.proposed)
        return both

    def add(
        self, ticket: Ticket, stored: Iterable[Standing], proposed: Mapping[Key, Clock] | None, now: datetime
    ) -> list[Change]:
        """Count a ticket as of now, with its clocks as stored and as proposed; returns what changes for it."""
        self.tickets += 1
        if proposed is None:
            self.untold += 1
            return []
        before = {(clock.target, clock.cycle): verdict(clock, now) for clock in stored}
        after = {key: verdict(clock, now) for key, clock in proposed.items()}
        self.without += not before
        self.without_proposed += not after
        changes: list[Change] = []
        for key in before.keys() | after.keys():
            line = self.lines.get((key[0], ticket.priority))
            if line is None:
                line = self.lines[key[0], ticket.priority] = Line()
            left, right = before.get(key), after.get(key)
            if left:
                line.now.add(left.kind)
            if right:
                line.proposed.add(right.kind)
            kind = _change(left.kind if left else "cancelled", right.kind if right else "cancelled")
            if kind:
                changes.append(Change(ticket.id, ticket.priority, *key, kind, left, right))
                self.changed[kind] += 1
        self.tickets_changed += bool(changes)
        changes.sort(key=lambda one: (TARGETS.index(one.target), one.cycle))
        return changes


def verdict(clock: Clock | Standing, now: datetime) -> Verdict:
    """Return what has become of a promise by now, found by a scan or not (5)."""
    state = clock.state
    if state == ClockState.RUNNING:
        late = clock.due_at is not None and now > clock.due_at
        return Verdict("breached", clock.due_at) if late else _UNDECIDED
    if state == ClockState.BREACHED:
        return Verdict("breached" if clock.waived_at is None else "waived", clock.breached_at)
    return _UNDECIDED if state == ClockState.PAUSED else Verdict(str(state), clock.stopped_at)


def as_json(found: Simulation) -> dict[str, Any]:
    """Return a simulation without its single changes, ready for JSON."""
    lines = [
        {"target": target, "priority": priority, "now": _tally(line.now), "proposed": _tally(line.proposed)}
        for target, priority, line in found.ordered()
    ]
    return {
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "tickets": found.tickets,
        "tickets_changed": found.tickets_changed,
        "history_incomplete": found.untold,
        "without_clock": {"now": found.without, "proposed": found.without_proposed},
        "targets": lines,
        "changed": {kind: found.changed[kind] for kind in CHANGES},
    }


def change_as_json(one: Change) -> dict[str, Any]:
    """Return a change, ready for JSON."""
    verdicts = {
        name: told and {"verdict": told.kind, "at": told.at and told.at.isoformat()}
        for name, told in (("now", one.now), ("proposed", one.proposed))
    }
    return one._asdict() | verdicts


def _change(now: str, proposed: str) -> str | None:
    """Say how a verdict changes. What is cancelled counts nowhere, like what is not promised."""
    if now == proposed:
        return None
    if now == "cancelled":
        return PROMISED
    if proposed == "cancelled":
        return PROMISED_NO_MORE
    before, after = now in _BROKEN, proposed in _BROKEN
    if before == after:
        return OTHERWISE
    return LOST if after else KEPT


def _tally(tally: Tally) -> dict[str, Any]:
    attainment = tally.attainment
    return asdict(tally) | {"attainment": None if attainment is None else round(attainment, 4)}
