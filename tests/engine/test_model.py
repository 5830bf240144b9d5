"""Random lives of tickets beside a naive model of the rules: every clock, event, alarm and letter, after every step.

`TICKETS_MODEL_EXAMPLES=2000 pytest tests/engine/test_model.py` looks longer.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from tests.support.naive import ACTIVE, FIRST, FLOW, NEXT, RESOLUTION, NaiveClock, NaiveTicket
from ticket_system import TicketSystem, monitor
from ticket_system.audit import audit_clocks
from ticket_system.changes import Changes
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import Level, Match, Policy, TargetRule, Warn
from ticket_system.storage import clocks, tables

EXAMPLES = int(os.environ.get("TICKETS_MODEL_EXAMPLES", "25"))
#: A Monday, midnight in Berlin.
START = datetime(2026, 5, 31, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = 3600
DAYS = dict.fromkeys(range(5), (Hours.of(time(9), time(12, 30)), Hours.of(time(13), time(17))))
OFFICE = Calendar("office", ZoneInfo("Europe/Berlin"), DAYS)
DESK = ("desk",)
numbers = count()


def promise(*hours: float, calendar: str = "office", pausing: tuple[str, ...] = ("on_hold",)) -> TargetRule:
    seconds = {priority: int(hours[min(priority, len(hours)) - 1] * HOUR) for priority in range(1, 5)}
    return TargetRule(seconds, calendar, frozenset(pausing))


def level(hours: float, **more: Any) -> Level:
    return replace(Level(offset_seconds=int(hours * HOUR), notify=DESK), **more)


POLICIES = (
    Policy(
        "resume",
        targets={FIRST: promise(1, 2, 4, pausing=()), NEXT: promise(2), RESOLUTION: promise(4, 8, 16, 24)},
        warnings=(Warn(percent=50), Warn(percent=80), Warn(seconds_before=1800, targets=frozenset({RESOLUTION}))),
        chain=(level(-0.5), level(0, raise_priority=True), level(1, repeat_seconds=HOUR // 2, max_repeats=2)),
        ack_expires_seconds=90 * 60,
    ),
    Policy(
        "restart",
        targets={
            FIRST: promise(1),
            RESOLUTION: promise(3, 6, calendar="around the clock", pausing=("on_hold", "review")),
        },
        reopen="restart",
        without_response="cancelled",
        warnings=(Warn(seconds_before=3600),),
        chain=(level(0, tag="late", reassign_to="lead"), level(0.5, working_time=False), level(2)),
    ),
    Policy(
        "first close",
        targets={NEXT: promise(1), RESOLUTION: promise(5, 7.5, 15)},
        reopen="first_close",
        chain=(level(-1, raise_priority=True, retarget=True), level(0, targets=frozenset({RESOLUTION}))),
    ),
    Policy(
        "urgent",
        rank=1,
        match=Match(priorities=frozenset({1})),
        targets={FIRST: promise(0.5), NEXT: promise(1), RESOLUTION: promise(2)},
        warnings=(Warn(percent=75),),
        chain=(level(0, raise_priority=True), level(0.25, repeat_seconds=900, max_repeats=1)),
    ),
)
EVERYDAY = Policy(
    "everyday",
    targets={FIRST: promise(2), NEXT: promise(2), RESOLUTION: promise(6, 9, 12)},
    chain=(level(0, raise_priority=True), level(1)),
)
#: Promises the high nothing but a resolution, the low nothing but an answer, and calls people who may not be there.
PATCHY = Policy(
    "patchy",
    targets={
        FIRST: TargetRule({1: HOUR, 4: 3 * HOUR}, "office", frozenset()),
        RESOLUTION: TargetRule({1: 7 * HOUR // 2, 2: 15 * HOUR // 2, 3: 15 * HOUR}, "office"),
    },
    warnings=(Warn(percent=50, notify=("assignee-or-desk", "group")),),
    chain=(
        level(0, notify=("assignee",), repeat_seconds=HOUR, max_repeats=1),
        level(1, notify=("group", "assignee")),
        level(3, notify=("group",), webhook="pager"),
        level(4, notify=("boss@example.org",)),
    ),
)
#: The critical are promised an answer; of the rest, nothing is said.
RARE = replace(PATCHY, name="rare", targets={FIRST: promise(1)}, match=Match(priorities=frozenset({1, 2})))
#: A book may know two policies; the second takes over what is critical.
BOOKS = {
    "resume": POLICIES[:1],
    "restart": POLICIES[1:2],
    "first close": POLICIES[2:3],
    "patchy": (PATCHY,),
    "rare": (RARE,),
    "everyday, urgent": (EVERYDAY, POLICIES[3]),
    "first close, urgent": (POLICIES[2], POLICIES[3]),
    "patchy, restart": (PATCHY, replace(POLICIES[1], rank=1, match=Match(priorities=frozenset({2, 3})))),
}
#: Minutes that pass before a step, and the last ones of a day: then what is left may be nothing.
LATER = st.sampled_from((0, 1, 20, 45, 60, 100, 230, 480, 1440))
MOST = 3
WHICH = st.integers(0, MOST - 1)
TICKETS = st.fixed_dictionaries(
    {
        "priority": st.integers(1, 4),
        "status": st.sampled_from(("open", "open", "in_progress", "on_hold", "resolved")),
        "assignee": st.sampled_from((None, "grace", "grace@example.org")),
        "group": st.sampled_from((None, "network")),
    }
)


class Lives(RuleBasedStateMachine):
    """A few tickets, each lived twice."""

    system: TicketSystem

    @initialize(
        book=st.sampled_from(sorted(BOOKS)),
        begin=st.one_of(st.just(9 * 60), st.integers(8 * 60, 18 * 60)),
        quiet=st.sampled_from((None, None, None, -60, 60)),
        ticket=TICKETS,
    )
    def begun(self, book: str, begin: int, quiet: int | None, ticket: dict[str, Any]) -> None:
        self.now, self.which = begin, 0
        self.lives: dict[str, NaiveTicket] = {}
        self.books: dict[int, tuple[Policy, ...]] = {}
        self.quiet_before: dict[int, int] = {}
        self.put(book, None if quiet is None else begin + quiet)
        self.opened(ticket)

    def put(self, name: str, quiet: int | None) -> None:
        policies = BOOKS[name]
        self.version = self.system.put_in_force(
            PolicyBook(policies, {"office": OFFICE}, None if quiet is None else self.at(quiet))
        )
        self.books[self.version] = policies
        if quiet is not None:
            self.quiet_before[self.version] = quiet
        for naive in self.lives.values():
            naive.version = self.version

    def at(self, minute: int) -> datetime:
        return START + minute * MINUTE

    def does(self, verb: str, *words: Any, **more: Any) -> Any:
        with self.system.database.write() as connection:
            act: Callable[..., Any] = getattr(Changes(connection, self.system.rules), verb)
            return act(self.id, *words, now=self.at(self.now), **more)

    @property
    def id(self) -> str:
        return list(self.lives)[self.which % len(self.lives)]

    @property
    def naive(self) -> NaiveTicket:
        return self.lives[self.id]

    # --- what can happen ---------------------------------------------------------------------------------------------

    def after(self, minutes: int, which: int | None = None) -> None:
        self.now = min(self.now + minutes, 100 * 24 * 60)
        self.which = self.which if which is None else which

    @precondition(lambda self: len(self.lives) < MOST)
    @rule(ticket=TICKETS)
    def opened(self, ticket: dict[str, Any]) -> None:
        ticket_id = f"t{next(numbers)}"
        self.system.create_ticket(a_ticket(id=ticket_id, created_at=self.at(self.now), **ticket))
        naive = NaiveTicket(self.books, self.version, self.now, **ticket, quiet_before=self.quiet_before)
        naive.open()
        self.lives[ticket_id] = naive

    @rule(later=LATER, size=st.sampled_from((1, 2, 1000)))
    def scanned(self, later: int, size: int) -> None:
        self.after(later)
        # What a level does may make more due by now; the last scan is one that finds nothing.
        while monitor.scan_breaches(self.system.database, now=self.at(self.now), batch_size=size).found:
            pass
        for naive in self.lives.values():
            while naive.catch_up(self.now):
                pass

    @rule(later=LATER, which=WHICH, data=st.data())
    def moved(self, later: int, which: int, data: st.DataObject) -> None:
        self.after(later, which)
        if FLOW[self.naive.status]:
            status = data.draw(st.sampled_from(FLOW[self.naive.status]))
            self.does("set_status", status)
            self.naive.move(status, self.now)

    @rule(later=LATER, which=WHICH, who=st.sampled_from(("requester", "agent", "internal")))
    def said(self, later: int, which: int, who: str) -> None:
        self.after(later, which)
        author = "ada" if who == "requester" else "grace"
        with self.system.database.write() as connection:
            comment = a_comment(self.id, id=f"c{next(numbers)}", author=author, is_internal=who == "internal")
            Changes(connection, self.system.rules).comment(comment, now=self.at(self.now))
        self.naive.say(by_requester=who == "requester", internal=who == "internal", now=self.now)

    @rule(later=LATER, which=WHICH, someone=st.sampled_from(("alan", "ada@example.org", None)), starts=st.booleans())
    def given(self, later: int, which: int, someone: str | None, starts: bool) -> None:
        self.after(later, which)
        # What was due happens first, even where nothing else does.
        self.naive.catch_up(self.now)
        starts = starts and someone is not None
        may = self.naive.status == "open" if starts else self.naive.status in ACTIVE
        assert self.does("assign" if starts else "reassign", someone) is may
        if may and starts:
            self.naive.move("in_progress", self.now)
        if may:
            self.naive.assignee = someone

    @rule(later=LATER, which=WHICH, priority=st.integers(1, 4), hours=st.sampled_from((None, None, 1, 8, 30)))
    def prioritised(self, later: int, which: int, priority: int, hours: int | None) -> None:
        self.after(later, which)
        self.does("set_priority", priority, sla_hours=hours)
        self.naive.prioritise(priority, self.now, hours)

    @rule(later=LATER, which=WHICH)
    def escalated(self, later: int, which: int) -> None:
        self.after(later, which)
        self.does("escalate")
        self.naive.catch_up(self.now)
        self.naive.prioritise(max(1, self.naive.priority - 1), self.now)

    @rule(later=LATER, which=WHICH, until=st.sampled_from((30, 200, 600, None)))
    def acknowledged(self, later: int, which: int, until: int | None) -> None:
        self.after(later, which)
        ends = None if until is None else self.now + until
        assert self.does("acknowledge", until=None if ends is None else self.at(ends)) is (self.naive.status in ACTIVE)
        self.naive.acknowledge(ends, self.now)

    @precondition(lambda self: any(clock.acknowledged for one in self.lives.values() for clock in one.clocks))
    @rule(later=LATER, which=WHICH)
    def rearmed(self, later: int, which: int) -> None:
        self.after(later, which)
        self.does("rearm")
        self.naive.rearm(self.now)

    @rule(book=st.sampled_from(sorted(BOOKS)))
    def others_in_force(self, book: str) -> None:
        self.put(book, None)

    @precondition(lambda self: len(self.books) > 1)
    @rule(later=LATER, which=WHICH)
    def put_under_them(self, later: int, which: int) -> None:
        self.after(later, which)
        self.does("repromise")
        self.naive.repromise(self.now)

    # --- what must be so ---------------------------------------------------------------------------------------------

    @invariant()
    def the_clocks_are_the_same(self) -> None:
        for ticket_id, naive in getattr(self, "lives", {}).items():
            with self.system.database.read() as connection:
                stored = clocks.of_ticket(connection, ticket_id)
            told = {(one.target, one.cycle): self.seen(one) for one in stored}
            assert told == {(one.target, one.cycle): self.expected(one) for one in naive.clocks}

    @invariant()
    def the_tickets_and_their_alarms_are_the_same(self) -> None:
        for ticket_id, naive in getattr(self, "lives", {}).items():
            ticket = self.system.get_ticket(ticket_id)
            assert ticket is not None
            assert (ticket.status, ticket.priority, ticket.assignee, ticket.tags) == (
                naive.status, naive.priority, naive.assignee, naive.tags,
            )  # fmt: skip
            told: Counter[tuple[Any, ...]] = Counter()
            breaches: Counter[tuple[Any, ...]] = Counter()
            for event in self.system.get_history(ticket_id):
                parts = (event.key or "").rsplit("/", 5)
                if event.kind == "breached":
                    breaches[parts[1], int(parts[2]), event.at] += 1
                elif event.kind in {"warned", "escalated", "collapsed"} and event.key:
                    outcome = "collapsed" if event.kind == "collapsed" else "raised"
                    told[parts[1], int(parts[2]), parts[3], int(parts[4]), int(parts[5]), outcome] += 1
            assert told == Counter((*key, outcome) for key, outcome in naive.alarms.items())
            assert breaches == Counter(
                (one.target, one.cycle, self.at(one.breached)) for one in naive.clocks if one.breached is not None
            )
            sent = rows_of(self.system.database, tables.outbox, tables.outbox.c.ticket_id == ticket_id)
            assert Counter(row["key"] for row in sent) == Counter(
                "/".join([ticket_id, *map(str, key), where]) for key, where in naive.letters
            )

    def teardown(self) -> None:
        if hasattr(self, "lives"):
            assert audit_clocks(self.system.database, everything=True).differences == []

    def seen(self, clock: Clock) -> tuple[Any, ...]:
        def minutes(moment: datetime | None) -> float | None:
            return None if moment is None else (moment - START) / MINUTE

        remaining = None if clock.remaining is None else clock.remaining / MINUTE
        return (
            clock.state.value, minutes(clock.started_at), clock.target_seconds / 60, minutes(clock.due_at), remaining,
            minutes(clock.paused_at), clock.paused_for / MINUTE, minutes(clock.stopped_at),
            minutes(clock.breached_at), clock.cause, clock.policy, clock.rules,
            None if clock.worked is None else clock.worked / MINUTE,
        )  # fmt: skip

    def expected(self, clock: NaiveClock) -> tuple[Any, ...]:
        return (
            clock.state, clock.start, clock.promised, clock.due, clock.remaining,
            clock.paused_at, clock.paused_for, clock.stopped,
            clock.breached, clock.cause, clock.policy.name, clock.version, clock.worked,
        )  # fmt: skip


@contextmanager
def an_empty(system: TicketSystem) -> Iterator[TicketSystem]:
    """SQLite begins each life with nothing, so that a failure can be played again; a server is slow to empty."""
    if system.database.dialect != "sqlite":
        yield system
        return
    with TicketSystem() as fresh:
        yield fresh


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("database_url", ("sqlite-memory", "postgresql"), indirect=True)
def test_lives_are_what_the_rules_say(system: TicketSystem) -> None:
    """Rules 2 to 18 and 21 to 23."""

    class LivesHere(Lives):
        def __init__(self) -> None:
            super().__init__()
            self.place = an_empty(system)
            self.system = self.place.__enter__()

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                self.place.__exit__(None, None, None)

    run_state_machine_as_test(
        LivesHere,
        settings=settings(
            max_examples=EXAMPLES if system.database.dialect == "sqlite" else max(EXAMPLES // 5, 5),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
