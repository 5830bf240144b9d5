"""New rules for open tickets: shown first, applied once, and nothing that is decided moves. On every database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.contents import everything
from tests.support.promises import MONDAY, OFFICE, Desk, a_policy, at, promise
from ticket_system import rollout
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.policies import Level, Policy, Warn

HOUR = 3600


def repromised(desk: Desk, hours: float, ticket_id: str = "t") -> bool:
    changed: bool = desk.does("repromise", ticket_id, hours=hours, actor="lead")
    return changed


def test_an_undecided_clock_runs_under_the_rules_in_force(desk: Desk) -> None:
    """Rules 10, 18: from its start, with the pauses so far."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=2)
    desk.does("set_status", "t", "in_progress", hours=4)
    second = desk.promises(a_policy(name="new", targets={RESOLUTION: promise(5), FIRST_RESPONSE: promise(4)}))
    assert repromised(desk, 4.5)
    moved = desk.clock(RESOLUTION)
    assert (moved.rules, moved.policy, moved.due_at) == (second, "new", at(7))
    [told] = desk.history("repromised")
    assert (told.actor, told.new) == ("lead", str(second))
    assert repromised(desk, 5) is False, "a second time changes nothing"
    assert len(desk.history("repromised")) == 1


def test_what_is_decided_stays_as_it_is(desk: Desk) -> None:
    """Rules 9, 18: a breach, and whatever is done."""
    first = desk.promises(a_policy())
    desk.opens()
    desk.scans(2)
    desk.opens("done", status="in_progress")
    desk.does("set_status", "done", "resolved", hours=1)
    desk.promises(a_policy(targets={FIRST_RESPONSE: promise(40), RESOLUTION: promise(40)}))
    assert repromised(desk, 3)
    assert repromised(desk, 3, "done") is False
    late = desk.clock(FIRST_RESPONSE)
    assert (late.state, late.breached_at, late.rules) == (ClockState.BREACHED, at(1), first)
    assert desk.clock(RESOLUTION).due_at == at(104)


def test_a_deadline_that_has_passed_by_the_new_rules_is_a_breach_now_and_wakes_nobody(desk: Desk) -> None:
    """Rules 10, 19: no alarm for what was past at the edit; what comes after it is raised."""
    policy = a_policy(targets={RESOLUTION: promise(10)}, warnings=(Warn(percent=50),), chain=(Level(), Level(HOUR)))
    desk.promises(policy)
    desk.opens()
    desk.promises(replace(policy, name="new", targets={RESOLUTION: promise(2)}))
    assert repromised(desk, 4)
    moved = desk.clock(RESOLUTION)
    assert (moved.state, moved.breached_at, moved.cause) == (ClockState.BREACHED, at(4), "retarget")
    assert desk.scans(4.1).found == 0
    assert desk.ahead() == [5]
    desk.does("set_status", "t", "on_hold", hours=4.2)
    desk.does("set_status", "t", "in_progress", hours=4.3)
    desk.scans(5.1)
    assert desk.alarms() == ["collapsed resolution 1/0", "collapsed resolution 1/0", "escalated resolution 2/0"]


def test_another_calendar_moves_what_is_undecided_and_raises_no_old_alarm(desk: Desk) -> None:
    """Rule 19."""
    desk.promises(a_policy(targets={RESOLUTION: promise(10)}, warnings=(Warn(percent=10),), chain=()))
    desk.opens(created_at=MONDAY + timedelta(hours=8))
    assert desk.clock(RESOLUTION).due_at == at(50)
    around = promise(10, calendar="around the clock")
    desk.promises(a_policy(targets={RESOLUTION: around}, warnings=(Warn(percent=10),), chain=()))
    assert repromised(desk, 10)
    assert desk.clock(RESOLUTION).due_at == at(18)
    assert desk.ahead() == [], "10 % were gone at hour 9"
    desk.does("set_status", "t", "on_hold", hours=11)
    desk.does("set_status", "t", "in_progress", hours=12)
    assert desk.scans(17).found == 0
    assert desk.alarms() == ["collapsed resolution 1/0"]
    assert desk.history("collapsed")[0].note == (
        "resolution warning 1: passed over, it was past when the rules changed"
    )


def test_a_paused_clock_stays_paused_with_what_is_left_by_the_new_rules(desk: Desk) -> None:
    """Rule 12."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=2)
    desk.promises(a_policy(targets={RESOLUTION: promise(5)}))
    assert repromised(desk, 3)
    assert (desk.clock(RESOLUTION).state, desk.clock(RESOLUTION).remaining) == (ClockState.PAUSED, timedelta(hours=3))


def test_what_is_promised_no_more_ends_and_what_is_promised_now_begins(desk: Desk) -> None:
    """Rules 17, 18."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=0.6, id="again")
    desk.promises(Policy("new", targets={RESOLUTION: promise(5)}))
    assert repromised(desk, 1)
    assert desk.clock(NEXT_RESPONSE).state is ClockState.CANCELLED
    assert desk.clock(FIRST_RESPONSE).state is ClockState.MET
    desk.opens("plain")
    desk.promises(a_policy())
    assert repromised(desk, 2, "plain")
    assert desk.clocks("plain")[FIRST_RESPONSE, 1].started_at == at(2)


def test_clocks_of_the_rules_built_in_can_be_put_under_stored_ones(desk: Desk) -> None:
    desk.opens(sla_hours=72)
    assert desk.ahead() == [72]
    version = desk.promises(a_policy(targets={RESOLUTION: promise(8)}))
    assert repromised(desk, 1)
    assert (desk.clock(RESOLUTION).rules, desk.clock(RESOLUTION).due_at, desk.ticket().sla_hours) == (version, at(8), 8)
    assert desk.ahead() == [8]


def test_the_preview_tells_what_would_move_and_writes_nothing(desk: Desk) -> None:
    """Rule 18: shown beforehand."""
    desk.promises(a_policy(targets={RESOLUTION: promise(10)}))
    system = desk.system
    moment = datetime.now(UTC)
    for name, hours in (("old", 3), ("young", 0)):
        desk.opens(name, created_at=moment - timedelta(hours=hours))
    desk.opens("done", created_at=moment, status="closed")
    proposed = Policy("new", targets={RESOLUTION: promise(2, calendar="around the clock"), FIRST_RESPONSE: promise(1)})
    before = everything(system.database)
    found = rollout.preview(system.database, system.rules, PolicyBook((proposed,), {"office": OFFICE}))
    assert everything(system.database) == before
    assert found.tickets == 2
    assert (found.counted["breached"], found.counted["begun"]) == (1, 2)
    assert found.moves[0][:3] == ("old", RESOLUTION, "breached")
    desk.promises(proposed)
    seen: list[tuple[int, int]] = []
    assert rollout.apply(system.database, system.rules, progress=lambda *at: seen.append(at)) == 2
    assert seen == [(2, 2)]
    assert rollout.apply(system.database, system.rules) == 0
    assert desk.clocks("old")[RESOLUTION, 1].state is ClockState.BREACHED


@pytest.mark.parametrize("hours", (1, 30))
def test_an_explanation_knows_both_rules(desk: Desk, hours: float) -> None:
    """Rule 26."""
    desk.promises(a_policy(targets={RESOLUTION: promise(10)}))
    desk.opens()
    desk.promises(a_policy(targets={RESOLUTION: promise(5)}))
    repromised(desk, hours)
    [told] = desk.system.explain("t", RESOLUTION)
    assert told["differs"] == []
    marks = {mark["what"]: mark["text"] for mark in told["marks"]}
    assert ("re-targeted" in marks) == (hours == 1)


def test_a_calendar_whose_zone_changes_in_mid_flight_repeats_no_alarm_and_loses_none(desk: Desk) -> None:
    """Rules 8, 19, 21: what was warned of stays warned of; what is ahead moves with the deadline."""
    chain = (Level(notify=("desk",)),)
    policy = a_policy(targets={RESOLUTION: promise(4)}, warnings=(Warn(percent=25), Warn(percent=75)), chain=chain)
    desk.promises(policy)
    desk.opens()
    desk.scans(1.5)
    assert (desk.alarms(), desk.ahead()) == (["warned resolution 1/0"], [3, 4])
    overseas = Calendar("office", ZoneInfo("America/New_York"), OFFICE.hours)
    desk.system.put_in_force(PolicyBook((policy,), {"office": overseas}))
    assert repromised(desk, 2)
    assert desk.clock(RESOLUTION).due_at == at(10), "New York opens at 15:00 in Berlin"
    assert desk.ahead() == [9, 10]
    for hours in (3.5, 4.5, 9.5, 10.5, 20):
        desk.scans(hours)
    assert desk.alarms() == ["warned resolution 1/0", "warned resolution 2/0", "escalated resolution 1/0"]
