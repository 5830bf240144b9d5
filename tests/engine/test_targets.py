"""Three promises on one ticket: when each starts, what stops it, under whose rules. Each test names its rule."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.factories import a_ticket
from tests.support.promises import MONDAY, Desk, a_policy, at, promise
from ticket_system import monitor, outbox
from ticket_system.changes import Changes
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.policies import Match, Policy, by_hours


def test_open_hours_alone_count_and_the_calendar_reaches_the_ticket(desk: Desk) -> None:
    """Rule 2: ten working hours from Monday nine end on Tuesday at eleven."""
    desk.promises(a_policy())
    ticket = desk.opens()
    assert desk.clock(RESOLUTION).due_at == at(26)
    assert ticket.sla_deadline() == at(26)
    assert ticket.sla_hours == 10
    stored = desk.system.get_ticket("t")
    assert stored is not None
    assert stored.sla_deadline() == at(26)


def test_a_promise_used_up_before_a_pause_at_night_is_late_only_before_it_opens(desk: Desk) -> None:
    """Rules 10, 12: eight hours are used up on Monday at 17:00. Waiting since 18:00, the clock stands still."""
    desk.promises(a_policy(targets={RESOLUTION: promise({1: 8, 2: 8, 3: 16, 4: 16})}))
    desk.opens(priority=3)
    desk.does("set_status", "t", "on_hold", hours=9)
    desk.does("set_priority", "t", 2, hours=25)
    clock = desk.clock(RESOLUTION)
    assert (clock.state, clock.due_at, clock.remaining) == (ClockState.PAUSED, None, timedelta(0))
    assert desk.scans(50).found == 0
    desk.does("set_status", "t", "in_progress", hours=50)
    assert desk.clock(RESOLUTION).due_at == at(50)


def test_a_pause_counts_by_its_open_hours(desk: Desk) -> None:
    """Rule 12: from 16:00 to 10:00 the next day are two open hours, not eighteen."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=7)
    paused = desk.clock(RESOLUTION)
    assert (paused.state, paused.due_at, paused.remaining) == (ClockState.PAUSED, None, timedelta(hours=3))
    desk.does("set_status", "t", "in_progress", hours=25)
    assert desk.clock(RESOLUTION).paused_for == timedelta(hours=2)
    assert desk.clock(RESOLUTION).due_at == at(28)


def test_the_first_response_is_not_paused_on_hold(desk: Desk) -> None:
    """Rule 12: by default on hold stops the resolution and the next response only."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=0.5)
    assert desk.clock(FIRST_RESPONSE).state is ClockState.RUNNING
    assert desk.clock(FIRST_RESPONSE).due_at == at(1)


@pytest.mark.parametrize(
    ("author", "internal"),
    (("system", False), ("grace", True), ("ada", False)),
    ids=("automatic", "internal", "the requester's own"),
)
def test_what_is_no_first_response(desk: Desk, author: str, internal: bool) -> None:
    """Rule 15: neither internal notes, nor automatic messages, nor the requester, nor a change of status."""
    desk.promises(a_policy())
    desk.opens()
    desk.says(author, hours=0.5, is_internal=internal)
    desk.does("set_status", "t", "in_progress", hours=0.6)
    assert desk.clock(FIRST_RESPONSE).stopped_at is None


def test_the_first_public_comment_by_somebody_else_is_the_first_response(desk: Desk) -> None:
    """Rules 5, 15: at the deadline is in time."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("grace", hours=1)
    assert desk.clock(FIRST_RESPONSE).state is ClockState.MET
    assert desk.clock(FIRST_RESPONSE).stopped_at == at(1)


def test_an_answer_that_is_late_between_two_scans_is_a_breach(desk: Desk) -> None:
    """Rule 7: two minutes late, answered before anybody looked."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("grace", hours=1 + 2 / 60)
    clock = desk.clock(FIRST_RESPONSE)
    assert (clock.state, clock.breached_at, clock.stopped_at) == (ClockState.BREACHED, at(1), at(1 + 2 / 60))
    assert [event.kind for event in desk.system.get_history("t")].count("breached") == 1


@pytest.mark.parametrize(("outcome", "state"), (("met", ClockState.MET), ("cancelled", ClockState.CANCELLED)))
def test_resolved_without_a_response(desk: Desk, outcome: Any, state: ClockState) -> None:
    """Rule 15: met at the resolution, or cancelled, as the policy says."""
    desk.promises(a_policy(without_response=outcome))
    desk.opens(status="in_progress")
    desk.does("set_status", "t", "resolved", hours=0.5)
    assert desk.clock(FIRST_RESPONSE).state is state


def test_the_next_response_waits_for_the_oldest_unanswered_message_and_each_is_its_own_cycle(desk: Desk) -> None:
    """Rule 16."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("ada", hours=0.2)
    assert (NEXT_RESPONSE, 1) not in desk.clocks(), "only once the first response is met"
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=1)
    desk.says("ada", hours=2)
    assert desk.clock(NEXT_RESPONSE).started_at == at(1)
    assert desk.clock(NEXT_RESPONSE).due_at == at(3)
    desk.says("grace", hours=2.5)
    desk.says("ada", hours=3)
    assert desk.clock(NEXT_RESPONSE, 1).state is ClockState.MET
    assert desk.clock(NEXT_RESPONSE, 2).started_at == at(3)


def test_resolving_calls_off_the_next_response_unless_it_was_late(desk: Desk) -> None:
    """Rules 9, 16."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=1)
    desk.does("set_status", "t", "resolved", hours=2)
    assert desk.clock(NEXT_RESPONSE).state is ClockState.CANCELLED
    desk.does("set_status", "t", "open", hours=2.1)
    desk.says("ada", hours=2.2)
    desk.does("set_status", "t", "in_progress", hours=2.3)
    desk.does("set_status", "t", "resolved", hours=7)
    assert desk.clock(NEXT_RESPONSE, 2).state is ClockState.BREACHED


def test_reopened_as_a_new_cycle_leaves_the_first_one_alone(desk: Desk) -> None:
    """Rule 14, `restart`."""
    desk.promises(a_policy(reopen="restart"))
    desk.opens(status="in_progress")
    desk.does("set_status", "t", "resolved", hours=2)
    before = desk.clock(RESOLUTION)
    desk.does("set_status", "t", "open", hours=3)
    assert desk.clock(RESOLUTION) == before
    assert desk.clock(RESOLUTION, 2).started_at == at(3)
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert ticket.clock == desk.clock(RESOLUTION, 2)
    desk.does("set_status", "t", "in_progress", hours=4)
    desk.does("set_status", "t", "resolved", hours=5)
    assert desk.clock(RESOLUTION) == before
    assert desk.clock(RESOLUTION, 2).state is ClockState.MET


def test_reopened_after_the_first_close_runs_no_clock_again(desk: Desk) -> None:
    """Rule 14, `first_close`."""
    desk.promises(a_policy(reopen="first_close"))
    desk.opens(status="in_progress")
    desk.does("set_status", "t", "resolved", hours=2)
    before = desk.clock(RESOLUTION)
    desk.does("set_status", "t", "open", hours=3)
    assert desk.clock(RESOLUTION) == before
    assert (RESOLUTION, 2) not in desk.clocks()


def test_reopened_counts_the_open_time_away_as_a_pause(desk: Desk) -> None:
    """Rule 14, `resume`: resolved at 16:00, reopened at 10:00 the next day: two open hours away."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.does("set_status", "t", "resolved", hours=7)
    desk.does("set_status", "t", "open", hours=25)
    clock = desk.clock(RESOLUTION)
    assert (clock.state, clock.paused_for, clock.due_at) == (ClockState.RUNNING, timedelta(hours=2), at(28))


def test_cancelled_ends_all_its_clocks(desk: Desk) -> None:
    """Rule 20."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "cancelled", hours=0.5)
    assert {clock.state for clock in desk.clocks().values()} == {ClockState.CANCELLED}


def test_the_lowest_rank_that_matches_wins_and_ties_go_by_name(desk: Desk) -> None:
    """Rule 17."""
    gold = a_policy(name="gold", rank=10, match=Match(plans=frozenset({"gold"})))
    desk.promises(a_policy(name="b", rank=20), gold, a_policy(name="a", rank=20))
    assert desk.opens(plan="gold").clock.policy == "gold"  # type: ignore[union-attr]
    other = desk.system.create_ticket(a_ticket(plan="silver"))
    assert other.clock is not None
    assert other.clock.policy == "a"


def test_no_sla_is_a_policy(desk: Desk) -> None:
    """Rule 17: it promises nothing, and so starts nothing."""
    desk.promises(Policy("spam", rank=1, match=Match(tags=frozenset({"spam"})), no_sla=True), a_policy())
    desk.opens(tags=["spam"])
    assert desk.clocks() == {}


def test_a_changed_priority_chooses_anew_where_a_policy_looks_at_it(desk: Desk) -> None:
    """Rules 10, 17: from the policy of the rest to that of the critical."""
    critical = a_policy(
        name="critical", rank=1, match=Match(priorities=frozenset({1})), targets={RESOLUTION: promise(4)}
    )
    desk.promises(critical, a_policy())
    desk.opens()
    desk.does("set_priority", "t", 1, hours=1)
    moved = desk.clock(RESOLUTION)
    assert (moved.policy, moved.due_at) == ("critical", at(4))
    assert desk.clock(FIRST_RESPONSE).state is ClockState.CANCELLED, "the critical are promised no first response"


def test_a_breach_stays_when_its_target_is_promised_no_longer(desk: Desk) -> None:
    """Rule 9: another priority does not take a late first response out of the reports."""
    critical = a_policy(
        name="critical", rank=1, match=Match(priorities=frozenset({1})), targets={RESOLUTION: promise(4)}
    )
    desk.promises(critical, a_policy())
    desk.opens()
    desk.does("set_priority", "t", 1, hours=1.5)
    late = desk.clock(FIRST_RESPONSE)
    assert (late.state, late.breached_at, late.stopped_at) == (ClockState.BREACHED, at(1), at(1.5))
    desk.does("set_priority", "t", 3, hours=2)
    assert (FIRST_RESPONSE, 2) not in desk.clocks()


def test_a_clock_keeps_the_rules_it_started_with(desk: Desk) -> None:
    """Rule 18: an edit is for new tickets."""
    first = desk.promises(a_policy())
    desk.opens()
    second = desk.promises(a_policy(targets={RESOLUTION: promise(1)}))
    assert second > first
    desk.does("set_status", "t", "on_hold", hours=1)
    desk.does("set_status", "t", "in_progress", hours=2)
    assert (desk.clock(RESOLUTION).rules, desk.clock(RESOLUTION).due_at) == (first, at(27))
    fresh = desk.system.create_ticket(a_ticket(created_at=MONDAY)).clock
    assert fresh is not None
    assert (fresh.rules, fresh.due_at) == (second, at(1))


def test_a_clock_of_the_rules_built_in_runs_on_in_a_program_that_calls_them_otherwise(desk: Desk) -> None:
    desk.opens()
    with desk.system.database.write() as connection:
        changes = Changes(connection, policy=by_hours({1: 1, 2: 2, 3: 3, 4: 4}, name="house rules"))
        assert changes.set_status("t", "on_hold", now=at(1))
    assert desk.clock(RESOLUTION).state is ClockState.PAUSED


def test_a_scan_finds_the_breach_of_every_target_once(desk: Desk) -> None:
    """Rules 6, 8."""
    desk.promises(a_policy())
    desk.opens()
    assert monitor.scan_breaches(desk.system.database, now=at(0.9)).found == 0
    assert monitor.scan_breaches(desk.system.database, now=at(1.1)).found == 1
    assert monitor.scan_breaches(desk.system.database, now=at(27)).found == 1
    assert monitor.scan_breaches(desk.system.database, now=at(28)).found == 0
    assert {clock.state for clock in desk.clocks().values()} == {ClockState.BREACHED}


def test_the_escalation_says_which_deadline(desk: Desk) -> None:
    desk.promises(a_policy())
    desk.opens()
    monitor.scan_breaches(desk.system.database, now=at(1.1))
    (remark,) = desk.system.get_comments("t")
    assert remark.body == "Escalated: the first response deadline has passed; priority 3 → 2"
    assert desk.clock(RESOLUTION).due_at == at(26), "an automatic escalation moves no clock (rule 11)"


def test_a_message_is_about_the_clock_that_caused_it(desk: Desk) -> None:
    desk.promises(a_policy())
    desk.opens()
    monitor.scan_breaches(desk.system.database, now=at(1.1))
    (message,) = outbox.claim(desk.system.database, now=at(1.2))
    clock = outbox.ticket_of(desk.system.database, message).clock
    assert clock == desk.clock(FIRST_RESPONSE)


def test_each_deadline_is_explained_in_open_hours(desk: Desk) -> None:
    """Rule 26: what was open and not paused, up to the due instant, is the target."""
    desk.promises(a_policy())
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=7)
    desk.does("set_status", "t", "in_progress", hours=25)
    told = {one["target"]: one for one in desk.system.explain("t")}
    assert told[RESOLUTION]["differs"] == []
    assert told[RESOLUTION]["calendar"] == "office"
    kinds = [interval["kind"] for interval in told[RESOLUTION]["intervals"]]
    assert kinds == ["open", "paused", "open", "overdue"]
    assert told[FIRST_RESPONSE]["due_at"] == at(1).isoformat()


def test_the_breach_list_and_the_report_speak_of_the_resolution(desk: Desk) -> None:
    desk.promises(a_policy())
    recent = datetime.now(UTC) - timedelta(days=20)
    desk.system.create_ticket(a_ticket(id="t", created_at=recent))
    monitor.scan_breaches(desk.system.database)
    assert len(desk.system.get_breached_tickets()) == 1
    assert desk.system.generate_report(days=40)["sla_breach_rate_pct"] == 100.0
