"""What another book of policies would have meant, on every database."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from tests.support.promises import MONDAY, OFFICE, Desk, a_policy, at, promise
from ticket_system import STATUS_FLOW, TicketSystem, monitor, waivers
from ticket_system.changes import Changes
from ticket_system.errors import NotBreached
from ticket_system.simulation import simulate
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.course import Course
from ticket_system.sla.policies import Level, Match, Policy
from ticket_system.sla.simulate import simulated
from ticket_system.sla.terms import OneBook
from ticket_system.sla.verdicts import Change, Simulation, Tally
from ticket_system.storage import clocks, simulations, tables

numbers = count()
WALL = {"calendar": "around the clock"}


def under(
    desk: Desk | TicketSystem, *policies: Policy, until: float = 200, **more: Any
) -> tuple[Simulation, list[Change]]:
    """Replay everything since Monday under other policies."""
    system = desk.system if isinstance(desk, Desk) else desk
    changes: list[Change] = []
    given: dict[str, Any] = {"since": MONDAY, "now": at(until), "changed": changes.append} | more
    return simulate(system.database, PolicyBook(policies, {"office": OFFICE}), **given), changes


def told(changes: list[Change]) -> dict[tuple[str, str, int], tuple[str, str | None, str | None]]:
    return {
        (one.ticket_id, one.target, one.cycle): (one.kind, one.now and one.now.kind, one.proposed and one.proposed.kind)
        for one in changes
    }


# --- consistency -------------------------------------------------------------------------------------------------

BOOK = PolicyBook(
    (
        a_policy(
            name="urgent", rank=1, match=Match(priorities=frozenset({1, 2})), reopen="restart",
            chain=(Level(raise_priority=True, notify=("desk",)), Level(3600, raise_priority=True, retarget=True)),
        ),
        a_policy(
            name="gold", rank=2, match=Match(plans=frozenset({"gold"})), without_response="cancelled",
            targets={FIRST_RESPONSE: promise(2, pausing=frozenset()), RESOLUTION: promise(4, **WALL)},
            chain=(Level(tag="late", notify=("desk",)),),
        ),
        a_policy(
            name="late", rank=3, match=Match(tags=frozenset({"late"}), customers=frozenset({"acme"})),
            reopen="first_close", targets={NEXT_RESPONSE: promise(1), RESOLUTION: promise({1: 1, 2: 2, 3: 3}, **WALL)},
        ),
        Policy("nothing", rank=4, match=Match(groups=frozenset({"lab"})), no_sla=True, chain=()),
        a_policy(name="rest", rank=5, targets={RESOLUTION: promise(3)}),
    ),
    {"office": OFFICE},
)  # fmt: skip

_CLASSES = {
    "plan": st.sampled_from((None, "gold")),
    "customer": st.sampled_from((None, "acme", "other")),
    "group": st.sampled_from((None, "lab")),
    "tags": st.sampled_from(([], ["late"], ["late", "vip"])),
}
Step = tuple[int, str, tuple[Any, ...], dict[str, Any]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Any], list[Step]]:
    """How a ticket is opened, and changes at rising minutes, each allowed where it comes."""
    status = draw(st.sampled_from(("open", "open", "in_progress", "on_hold", "closed")))
    first = {"status": status, "priority": draw(st.integers(1, 4))} | {
        name: draw(values) for name, values in _CLASSES.items()
    }
    minute, steps = 0, []
    for _ in range(draw(st.integers(0, 12))):
        minute += draw(st.integers(0, 300))
        verbs = ["set_priority", "escalate", "comment", "comment", "scan", "scan", "reclassify", "reclassify", "waive"]
        verbs += ["set_status"] * 5 if STATUS_FLOW[status] else []
        verb = draw(st.sampled_from(verbs))
        values: tuple[Any, ...] = ()
        more: dict[str, Any] = {}
        match verb:
            case "set_status":
                status = draw(st.sampled_from(STATUS_FLOW[status]))
                values = (status,)
            case "set_priority":
                values = (draw(st.integers(1, 4)),)
                more = draw(st.sampled_from(({}, {"sla_hours": 1}, {"sla_hours": 30})))
            case "comment":
                more = {
                    "author": draw(st.sampled_from(("ada", "grace", "system"))),
                    "is_internal": draw(st.sampled_from((False, False, True))),
                }
            case "reclassify":
                name = draw(st.sampled_from(sorted(_CLASSES)))
                more = {name: draw(_CLASSES[name])}
            case _:
                pass
        steps.append((minute, verb, values, more))
    return first, steps


def play(system: TicketSystem, first: dict[str, Any], steps: list[Step]) -> str:
    ticket_id = f"t{next(numbers):06}"
    with system.database.write() as connection:
        Changes(connection, system.rules).create(a_ticket(id=ticket_id, created_at=MONDAY, **first))
    for minute, verb, values, more in steps:
        now = at(minute / 60)
        if verb == "scan":
            monitor.scan_breaches(system.database, now=now)
            continue
        with system.database.write() as connection:
            changes = Changes(connection, system.rules)
            if verb == "comment":
                changes.comment(a_comment(ticket_id, id=f"c{next(numbers)}", **more), now=now)
            elif verb == "waive":
                with suppress(NotBreached):
                    waivers.grant(changes, ticket_id, "It was us.", now=now)
            else:
                assert getattr(changes, verb)(ticket_id, *values, now=now, **more) is not False
    return ticket_id


def decided(clock: Clock) -> Clock:
    """A clock without its version, and without what says who found its breach, and when somebody looks again."""
    return replace(
        clock, rules=None, detected_at=None, next_check_at=None, acknowledged_at=None, rearms_at=None
    )  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_the_book_that_was_in_force_all_along_comes_to_the_stored_clocks(
    system: TicketSystem, history: tuple[dict[str, Any], list[Step]]
) -> None:
    """Rule 28: field by field, through escalations, classes given anew, answers, reopenings and hours given by hand."""
    if system.in_force()[0] is None:
        system.put_in_force(BOOK)
    ticket_id, now = play(system, *history), at(history[1][-1][0] / 60 if history[1] else 0)
    with system.database.write() as connection:
        Changes(connection, system.rules).settle(ticket_id, now=now)
        here = clocks.of_ticket(connection, ticket_id)
        batch = simulations.page(connection, MONDAY, f"t{int(ticket_id[1:]) - 1:06}", MONDAY, 1)
    [(ticket, stored, facts)] = batch
    assert ticket.id == ticket_id
    found = simulated(Course(OneBook(BOOK)), ticket, facts, now)
    assert found is not None
    assert {key: decided(clock) for key, clock in found.items()} == {
        (clock.target, clock.cycle): decided(clock) for clock in here
    }
    simulation, changes = Simulation(MONDAY, now), []
    changes += simulation.add(ticket, stored, found, now)
    assert changes == []
    assert simulation.without == simulation.without_proposed == (not stored)
    assert all(line.now == line.proposed for line in simulation.lines.values())


def test_a_whole_history_under_its_own_book_changes_nothing(desk: Desk) -> None:
    desk.promises(a_policy())
    for number in range(25):
        desk.opens(f"t{number}", priority=1 + number % 4, created_at=at(number))
        desk.does("set_status", f"t{number}", "in_progress", hours=number + 1)
        if number % 3:
            desk.does("set_status", f"t{number}", "resolved", hours=number * 4 + 1)
    before = [rows_of(desk.system.database, table) for table in (tables.tickets, tables.clocks, tables.events)]
    steps: list[tuple[int, int]] = []
    found, changes = under(desk, a_policy(), batch_size=10, progress=lambda *step: steps.append(step))
    assert changes == []
    assert (found.tickets, found.untold, found.without, found.without_proposed) == (25, 0, 0, 0)
    assert found.totals().now == found.totals().proposed
    assert found.totals().now.met > 0 < found.totals().now.breached
    assert steps == [(10, 25), (20, 25), (25, 25)]
    after = [rows_of(desk.system.database, table) for table in (tables.tickets, tables.clocks, tables.events)]
    assert before == after, "a simulation only reads"


# --- other books -------------------------------------------------------------------------------------------------


def promised(hours: float, **changes: Any) -> Policy:
    """So many office hours to the resolution, and nobody is called."""
    return a_policy(**{"targets": {RESOLUTION: promise(hours)}, "chain": ()} | changes)


def resolved_after(desk: Desk, *hours: float) -> None:
    """Tickets of priority 3, begun at once and resolved after so many hours; named by them."""
    for wanted in hours:
        desk.opens(f"{wanted}")
        desk.does("set_status", f"{wanted}", "in_progress", hours=0)
        desk.does("set_status", f"{wanted}", "resolved", hours=wanted)


def test_a_stricter_promise_loses_and_a_looser_one_keeps(desk: Desk) -> None:
    """Rule 28."""
    desk.promises(promised(4))
    resolved_after(desk, 1, 3, 5, 7)
    found, changes = under(desk, promised(2))
    assert told(changes) == {("3", RESOLUTION, 1): ("lost", "met", "breached")}
    [(target, priority, line)] = found.ordered()
    assert (target, priority) == (RESOLUTION, 3)
    assert (line.now, line.proposed) == (Tally(met=2, breached=2), Tally(met=1, breached=3))
    assert (line.now.attainment, line.proposed.attainment) == (0.5, 0.25)
    [change] = changes
    assert change.now is not None
    assert change.proposed is not None
    assert (change.now.at, change.proposed.at) == (at(3), at(2)), "met when it was done, breached at the deadline"
    found, changes = under(desk, promised(6))
    assert told(changes) == {("5", RESOLUTION, 1): ("kept", "breached", "met")}
    assert found.changed == {"kept": 1}
    assert found.tickets_changed == 1


def test_what_is_overdue_and_still_runs_is_breached_on_both_sides(desk: Desk) -> None:
    """Rule 24: whether a scan has found it or not."""
    desk.promises(promised(4))
    desk.opens("found")
    desk.scans(5)
    desk.opens("silent")
    found, changes = under(desk, promised(4), until=6)
    assert changes == []
    assert found.totals().now == Tally(breached=2)
    found, changes = under(desk, promised(8), until=6)
    assert found.totals().proposed == Tally(undecided=2)
    assert found.totals().proposed.attainment is None
    assert {one.kind for one in changes} == {"kept"}


def test_another_calendar_is_another_deadline(desk: Desk) -> None:
    desk.promises(promised(10))
    resolved_after(desk, 24.5, 26.5)  # Tuesday: eight and a half, ten and a half office hours
    found, changes = under(desk, a_policy(targets={RESOLUTION: promise(25, **WALL)}))
    assert told(changes) == {}
    assert found.totals().proposed == Tally(met=1, breached=1)
    _, changes = under(desk, a_policy(targets={RESOLUTION: promise(10, **WALL)}))
    assert told(changes) == {("24.5", RESOLUTION, 1): ("lost", "met", "breached")}


def test_a_target_that_is_newly_promised_and_one_that_is_promised_no_more(desk: Desk) -> None:
    desk.promises(promised(4))
    desk.opens()
    desk.says("grace", hours=1.5)
    desk.does("set_status", "t", "in_progress", hours=2)
    desk.does("set_status", "t", "resolved", hours=3)
    found, changes = under(desk, a_policy(targets={FIRST_RESPONSE: promise(1)}))
    assert told(changes) == {
        ("t", FIRST_RESPONSE, 1): ("newly promised", None, "breached"),
        ("t", RESOLUTION, 1): ("promised no more", "met", None),
    }
    assert [(target, line.now, line.proposed) for target, _, line in found.ordered()] == [
        (FIRST_RESPONSE, Tally(), Tally(breached=1)),
        (RESOLUTION, Tally(met=1), Tally()),
    ]


def test_a_book_that_promises_nothing_is_told_apart(desk: Desk) -> None:
    """Rules 17, 24."""
    desk.promises(promised(4))
    resolved_after(desk, 1)
    desk.opens("dropped")
    desk.does("set_status", "dropped", "cancelled", hours=9)
    desk.opens("done", status="closed")
    found, changes = under(desk, Policy("none", no_sla=True, chain=()))
    assert told(changes) == {("1", RESOLUTION, 1): ("promised no more", "met", None)}, "cancelled counted nowhere"
    assert (found.without, found.without_proposed) == (1, 3)
    assert found.totals().now == Tally(met=1, cancelled=1)


@pytest.mark.parametrize("reopen", ("resume", "first_close"))
def test_cycles_are_those_of_the_proposed_book(desk: Desk, reopen: str) -> None:
    """Rule 14."""
    restarts = promised(4, reopen="restart")
    other = promised(4, reopen=reopen)
    desk.promises(restarts)
    resolved_after(desk, 1)
    desk.does("set_status", "1", "open", hours=2)
    _, changes = under(desk, other, until=3)
    first = {("1", RESOLUTION, 1): ("otherwise", "met", "undecided")} if reopen == "resume" else {}
    assert told(changes) == first | {("1", RESOLUTION, 2): ("promised no more", "undecided", None)}
    desk.promises(other)
    desk.opens("again", created_at=at(0.5))
    for status, hours in (("in_progress", 0.5), ("resolved", 1), ("open", 2)):
        desk.does("set_status", "again", status, hours=hours)
    _, changes = under(desk, restarts, until=100)
    assert told(changes)["again", RESOLUTION, 2] == ("newly promised", None, "breached")


def test_a_priority_that_a_level_raised_stays_raised_and_moves_no_deadline(desk: Desk) -> None:
    """Rule 11: what happened to the priority is history, whatever the proposed chain says."""
    urgent: dict[int, float] = {1: 1, 2: 2, 3: 4, 4: 8}
    raising = a_policy(targets={RESOLUTION: promise(urgent)}, chain=(Level(raise_priority=True, notify=("desk",)),))
    desk.promises(raising)
    desk.opens()
    desk.scans(5)
    desk.does("set_status", "t", "in_progress", hours=6)
    desk.does("set_status", "t", "resolved", hours=7)
    found, changes = under(desk, replace(raising, targets={RESOLUTION: promise({1: 1, 2: 2, 3: 8, 4: 8})}, chain=()))
    assert told(changes) == {("t", RESOLUTION, 1): ("kept", "breached", "met")}
    assert [priority for _, priority, _ in found.ordered()] == [2], "the ticket's present one"


def test_a_policy_is_chosen_by_what_the_ticket_was_then(desk: Desk) -> None:
    """Rule 17: the plan it was opened with, then the one it was given; from older events walked back."""
    desk.promises(promised(4))
    desk.opens(plan="gold", tags=["vip"])
    desk.does("reclassify", "t", plan=None, tags=[], hours=3)
    gold = a_policy(name="gold", rank=1, match=Match(plans=frozenset({"gold"})), targets={RESOLUTION: promise(2)})
    rest = a_policy(name="rest", targets={RESOLUTION: promise(8)})
    [created] = desk.history("created")
    assert json.loads(created.new or "")["plan"] == "gold"
    for forgotten in (False, True):
        if forgotten:
            with desk.system.database.write() as connection:
                older = {"status": "open", "priority": 3, "sla_hours": 4}
                new = json.dumps(older | {"policy": "office hours", "rules": 1, "promises": {RESOLUTION: 14400}})
                connection.execute(sa.update(tables.events).where(tables.events.c.kind == "created").values(new=new))
        _, changes = under(desk, gold, rest, until=3.5)
        assert told(changes) == {("t", RESOLUTION, 1): ("lost", "undecided", "breached")}
        _, changes = under(desk, replace(gold, match=Match(tags=frozenset({"vip"}))), rest, until=3.5)
        assert told(changes) == {("t", RESOLUTION, 1): ("lost", "undecided", "breached")}


def test_hours_that_somebody_named_stay_under_another_book(desk: Desk) -> None:
    desk.promises(promised(4))
    desk.opens()
    desk.does("set_priority", "t", 2, sla_hours=3, hours=1)
    _, changes = under(desk, promised(10), until=3.5)
    assert changes == []


def test_a_waived_breach_is_told_apart_under_any_book(desk: Desk) -> None:
    """Rules 9, 24: the waiver was meant for the ticket, and is history like all that people did."""
    desk.promises(promised(4))
    resolved_after(desk, 5, 7)
    desk.system.waive_breach("5", "The customer was away.", author="lead")
    found, changes = under(desk, promised(2))
    assert changes == []
    assert found.totals().now == found.totals().proposed == Tally(breached=1, waived=1)
    found, changes = under(desk, promised(6))
    assert told(changes) == {("5", RESOLUTION, 1): ("kept", "waived", "met")}
    desk.system.revoke_waiver("5", "They were not.", author="lead")
    assert under(desk, promised(2))[0].totals().proposed == Tally(breached=2)


# --- which tickets -----------------------------------------------------------------------------------------------


def test_only_tickets_opened_since_are_looked_at(desk: Desk) -> None:
    desk.promises(promised(4))
    for hours in (-24, 0, 24, 48):
        desk.opens(f"t{hours}", created_at=at(hours))
    assert under(desk, a_policy())[0].tickets == 3
    assert under(desk, a_policy(), since=at(24), until=47)[0].tickets == 1
    assert under(desk, a_policy(), since=at(49))[0] == Simulation(at(49), at(200))


def test_without_a_beginning_the_last_ninety_days_are_looked_at(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    for days in (1, 89, 91):
        system.create_ticket(a_ticket(id=f"t{days}", created_at=now - timedelta(days=days)))
    found = simulate(system.database, PolicyBook((promised(4),), {"office": OFFICE}))
    assert found.tickets == 2
    assert found.until - found.since == timedelta(days=90)


@pytest.mark.parametrize("size", (1, 2, 3, 7, 8))
def test_tickets_opened_at_one_moment_are_each_met_once(system: TicketSystem, size: int) -> None:
    system.create_tickets([a_ticket(id=f"t{number}", created_at=at(number // 4)) for number in range(7)])
    found, changes = under(system, promised(400), batch_size=size, until=100)
    assert found.tickets == 7
    assert found.totals().now == Tally(breached=7)
    assert [one.ticket_id for one in changes] == [f"t{number}" for number in range(7)]


@pytest.mark.parametrize(
    "new", (None, "no JSON", "[]", '{"status":"open"}', '{"status":"new","priority":1}', '{"status":[],"priority":{}}')
)
def test_a_history_that_does_not_tell_how_it_began_is_told_apart(system: TicketSystem, new: str | None) -> None:
    system.create_ticket(a_ticket(created_at=MONDAY))
    with system.database.write() as connection:
        connection.execute(sa.update(tables.events).values(new=new))
    found, changes = under(system, a_policy())
    assert (found.tickets, found.untold, changes) == (1, 1, [])
    assert found.totals().now == Tally()


def test_a_history_that_makes_no_sense_stops_nothing(system: TicketSystem) -> None:
    system.create_tickets([a_ticket(id=name, created_at=MONDAY) for name in ("bad", "good", "none")])
    with system.database.write() as connection:
        connection.execute(
            sa.insert(tables.events).values(
                ticket_id="bad", at=at(1), recorded_at=at(1), kind="priority", actor="x", new="high"
            )
        )
        connection.execute(sa.delete(tables.events).where(tables.events.c.ticket_id == "none"))
    found, _ = under(system, a_policy())
    assert (found.tickets, found.untold) == (3, 2)
