"""What the rules of the clock say of one ticket, minute by minute: slow, and as near to their words as can be.

Written from the rules, not from the engine: it shares no code with it, only the policies as plain data. Moments are
whole minutes since a Monday midnight in Berlin. Numbers in brackets are rules.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ticket_system.sla.policies import Level, Policy, Warn

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


def pick(book: Iterable[Policy], priority: int) -> Policy | None:
    """The lowest rank that matches, ties by name (17)."""
    fitting = [one for one in book if not one.match.priorities or priority in one.match.priorities]
    return min(fitting, key=lambda one: (one.rank, one.name), default=None)


def minutes_for(policy: Policy | None, target: str, priority: int) -> int | None:
    """What is promised; None: nothing."""
    rule = policy.targets.get(target) if policy else None
    seconds = rule.seconds.get(priority) if rule else None
    return None if seconds is None else seconds // 60


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
    #: How long it took, in minutes that count.
    worked: int | None = None
    breached: int | None = None
    cause: str | None = None
    #: The deadline as it was when the verdict fell: that does not move any more.
    fixed: int | None = None
    acknowledged: tuple[int, int | None] | None = None
    held_for: int = 0
    #: When it went on after standing still: no deadline lies in a pause.
    went_on: int = 0
    #: Calls that come at once, by number and repeat, because the one before had nobody to tell (22).
    pulled: dict[tuple[int, int], int] = field(default_factory=dict)
    planned: tuple[object, ...] = ()

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
        return max(add(self.start, self.promised + self.paused_for, office=self.office), self.went_on)

    @property
    def counted_from(self) -> tuple[object, ...]:
        """What its alarms follow from."""
        by_change = self.breached if self.cause == "retarget" else None
        return (
            self.due, by_change, self.stopped, self.policy.name, self.version, self.promised, self.acknowledged,
            self.held_for,
        )  # fmt: skip

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
            self.state, self.paused_at, self.went_on = "running", None, now

    def stop(self, now: int) -> None:
        """Done (5, 13)."""
        if self.stopped is None:
            self.resume(now)
            self.fixed = self.due
            self.stopped = now
            self.worked = between(self.start, now, office=self.office) - self.paused_for
            self.state = "met" if self.state == "running" else self.state

    def cancel(self, now: int) -> None:
        """It counts nowhere (20)."""
        self.resume(now)
        self.fixed = self.due
        self.state, self.stopped = "cancelled", now if self.stopped is None else self.stopped
        self.worked = None

    def withdraw(self, now: int) -> None:
        """Promised no longer: it ends, but a breach is not undone (9)."""
        if self.stopped is None:
            (self.cancel if self.breached is None else self.stop)(now)

    def reopen(self, now: int) -> None:
        """What lies in between is a pause (14)."""
        if self.stopped is None or self.state not in {"met", "breached"}:
            return
        self.paused_for += between(self.stopped, now, office=self.office)
        self.stopped = self.worked = None
        if self.state == "met":
            self.state, self.fixed, self.went_on = "running", None, now

    def retarget(self, minutes: int, policy: Policy, now: int) -> None:
        """Start, new target, pauses so far; in the past is a breach now (10)."""
        if self.stopped is not None:
            return
        self.policy = policy
        if self.state == "breached":
            return
        self.promised, paused_for, since = minutes, self.paused_for, self.paused_at
        if since is not None:
            # A pause that is going on does not use up time: in time when it began is in time.
            if add(self.start, minutes + paused_for, office=self.office) >= since:
                return
            paused_for += between(since, now, office=self.office)
        due = add(self.start, minutes + paused_for, office=self.office)
        if due < now:
            self.resume(now)
            self.state, self.breached, self.cause, self.fixed = "breached", now, "retarget", due
        elif since is None:
            self.went_on = 0


@dataclass
class NaiveTicket:
    """One ticket and its clocks, and what was raised."""

    #: What each version of the rules says, and the one in force.
    books: dict[int, tuple[Policy, ...]]
    version: int
    created: int
    status: str
    priority: int
    assignee: str | None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    clocks: list[NaiveClock] = field(default_factory=list)
    #: Tickets opened before raise no alarms, by version (23).
    quiet_before: dict[int, int] = field(default_factory=dict)
    #: Target, cycle, kind, number and repeat of what was raised or passed over.
    alarms: dict[tuple[str, int, str, int, int], str] = field(default_factory=dict)
    #: What was sent, and where.
    letters: list[tuple[tuple[str, int, str, int, int], str]] = field(default_factory=list)
    #: Whether somebody has answered in public (15).
    answered: bool = False

    def open(self) -> None:
        """Start what runs from the opening (13)."""
        for target in (FIRST, RESOLUTION) if self.status in ACTIVE else ():
            self._start(target, self.created, 1, self.version, pick(self.books[self.version], self.priority))

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
                        self._start(RESOLUTION, now, clock.cycle + 1, self.version, self._in_force())
                    if clock.policy.reopen != "resume":
                        continue
                    clock.reopen(now)
                (clock.pause if status in clock.pausing else clock.resume)(now)
        self._plan()

    def say(self, *, by_requester: bool, internal: bool, now: int) -> None:
        """A comment (15, 16)."""
        self.catch_up(now)
        waiting = [one for one in self.newest() if one.target != RESOLUTION and one.stopped is None]
        if internal:
            return
        if not by_requester:
            self.answered = True
            for clock in waiting:
                clock.stop(now)
        elif not waiting and self.status in ACTIVE:
            cycles = [one.cycle for one in self.clocks if one.target == NEXT]
            self._start(NEXT, now, max(cycles, default=0) + 1, self.version, self._in_force())
        self._plan()

    def prioritise(self, priority: int, now: int, hours: int | None = None) -> None:
        """By a person, and with it the promise (10, 17)."""
        self.catch_up(now)
        self._reprice(priority, now, None if hours is None else hours * 60)
        self._plan()

    def repromise(self, now: int) -> None:
        """Under the rules in force, by an explicit act; what is past by then is not raised (18, 19)."""
        self.catch_up(now)
        if self.status not in ACTIVE:
            return
        policy, mine = self._in_force(), self.newest()
        for clock in mine:
            if clock.version == self.version or clock.state not in {"running", "paused"}:
                continue
            minutes = minutes_for(policy, clock.target, self.priority)
            if minutes is None or policy is None:
                clock.withdraw(now)
            else:
                clock.version = self.version
                clock.retarget(minutes, policy, now)
        for target in (FIRST, RESOLUTION):
            if target not in {one.target for one in mine} and not (target == FIRST and self.answered):
                self._start(target, now, 1, self.version, policy)
        edited = [clock for clock in mine if clock.counted_from != clock.planned]
        self._plan()
        for clock in edited:
            for _, number, at, repeat, kind in list(self._ahead(clock)):
                if at <= now:
                    self.alarms[clock.target, clock.cycle, kind, number, repeat] = "collapsed"

    def acknowledge(self, until: int | None, now: int) -> None:
        """Stop the chains (22)."""
        self.catch_up(now)
        for clock in self.newest() if self.status in ACTIVE else ():
            if clock.stopped is None:
                expires = clock.policy.ack_expires_seconds
                ends = until if until is not None else now + expires // 60 if expires else None
                before = clock.acknowledged
                if before is not None and (before[1] is None or now < before[1]):
                    clock.acknowledged = (before[0], ends)
                else:
                    clock.held_for += self._put_off(clock)
                    clock.acknowledged = (now, ends)
        self._plan()

    def rearm(self, now: int) -> None:
        """Let them go on (22)."""
        self.catch_up(now)
        for clock in self.newest():
            if clock.stopped is None and clock.acknowledged is not None:
                since, ends = clock.acknowledged
                if ends is None or ends > now:
                    clock.acknowledged = (since, now)
        self._plan()

    def catch_up(self, now: int) -> bool:
        """What a scan does: verdicts, the most severe alarm of each clock, and what that does (21 to 23).

        Returns whether there was an alarm: what it did may have made others due.
        """
        before = len(self.alarms)
        raised = [
            (clock, clock.policy, number)
            for clock in sorted(self.clocks, key=lambda one: (one.target, one.cycle))
            if clock.stopped is None and not self._is_held(clock)
            for number in self._looked_at(clock, now)
        ]
        levels = [(clock, policy, policy.chain[number - 1]) for clock, policy, number in raised]
        for _, _, level in levels:
            if level.raise_priority and not level.retarget:
                self.priority = max(1, self.priority - 1)
        for clock, policy, level in levels:
            # Looked at again: whether it still applies (22).
            if clock.stopped is None and clock.policy is policy and self.status in ACTIVE:
                nobody = bool(level.notify) and not self._told(level)
                self._act(level, now)
                self._plan()
                following = sorted(
                    (at, number, repeat) for _, number, at, repeat, kind in self._ahead(clock) if kind == "escalated"
                )
                if nobody and following:
                    clock.pulled[following[0][1:]] = now
        self._plan()
        return len(self.alarms) > before

    def _looked_at(self, clock: NaiveClock, now: int) -> Iterator[int]:
        """The verdict, and what is due: the most severe is raised, the others are passed over (21, 23)."""
        clock.settle(now)
        due = sorted(one for one in self._ahead(clock) if one[2] < now)
        for place, (_, number, _, repeat, kind) in enumerate(reversed(due)):
            key = (clock.target, clock.cycle, kind, number, repeat)
            self.alarms[key] = "collapsed" if place else "raised"
            if not place:
                does = clock.policy.chain[number - 1] if kind == "escalated" else clock.policy.warnings[number - 1]
                self.letters += [(key, where) for where in self._told(does)]
                if kind == "escalated":
                    yield number

    def _told(self, does: Level | Warn) -> list[str]:
        """Where a message goes; nowhere, where there is nobody (22)."""
        depends = {
            "assignee-or-desk": "mail",
            "desk": "mail:desk",
            "assignee": "mail:assignee" if "@" in (self.assignee or "") else None,
            "group": f"group:{self.group}" if self.group else None,
        }
        webhook = does.webhook if isinstance(does, Level) else None
        told = (depends.get(one, f"mail:{one}" if "@" in one else one) for one in (*does.notify, webhook) if one)
        return [one for one in told if one]

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

    def _reprice(self, priority: int, now: int, resolution: int | None = None) -> None:
        """What runs is promised what the new priority is promised, by the rules it started with (10, 17, 18)."""
        mine, old, self.priority = {one.target: one for one in self.newest()}, self.priority, priority
        version = self._pinned(mine)
        running = [mine[one] for one in sorted(mine) if mine[one].stopped is None and mine[one].version == version]
        before = running[0].policy if running else pick(self.books[version], old)
        for clock in mine.values():
            policy = pick(self.books[clock.version], priority)
            minutes = self._minutes(policy, clock.target, resolution)
            if minutes is None or policy is None:
                clock.withdraw(now)
            else:
                clock.retarget(minutes, policy, now)
        policy = pick(self.books[version], priority)
        for target in (FIRST, RESOLUTION):
            # A promise that was not made before begins when it is made.
            if minutes_for(before, target, old) is None and self.status in ACTIVE:
                earlier = mine.get(target)
                if not (target == FIRST and self.answered) and (earlier is None or earlier.state == "cancelled"):
                    self._start(target, now, earlier.cycle + 1 if earlier else 1, version, policy, resolution)

    def _pinned(self, mine: dict[str, NaiveClock]) -> int:
        """The version that the ticket is under (18)."""
        if not mine:
            return self.version
        return (mine.get(RESOLUTION) or max(mine.values(), key=lambda one: one.start)).version

    def _in_force(self) -> Policy | None:
        return pick(self.books[self.version], self.priority)

    def _minutes(self, policy: Policy | None, target: str, resolution: int | None = None) -> int | None:
        """What is promised, where somebody may have said otherwise of the resolution."""
        if target == RESOLUTION and resolution is not None and policy is not None and target in policy.targets:
            return resolution
        return minutes_for(policy, target, self.priority)

    def _start(
        self, target: str, now: int, cycle: int, version: int, policy: Policy | None, resolution: int | None = None
    ) -> None:
        minutes = self._minutes(policy, target, resolution)
        if policy is not None and minutes is not None:
            clock = NaiveClock(target, cycle, version, policy, now, minutes)
            self.clocks.append(clock)
            if self.status in clock.pausing:
                clock.pause(now)

    def _plan(self) -> None:
        """Whatever its alarms are counted from has changed, they are counted anew."""
        for clock in self.clocks:
            if clock.counted_from != clock.planned:
                clock.planned = clock.counted_from
                clock.pulled.clear()

    def _is_held(self, clock: NaiveClock) -> bool:
        return clock.state == "paused" or (clock.state == "breached" and self.status in clock.pausing)

    def _ahead(self, clock: NaiveClock) -> Iterator[tuple[int, int, int, int, str]]:
        """What is still to come, as (severity, number, at, repeat, kind); the last is the most severe."""
        if clock.due is None or self.created < self.quiet_before.get(clock.version, 0):
            return
        # Of two levels the higher is the more severe, whatever repeats of the lower came after it (23).
        found = [(number, number, at, repeat, "escalated") for number, repeat, at in self._held(clock)]
        for number, warning in enumerate(clock.policy.warnings, 1):
            if not warning.targets or clock.target in warning.targets:
                left = _left(warning, clock.promised)
                if left is not None:
                    found.append((0, number, subtract(clock.due, left, office=clock.office), 0, "warned"))
        for severity, number, planned, repeat, kind in found:
            at = clock.pulled.get((number, repeat), planned) if kind == "escalated" else planned
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
