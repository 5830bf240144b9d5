"""Random lives of a ticket beside a naive model of the rules: every clock, event and alarm, after every step.

`TICKETS_MODEL_EXAMPLES=2000 pytest tests/engine/test_model.py` looks longer.
"""

import os
from collections import Counter
from collections.abc import Callable
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
        targets={NEXT: promise(1), RESOLUTION: promise(5, 10)},
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
#: The last one knows two policies; its second takes over what is critical.
#: Minutes that pass before a step.
LATER = st.sampled_from((0, 1, 20, 45, 100, 230, 480, 1440))
BOOKS = (*[(policy,) for policy in POLICIES[:3]], (EVERYDAY, POLICIES[3]))


class Lives(RuleBasedStateMachine):
    """One ticket, lived twice."""

    system: TicketSystem

    @initialize(
        book=st.sampled_from(BOOKS),
        begin=st.integers(8 * 60, 18 * 60),
        priority=st.integers(1, 4),
        status=st.sampled_from(("open", "in_progress", "on_hold")),
        quiet=st.sampled_from((None, None, None, -60, 60)),
    )
    def opened(self, book: tuple[Policy, ...], begin: int, priority: int, status: str, quiet: int | None) -> None:
        self.now, self.id = begin, f"t{next(numbers)}"
        self.books: dict[int, PolicyBook] = {}
        self.naive = NaiveTicket(self.books, 0, begin, status, priority, None)
        self.put(book, None if quiet is None else begin + quiet)
        ticket = a_ticket(id=self.id, priority=priority, status=status, created_at=self.at(begin))
        self.system.create_ticket(ticket)
        self.naive.open()

    def put(self, policies: tuple[Policy, ...], quiet: int | None) -> None:
        book = PolicyBook(policies, {"office": OFFICE}, None if quiet is None else self.at(quiet))
        version = self.system.put_in_force(book)
        self.books[version] = book
        if quiet is not None:
            self.naive.quiet_before[version] = quiet
        self.naive.version = version

    def at(self, minute: int) -> datetime:
        return START + minute * MINUTE

    def does(self, verb: str, *words: Any, **more: Any) -> None:
        with self.system.database.write() as connection:
            act: Callable[..., Any] = getattr(Changes(connection, self.system.rules), verb)
            act(self.id, *words, now=self.at(self.now), **more)

    # --- what can happen ---------------------------------------------------------------------------------------------

    def after(self, minutes: int) -> None:
        self.now = min(self.now + minutes, 100 * 24 * 60)

    @rule(later=LATER, size=st.sampled_from((1, 2, 1000)), times=st.integers(1, 2))
    def scanned(self, later: int, size: int, times: int) -> None:
        self.after(later)
        for _ in range(times):
            monitor.scan_breaches(self.system.database, now=self.at(self.now), batch_size=size)
        self.naive.catch_up(self.now)

    @precondition(lambda self: bool(FLOW[self.naive.status]))
    @rule(later=LATER, data=st.data())
    def moved(self, later: int, data: st.DataObject) -> None:
        self.after(later)
        status = data.draw(st.sampled_from(FLOW[self.naive.status]))
        self.does("set_status", status)
        self.naive.move(status, self.now)

    @rule(later=LATER, who=st.sampled_from(("requester", "agent", "internal")))
    def said(self, later: int, who: str) -> None:
        self.after(later)
        author = "ada" if who == "requester" else "grace"
        with self.system.database.write() as connection:
            comment = a_comment(self.id, id=f"c{next(numbers)}", author=author, is_internal=who == "internal")
            Changes(connection, self.system.rules).comment(comment, now=self.at(self.now))
        self.naive.say(by_requester=who == "requester", internal=who == "internal", now=self.now)

    @rule(later=LATER, priority=st.integers(1, 4))
    def prioritised(self, later: int, priority: int) -> None:
        self.after(later)
        self.does("set_priority", priority)
        self.naive.prioritise(priority, self.now)

    @rule(later=LATER)
    def escalated(self, later: int) -> None:
        self.after(later)
        self.does("escalate")
        self.naive.catch_up(self.now)
        self.naive.prioritise(max(1, self.naive.priority - 1), self.now)

    @precondition(lambda self: self.naive.status in ACTIVE)
    @rule(later=LATER, until=st.sampled_from((30, 200, 600, None)))
    def acknowledged(self, later: int, until: int | None) -> None:
        self.after(later)
        self.does("acknowledge", until=None if until is None else self.at(self.now + until))
        self.naive.acknowledge(None if until is None else self.now + until, self.now)

    @precondition(lambda self: any(clock.acknowledged for clock in self.naive.clocks))
    @rule(later=LATER)
    def rearmed(self, later: int) -> None:
        self.after(later)
        self.does("rearm")
        self.naive.rearm(self.now)

    @rule(book=st.sampled_from(BOOKS))
    def others_in_force(self, book: tuple[Policy, ...]) -> None:
        self.put(book, None)

    # --- what must be so ---------------------------------------------------------------------------------------------

    @invariant()
    def the_clocks_are_the_same(self) -> None:
        if not hasattr(self, "naive"):
            return
        with self.system.database.read() as connection:
            stored = clocks.of_ticket(connection, self.id)
        told = {(one.target, one.cycle): self.seen(one) for one in stored}
        assert told == {(one.target, one.cycle): self.expected(one) for one in self.naive.clocks}

    @invariant()
    def the_ticket_and_its_alarms_are_the_same(self) -> None:
        if not hasattr(self, "naive"):
            return
        ticket = self.system.get_ticket(self.id)
        assert ticket is not None
        naive = self.naive
        assert (ticket.status, ticket.priority, ticket.assignee, ticket.tags) == (
            naive.status, naive.priority, naive.assignee, naive.tags,
        )  # fmt: skip
        told: Counter[tuple[Any, ...]] = Counter()
        raised = set()
        for event in self.system.get_history(self.id):
            parts = (event.key or "").rsplit("/", 5)
            if event.kind in {"warned", "escalated", "collapsed"} and event.key:
                outcome = "collapsed" if event.kind == "collapsed" else "raised"
                told[parts[1], int(parts[2]), parts[3], int(parts[4]), int(parts[5]), outcome] += 1
                raised |= {event.key} if outcome == "raised" else set()
        assert told == Counter((*key, outcome) for key, outcome in naive.alarms.items())
        sent = Counter(
            row["key"].removesuffix(f"/{row['destination']}")
            for row in rows_of(self.system.database, tables.outbox, tables.outbox.c.ticket_id == self.id)
        )
        assert sent == dict.fromkeys(raised, 1)

    def teardown(self) -> None:
        if hasattr(self, "naive"):
            assert audit_clocks(self.system.database, sample=0).differences == []

    def seen(self, clock: Clock) -> tuple[Any, ...]:
        def minutes(moment: datetime | None) -> float | None:
            return None if moment is None else (moment - START) / MINUTE

        remaining = None if clock.remaining is None else clock.remaining / MINUTE
        return (
            clock.state.value, minutes(clock.due_at), remaining, clock.paused_for / MINUTE, minutes(clock.stopped_at),
            minutes(clock.breached_at), clock.cause, clock.policy,
        )  # fmt: skip

    def expected(self, clock: NaiveClock) -> tuple[Any, ...]:
        return (
            clock.state, clock.due, clock.remaining, clock.paused_for, clock.stopped, clock.breached, clock.cause,
            clock.policy.name,
        )  # fmt: skip


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database_url", ("sqlite-memory", "postgresql"), indirect=True)
def test_lives_are_what_the_rules_say(system: TicketSystem) -> None:
    """Rules 2 to 18 and 21 to 23."""
    machine = type("LivesHere", (Lives,), {"system": system})
    examples = EXAMPLES if system.database.dialect == "sqlite" else max(EXAMPLES // 5, 5)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
