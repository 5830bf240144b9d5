"""A policy chosen anew: what it newly promises begins when it is promised; what was done is not asked for again."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.promises import Desk, a_policy, at, promise
from ticket_system import TicketSystem
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.policies import Match, Policy, by_hours

URGENT = Match(priorities=frozenset({1, 2}))


def urgent(**changes: Any) -> Policy:
    """All three promises, to the critical and high; the rest is promised a resolution in twenty hours."""
    return a_policy(**{"name": "urgent", "rank": 1, "match": URGENT} | changes)


def rest(**changes: Any) -> Policy:
    return a_policy(**{"name": "rest", "targets": {RESOLUTION: promise(20)}} | changes)


@pytest.mark.parametrize("verb", ("set_priority", "escalate"))
def test_what_is_newly_promised_begins_when_it_is_promised(desk: Desk, verb: str) -> None:
    version = desk.promises(urgent(), rest())
    desk.opens(priority=3)
    desk.does(verb, "t", *([2] if verb == "set_priority" else []), hours=3)
    first, resolution = desk.clock(FIRST_RESPONSE), desk.clock(RESOLUTION)
    assert (first.started_at, first.due_at, first.policy, first.rules) == (at(3), at(4), "urgent", version)
    assert (resolution.started_at, resolution.due_at) == (at(0), at(26)), (
        "what ran is moved from its start on (rule 10)"
    )
    kinds = [event.kind for event in desk.system.get_history("t")]
    assert kinds == ["created", "started", "priority" if verb == "set_priority" else "escalated"]
    assert NEXT_RESPONSE not in {target for target, _ in desk.clocks()}, "only a message starts it (rule 16)"


def test_what_was_taken_back_and_is_promised_again_is_a_new_cycle(desk: Desk) -> None:
    desk.promises(urgent(), rest())
    desk.opens(priority=2)
    desk.does("set_priority", "t", 3, hours=0.5)
    cancelled = desk.clock(FIRST_RESPONSE)
    desk.does("set_priority", "t", 1, hours=2)
    assert desk.clock(FIRST_RESPONSE, 1) == cancelled
    assert (desk.clock(FIRST_RESPONSE, 2).started_at, desk.clock(FIRST_RESPONSE, 2).due_at) == (at(2), at(3))
    desk.does("set_priority", "t", 2, hours=2.5)
    assert desk.clock(FIRST_RESPONSE, 2).due_at == at(3)
    assert (FIRST_RESPONSE, 3) not in desk.clocks()


@pytest.mark.parametrize("hours", (0.2, 1), ids=("while it was promised", "while it was not"))
def test_an_answer_that_was_given_is_not_asked_for_again(desk: Desk, hours: float) -> None:
    """Rule 15."""
    desk.promises(urgent(), rest())
    desk.opens(priority=2)
    for moment, do in sorted({0.5: ("set_priority", "t", 3), 2: ("set_priority", "t", 1)}.items()):
        if moment == 0.5 > hours or moment == 2 > hours > 0.5:
            desk.says("grace", hours=hours)
        desk.does(*do, hours=moment)
    assert (FIRST_RESPONSE, 2) not in desk.clocks()


@pytest.mark.parametrize(
    ("author", "internal"),
    (("system", False), ("grace", True), ("ada", False)),
    ids=("automatic", "internal", "the requester's own"),
)
def test_what_is_no_answer_leaves_one_to_be_promised(desk: Desk, author: str, internal: bool) -> None:
    desk.promises(urgent(), rest(targets={RESOLUTION: promise(20)}))
    desk.opens(priority=3)
    desk.says(author, hours=1, is_internal=internal)
    desk.does("set_priority", "t", 1, hours=2)
    assert desk.clock(FIRST_RESPONSE).started_at == at(2)


@pytest.mark.parametrize("status", ("resolved", "closed", "cancelled"))
def test_nothing_begins_on_a_ticket_that_is_done(desk: Desk, status: str) -> None:
    desk.promises(urgent(), rest())
    desk.opens(priority=3, status="open" if status == "cancelled" else "in_progress")
    for step in ("resolved", "closed") if status == "closed" else (status,):
        desk.does("set_status", "t", step, hours=1)
    before = desk.clocks()
    desk.does("set_priority", "t", 1, hours=2)
    assert desk.clocks() == before, "nor does what has stopped come under another policy"


def test_a_ticket_on_hold_is_promised_a_resolution_that_waits(desk: Desk) -> None:
    """Rules 12, 13."""
    desk.promises(urgent(), Policy("no SLA for the rest", no_sla=True))
    desk.opens(priority=3, status="on_hold")
    desk.does("set_priority", "t", 1, hours=2)
    clock = desk.clock(RESOLUTION)
    assert (clock.state, clock.started_at, clock.remaining) == (ClockState.PAUSED, at(2), timedelta(hours=10))
    desk.does("set_status", "t", "open", hours=3)
    assert desk.clock(RESOLUTION).due_at == at(29)


def test_a_resolution_that_is_promised_again_is_the_one_that_the_ticket_shows(desk: Desk) -> None:
    desk.promises(urgent(), Policy("no SLA for the rest", no_sla=True))
    desk.opens(priority=1)
    desk.does("set_priority", "t", 4, hours=1)
    assert desk.clock(RESOLUTION).state is ClockState.CANCELLED
    desk.does("set_priority", "t", 2, sla_hours=5, hours=2)
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert ticket.clock == desk.clock(RESOLUTION, 2)
    assert (ticket.sla_deadline(), ticket.sla_hours) == (at(7), 5)


def test_what_a_ticket_has_done_once_does_not_begin_anew(desk: Desk) -> None:
    """Rule 14, `first_close`: reopened, no clock runs again, whatever its priority."""
    desk.promises(urgent(reopen="first_close"), rest(reopen="first_close"))
    desk.opens(priority=3, status="in_progress")
    desk.does("set_status", "t", "resolved", hours=1)
    desk.does("set_status", "t", "open", hours=2)
    desk.does("set_priority", "t", 1, hours=3)
    assert desk.clock(RESOLUTION).state is ClockState.MET
    assert (RESOLUTION, 2) not in desk.clocks()


def test_a_ticket_that_came_done_has_no_clock_for_being_reopened_and_raised(desk: Desk) -> None:
    """Rule 13."""
    desk.opens(status="resolved")
    desk.does("set_status", "t", "open", hours=1)
    desk.does("set_priority", "t", 1, hours=2)
    assert desk.clocks() == {}


def test_a_new_promise_is_made_by_the_rules_that_the_ticket_started_with(desk: Desk) -> None:
    """Rule 18."""
    first = desk.promises(urgent(), rest())
    desk.opens(priority=3)
    desk.promises(urgent(targets={FIRST_RESPONSE: promise(7)}))
    desk.does("set_priority", "t", 1, hours=2)
    assert (desk.clock(FIRST_RESPONSE).rules, desk.clock(FIRST_RESPONSE).due_at) == (first, at(3))


def test_clocks_of_two_versions_move_by_their_own(desk: Desk) -> None:
    """Rule 18: one of the rules built in, and one of the first that were put in force."""
    desk.opens(priority=3)
    desk.promises(a_policy())
    desk.says("ada", hours=1)
    desk.does("set_priority", "t", 2, hours=1.5)
    assert (desk.clock(RESOLUTION).rules, desk.clock(RESOLUTION).due_at) == (None, at(24))
    assert (desk.clock(NEXT_RESPONSE).policy, desk.clock(NEXT_RESPONSE).due_at) == ("office hours", at(3))


def test_rules_built_in_that_promise_a_priority_nothing_can_be_followed_too(desk: Desk) -> None:
    other = Desk(TicketSystem(desk.system.database, policy=by_hours({2: 24})))
    other.opens(priority=2, sla_hours=24)
    other.does("set_priority", "t", 3, hours=1)
    assert desk.clock(RESOLUTION).state is ClockState.CANCELLED
    other.does("set_priority", "t", 2, hours=2)
    assert desk.clock(RESOLUTION, 2).due_at == at(26)
