"""Random histories against a naive model that walks the rules minute by minute (tests/support/naive.py).

After every step: each clock with its verdict, deadline and pauses; every alarm that was raised or passed over; who is
told; priority, assignee and tags. In the end an audit agrees. TICKETS_MODEL_EXAMPLES=5000 plays that many histories on
each database instead of the few of every day; TICKETS_MODEL_STEPS=60 makes them longer.
"""

import os
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import naive
from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from ticket_system import STATUS_FLOW, TicketSystem, monitor
from ticket_system.audit import audit_clocks
from ticket_system.changes import Changes
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.policies import Level, Match, Policy, TargetRule, Warn
from ticket_system.storage import clocks, sweeps, tables
from ticket_system.storage.database import Database

EXAMPLES = int(os.environ.get("TICKETS_MODEL_EXAMPLES", "0"))
STEPS = int(os.environ.get("TICKETS_MODEL_STEPS", "30"))

#: However many there are, no history takes long by itself.
pytestmark = pytest.mark.timeout(0 if EXAMPLES else 180)

M, H = 60, 3600
#: A Monday, nine o'clock in Berlin: minute 0 of the model.
MONDAY = datetime(2026, 6, 1, 7, tzinfo=UTC)
SHIFTS = (Hours.of(time(9), time(12)), Hours.of(time(13), time(17)))
OFFICE = Calendar("office", ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), SHIFTS))


def promise(*minutes: int, calendar: str = "office", pausing: tuple[str, ...] = ("on_hold",)) -> TargetRule:
    """Minutes by priority; one for all, or for the first ones only."""
    given = minutes * 4 if len(minutes) == 1 else minutes
    return TargetRule({n: one * M for n, one in enumerate(given, 1) if one}, calendar, frozenset(pausing))


def level(minutes: int, *notify: str, **more: Any) -> Level:
    return Level(offset_seconds=minutes * M, notify=notify, **more)


ONLY_RESOLUTION = frozenset({RESOLUTION})
THOROUGH = Policy(
    "thorough",
    rank=50,
    targets={
        FIRST_RESPONSE: promise(60, pausing=()),
        NEXT_RESPONSE: promise(120),
        RESOLUTION: promise(120, 240, 480, 960),
    },
    warnings=(Warn(percent=50), Warn(seconds_before=30 * M, targets=ONLY_RESOLUTION)),
    chain=(
        level(-30, "assignee", targets=ONLY_RESOLUTION),
        level(0, "assignee-or-desk", raise_priority=True),
        level(60, "oncall", "desk", working_time=False, repeat_seconds=30 * M, max_repeats=3),
        level(120, "boss", tag="late"),
    ),
    ack_expires_seconds=90 * M,
)
URGENT = Policy(
    "urgent",
    rank=1,
    match=Match(priorities=frozenset({1})),
    targets={
        NEXT_RESPONSE: promise(60, calendar="around the clock"),
        RESOLUTION: promise(120, calendar="around the clock", pausing=("on_hold", "review")),
    },
    reopen="restart",
    warnings=(Warn(percent=75, notify=("desk", "lead")),),
    chain=(level(0, "group"), level(45, "assignee"), level(90, "desk", repeat_seconds=H, max_repeats=1)),
)
SAVING = Policy(
    "saving",
    rank=60,
    targets={
        FIRST_RESPONSE: promise(60, 60, 120, calendar="around the clock"),
        RESOLUTION: promise(180, 240, 480, 720, calendar="around the clock"),
    },
    reopen="first_close",
    without_response="cancelled",
    chain=(
        level(-120, "desk", raise_priority=True, retarget=True, targets=ONLY_RESOLUTION),
        level(0, "assignee", "group", reassign_to="oncall@example.org"),
        level(30, "requester", tag="late"),
        level(60, "desk", raise_priority=True),
    ),
)
PLAIN = Policy(
    "plain",
    rank=70,
    targets={NEXT_RESPONSE: promise(0, 60, 90, 0), RESOLUTION: promise(60, 120, 240, 360)},
    reopen="restart",
    warnings=(Warn(seconds_before=45 * M), Warn(percent=75)),
    chain=(level(0, "requester"), level(30, "desk", repeat_seconds=15 * M, max_repeats=4), level(60, tag="old")),
    ack_expires_seconds=30 * M,
)
#: Policies, and from when on they raise alarms.
BOOKS: tuple[tuple[tuple[Policy, ...], int | None], ...] = (
    ((THOROUGH,), None),
    ((URGENT, THOROUGH), None),
    ((SAVING,), None),
    ((URGENT, SAVING), None),
    ((PLAIN,), None),
    ((URGENT, PLAIN), 600),
)


#: Minutes that pass: often to where something is due, now and then over days.
SPANS = st.sampled_from((0, 0, 1, 15, 15, 30, 30, 45, 60, 60, 90, 120, 121, 240, 479, 1440, 4 * 1440))


def at(minute: int) -> datetime:
    return MONDAY + timedelta(minutes=minute)


def minute(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    whole, rest = divmod(moment - MONDAY, timedelta(minutes=1))
    assert not rest
    return whole


def minutes(span: timedelta | None) -> int | None:
    return None if span is None else span // timedelta(minutes=1)


def as_stored(clock: Clock) -> tuple[Any, ...]:
    """What is compared of a stored clock."""
    return (
        str(clock.state), clock.policy, clock.rules, minute(clock.started_at), clock.target_seconds // M,
        minute(clock.due_at), minute(clock.paused_at), minutes(clock.remaining), minutes(clock.paused_for),
        minute(clock.stopped_at), minute(clock.breached_at), minute(clock.detected_at), clock.cause,
        minute(clock.acknowledged_at), minute(clock.rearms_at),
    )  # fmt: skip


def as_modelled(watch: naive.Watch) -> tuple[Any, ...]:
    """The same of the model."""
    return (
        watch.state, watch.policy.name, watch.book.version, watch.began, watch.minutes,
        watch.due, watch.paused_at, watch.left, watch.paused_for,
        watch.stopped, watch.breached, watch.detected, watch.cause,
        watch.held, watch.held_until,
    )  # fmt: skip


def empty(database: Database) -> None:
    """Forget every ticket, and all rules but those built in."""
    with database.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table is tables.steps:
                connection.execute(sa.delete(table).where(table.c.rules.is_not(None)))
            elif table is tables.step_notices:
                connection.execute(sa.delete(table).where(table.c.step_id != 1))
            else:
                connection.execute(sa.delete(table))


class Histories(RuleBasedStateMachine):
    """Up to three tickets, through anything that can happen to them."""

    #: Where it is played; None: in memory, anew for each history.
    place: Database | None = None

    def __init__(self) -> None:
        super().__init__()
        self.database = self.place or Database(":memory:")
        self.database.upgrade()
        if self.place:
            empty(self.place)
        self.system = TicketSystem(self.database)
        self.now = 0
        self.desks: list[naive.Desk] = []
        self.comments = 0

    def does(self, desk: naive.Desk, verb: str, *words: Any, **more: Any) -> Any:
        with self.database.write() as connection:
            return getattr(Changes(connection, self.system.rules), verb)(
                desk.ticket_id, *words, now=at(self.now), **more
            )

    def passes(self, span: int) -> None:
        self.now += span

    @initialize(number=st.sampled_from(range(len(BOOKS))))
    def begins(self, number: int) -> None:
        self.puts_in_force(number)

    @precondition(lambda self: self.now < 30 * 1440)
    @rule(number=st.sampled_from(range(len(BOOKS))))
    def puts_in_force(self, number: int) -> None:
        policies, since = BOOKS[number]
        enforce_from = None if since is None else at(since)
        version = self.system.put_in_force(PolicyBook(policies, {"office": OFFICE}, enforce_from))
        self.book = naive.Book(version, policies, since)
        for desk in self.desks:
            desk.book = self.book

    @precondition(lambda self: len(self.desks) < 3)
    @rule(
        status=st.sampled_from(("open", "in_progress", "on_hold")),
        priority=st.integers(1, 4),
        assignee=st.sampled_from((None, "grace", "grace@example.org")),
    )
    def opens(self, status: str, priority: int, assignee: str | None) -> None:
        ticket_id = f"t{len(self.desks)}"
        with self.database.write() as connection:
            Changes(connection, self.system.rules).create(
                a_ticket(
                    id=ticket_id,
                    status=status,
                    priority=priority,
                    assignee=assignee,
                    created_at=at(self.now),
                    updated_at=at(self.now),
                )
            )
        self.desks.append(naive.Desk(ticket_id, self.now, self.book, priority, status, assignee))

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS, way=st.integers(0, 5))
    def moves(self, which: int, span: int, way: int) -> None:
        self.passes(span)
        desk = self.desk(which)
        if ways := STATUS_FLOW[desk.status]:
            status = ways[way % len(ways)]
            self.does(desk, "set_status", status)
            desk.move(status, self.now)

    def desk(self, which: int) -> naive.Desk:
        return self.desks[which % len(self.desks)]

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS, hold=SPANS)
    def waits(self, which: int, span: int, hold: int) -> None:
        """On hold, and back."""
        self.passes(span)
        desk = self.desk(which)
        if "on_hold" not in STATUS_FLOW[desk.status]:
            return
        for status in ("on_hold", "in_progress"):
            self.does(desk, "set_status", status)
            desk.move(status, self.now)
            self.passes(hold if status == "on_hold" else 0)
            self.agree()

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS, assignee=st.sampled_from((None, "grace", "alan@example.org")))
    def is_given(self, which: int, span: int, assignee: str | None) -> None:
        self.passes(span)
        desk = self.desk(which)
        if desk.status == "open" and assignee is not None:
            assert self.does(desk, "assign", assignee)
            desk.assign(assignee, self.now)
        elif desk.status in naive.ACTIVE:
            assert self.does(desk, "reassign", assignee)
            desk.reassign(assignee, self.now)

    @precondition(lambda self: self.desks)
    @rule(
        which=st.integers(0, 2),
        span=SPANS,
        author=st.sampled_from(("ada", "ada", "grace", "system")),
        internal=st.sampled_from((False, False, False, True)),
    )
    def says(self, which: int, span: int, author: str, internal: bool) -> None:
        self.passes(span)
        desk = self.desk(which)
        self.comments += 1
        comment = a_comment(desk.ticket_id, id=f"c{self.comments}", author=author, is_internal=internal)
        with self.database.write() as connection:
            Changes(connection, self.system.rules).comment(comment, now=at(self.now))
        desk.comment(author, self.now, internal=internal)

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS, priority=st.integers(1, 4))
    def is_ranked(self, which: int, span: int, priority: int) -> None:
        self.passes(span)
        desk = self.desk(which)
        self.does(desk, "set_priority", priority)
        desk.set_priority(priority, self.now)

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS)
    def is_escalated(self, which: int, span: int) -> None:
        self.passes(span)
        desk = self.desk(which)
        self.does(desk, "escalate", "by hand")
        desk.escalate(self.now)

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS, lasts=st.none() | st.sampled_from((15, 30, 60, 90, 300)))
    def is_acknowledged(self, which: int, span: int, lasts: int | None) -> None:
        self.passes(span)
        desk = self.desk(which)
        if desk.status in naive.ACTIVE:
            until = None if lasts is None else self.now + lasts
            assert self.does(desk, "acknowledge", until=None if until is None else at(until))
            desk.acknowledge(self.now, until)

    @precondition(lambda self: self.desks)
    @rule(which=st.integers(0, 2), span=SPANS)
    def is_rearmed(self, which: int, span: int) -> None:
        self.passes(span)
        desk = self.desk(which)
        self.does(desk, "rearm")
        desk.rearm(self.now)

    @precondition(lambda self: self.desks)
    @rule(span=SPANS, batch_size=st.sampled_from((1, 2, 1000)))
    def is_scanned(self, span: int, batch_size: int) -> None:
        """As often as something is due, in batches of any size; one more does nothing."""
        self.passes(span)
        for _ in range(10):
            monitor.scan_breaches(self.database, now=at(self.now), batch_size=batch_size)
            with self.database.read() as connection:
                if not sweeps.anything(connection, at(self.now)):
                    break
        again = monitor.scan_breaches(self.database, now=at(self.now))
        assert (again.found, again.alarms) == (0, 0)
        naive.scan(self.desks, self.now)

    @invariant()
    def agree(self) -> None:
        """What is stored is what the model says."""
        told = rows_of(self.database, tables.outbox)
        letters = Counter(key for desk in self.desks for key in desk.letters.elements())
        assert Counter(row["key"] for row in told) == letters
        for desk in self.desks:
            ticket = self.system.get_ticket(desk.ticket_id)
            assert ticket is not None
            with self.database.read() as connection:
                stored = clocks.of_ticket(connection, desk.ticket_id)
            assert {(one.target, one.cycle): as_stored(one) for one in stored} == {
                key: as_modelled(one) for key, one in desk.watches.items()
            }, desk.ticket_id
            assert self.raised(desk.ticket_id) == Counter(
                (how, f"{desk.ticket_id}/{target}/{cycle}/{kind}/{number}/{repeat}")
                for (target, cycle, (kind, number, repeat)), how in desk.told.items()
            )
            assert (str(ticket.status), ticket.priority, ticket.assignee, ticket.tags) == (
                desk.status, desk.priority, desk.assignee, desk.tags,
            )  # fmt: skip

    def raised(self, ticket_id: str) -> Counter[tuple[str, str | None]]:
        alarms = {"warned", "escalated", "collapsed"}
        events = self.system.get_history(ticket_id)
        return Counter((event.kind, event.key) for event in events if event.kind in alarms and event.key)

    def teardown(self) -> None:
        report = audit_clocks(self.database, everything=True)
        if not self.place:
            self.database.close()
        assert report.differences == []


def plays(machine: type[Histories], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_histories_are_as_the_rules_walked_by_hand() -> None:
    """Rules 1 to 23, on SQLite."""
    plays(Histories, 40)


def test_random_histories_are_so_on_postgresql(postgres_url: str) -> None:
    """The same in the other database, where a sweep is one statement."""
    with Database(postgres_url) as database:
        database.upgrade()
        plays(type("OnPostgresql", (Histories,), {"place": database}), 8)


# --- when scans run ----------------------------------------------------------------------------------------------

#: Levels that only tell, and somebody always: what is passed over is not done, and nobody there moves a chain on.
TELLING = (
    replace(URGENT, chain=(level(0, "desk"), level(45, "boss", repeat_seconds=H, max_repeats=2))),
    replace(
        THOROUGH,
        chain=(level(-30, "desk"), level(0, "desk"), level(60, "boss", working_time=False), level(120, "oncall")),
    ),
)
#: Changes, each after so many minutes: what is done, and with what.
History: TypeAlias = list[tuple[int, str, int]]
CHANGES = st.lists(
    st.tuples(
        SPANS,
        st.sampled_from(("move", "move", "comment", "set_priority", "acknowledge", "rearm")),
        st.integers(0, 11),
    ),
    max_size=12,
)
#: So often a scan may run.
EVERY = 15
DAYS = 3


def play(
    system: TicketSystem, ticket_id: str, priority: int, history: list[tuple[int, str, int]], scans: set[int]
) -> Any:
    """Play a history, scanning at these quarters of an hour; returns verdicts, keys of events, and what was raised."""
    ticket = a_ticket(id=ticket_id, priority=priority, created_at=MONDAY, updated_at=MONDAY)
    system.create_ticket(ticket)
    status, now, scanned = "open", 0, 0

    def scan_until(end: int) -> None:
        nonlocal scanned
        for quarter in range(scanned + 1, end // EVERY + 1):
            if quarter in scans:
                monitor.scan_breaches(system.database, now=at(quarter * EVERY))
        scanned = max(scanned, end // EVERY)

    for number, (span, verb, choice) in enumerate(history):
        now += span
        scan_until(now)
        with system.database.write() as connection:
            changes = Changes(connection, system.rules)
            match verb:
                case "move" if STATUS_FLOW[status]:
                    status = STATUS_FLOW[status][choice % len(STATUS_FLOW[status])]
                    changes.set_status(ticket_id, status, now=at(now))
                case "comment":
                    author = ("ada", "grace")[choice % 2]
                    changes.comment(a_comment(ticket_id, id=f"{ticket_id}{number}", author=author), now=at(now))
                case "set_priority":
                    changes.set_priority(ticket_id, choice % 4 + 1, now=at(now))
                case "acknowledge":
                    until = None if choice < 4 else at(now + 30 * choice)
                    changes.acknowledge(ticket_id, until=until, now=at(now))
                case "rearm":
                    changes.rearm(ticket_id, now=at(now))
                case _:
                    pass
    scan_until(now + DAYS * 1440)
    with system.database.write() as connection:
        Changes(connection, system.rules).settle(ticket_id, now=at(now + DAYS * 1440 + 1))
        found = clocks.lock(connection, ticket_id)
    verdicts = [replace(clock, ticket_id="", detected_at=None, next_check_at=None) for clock in found]
    events = [(event.kind, (event.key or "").removeprefix(ticket_id)) for event in system.get_history(ticket_id)]
    raised = {key for kind, key in events if kind in {"warned", "escalated"}}
    return verdicts, {key for _, key in events if key}, raised


@settings(max_examples=EXAMPLES or 12, deadline=None, suppress_health_check=list(HealthCheck))
@given(priority=st.integers(1, 4), history=CHANGES, chance=st.sampled_from((0, 0.02, 0.2)), luck=st.randoms())
def test_scanning_at_any_moments_gives_what_scanning_always_gives(
    priority: int, history: History, chance: float, luck: Any
) -> None:
    """Rules 5, 7, 8, over random histories.

    Equal are the clocks with verdict, deadline, pauses and the instant of the breach, and the keys of the events: what
    was breached, started, raised or passed over. Not when a breach was found, nor which alarm of those due together
    was raised: whoever scans seldom passes some over that others raise, and raises none that the others did not.
    """
    quarters = set(range(1, (sum(span for span, _, _ in history) + DAYS * 1440) // EVERY + 1))
    some = {quarter for quarter in quarters if luck.random() < chance}
    with Database(":memory:") as database:
        database.upgrade()
        system = TicketSystem(database)
        system.put_in_force(PolicyBook(TELLING, {"office": OFFICE}))
        always = play(system, "always", priority, history, quarters)
        seldom = play(system, "seldom", priority, history, some)
    assert seldom[:2] == always[:2]
    assert seldom[2] <= always[2]
