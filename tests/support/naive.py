"""What the rules of the clock say of one ticket, minute by minute: slow, and as near to their words as can be.

Written from the rules, not from the engine: it shares no code with it, only the policies as plain data. Moments are
whole minutes since a Monday midnight in Berlin. Numbers in brackets are rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ticket_system.sla.books import PolicyBook
from ticket_system.sla.policies import Facts, Level, Policy, Warn

DAY = 24 * 60
#: Monday to Friday, nine to half past twelve and one to five.
OPEN = [day % 7 < 5 and (540 <= minute < 750 or 780 <= minute < 1020) for day in range(120) for minute in range(DAY)]
FLOW = {
    "open": ("in_progress", "on_hold", "cancelled"),
    "in_progress": ("review", "on_hold", "resolved"),
    "review": ("resolved", "in_progress"),
    "on_hold": ("open", "in_progress", "cancelled"),
    "resolved": ("closed", "open"),
    "closed": (),
    "cancelled": (),
}
ACTIVE = {"open", "in_progress", "review", "on_hold"}
FIRST, NEXT, RESOLUTION = "first_response", "next_response", "resolution"


def add(start: int, minutes: int, *, office: bool) -> int:
    """Walk until so many open minutes have passed."""
    at = start
    while minutes > 0:
        minutes -= OPEN[at] if office else 1
        at += 1
    return at


def subtract(end: int, minutes: int, *, office: bool) -> int:
    """Walk back over so many open minutes."""
    at = end
    while minutes > 0:
        at -= 1
        minutes -= OPEN[at] if office else 1
    return at


def between(start: int, end: int, *, office: bool) -> int:
    """Count the open minutes."""
    return sum(OPEN[start:end]) if office else end - start


@dataclass
class NaiveClock:
    """One target, one cycle."""

    target: str
    cycle: int
    version: int
    policy: Policy
    start: int
    promised: int
    state: str = "running"
    #: Open minutes that do not count, and since when the clock stands still.
    paused_for: int = 0
    paused_at: int | None = None
    stopped: int | None = None
    breached: int | None = None
    cause: str | None = None
    #: The deadline as it was when the verdict fell: that does not move any more.
    fixed: int | None = None
    acknowledged: tuple[int, int | None] | None = None
    held_for: int = 0

    @property
    def office(self) -> bool:
        """Whether it counts office hours."""
        return self.policy.targets[self.target].calendar == "office"

    @property
    def pausing(self) -> frozenset[str]:
        """In which statuses it stands still."""
        return self.policy.targets[self.target].pausing

    @property
    def due(self) -> int | None:
        """Start, target, and the open time it stood still (2, 10); nothing while it does (12)."""
        if self.fixed is not None:
            return self.fixed
        if self.paused_at is not None:
            return None
        return add(self.start, self.promised + self.paused_for, office=self.office)

    @property
    def remaining(self) -> int | None:
        """What was left when the pause began."""
        if self.paused_at is None:
            return None
        return self.promised + self.paused_for - between(self.start, self.paused_at, office=self.office)

    def settle(self, now: int) -> bool:
        """A deadline that has passed is a breach, as of the deadline (5, 6)."""
        due = self.due
        if self.state != "running" or due is None or now <= due:
            return False
        self.state, self.breached, self.cause, self.fixed = "breached", due, "deadline", due
        return True

    def pause(self, now: int) -> None:
        """Stand still; twice is once (12)."""
        if self.state == "running":
            self.state, self.paused_at = "paused", now

    def resume(self, now: int) -> None:
        """Go on (12)."""
        if self.state == "paused" and self.paused_at is not None:
            self.paused_for += between(self.paused_at, now, office=self.office)
            self.state, self.paused_at = "running", None

    def stop(self, now: int) -> None:
        """Done (5, 13)."""
        if self.stopped is None:
            self.resume(now)
            self.fixed = self.due
            self.stopped = now
            self.state = "met" if self.state == "running" else self.state

    def cancel(self, now: int) -> None:
        """It counts nowhere (20)."""
        self.resume(now)
        self.fixed = self.due
        self.state, self.stopped = "cancelled", now if self.stopped is None else self.stopped

    def reopen(self, now: int) -> None:
        """What lies in between is a pause (14)."""
        if self.stopped is None or self.state not in {"met", "breached"}:
            return
        self.paused_for += between(self.stopped, now, office=self.office)
        self.stopped = None
        if self.state == "met":
            self.state, self.fixed = "running", None

    def retarget(self, minutes: int, policy: Policy, now: int) -> None:
        """Start, new target, pauses so far; in the past is a breach now (10)."""
        if self.stopped is not None:
            return
        self.policy = policy
        if self.state == "breached":
            return
        self.promised = minutes
        if self.paused_at is not None and (self.remaining or 0) >= 0:
            return
        self.resume(now)
        due = self.due
        if due is not None and due < now:
            self.state, self.breached, self.cause, self.fixed = "breached", now, "retarget", due


@dataclass
class NaiveTicket:
    """One ticket and its clocks, and what was raised."""

    books: dict[int, PolicyBook]
    version: int
    created: int
    status: str
    priority: int
    assignee: str | None
    tags: list[str] = field(default_factory=list)
    clocks: list[NaiveClock] = field(default_factory=list)
    #: Tickets opened before raise no alarms, by version (23).
    quiet_before: dict[int, int] = field(default_factory=dict)
    #: Kind, target, cycle, number and repeat of what was raised or passed over.
    alarms: dict[tuple[str, int, str, int, int], str] = field(default_factory=dict)

    def open(self) -> None:
        """Start what runs from the opening (13)."""
        for target in (FIRST, RESOLUTION):
            self._start(target, self.created, 1)

    def move(self, status: str, now: int) -> None:
        """From one status to another (12 to 15, 20)."""
        self.catch_up(now)
        old, self.status = self.status, status
        for clock in self.newest():
            if status == "cancelled":
                clock.cancel(now)
            elif status == "resolved":
                undecided = clock.state in {"running", "paused"}
                vain = clock.target == NEXT or (clock.target == FIRST and clock.policy.without_response == "cancelled")
                (clock.cancel if vain and undecided else clock.stop)(now)
            elif status != "closed":
                if old == "resolved":
                    if clock.target != RESOLUTION:
                        continue
                    if clock.policy.reopen == "restart":
                        self._start(RESOLUTION, now, clock.cycle + 1)
                    if clock.policy.reopen != "resume":
                        continue
                    clock.reopen(now)
                (clock.pause if status in clock.pausing else clock.resume)(now)

    def say(self, *, by_requester: bool, internal: bool, now: int) -> None:
        """A comment (15, 16)."""
        self.catch_up(now)
        waiting = [one for one in self.newest() if one.target != RESOLUTION and one.stopped is None]
        if internal:
            return
        if not by_requester:
            for clock in waiting:
                clock.stop(now)
        elif not waiting and self.status in ACTIVE:
            cycles = [one.cycle for one in self.clocks if one.target == NEXT]
            self._start(NEXT, now, max(cycles, default=0) + 1)

    def prioritise(self, priority: int, now: int) -> None:
        """By a person, and with it the promise (10, 17)."""
        self.catch_up(now)
        self._reprice(priority, now)

    def acknowledge(self, until: int | None, now: int) -> None:
        """Stop the chains (22)."""
        self.catch_up(now)
        for clock in self.newest():
            if clock.stopped is None:
                expires = clock.policy.ack_expires_seconds
                ends = until if until is not None else now + expires // 60 if expires else None
                before = clock.acknowledged
                if before is not None and (before[1] is None or now < before[1]):
                    clock.acknowledged = (before[0], ends)
                else:
                    clock.held_for += self._put_off(clock)
                    clock.acknowledged = (now, ends)

    def rearm(self, now: int) -> None:
        """Let them go on (22)."""
        self.catch_up(now)
        for clock in self.newest():
            if clock.stopped is None and clock.acknowledged is not None:
                since, ends = clock.acknowledged
                if ends is None or ends > now:
                    clock.acknowledged = (since, now)

    def catch_up(self, now: int) -> None:
        """What a scan does: verdicts, the most severe alarm of each clock, and what that does (21 to 23)."""
        raised = [
            (clock, number)
            for clock in sorted(self.clocks, key=lambda one: (one.target, one.cycle))
            if clock.stopped is None and not self._is_held(clock)
            for number in self._looked_at(clock, now)
        ]
        levels = [(clock, clock.policy.chain[number - 1]) for clock, number in raised]
        for _, level in levels:
            if level.raise_priority and not level.retarget:
                self.priority = max(1, self.priority - 1)
        for clock, level in levels:
            if clock.stopped is None and self.status in ACTIVE:
                self._act(level, now)

    def _looked_at(self, clock: NaiveClock, now: int) -> Iterator[int]:
        """The verdict, and what is due: the most severe is raised, the others are passed over (21, 23)."""
        clock.settle(now)
        due = sorted(one for one in self._ahead(clock) if one[2] < now)
        for place, (_, number, _, repeat, kind) in enumerate(reversed(due)):
            outcome = "collapsed" if place else "raised"
            self.alarms[clock.target, clock.cycle, kind, number, repeat] = outcome
            if outcome == "raised" and kind == "escalated":
                yield number

    def _act(self, level: Level, now: int) -> None:
        """What a level does beyond telling somebody (11, 22)."""
        if level.tag and level.tag not in self.tags:
            self.tags.append(level.tag)
        self.assignee = level.reassign_to or self.assignee
        if level.retarget and self.priority > 1:
            self._reprice(self.priority - 1, now)

    def newest(self) -> list[NaiveClock]:
        """Of each target the newest cycle: records of earlier ones never change (14)."""
        return [
            clock
            for clock in self.clocks
            if clock.cycle == max(one.cycle for one in self.clocks if one.target == clock.target)
        ]

    def _reprice(self, priority: int, now: int) -> None:
        self.priority = priority
        for clock in self.newest():
            policy = self.books[clock.version].pick(Facts(priority))
            clock.retarget(policy.targets[clock.target].seconds[priority] // 60, policy, now)

    def _start(self, target: str, now: int, cycle: int) -> None:
        policy = self.books[self.version].pick(Facts(self.priority))
        if target in policy.targets:
            clock = NaiveClock(
                target, cycle, self.version, policy, now, policy.targets[target].seconds[self.priority] // 60
            )
            self.clocks.append(clock)
            if self.status in clock.pausing:
                clock.pause(now)

    def _is_held(self, clock: NaiveClock) -> bool:
        return clock.state == "paused" or (clock.state == "breached" and self.status in clock.pausing)

    def _ahead(self, clock: NaiveClock) -> Iterator[tuple[int, int, int, int, str]]:
        """What is still to come, as (severity, number, at, repeat, kind); the last is the most severe."""
        if clock.due is None or self.created < self.quiet_before.get(clock.version, 0):
            return
        found = [(1, number, at, repeat, "escalated") for number, repeat, at in self._held(clock)]
        for number, warning in enumerate(clock.policy.warnings, 1):
            if not warning.targets or clock.target in warning.targets:
                left = _left(warning, clock.promised)
                if left is not None:
                    found.append((0, number, subtract(clock.due, left, office=clock.office), 0, "warned"))
        for severity, number, at, repeat, kind in found:
            if (clock.target, clock.cycle, kind, number, repeat) not in self.alarms:
                # Of one severity the later is the more urgent.
                yield severity * 10**9 + max(at, clock.start), number, max(at, clock.start), repeat, kind

    def _calls(self, clock: NaiveClock) -> Iterator[tuple[int, int, int, Level]]:
        for number, level in enumerate(clock.policy.chain, 1):
            if level.targets and clock.target not in level.targets:
                continue
            for repeat in range(level.max_repeats + 1):
                offset = (level.offset_seconds + repeat * (level.repeat_seconds or 0)) // 60
                base = clock.due or 0
                if clock.cause == "retarget" and clock.breached is not None:
                    base, offset = clock.breached, max(offset, 0)
                office = clock.office and level.working_time
                at = add(base, offset, office=office) if offset >= 0 else subtract(base, -offset, office=office)
                yield number, repeat, _later(at, clock.held_for, office=office), level

    def _held(self, clock: NaiveClock) -> Iterator[tuple[int, int, int]]:
        """Put off by an acknowledgement: the next call comes when it ends, the others as far behind it (22)."""
        by = self._put_off(clock)
        since, ends = clock.acknowledged or (None, None)
        for number, repeat, at, level in self._calls(clock):
            if since is None:
                yield number, repeat, at
            elif ends is not None:
                later = _later(at, by, office=clock.office and level.working_time)
                yield number, repeat, ends if at <= since else later

    def _put_off(self, clock: NaiveClock) -> int:
        since, ends = clock.acknowledged or (None, None)
        if since is None or ends is None or clock.due is None:
            return 0
        return max((ends - at for _, _, at, _ in self._calls(clock) if since < at <= ends), default=0)


def _later(at: int, by: int, *, office: bool) -> int:
    at += by
    while by and office and not OPEN[at]:
        at += 1
    return at


def _left(warning: Warn, promised: int) -> int | None:
    left = promised - promised * warning.percent // 100 if warning.percent else (warning.seconds_before or 0) // 60
    return left if 0 < left < promised else None
