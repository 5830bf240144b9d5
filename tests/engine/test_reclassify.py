"""Customer, plan, group and tags of a ticket change: what is written down, and what is promised from then on."""

import json
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.contents import everything
from tests.support.factories import a_comment, a_ticket
from tests.support.promises import MONDAY, Desk, a_policy, at, promise
from ticket_system import STATUS_FLOW, InvalidTicket, TicketSystem, monitor
from ticket_system.audit import audit_clocks
from ticket_system.changes import Changes
from ticket_system.sla.calendars import AROUND_THE_CLOCK
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.policies import Match, Policy
from ticket_system.storage.events import Event
from ticket_system.tickets import LEAVE

GOLD = a_policy(name="gold", rank=1, match=Match(plans=frozenset({"gold"})))
SPAM = Policy("spam", rank=0, match=Match(tags=frozenset({"spam"})), no_sla=True)
REST = a_policy(name="rest", targets={RESOLUTION: promise(20)})


def classified(desk: Desk) -> list[Event]:
    return [event for event in desk.system.get_history("t") if event.kind == "classified"]


def test_only_what_changed_is_written_down(desk: Desk) -> None:
    desk.opens(customer="acme", plan="gold", group="emea", tags=["a"])
    done = desk.does(
        "reclassify", "t", customer="globex", plan=None, group="emea", tags=("b", "c"), actor="bo", hours=1
    )
    assert done is True
    (event,) = classified(desk)
    assert (event.at, event.actor, event.note, event.key, event.detail) == (at(1), "bo", None, None, None)
    assert event.old == '{"customer":"acme","plan":"gold","tags":["a"]}'
    assert event.new == '{"customer":"globex","plan":null,"tags":["b","c"]}'
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert (ticket.customer, ticket.plan, ticket.group, ticket.tags) == ("globex", None, "emea", ["b", "c"])
    assert ticket.updated_at == at(1)


def test_nothing_changed_is_no_event(desk: Desk) -> None:
    desk.opens(customer="acme", tags=["a"])
    monitor.scan_breaches(desk.system.database)
    before = everything(desk.system.database)
    assert desk.does("reclassify", "t", hours=1) is True
    assert desk.does("reclassify", "t", customer="acme", plan=None, tags=["a"], hours=1) is True
    assert desk.system.update_ticket("t", customer="acme", priority=2) is True
    assert desk.system.update_ticket("no", customer="acme", priority=2) is False
    assert everything(desk.system.database) == before


@pytest.mark.parametrize(
    ("fields", "named"),
    (
        ({"customer": ""}, "customer"),
        ({"plan": 3}, "plan"),
        ({"group": "two\nlines"}, "group"),
        ({"group": False}, "group"),
        ({"tags": "text"}, "tags"),
        ({"tags": 0}, "tags"),
        ({"tags": [""]}, "a tag"),
        ({"tags": ["\x00"]}, "a tag"),
        ({"priority": 5, "customer": "globex"}, "priority"),
        ({"priority": None, "customer": "globex"}, "priority"),
        ({"customer": "globex", "author": ""}, "author"),
    ),
)
def test_what_makes_no_sense_changes_nothing(desk: Desk, fields: dict[str, Any], named: str) -> None:
    desk.opens(customer="acme", tags=["a"])
    monitor.scan_breaches(desk.system.database)
    before = everything(desk.system.database)
    with pytest.raises(InvalidTicket, match=named):
        desk.system.update_ticket("t", **fields)
    assert everything(desk.system.database) == before


def test_another_plan_moves_what_runs_and_begins_what_is_new(desk: Desk) -> None:
    """Rules 10, 17."""
    desk.promises(GOLD, REST)
    desk.opens(plan="silver")
    desk.does("reclassify", "t", plan="gold", hours=2)
    first, resolution = desk.clock(FIRST_RESPONSE), desk.clock(RESOLUTION)
    assert (first.policy, first.started_at, first.due_at) == ("gold", at(2), at(3))
    assert (resolution.policy, resolution.started_at, resolution.due_at) == ("gold", at(0), at(26))
    (event,) = classified(desk)
    assert json.loads(event.detail or "") == {
        "sla_hours": 10,
        "promises": {"first_response": 3600, "resolution": 36000},
        "policies": {"first_response": "gold", "resolution": "gold"},
    }
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert ticket.sla_hours == 10
    desk.does("reclassify", "t", plan=None, hours=2.5)
    assert desk.clock(FIRST_RESPONSE).state is ClockState.CANCELLED
    assert desk.clock(RESOLUTION).due_at == at(52)


def test_a_promise_that_another_plan_puts_into_the_past_is_a_breach(desk: Desk) -> None:
    """Rule 10: at the moment of the change."""
    desk.promises(GOLD, REST)
    desk.opens()
    desk.does("reclassify", "t", plan="gold", hours=30)
    clock = desk.clock(RESOLUTION)
    assert (clock.breached_at, clock.cause) == (at(30), "retarget")


def test_spam_is_promised_nothing_and_by_mistake_only_something_again(desk: Desk) -> None:
    desk.promises(GOLD, SPAM, REST)
    desk.opens(plan="gold", tags=["a"])
    desk.does("reclassify", "t", tags=["a", "spam"], hours=0.5)
    assert {clock.state for clock in desk.clocks().values()} == {ClockState.CANCELLED}
    desk.does("reclassify", "t", tags=["a"], hours=1)
    assert (desk.clock(FIRST_RESPONSE, 2).started_at, desk.clock(FIRST_RESPONSE, 2).due_at) == (at(1), at(2))
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert ticket.clock == desk.clock(RESOLUTION, 2)


def test_a_ticket_without_sla_gets_what_the_rules_in_force_promise(desk: Desk) -> None:
    desk.promises(GOLD, Policy("nothing for the rest", no_sla=True))
    desk.opens()
    assert desk.clocks() == {}
    desk.does("reclassify", "t", plan="gold", hours=3)
    assert (desk.clock(RESOLUTION).started_at, desk.clock(RESOLUTION).due_at) == (at(3), at(29))


def test_a_field_that_no_policy_looks_at_moves_no_clock(desk: Desk) -> None:
    """Rule 17: nor does one that is looked at, where the policy stays the same: hours of its own are kept."""
    desk.promises(GOLD, a_policy(name="rest", match=Match()))
    desk.opens(plan="silver")
    desk.does("set_priority", "t", 2, sla_hours=30, hours=1)
    desk.scans(4)
    before = desk.clocks()
    desk.does("reclassify", "t", customer="acme", tags=["gold"], group="emea", hours=2)
    desk.does("reclassify", "t", plan="bronze", hours=3)
    assert desk.clocks() == before
    assert [event.detail for event in classified(desk)] == [None, None]


def test_a_priority_that_an_escalation_has_raised_does_not_move_a_clock_afterwards(desk: Desk) -> None:
    """Rule 11: a tag is no reason to pick up what the priority would have been promised."""
    critical = a_policy(name="critical", rank=2, match=Match(priorities=frozenset({1, 2})))
    desk.promises(GOLD, critical, REST)
    desk.opens(priority=3)
    monitor.scan_breaches(desk.system.database, now=at(100))
    before = desk.clocks()
    desk.does("reclassify", "t", tags=["x"], hours=101)
    assert desk.clocks() == before
    assert before[RESOLUTION, 1].policy == "rest"


def test_the_rules_that_a_ticket_started_with_choose(desk: Desk) -> None:
    """Rule 18."""
    first = desk.promises(GOLD, REST)
    desk.opens()
    desk.promises(a_policy(name="silver", match=Match(plans=frozenset({"gold"})), targets={RESOLUTION: promise(1)}))
    desk.does("reclassify", "t", plan="gold", hours=1)
    assert (desk.clock(RESOLUTION).policy, desk.clock(RESOLUTION).rules) == ("gold", first)


@pytest.mark.parametrize("status", ("resolved", "cancelled"))
def test_what_is_done_stays_as_it_was(desk: Desk, status: str) -> None:
    """Rule 18: closed ones never change."""
    desk.promises(GOLD, REST)
    desk.opens(status="open" if status == "cancelled" else "in_progress")
    desk.does("set_status", "t", status, hours=1)
    before = desk.clocks()
    desk.does("reclassify", "t", plan="gold", hours=2)
    assert desk.clocks() == before
    assert len(classified(desk)) == 1


def test_it_is_explained(desk: Desk) -> None:
    """Rule 26."""
    same = a_policy(name="same hours", rank=0, match=Match(groups=frozenset({"apac"})))
    desk.promises(same, GOLD, SPAM, REST)
    desk.opens(tags=["a"])
    desk.does("reclassify", "t", plan="gold", customer="acme", hours=2)
    desk.does("reclassify", "t", group="apac", hours=2.25)
    desk.does("reclassify", "t", group=None, plan=None, tags=["b", "c"], hours=2.5)
    told = {one["target"]: one for one in desk.system.explain("t")}
    assert [one["differs"] for one in told.values()] == [[], []]
    marks = [(mark["what"], mark["text"]) for mark in told[RESOLUTION]["marks"]]
    assert marks[1:4] == [
        ("re-targeted", "20 h → 10 h, by customer none → acme, plan none → gold"),
        ("re-targeted", "policy gold → same hours, by group none → apac"),
        ("re-targeted", "10 h → 20 h, by plan gold → none, group apac → none, tags a → b + c"),
    ]
    cancelled = [mark["text"] for mark in told[FIRST_RESPONSE]["marks"] if mark["what"] == "cancelled"]
    assert cancelled == ["plan gold → none, group apac → none, tags a → b + c; counts nowhere"]


def test_everything_at_once_is_one_transaction(desk: Desk) -> None:
    desk.promises(GOLD, REST)
    desk.opens()
    assert desk.system.update_ticket("t", priority=1, plan="gold", tags=["x"], author="bo")
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert (ticket.priority, ticket.plan, ticket.tags) == (1, "gold", ["x"])
    told = [(event.kind, event.actor) for event in desk.system.get_history("t")]
    assert [kind for kind in told if kind[0] != "breached"][-2:] == [("classified", "bo"), ("priority", "bo")]


NUMBERS = count()
TRIAL = (
    a_policy(name="pair", rank=1, match=Match(plans=frozenset({"gold"}), priorities=frozenset({1, 2}))),
    Policy("spam", rank=0, match=Match(tags=frozenset({"spam"})), no_sla=True),
    a_policy(name="gold", rank=2, match=Match(plans=frozenset({"gold"})), reopen="restart"),
    a_policy(
        name="team", rank=3, match=Match(groups=frozenset({"emea"})), targets={FIRST_RESPONSE: promise(3)},
        without_response="cancelled", reopen="first_close",
    ),
    a_policy(name="rest", targets={RESOLUTION: promise(20, calendar=AROUND_THE_CLOCK.name)}),
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_its_clocks_follow_from_its_events(system: TicketSystem, data: st.DataObject) -> None:
    """Rule 27."""
    desk = Desk(system)
    if system.in_force()[0] is None:
        desk.promises(*TRIAL)
    ticket_id, status, minute = f"t{next(NUMBERS)}", "open", 0
    system.create_ticket(a_ticket(id=ticket_id, created_at=MONDAY, plan=data.draw(st.sampled_from((None, "gold")))))
    for _ in range(data.draw(st.integers(1, 12))):
        minute += data.draw(st.integers(0, 400))
        now = MONDAY + timedelta(minutes=minute)
        with system.database.write() as connection:
            changes = Changes(connection, system.rules)
            match data.draw(st.sampled_from(("reclassify", "priority", "escalate", "comment", "status", "status"))):
                case "reclassify":
                    changes.reclassify(
                        ticket_id,
                        plan=data.draw(st.sampled_from((LEAVE, None, "gold"))),
                        group=data.draw(st.sampled_from((LEAVE, None, "emea"))),
                        tags=data.draw(st.sampled_from((LEAVE, LEAVE, None, ["spam"]))),
                        now=now,
                    )
                case "priority":
                    hours = data.draw(st.sampled_from((None, None, 30)))
                    changes.set_priority(ticket_id, data.draw(st.integers(1, 4)), sla_hours=hours, now=now)
                case "escalate":
                    changes.escalate(ticket_id, now=now)
                case "comment":
                    author = data.draw(st.sampled_from(("ada", "grace")))
                    changes.comment(a_comment(ticket_id, author=author), now=now)
                case _ if STATUS_FLOW[status]:
                    status = data.draw(st.sampled_from(STATUS_FLOW[status]))
                    changes.set_status(ticket_id, status, now=now)
                case _:
                    pass
    assert audit_clocks(system.database, everything=True).differences == []
