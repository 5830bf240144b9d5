"""What the rules of the clock say, done minute by minute: slow, and meant to be read beside them.

Moments are whole minutes since Monday nine o'clock in Berlin. Of the project only plain data is used: what a policy
says. Numbers in brackets are rules; where they are silent, the words of the engine's docstrings are followed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ticket_system.sla.policies import Level, Policy, Warn

#: As far as anything is counted: ninety days back, and so many on.
SPAN = range(-90 * 1440, 400 * 1440)
ACTIVE = {"open", "in_progress", "review", "on_hold"}
FIRST, NEXT, RESOLUTION = "first_response", "next_response", "resolution"


class Hours:
    """A calendar as the list of its open minutes."""

    def __init__(self, opens: list[int]) -> None:
        self.opens = opens

    def after(self, start: int, minutes: int) -> int:
        """The earliest moment at which so many open minutes have passed (2)."""
        if minutes <= 0:
            return self.before(start, -minutes) if minutes else start
        return self.opens[bisect_left(self.opens, start) + minutes - 1] + 1

    def before(self, end: int, minutes: int) -> int:
        """The latest moment from which so many open minutes pass."""
        return self.opens[bisect_left(self.opens, end) - minutes] if minutes else end

    def within(self, start: int, end: int) -> int:
        """How many minutes are open."""
        return bisect_left(self.opens, end) - bisect_left(self.opens, start)

    def opening(self, at: int) -> int:
        """The moment itself where it is open, else the next that is."""
        return self.opens[bisect_left(self.opens, at)]


def _is_office(minute: int) -> bool:
    """Monday to Friday, 9 to 12 and 13 to 17."""
    day, of_day = divmod(minute + 9 * 60, 1440)
    return day % 7 < 5 and (9 * 60 <= of_day < 12 * 60 or 13 * 60 <= of_day < 17 * 60)


HOURS = {
    "around the clock": Hours(list(SPAN)),
    "office": Hours([minute for minute in SPAN if _is_office(minute)]),
}


@dataclass(frozen=True)
class Book:
    """Policies that are in force together."""

    version: int
    policies: tuple[Policy, ...]
    #: Tickets opened before raise no alarms (23).
    enforce_from: int | None

    def pick(self, priority: int) -> Policy:
        """The first by rank, then name, that takes the ticket (17)."""
        ordered = sorted(self.policies, key=lambda one: (one.rank, one.name))
        takes = (one for one in ordered if not one.match.priorities or priority in one.match.priorities)
        return next(takes, Policy("no SLA", chain=(), no_sla=True))


def promised(policy: Policy, target: str, priority: int) -> int | None:
    """Minutes that are promised."""
    rule = policy.targets.get(target)
    seconds = rule.seconds.get(priority) if rule else None
    return seconds // 60 if seconds else None


#: What a raised level leaves to be done: target, cycle, book, policy, number, repeat.
ToDo: TypeAlias = tuple[str, int, "Book", Policy, int, int]
#: A warning or a level: kind, number, repeat.
Slot: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True)
class Watch:
    """One clock, as it stands."""

    target: str
    cycle: int
    book: Book
    policy: Policy
    began: int
    minutes: int
    state: str = "running"
    due: int | None = None
    paused_at: int | None = None
    left: int | None = None
    paused_for: int = 0
    stopped: int | None = None
    breached: int | None = None
    detected: int | None = None
    cause: str | None = None
    #: Since when and until when its chain is held back (22), and how long earlier acknowledgements have held it back.
    held: int | None = None
    held_until: int | None = None
    held_for: int = 0

    @property
    def hours(self) -> Hours:
        """Its calendar."""
        return HOURS[self.policy.targets[self.target].calendar]

    def waits_in(self, status: str) -> bool:
        """Whether a status pauses it (12)."""
        return status in self.policy.targets[self.target].pausing

    def is_acknowledged(self, now: int) -> bool:
        """Whether its chain is held back just now."""
        return self.held is not None and (self.held_until is None or now < self.held_until)

    def counted_from(self) -> tuple[object, ...]:
        """What its alarms follow from."""
        return (
            self.due, self.minutes, self.policy.name, self.cause == "retarget", self.held, self.held_until,
            self.held_for, self.stopped,
        )  # fmt: skip


# --- what happens to one clock -----------------------------------------------------------------------------------


def settled(watch: Watch, now: int) -> Watch:
    """Later than due without a verdict is a breach, at the due moment (5, 6)."""
    if watch.state == "running" and watch.due is not None and now > watch.due:
        return replace(watch, state="breached", breached=watch.due, detected=now, cause="deadline")
    return watch


def waiting(watch: Watch, now: int) -> Watch:
    """Pause: what is left is kept (12). A breach is not undone (9)."""
    if watch.state != "running" or watch.due is None:
        return watch
    return replace(watch, state="paused", paused_at=now, left=watch.hours.within(now, watch.due), due=None)


def going_on(watch: Watch, now: int) -> Watch:
    """End the pause: due when what was left is used up; only open time counted as a pause (12)."""
    if watch.paused_at is None or watch.left is None:
        return watch
    paused_for = watch.paused_for + watch.hours.within(watch.paused_at, now)
    due = watch.hours.after(now, watch.left)
    return replace(watch, state="running", paused_at=None, left=None, paused_for=paused_for, due=due)


def done(watch: Watch, now: int) -> Watch:
    """Met unless it was late; a pause ends first (5, 13)."""
    watch = going_on(watch, now)
    if watch.state == "running":
        return replace(watch, state="met", stopped=now)
    return replace(watch, stopped=now) if watch.stopped is None else watch


def called_off(watch: Watch, now: int) -> Watch:
    """Nobody wants it any more (20)."""
    watch = going_on(watch, now)
    return replace(watch, state="cancelled", stopped=now if watch.stopped is None else watch.stopped)


def promised_otherwise(watch: Watch, policy: Policy, minutes: int, now: int) -> Watch:
    """Due = start + new target + open time paused so far; already past: a breach now (10)."""
    if watch.state not in {"running", "paused"}:
        return replace(watch, policy=policy)  # decided (9)
    watch = replace(watch, policy=policy, minutes=minutes)
    hours = watch.hours
    if watch.paused_at is not None:
        # Had it not paused, this is when the target would have been used up.
        used_up = hours.after(watch.began, minutes + watch.paused_for)
        if used_up >= watch.paused_at:
            return replace(watch, left=hours.within(watch.paused_at, used_up))
        paused_for = watch.paused_for + hours.within(watch.paused_at, now)
        due = hours.after(watch.began, minutes + paused_for)
        if due >= now:
            return replace(watch, left=0)
        watch = replace(watch, paused_at=None, left=None, paused_for=paused_for)
    due = hours.after(watch.began, minutes + watch.paused_for)
    if due < now:
        return replace(watch, state="breached", due=due, breached=now, detected=now, cause="retarget")
    return replace(watch, due=due)


def reopened(watch: Watch, now: int) -> Watch:
    """`resume`: the time since the stop was a pause (14). A breach stays one (9)."""
    if watch.stopped is None or watch.due is None or watch.state == "cancelled":
        return watch
    again = replace(watch, stopped=None, paused_for=watch.paused_for + watch.hours.within(watch.stopped, now))
    if watch.state == "breached":
        return again
    left = watch.hours.within(watch.stopped, watch.due)
    return replace(again, state="running", due=watch.hours.after(now, left))


# --- the alarms of one clock -------------------------------------------------------------------------------------


def calls(watch: Watch, due: int) -> dict[Slot, int]:
    """When levels and their repeats come, by what is past: acknowledgements that are over have put them off (22)."""
    found: dict[Slot, int] = {}
    for number, level in enumerate(watch.policy.chain, 1):
        if level.targets and watch.target not in level.targets:
            continue
        for repeat in range(level.max_repeats + 1 if level.repeat_seconds else 1):
            span, since = (level.offset_seconds + repeat * (level.repeat_seconds or 0)) // 60, due
            if watch.cause == "retarget" and watch.breached is not None:
                # Nobody could act before; what lies before the deadline is due at once.
                span, since = max(span, 0), watch.breached
            at = watch.hours.after(since, span) if level.working_time else since + span
            found["escalated", number, repeat] = later(watch, level, at, watch.held_for)
    return found


def later(watch: Watch, level: Level, at: int, by: int) -> int:
    """Put a call off, to an hour that is open where it counts those."""
    return watch.hours.opening(at + by) if by and level.working_time else at + by


def put_off(watch: Watch, due: int) -> int:
    """By how much an acknowledgement puts calls off: the first that it held back comes when it ends."""
    if watch.held is None or watch.held_until is None:
        return 0
    missed = [at for at in calls(watch, due).values() if watch.held < at <= watch.held_until]
    return watch.held_until - min(missed) if missed else 0


def planned(watch: Watch) -> dict[Slot, int]:
    """All alarms of a clock that has a deadline, raised or not (21, 22)."""
    if watch.due is None or watch.stopped is not None:
        return {}
    found: dict[Slot, int] = {}
    for number, warning in enumerate(watch.policy.warnings, 1):
        left = share_left(warning, watch.minutes)
        if (not warning.targets or watch.target in warning.targets) and 0 < left < watch.minutes:
            found["warned", number, 0] = watch.hours.before(watch.due, left)
    by = put_off(watch, watch.due)
    for slot, at in calls(watch, watch.due).items():
        level = watch.policy.chain[slot[1] - 1]
        if watch.held is None:
            found[slot] = at
        elif watch.held_until is not None:
            found[slot] = watch.held_until if at <= watch.held else later(watch, level, at, by)
    return {slot: max(at, watch.began) for slot, at in found.items()}


def share_left(warning: Warn, minutes: int) -> int:
    """Open minutes left when it warns."""
    if warning.percent is not None:
        return minutes - minutes * warning.percent // 100
    return (warning.seconds_before or 0) // 60


# --- a ticket ----------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """One ticket with its clocks: what is written down about it, and who is told."""

    ticket_id: str
    opened: int
    book: Book
    priority: int
    status: str
    assignee: str | None
    tags: list[str] = field(default_factory=list)
    answered: bool = False
    #: Every cycle of every target, and what is to be done by hand because of levels that were raised.
    watches: dict[tuple[str, int], Watch] = field(default_factory=dict)
    pulled: dict[tuple[str, int, Slot], int] = field(default_factory=dict)
    to_do: list[ToDo] = field(default_factory=list)
    #: What was raised or passed over, by the slot of its key (8); and who was told.
    told: dict[tuple[str, int, Slot], str] = field(default_factory=dict)
    letters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.status in ACTIVE:  # (13)
            policy = self.book.pick(self.priority)
            for target in (FIRST, RESOLUTION):
                self.begin(self.book, policy, target, self.opened, self.status)

    # --- clocks

    def newest(self) -> list[Watch]:
        """Of each target the newest cycle: records of earlier ones never change (14)."""
        return [
            watch for (target, cycle), watch in sorted(self.watches.items()) if (target, cycle + 1) not in self.watches
        ]

    def of(self, target: str) -> Watch | None:
        """The newest cycle of a target."""
        return next((watch for watch in self.newest() if watch.target == target), None)

    def begin(self, book: Book, policy: Policy, target: str, now: int, status: str) -> None:
        """Start a cycle, if it is promised; created paused starts paused (13)."""
        minutes = promised(policy, target, self.priority)
        if minutes is None:
            return
        before = self.of(target)
        watch = Watch(target, before.cycle + 1 if before else 1, book, policy, now, minutes)
        watch = replace(watch, due=watch.hours.after(now, minutes))
        if watch.waits_in(status):
            watch = replace(watch, state="paused", paused_at=now, left=minutes, due=None)
        self.watches[target, watch.cycle] = watch

    def put(self, watch: Watch) -> None:
        """A clock as it stands from now on; what was brought forward is planned anew with everything else."""
        place = (watch.target, watch.cycle)
        if watch.counted_from() != self.watches[place].counted_from():
            self.pulled = {key: at for key, at in self.pulled.items() if key[:2] != place}
        self.watches[place] = watch

    # --- what happens by itself

    def ahead(self, watch: Watch) -> dict[Slot, int]:
        """The alarms of a clock that have been neither raised nor passed over (8)."""
        if self.book_is_lenient(watch) or watch.state in {"paused", "met", "cancelled"}:
            return {}
        place = (watch.target, watch.cycle)
        return {
            slot: self.pulled.get((*place, slot), at)
            for slot, at in planned(watch).items()
            if (*place, slot) not in self.told
        }

    def book_is_lenient(self, watch: Watch) -> bool:
        """Whether the ticket is too old for alarms (23)."""
        return watch.book.enforce_from is not None and self.opened < watch.book.enforce_from

    def due(self, now: int) -> list[Watch]:
        """The clocks at which somebody has to look: late, or with an alarm that has come."""
        return [
            watch
            for watch in self.newest()
            if watch.stopped is None
            and not (watch.state == "breached" and watch.waits_in(self.status))
            and (settled(watch, now) != watch or any(at < now for at in self.ahead(watch).values()))
        ]

    def catch_up(self, now: int) -> bool:
        """Verdicts, and of the due alarms of each clock the most severe; others are passed over (7, 21, 23)."""
        found = self.due(now)
        raises = 0
        for watch in found:
            come = {slot: at for slot, at in self.ahead(watch).items() if at < now}
            self.put(settled(watch, now))
            # A level is more than a warning, a higher one more than a lower; of warnings the last.
            ranked = sorted(come, key=lambda slot: severity(slot, come[slot]))
            for slot in ranked[:-1]:
                self.told[watch.target, watch.cycle, slot] = "collapsed"
            if ranked:
                raises += self.raise_alarm(watch, ranked[-1])
        self.priority = max(1, self.priority - raises)
        return bool(found)

    def raise_alarm(self, watch: Watch, slot: Slot) -> bool:
        """Tell whom it concerns, and leave to be done what is; tells whether the priority goes up."""
        kind, number, repeat = slot
        self.told[watch.target, watch.cycle, slot] = kind
        step: Warn | Level = (watch.policy.warnings if kind == "warned" else watch.policy.chain)[number - 1]
        where = self.reached(step.notify)
        key = f"{self.ticket_id}/{watch.target}/{watch.cycle}/{kind}/{number}/{repeat}"
        self.letters.update(f"{key}/{one}" for one in where)
        if isinstance(step, Warn):
            return False
        nobody = bool(step.notify) and not where
        if nobody or step.tag or step.reassign_to or step.retarget:
            self.to_do.append((watch.target, watch.cycle, watch.book, watch.policy, number, repeat))
        return step.raise_priority and not step.retarget

    def reached(self, notify: tuple[str, ...]) -> set[str]:
        """Where what is told goes."""
        mail = self.assignee is not None and "@" in self.assignee
        where = {
            "assignee-or-desk": "mail",
            "assignee": "mail:assignee" if mail else None,
            "requester": None,  # is no mail address here
            "group": None,  # no ticket here has one
            "desk": "mail:desk",
        }
        return {there for one in notify if (there := where.get(one, one))}

    def finish(self, now: int) -> None:
        """Do what raised levels leave to be done: under the lock, if they still apply (22)."""
        to_do, self.to_do = sorted(self.to_do, key=in_turn), []
        for target, cycle, book, policy, number, _ in to_do:
            watch = self.watches[target, cycle]
            if self.status not in ACTIVE or watch.stopped is not None or (watch.book, watch.policy) != (book, policy):
                continue
            level = policy.chain[number - 1]
            # As the ticket stands when the level is finished, before anything is done.
            nobody = bool(level.notify) and not self.reached(level.notify)
            if level.tag and level.tag not in self.tags:
                self.tags.append(level.tag)
            self.assignee = level.reassign_to or self.assignee
            if level.retarget and self.priority > 1:
                self.reprice(self.priority - 1, now)
            if nobody:
                self.move_on(self.watches[target, cycle], now)

    def move_on(self, watch: Watch, now: int) -> None:
        """A level with nobody to tell: the next comes at once (22), unless the chain is held back."""
        if watch.waits_in(self.status) or watch.is_acknowledged(now):
            return
        levels = [(at, slot) for slot, at in self.ahead(watch).items() if slot[0] == "escalated"]
        if levels:
            self.pulled[watch.target, watch.cycle, min(levels)[1]] = now

    # --- what people do

    def move(self, status: str, now: int) -> None:
        """From one status to another."""
        self.catch_up(now)
        for watch in self.newest():
            self.put(self.moved(watch, status, now))
            is_reopened = self.status == "resolved" and status == "open"
            if is_reopened and watch.target == RESOLUTION and watch.policy.reopen == "restart":
                self.begin(self.book, self.book.pick(self.priority), RESOLUTION, now, status)
        self.status = status

    def moved(self, watch: Watch, status: str, now: int) -> Watch:
        """What the move means for one clock."""
        if status == "cancelled":
            return called_off(watch, now)
        if status == "closed":
            return watch
        if status == "resolved":
            undecided = watch.state in {"running", "paused"}
            in_vain = watch.target == NEXT or (watch.target == FIRST and watch.policy.without_response == "cancelled")
            return called_off(watch, now) if undecided and in_vain else done(watch, now)  # (15, 16)
        if self.status == "resolved":
            if watch.target != RESOLUTION or watch.policy.reopen != "resume":
                return watch
            watch = reopened(watch, now)
        return waiting(watch, now) if watch.waits_in(status) else going_on(watch, now)

    def assign(self, assignee: str, now: int) -> None:
        """Somebody takes an open ticket."""
        self.move("in_progress", now)
        self.assignee = assignee

    def reassign(self, assignee: str | None, now: int) -> None:
        """Somebody else has it."""
        self.catch_up(now)
        self.assignee = assignee

    def comment(self, author: str, now: int, *, internal: bool) -> None:
        """An answer stops what waits for one; a message of the requester starts to wait (15, 16)."""
        self.catch_up(now)
        if internal or author == "system":
            return
        wait = [watch for watch in self.newest() if watch.target in {FIRST, NEXT} and watch.stopped is None]
        if author != "ada":
            self.answered = True
            for watch in wait:
                self.put(done(watch, now))
        elif not wait and self.status in ACTIVE:
            self.begin(self.book, self.book.pick(self.priority), NEXT, now, self.status)

    def set_priority(self, priority: int, now: int) -> None:
        """Another priority, and with it another promise."""
        self.catch_up(now)
        self.reprice(priority, now)

    def escalate(self, now: int) -> None:
        """One step up, by hand."""
        self.catch_up(now)
        self.reprice(max(1, self.priority - 1), now)

    def reprice(self, priority: int, now: int) -> None:
        """What the priority is promised by the rules that each clock started with (10, 17, 18)."""
        newest = self.newest()
        before = self.policy_so_far(newest)
        book = self.pinned(newest)
        new = book.pick(priority)
        for watch in newest:
            policy = watch.book.pick(priority)
            minutes = promised(policy, watch.target, priority)
            if watch.stopped is not None:
                continue
            if minutes is None:
                # Promised no longer; a breach stays on record (9).
                self.put(done(watch, now) if watch.state == "breached" else called_off(watch, now))
            else:
                self.put(promised_otherwise(watch, policy, minutes, now))
        old, self.priority = self.priority, priority
        for target in (FIRST, RESOLUTION) if self.status in ACTIVE else ():
            earlier = next((one for one in newest if one.target == target), None)
            is_new = promised(before, target, old) is None and (earlier is None or earlier.state == "cancelled")
            if is_new and (target == RESOLUTION or not self.answered):
                self.begin(book, new, target, now, self.status)

    def pinned(self, newest: list[Watch]) -> Book:
        """The rules the ticket is under (18)."""
        if not newest:
            return self.book
        return max(newest, key=lambda one: (one.target == RESOLUTION, one.began)).book

    def policy_so_far(self, newest: list[Watch]) -> Policy:
        """The policy of what runs; where nothing does, that of its priority."""
        book = self.pinned(newest)
        running = (one.policy for one in newest if one.stopped is None and one.book == book)
        return next(running, None) or book.pick(self.priority)

    def acknowledge(self, now: int, until: int | None) -> None:
        """Hold the chains back, not the clocks (22)."""
        self.catch_up(now)
        for watch in self.newest():
            if watch.stopped is not None:
                continue
            expires = watch.policy.ack_expires_seconds
            ends = until if until is not None else now + expires // 60 if expires else None
            if watch.is_acknowledged(now):
                self.put(replace(watch, held_until=ends))  # renewed
            else:
                due = watch.hours.after(now, watch.left or 0) if watch.due is None else watch.due
                held_for = watch.held_for + put_off(watch, due)
                self.put(replace(watch, held=now, held_until=ends, held_for=held_for))

    def rearm(self, now: int) -> None:
        """Let the chains go on."""
        self.catch_up(now)
        for watch in self.newest():
            if watch.stopped is None and watch.is_acknowledged(now):
                self.put(replace(watch, held_until=now))


def severity(slot: Slot, at: int) -> tuple[bool, int, int, int]:
    """A level is more than a warning, a higher one more than a lower (23); of warnings the last is the most severe."""
    kind, number, repeat = slot
    return (True, number, repeat, at) if kind == "escalated" else (False, at, number, repeat)


def in_turn(one: ToDo) -> tuple[object, ...]:
    """The order in which levels are finished: by clock, then as they stand in their books."""
    target, cycle, book, policy, number, repeat = one
    return target, cycle, book.version, policy.rank, policy.name, number, repeat


def scan(desks: list[Desk], now: int) -> None:
    """Everything that is due, until nothing is; then what levels leave to be done."""
    for desk in desks:
        while desk.catch_up(now) or desk.to_do:
            if not desk.due(now):
                desk.finish(now)
