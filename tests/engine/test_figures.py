"""The figures of a week and of a day are what a slow count over every ticket says, on every database."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import a_ticket
from tests.support.lives import (
    AS_OF,
    DAY,
    ENDS,
    SINCE,
    UNTIL,
    WEEK,
    WEEK_ENDS,
    calendar_of,
    lives,
    play,
    statuses,
    stored,
)
from ticket_system import TicketSystem, figures, waivers
from ticket_system.audit import audit_clocks
from ticket_system.changes import Changes
from ticket_system.reports.contents import Scope, Totals, Weekly
from ticket_system.sla.clocks import TARGETS, Clock, ClockState, stop

ACTIVE = {"open", "in_progress", "review", "on_hold"}
SCOPES = st.sampled_from(
    (Scope(), Scope(customer="acme"), Scope(group="network"), Scope(customer="initech", group="network"))
)
BEFORE = Totals(opened=3, met=2)


@dataclass
class Slow:
    """Every figure, one ticket and one clock at a time."""

    tickets: dict[str, dict[str, Any]]
    clocks: list[Clock]
    status: Callable[[str, datetime], str | None]

    def broken(self, since: datetime, until: datetime) -> list[tuple[Clock, datetime]]:
        """Waived ones too, each with its instant."""
        found = []
        for clock in self.clocks:
            overdue = clock.state is ClockState.RUNNING and clock.is_breached(AS_OF)
            at = clock.breached_at if clock.state is ClockState.BREACHED else clock.due_at if overdue else None
            if at is not None and since <= at < until:
                found.append((clock, at))
        return found

    def over(self, clock: Clock) -> float:
        """How much later than promised it is, or would be if it were done now."""
        done = clock if clock.stopped_at else stop(clock, AS_OF, calendar_of(clock))
        assert done.worked is not None
        return max(done.worked.total_seconds() - clock.target_seconds, 0)

    def kept(self) -> dict[tuple[str, int], Counter[str]]:
        found: dict[tuple[str, int], Counter[str]] = {}
        ends = [
            (clock, clock.state.value)
            for clock in self.clocks
            if clock.state in {ClockState.MET, ClockState.CANCELLED} and inside(clock.stopped_at)
        ]
        ends += [(clock, "waived" if clock.waived_at else "breached") for clock, _ in self.broken(SINCE, UNTIL)]
        for clock, end in ends:
            key = clock.target, self.tickets[clock.ticket_id]["priority"]
            found.setdefault(key, Counter())[end] += 1
        return found

    def late(self, since: datetime, until: datetime) -> dict[tuple[str, str], list[tuple[float, bool]]]:
        found: dict[tuple[str, str], list[tuple[float, bool]]] = {}
        for clock, _ in self.broken(since, until):
            if clock.waived_at is None:
                told = self.over(clock), clock.stopped_at is None
                found.setdefault((clock.ticket_id, clock.target), []).append(told)
        return found

    def due(self) -> dict[tuple[str, str], float]:
        return {
            (clock.ticket_id, clock.target): calendar_of(clock).between(AS_OF, clock.due_at).total_seconds()
            for clock in self.clocks
            if clock.state is ClockState.RUNNING
            and clock.due_at is not None
            and AS_OF <= clock.due_at <= calendar_of(clock).add(AS_OF, timedelta(hours=24))
        }

    def backlog(self, at: datetime) -> int:
        return sum(self.status(name, at) in ACTIVE for name in self.tickets)

    def opened(self, since: datetime, until: datetime) -> int:
        return sum(since <= one["created_at"] < until for one in self.tickets.values())


def inside(moment: datetime | None) -> bool:
    return moment is not None and SINCE <= moment < UNTIL


def slow(system: TicketSystem, scope: Scope) -> Slow:
    found, clocks = stored(system)
    mine = {
        name: one
        for name, one in found.items()
        if scope.customer in {None, one["customer"]} and scope.group in {None, one["group"]}
    }
    return Slow(mine, [clock for clock in clocks if clock.ticket_id in mine], statuses(system))


def seconds(spans: Iterable[timedelta | None]) -> list[float]:
    return [span.total_seconds() for span in spans if span is not None]


def shares(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=10, method="inclusive")[8]


def check_totals(told: Weekly, mine: Slow, reopened: int) -> None:
    kept = mine.kept()
    assert told.totals == Totals(
        opened=mine.opened(SINCE, UNTIL),
        solved=sum(inside(one["resolved_at"]) for one in mine.tickets.values()),
        reopened=reopened,
        met=sum(one["met"] for one in kept.values()),
        breached=sum(one["breached"] for one in kept.values()),
        backlog=mine.backlog(UNTIL),
    )
    assert {(one.target, one.priority): (one.met, one.breached, one.waived, one.cancelled) for one in told.kept} == {
        key: (one["met"], one["breached"], one["waived"], one["cancelled"]) for key, one in kept.items()
    }
    order = [(TARGETS.index(one.target), one.priority) for one in told.kept]
    assert order == sorted(order)


def check_loads(told: Weekly, mine: Slow) -> None:
    expected: dict[str | None, Counter[str]] = {}
    for one in mine.tickets.values():
        mark = expected.setdefault(one["assignee"], Counter())
        mark["open"] += one["status"] in ACTIVE
        mark["solved"] += inside(one["resolved_at"])
    for clock, _ in mine.broken(SINCE, UNTIL):
        expected[mine.tickets[clock.ticket_id]["assignee"]]["breached"] += clock.waived_at is None
    some = {
        agent: (one["open"], one["solved"], one["breached"]) for agent, one in expected.items() if any(one.values())
    }
    assert {one.agent: (one.open, one.solved, one.breached) for one in told.loads} == some
    assert told.agents == len(some)
    assert [one.open for one in told.loads] == sorted((one.open for one in told.loads), reverse=True)


def check_named(told: Weekly, mine: Slow) -> None:
    late = mine.late(SINCE, UNTIL)
    assert told.late == told.totals.breached == sum(map(len, late.values()))
    worst = sorted((over for overs in late.values() for over, _ in overs), reverse=True)[:5]
    assert [one.over_seconds for one in told.worst] == worst
    for one in told.worst:
        assert (one.over_seconds, one.is_running) in late[one.ticket_id, one.target]
        ticket = mine.tickets[one.ticket_id]
        assert (one.title, one.priority, one.assignee) == (ticket["title"], ticket["priority"], ticket["assignee"])
    due = mine.due()
    assert told.due_soon == len(due)
    assert len(told.at_risk) == min(5, len(due))
    assert {(one.ticket_id, one.target): one.left_seconds for one in told.at_risk}.items() <= due.items()
    assert [one.due_at for one in told.at_risk] == sorted(one.due_at for one in told.at_risk)


def check_took(told: Weekly, mine: Slow) -> None:
    for target in TARGETS:
        done = [
            clock
            for clock in mine.clocks
            if clock.target == target
            and clock.state in {ClockState.MET, ClockState.BREACHED}
            and inside(clock.stopped_at)
        ]
        found = [one for one in told.took if one.target == target]
        assert [one.count for one in found] == ([len(done)] if done else [])
        for one in found:
            wall = seconds(clock.stopped_at - clock.started_at for clock in done if clock.stopped_at)
            # SQLite reads instants to the millisecond.
            assert (one.wall_p50, one.wall_p90) == pytest.approx(shares(wall), abs=0.002)
            assert (one.working_p50, one.working_p90) == pytest.approx(shares(seconds(one.worked for one in done)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_lives=st.lists(lives(), max_size=14), scope=SCOPES)
def test_a_week_is_what_a_slow_count_says(system: TicketSystem, all_lives: list[Any], scope: Scope) -> None:
    """Rule 24."""
    play(system, all_lives)
    mine = slow(system, scope)
    told = figures.weekly(
        system.database, system.rules, organisation="house", scope=scope, period=WEEK, week_ends=WEEK_ENDS,
        before=BEFORE, as_of=AS_OF,
    )  # fmt: skip
    reopened = sum(
        event.kind == "status" and event.old == "resolved" and event.new == "open" and inside(event.at)
        for name in mine.tickets
        for event in system.get_history(name)
    )
    check_totals(told, mine, reopened)
    check_loads(told, mine)
    check_named(told, mine)
    check_took(told, mine)
    assert [(one.ends_at, one.ends_on, one.opened, one.backlog) for one in told.weeks] == [
        (end, day, mine.opened(since, end), mine.backlog(end))
        for since, (end, day) in zip([ENDS[0] - 7 * DAY, *ENDS], WEEK_ENDS, strict=False)
    ]
    ages = [(AS_OF - one["created_at"]) // DAY for one in mine.tickets.values() if one["status"] in ACTIVE]
    assert [(one.from_days, one.to_days) for one in told.ages] == [(0, 2), (3, 7), (8, 30), (31, None)]
    assert [one.tickets for one in told.ages] == [
        sum(one.from_days <= age <= (one.to_days or 10**6) for age in ages) for one in told.ages
    ]
    promised = {clock.ticket_id for clock in mine.clocks}
    created = {name for name, one in mine.tickets.items() if inside(one["created_at"])}
    assert told.without_promise == len(created - promised)
    assert (told.before, told.as_of, told.billing) == (BEFORE, AS_OF, None)
    assert (told.customer, told.group, told.zone, told.starts_at) == (scope.customer, scope.group, WEEK.zone, SINCE)
    assert audit_clocks(system.database, everything=True).differences == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_lives=st.lists(lives(), max_size=14), scope=SCOPES, days=st.integers(1, 6))
def test_a_day_names_every_promise_that_was_broken_or_is_next(
    system: TicketSystem, all_lives: list[Any], scope: Scope, days: int
) -> None:
    play(system, all_lives)
    mine, since = slow(system, scope), UNTIL - days * DAY
    day = WEEK.model_copy(update={"starts_at": since, "ends_at": since + DAY})
    told = figures.daily(system.database, system.rules, organisation="house", scope=scope, period=day, as_of=AS_OF)
    late = mine.late(since, since + DAY)
    assert Counter((one.ticket_id, one.target, one.over_seconds, one.is_running) for one in told.worst) == Counter(
        (*key, *one) for key, overs in late.items() for one in overs
    )
    assert {(one.ticket_id, one.target): one.left_seconds for one in told.at_risk} == mine.due()


def test_the_worst_are_found_behind_many_that_were_due_earlier_and_done_for_a_while(system: TicketSystem) -> None:
    opened = SINCE - timedelta(hours=5)
    with system.database.write() as connection:
        changes = Changes(connection)
        for number in range(30):
            changes.create(a_ticket(id=f"reopened {number}", created_at=opened, sla_hours=6, status="in_progress"))
            changes.set_status(f"reopened {number}", "resolved", now=SINCE + timedelta(hours=2))
            changes.set_status(f"reopened {number}", "open", now=AS_OF - timedelta(hours=1))
        for number in range(5):
            first = {"created_at": opened + timedelta(hours=20 + number), "sla_hours": 6}
            changes.create(a_ticket(id=f"late {number}", **first))
    told = figures.weekly(
        system.database, system.rules, organisation="house", scope=Scope(), period=WEEK, week_ends=(), before=None,
        as_of=AS_OF,
    )  # fmt: skip
    assert [one.ticket_id for one in told.worst] == [f"late {number}" for number in range(5)]
    assert (told.late, told.totals.reopened) == (35, 0)
    assert {one.agent: one.breached for one in told.loads} == {None: 35}


def a_week(system: TicketSystem, as_of: datetime = AS_OF) -> Weekly:
    return figures.weekly(
        system.database, system.rules, organisation="house", scope=Scope(), period=WEEK, week_ends=(), before=None,
        as_of=as_of,
    )  # fmt: skip


def test_of_those_done_late_the_latest_are_named_and_the_waived_never(system: TicketSystem) -> None:
    with system.database.write() as connection:
        changes = Changes(connection)
        for hours in range(1, 9):
            for done in (True, False):
                name = f"{hours} {'done' if done else 'running'}"
                opened = SINCE + timedelta(hours=60 - hours) if done else AS_OF - timedelta(hours=50 + hours)
                changes.create(a_ticket(id=name, created_at=opened, sla_hours=10, status="in_progress"))
                if done:
                    changes.set_status(name, "resolved", now=opened + timedelta(hours=10 + 41.5 + hours))
                if hours == 8:
                    waivers.grant(changes, name, "Their own mains failed.", now=AS_OF)
    told = a_week(system)
    assert [(one.ticket_id, one.over_seconds / 3600, one.is_running) for one in told.worst] == [
        ("7 done", 48.5, False), ("6 done", 47.5, False), ("7 running", 47, True), ("5 done", 46.5, False),
        ("6 running", 46, True),
    ]  # fmt: skip
    assert (told.late, sum(one.waived for one in told.kept)) == (14, 2)


def test_what_happens_at_the_end_belongs_to_the_next_week_and_at_the_deadline_is_in_time(system: TicketSystem) -> None:
    """Rule 5."""
    for name, created_at in (("ends", UNTIL), ("starts", SINCE), ("now", AS_OF), ("soon", AS_OF + DAY)):
        system.create_ticket(a_ticket(id=name, created_at=created_at - timedelta(hours=30), sla_hours=30))
    told = a_week(system)
    assert [one.ticket_id for one in told.worst] == ["starts"]
    assert [(one.ticket_id, one.left_seconds) for one in told.at_risk] == [("now", 0.0), ("soon", 86_400.0)]
    assert a_week(system, UNTIL).totals.breached == 1
    late = a_week(system, AS_OF + timedelta(microseconds=1))
    assert [one.ticket_id for one in late.at_risk] == ["soon"]


def test_only_the_busiest_agents_are_named_and_the_others_counted(system: TicketSystem) -> None:
    for number in range(25):
        for turn in range(number % 3 + 1):
            name = f"{number}/{turn}"
            system.create_ticket(a_ticket(id=name, assignee=f"agent {number:02}", created_at=SINCE - turn * DAY))
    told = figures.weekly(
        system.database, system.rules, organisation="house", scope=Scope(), period=WEEK, week_ends=(), before=None
    )
    assert (told.agents, len(told.loads)) == (25, 20)
    assert [one.open for one in told.loads] == [3] * 8 + [2] * 8 + [1] * 4
    assert told.loads[0].agent == "agent 02"


def test_a_report_of_nothing_is_empty(system: TicketSystem) -> None:
    told = figures.weekly(
        system.database, system.rules, organisation="house", scope=Scope(), period=WEEK, week_ends=WEEK_ENDS,
        before=None,
    )  # fmt: skip
    assert told.is_empty
    assert (told.totals, told.kept, told.took, told.loads) == (Totals(), (), (), ())
    assert [one.backlog for one in told.weeks] == [0] * 8
    assert figures.daily(system.database, system.rules, organisation="house", scope=Scope(), period=WEEK).is_empty
