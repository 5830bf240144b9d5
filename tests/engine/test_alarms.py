"""Warnings, chains, acknowledging, catching up: what is raised, when, to whom, and once. On every database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.contents import everything, rows_of
from tests.support.factories import a_comment
from tests.support.promises import HOUR, Desk, a_policy, at, promise
from ticket_system import InvalidTicket, PolicyError, TicketSystem, monitor
from ticket_system.promises import Promises
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, ClockState
from ticket_system.sla.policies import DEFAULT_CHAIN, Level, Match, Policy, Warn
from ticket_system.storage import tables

MINUTE = 60
names = count()
ONLY_RESOLUTION = {RESOLUTION: promise(4, calendar="around the clock")}


def chained(*levels: Level, warnings: tuple[Warn, ...] = (), **changes: Any) -> Policy:
    """Four hours around the clock, and then these."""
    return Policy(**{"name": "p", "targets": ONLY_RESOLUTION, "chain": levels, "warnings": warnings} | changes)


def after(hours: float, *notify: str, **more: Any) -> Level:
    return Level(offset_seconds=int(hours * HOUR), notify=notify or ("desk",), **more)


# --- warnings ----------------------------------------------------------------------------------------------------


def test_a_warning_comes_at_a_share_of_the_target_once(desk: Desk) -> None:
    """Rule 21."""
    desk.promises(chained(warnings=(Warn(percent=75),)))
    desk.opens()
    assert desk.clock().next_check_at == at(3)
    assert desk.scans(3).alarms == 0
    assert desk.scans(3.01).alarms == 1
    assert desk.scans(3.02).found == 0
    assert desk.alarms() == ["warned resolution 1/0"]
    assert desk.clock().next_check_at == desk.clock().due_at == at(4)
    [row] = rows_of(desk.system.database, tables.outbox)
    assert (row["key"], row["kind"], row["destination"]) == ("t/resolution/1/warned/1/0/mail", "warned", "mail")


def test_a_warning_before_the_deadline_counts_open_time(desk: Desk) -> None:
    """Rule 21: an hour and a half of open time before Tuesday 11:00 is Tuesday 9:30."""
    desk.promises(a_policy(chain=(), warnings=(Warn(seconds_before=90 * MINUTE, targets=frozenset({RESOLUTION})),)))
    desk.opens()
    assert desk.clock().due_at == at(26)
    assert desk.ahead() == [24.5]


def test_of_several_due_at_once_only_the_most_severe_is_sent(desk: Desk) -> None:
    """Rule 21: the others are recorded as passed over."""
    desk.promises(chained(warnings=(Warn(percent=50), Warn(percent=75), Warn(percent=90))))
    desk.opens()
    assert desk.scans(3.8).alarms == 1
    assert sorted(desk.alarms()) == [
        "collapsed resolution 1/0",
        "collapsed resolution 2/0",
        "warned resolution 3/0",
    ]
    assert desk.letters() == {"mail": 1}
    assert min(event.note or "" for event in desk.history("collapsed")) == (
        "resolution warning 1: passed over, a more urgent one was due"
    )


def test_a_warning_moves_with_the_deadline_and_comes_once_in_a_cycle(desk: Desk) -> None:
    """Rules 12, 21: paused, it waits; what was warned of before is not warned of again."""
    desk.promises(chained(warnings=(Warn(percent=50), Warn(percent=75))))
    desk.opens()
    desk.scans(2.1)
    desk.does("set_status", "t", "on_hold", hours=2.5)
    assert desk.clock().next_check_at is None
    assert desk.scans(100).found == 0
    desk.does("set_status", "t", "in_progress", hours=102.5)
    assert desk.ahead() == [103]
    desk.scans(103.1)
    desk.scans(103.9)
    assert desk.alarms() == ["warned resolution 1/0", "warned resolution 2/0"]


def test_a_new_promise_moves_what_is_ahead_and_repeats_nothing(desk: Desk) -> None:
    """Rules 10, 21."""
    hours = {1: 4, 2: 8, 3: 16, 4: 40}
    rule = replace(promise(1, calendar="around the clock"), seconds={key: value * HOUR for key, value in hours.items()})
    desk.promises(chained(after(0), warnings=(Warn(percent=50),), targets={RESOLUTION: rule}))
    desk.opens(priority=3)
    assert desk.ahead() == [8, 16]
    desk.does("set_priority", "t", 4, hours=1)
    assert desk.ahead() == [20, 40]
    desk.scans(21)
    desk.does("set_priority", "t", 3, hours=22)
    assert desk.clock().cause == "retarget"
    assert desk.ahead() == [22], "the chain begins when the breach does: nobody could act before"
    desk.scans(22.1)
    assert desk.alarms() == ["warned resolution 1/0", "escalated resolution 1/0"]


def test_a_target_too_short_to_warn_of_is_not_warned_of(desk: Desk) -> None:
    desk.promises(chained(warnings=(Warn(seconds_before=4 * HOUR),)))
    desk.opens()
    assert desk.ahead() == []


# --- the chain ---------------------------------------------------------------------------------------------------


def test_a_chain_goes_level_by_level_and_each_tells_its_own(desk: Desk) -> None:
    """Rule 22."""
    desk.promises(
        chained(
            after(-0.5, "assignee-or-desk"),
            after(0, "assignee-or-desk", "lead", raise_priority=True),
            after(1, "boss@example.org", webhook="pager"),
        )
    )
    desk.opens()
    assert desk.ahead() == [3.5, 4, 5]
    for hours in (3.6, 4.1, 5.1):
        assert desk.scans(hours).alarms == 1
        assert desk.scans(hours).found == 0
    assert desk.alarms() == [f"escalated resolution {number}/0" for number in (1, 2, 3)]
    assert desk.letters() == {"mail": 2, "lead": 1, "mail:boss@example.org": 1, "pager": 1}
    assert desk.ticket().priority == 2
    assert desk.clock().next_check_at is None
    [remark] = desk.system.get_comments("t")
    assert remark.body == "Escalated: the resolution deadline has passed; priority 3 → 2"


def test_a_level_counts_in_working_or_in_real_time(desk: Desk) -> None:
    """Rule 22: an hour after Monday 17:00 is Tuesday 10:00 at work, and 18:00 on the wall."""
    desk.promises(a_policy(targets={RESOLUTION: promise(8)}, chain=(after(1), after(1, working_time=False))))
    desk.opens()
    assert desk.clock().due_at == at(8)
    assert desk.ahead() == [9, 25]


def test_repeats_come_in_the_time_of_their_level_and_are_capped(desk: Desk) -> None:
    """Rule 22."""
    repeated = after(0, "oncall", repeat_seconds=30 * MINUTE, max_repeats=3)
    desk.promises(chained(repeated), enforce_from=None)
    desk.opens()
    for hours in (4.1, 4.6, 5.1, 5.6, 6.1, 50):
        desk.scans(hours)
    assert desk.alarms() == [f"escalated resolution 1/{repeat}" for repeat in range(4)]
    assert desk.letters() == {"oncall": 4}
    assert desk.history("escalated")[-1].note == "resolution level 1, repeat 3"


def test_levels_are_for_the_targets_they_name(desk: Desk) -> None:
    level = replace(after(0), targets=frozenset({FIRST_RESPONSE}))
    desk.promises(a_policy(chain=(level,), warnings=(Warn(percent=50, targets=frozenset({NEXT_RESPONSE})),)))
    desk.opens()
    assert desk.ahead() == [1]
    desk.says("grace", hours=0.5)
    assert desk.ahead() == []
    desk.says("ada", hours=1, id="more")
    assert desk.ahead() == [2]


def test_two_clocks_of_one_ticket_raise_it_by_two_steps(desk: Desk) -> None:
    """Each level does what it says, at once or one after the other."""
    desk.promises(a_policy(targets={FIRST_RESPONSE: promise(1), RESOLUTION: promise(2)}, chain=DEFAULT_CHAIN))
    desk.opens(priority=4)
    assert desk.scans(3).alarms == 2
    assert desk.ticket().priority == 2
    assert sorted((event.old, event.new) for event in desk.history("escalated")) == [("3", "2"), ("4", "3")]
    assert len(desk.system.get_comments("t")) == 2


@pytest.mark.parametrize("status", ("resolved", "cancelled"))
def test_a_chain_ends_with_its_ticket(desk: Desk, status: str) -> None:
    """Rule 22: it is looked at again, under the lock, whether a level still applies."""
    desk.promises(chained(after(0), after(1)))
    desk.opens(status="in_progress" if status == "resolved" else "open")
    desk.scans(4.1)
    desk.does("set_status", "t", status, hours=4.2)
    assert (desk.ahead(), desk.clock().next_check_at) == ([], None)
    assert desk.scans(100).found == 0


def test_a_breached_ticket_on_hold_calls_nobody_until_it_goes_on(desk: Desk) -> None:
    desk.promises(chained(after(0), after(1)))
    desk.opens()
    desk.scans(4.1)
    desk.does("set_status", "t", "on_hold", hours=4.2)
    assert desk.scans(6).found == 0
    desk.does("set_status", "t", "in_progress", hours=7)
    assert desk.scans(7.1).alarms == 1
    assert desk.alarms() == ["escalated resolution 1/0", "escalated resolution 2/0"]


def test_a_chain_goes_on_after_a_reopening_and_repeats_nothing(desk: Desk) -> None:
    """Rules 8, 14: `resume` keeps the cycle, and with it what was raised in it."""
    desk.promises(chained(after(0), after(1)))
    desk.opens(status="in_progress")
    desk.scans(4.1)
    desk.does("set_status", "t", "resolved", hours=4.2)
    desk.does("set_status", "t", "open", hours=4.3)
    assert desk.ahead() == [5]
    desk.scans(5.1)
    assert desk.alarms() == ["escalated resolution 1/0", "escalated resolution 2/0"]


def test_a_new_cycle_has_a_chain_of_its_own(desk: Desk) -> None:
    """Rule 14, `restart`."""
    desk.promises(chained(after(0), reopen="restart"))
    desk.opens(status="in_progress")
    desk.scans(4.1)
    desk.does("set_status", "t", "resolved", hours=5)
    desk.does("set_status", "t", "open", hours=6)
    desk.scans(10.1)
    assert [event.key for event in desk.history("escalated")] == [
        "t/resolution/1/escalated/1/0",
        "t/resolution/2/escalated/1/0",
    ]


def test_the_chain_of_a_clock_is_the_one_it_started_with(desk: Desk) -> None:
    """Rules 18, 22: an edit in mid-flight is for new tickets."""
    desk.promises(chained(after(0, "old"), after(1, "old")))
    desk.opens()
    desk.scans(4.1)
    desk.promises(chained(after(0, "new"), after(1, "new"), after(2, "new")))
    desk.does("set_status", "t", "on_hold", hours=4.2)
    desk.does("set_status", "t", "in_progress", hours=4.3)
    desk.scans(5.1)
    desk.scans(100)
    assert desk.letters() == {"old": 2}
    desk.opens("fresh", created_at=at(4.2))
    assert len(desk.ahead("fresh")) == 3


# --- what a level does -------------------------------------------------------------------------------------------


def test_a_level_reassigns_and_tags(desk: Desk) -> None:
    """Rule 22."""
    desk.promises(chained(Level(reassign_to="oncall", tag="late")))
    desk.opens(assignee="grace", tags=["vip"])
    desk.scans(4.1)
    ticket = desk.ticket()
    assert (ticket.assignee, ticket.tags, ticket.priority) == ("oncall", ["vip", "late"], 3)
    assert [(event.actor, event.old, event.new) for event in desk.history("assigned")] == [
        ("system", "grace", "oncall")
    ]
    assert [event.new for event in desk.history("tagged")] == ["late"]
    assert rows_of(desk.system.database, tables.alarms) == []
    assert desk.scans(5).found == 0


def test_a_raised_priority_moves_the_clock_only_where_its_level_says_so(desk: Desk) -> None:
    """Rule 11."""
    seconds = {1: 5 * HOUR, 2: 6 * HOUR, 3: 8 * HOUR, 4: 40 * HOUR}
    rule = replace(promise(1, calendar="around the clock"), seconds=seconds)
    warn_early = after(-4, raise_priority=True, retarget=True)
    desk.promises(chained(warn_early, after(0), targets={RESOLUTION: rule}))
    desk.opens(priority=3)
    assert desk.ahead() == [4, 8]
    desk.scans(4.1)
    assert (desk.ticket().priority, desk.clock().due_at) == (2, at(6))
    assert desk.ahead() == [6]
    assert [(event.old, event.new) for event in desk.history("escalated") if event.key is None] == [("3", "2")]
    desk.scans(6.1)
    assert desk.alarms() == ["escalated resolution 1/0", "escalated resolution 2/0"]
    assert desk.clock().cause == "deadline"


def test_a_level_with_nobody_to_tell_moves_on_at_once_and_says_so(desk: Desk) -> None:
    """Rule 22."""
    desk.promises(chained(after(0, "assignee"), after(1, "group"), after(2, "desk")))
    desk.opens()
    desk.scans(4.1)
    desk.scans(4.2)
    desk.scans(4.3)
    assert desk.alarms() == [f"escalated resolution {number}/0" for number in (1, 2, 3)]
    assert [event.note for event in desk.history("escalated")] == [
        "resolution level 1: nobody to tell",
        "resolution level 2: nobody to tell",
        "resolution level 3",
    ]
    assert desk.letters() == {"mail:desk": 1}


def test_what_a_level_cannot_do_is_on_record_and_holds_nobody_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 22: neither half of it is done, nor is it tried for ever."""
    desk.promises(chained(after(0, "desk", tag="late", raise_priority=True, retarget=True), after(1)))
    desk.opens()

    def refuse(*_: object) -> None:
        raise PolicyError("no such promise can be kept")

    monkeypatch.setattr(Promises, "repriced", refuse)
    desk.scans(4.1)
    assert (desk.ticket().tags, desk.ticket().priority) == ([], 3)
    [told] = desk.history("unfinished")
    assert told.note == "resolution level: no such promise can be kept"
    desk.scans(5.1)
    assert len(desk.history("unfinished")) == 1
    assert desk.letters() == {"mail:desk": 2}


def test_who_is_told_depends_on_the_ticket(desk: Desk) -> None:
    desk.promises(chained(after(0, "assignee", "group", "requester", "desk")))
    desk.opens(assignee="grace@example.org", group="network", requester="ada")
    desk.scans(4.1)
    assert desk.letters() == {"mail:assignee": 1, "group:network": 1, "mail:desk": 1}


# --- acknowledging -----------------------------------------------------------------------------------------------


def test_acknowledging_stops_the_chain_not_the_clock(desk: Desk) -> None:
    """Rule 22."""
    desk.promises(chained(after(-1), after(0), after(1), warnings=(Warn(percent=90),)))
    desk.opens()
    desk.scans(3.1)
    assert desk.does("acknowledge", "t", actor="grace", note="on it", hours=3.2)
    for hours in (3.7, 4.1, 5.1, 100):
        desk.scans(hours)
    assert desk.alarms() == ["escalated resolution 1/0", "warned resolution 1/0"]
    assert (desk.clock().state, desk.clock().breached_at) == (ClockState.BREACHED, at(4))
    [told] = desk.history("acknowledged")
    assert (told.actor, told.note) == ("grace", "on it")


def test_an_acknowledgement_that_expires_lets_the_chain_go_on_where_it_stood(desk: Desk) -> None:
    """Rule 22."""
    desk.promises(chained(after(0), after(1), after(2), ack_expires_seconds=3 * HOUR))
    desk.opens()
    desk.scans(4.1)
    desk.does("acknowledge", "t", hours=4.5)
    assert desk.clock().rearms_at == at(7.5)
    assert desk.ahead() == [7.5, 8.5]
    assert desk.scans(7.4).found == 0
    desk.scans(7.6)
    desk.scans(8.6)
    assert len(desk.alarms("escalated")) == 3


def test_an_acknowledgement_that_ends_before_the_next_call_moves_nothing(desk: Desk) -> None:
    desk.promises(chained(after(0), after(1)))
    desk.opens()
    desk.does("acknowledge", "t", until=at(3), hours=1)
    assert desk.ahead() == [4, 5]


def test_two_acknowledgements_one_after_the_other_skip_no_level(desk: Desk) -> None:
    desk.promises(chained(after(0), after(1), after(2), after(3)))
    desk.opens()
    desk.scans(4.1)
    desk.does("acknowledge", "t", until=at(7), hours=4.5)
    assert desk.ahead() == [7, 8, 9]
    desk.scans(7.1)
    desk.does("acknowledge", "t", until=at(10), hours=7.5)
    assert desk.ahead() == [10, 11]
    desk.scans(10.1)
    desk.scans(11.1)
    assert desk.alarms() == [f"escalated resolution {number}/0" for number in (1, 2, 3, 4)]


def test_an_acknowledgement_can_name_its_end_be_renewed_and_be_taken_back(desk: Desk) -> None:
    desk.promises(chained(after(0), after(1)))
    desk.opens()
    desk.scans(4.1)
    desk.does("acknowledge", "t", until=at(6), hours=4.5)
    assert desk.ahead() == [6]
    desk.does("acknowledge", "t", until=at(8), hours=4.8)
    assert desk.ahead() == [8]
    desk.does("acknowledge", "t", hours=5)
    assert desk.ahead() == []
    assert desk.does("rearm", "t", hours=7)
    assert desk.ahead() == [7]
    assert not desk.does("rearm", "t", hours=7)
    with pytest.raises(InvalidTicket, match="until must lie ahead"):
        desk.does("acknowledge", "t", until=at(6), hours=7)


def test_only_a_ticket_that_is_worked_on_is_acknowledged(desk: Desk) -> None:
    desk.promises(chained(after(0)))
    desk.opens()
    desk.does("set_status", "t", "cancelled", hours=1)
    assert not desk.does("acknowledge", "t", hours=2)
    assert not desk.does("acknowledge", "nobody", hours=2)


def test_an_acknowledged_chain_stays_so_when_the_deadline_moves(desk: Desk) -> None:
    desk.promises(chained(after(0), after(1)))
    desk.opens()
    desk.does("acknowledge", "t", hours=1)
    desk.does("set_status", "t", "on_hold", hours=2)
    desk.does("set_status", "t", "in_progress", hours=3)
    assert desk.ahead() == []
    desk.scans(100)
    assert desk.alarms() == []


# --- catching up, first days -------------------------------------------------------------------------------------


def test_after_downtime_only_the_highest_level_is_raised(desk: Desk) -> None:
    """Rule 23."""
    desk.promises(chained(after(-1), after(0, raise_priority=True), after(1, "boss"), warnings=(Warn(percent=50),)))
    desk.opens()
    sweep = desk.scans(48)
    assert (sweep.found, sweep.breaches, sweep.alarms) == (1, 1, 1)
    assert sorted(desk.alarms()) == [
        "collapsed resolution 1/0",
        "collapsed resolution 1/0",
        "collapsed resolution 2/0",
        "escalated resolution 3/0",
    ]
    assert desk.letters() == {"boss": 1}
    assert desk.ticket().priority == 3, "what was passed over was not done"
    assert (desk.clock().breached_at, desk.clock().detected_at) == (at(4), at(48))


def test_old_tickets_raise_no_alarms_on_the_first_day(desk: Desk) -> None:
    """Rule 23: `enforce_from`; their verdicts are recorded all the same."""
    desk.promises(chained(after(0), warnings=(Warn(percent=50),)), enforce_from=at(1))
    desk.opens()
    desk.opens("new", created_at=at(1))
    assert desk.ahead() == []
    desk.scans(9)
    assert desk.clock().breached_at == at(4)
    assert desk.alarms() == []
    assert len(desk.alarms("escalated", ticket_id="new")) == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.sets(st.integers(1, 39 * 60), max_size=25), answer=st.integers(1, 39 * 60), hold=st.integers(1, 600))
def test_scanning_at_any_moments_says_the_same_as_scanning_all_the_time(
    desk: Desk, moments: set[int], answer: int, hold: int
) -> None:
    """Rules 5, 7, 8: the same verdicts, and the same keys written down; late, some alarms as passed over."""
    desk.promises(
        a_policy(
            warnings=(Warn(percent=50), Warn(seconds_before=30 * MINUTE)),
            chain=(after(-0.25), after(0), after(2, repeat_seconds=HOUR, max_repeats=2)),
        )
    )
    told = []
    for scans in (set(range(5, 40 * 60, 5)), moments, set()):
        name = f"t{next(names)}"
        desk.opens(name)
        steps = [(minute, "scan") for minute in scans] + [(answer, "answer"), (hold, "hold"), (hold + 90, "go on")]
        for minute, step in sorted(steps):
            if step == "scan":
                desk.scans(minute / 60)
            elif step == "answer":
                desk.does("comment", a_comment(name, id=name), hours=minute / 60)
            else:
                desk.does("set_status", name, "on_hold" if step == "hold" else "in_progress", hours=minute / 60)
        desk.does("settle", name, hours=40)
        told.append(
            (
                {(event.key or event.kind).removeprefix(name) for event in desk.system.get_history(name)},
                {key: (one.state, one.due_at, one.breached_at, one.cause) for key, one in desk.clocks(name).items()},
            )
        )
    assert told[0] == told[1] == told[2]


def test_a_change_does_first_what_was_due_before_it(desk: Desk) -> None:
    """Rule 7: resolved ten minutes late between two scans, it is a breach, and whoever was to be told is told."""
    desk.promises(chained(after(0, raise_priority=True)))
    desk.opens(status="in_progress")
    desk.does("set_status", "t", "resolved", hours=4.2)
    assert (desk.clock().breached_at, desk.clock().stopped_at) == (at(4), at(4.2))
    assert [event.kind for event in desk.system.get_history("t")] == ["created", "breached", "escalated", "status"]
    assert desk.ticket().priority == 2
    assert desk.letters() == {"mail:desk": 1}


def test_a_second_scan_adds_nothing(desk: Desk) -> None:
    """Rule 8."""
    desk.promises(chained(after(0, tag="late", reassign_to="x"), after(1), warnings=(Warn(percent=50),)))
    desk.opens()
    for hours in (2.5, 4.5, 5.5):
        desk.scans(hours)
        before = everything(desk.system.database)
        assert desk.scans(hours).found == 0
        assert everything(desk.system.database) == before


def test_an_alarm_that_is_on_record_is_never_raised_again(desk: Desk) -> None:
    """Rule 8: not even when its row comes back."""
    desk.promises(chained(after(0, raise_priority=True)))
    desk.opens()
    [row] = rows_of(desk.system.database, tables.alarms)
    desk.scans(4.1)
    with desk.system.database.write() as connection:
        connection.execute(tables.alarms.insert(), row)
        connection.execute(tables.clocks.update().values(next_check_at=at(4)))
    desk.scans(4.2)
    assert (desk.ticket().priority, desk.letters(), desk.alarms()) == (
        2,
        {"mail:desk": 1},
        ["escalated resolution 1/0"],
    )
    assert len(desk.system.get_comments("t")) == 1


# --- who may be called what --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("mail", "mail:x", "group:x", "a:b"))
def test_nobody_can_be_called_what_means_something_else(desk: Desk, name: str) -> None:
    with pytest.raises(PolicyError, match="nobody can be called"):
        desk.promises(chained(after(0, name)))


def test_chains_belong_to_stored_rules(system: TicketSystem) -> None:
    with pytest.raises(PolicyError, match="put a book of policies in force"):
        TicketSystem(system.database, policy=chained(after(1)))


def test_rules_of_two_policies_keep_their_own_chains(desk: Desk) -> None:
    """Rule 17: a changed priority that picks another policy picks its chain."""
    critical = chained(after(0, "pager"), name="critical", rank=1, match=Match(priorities=frozenset({1})))
    desk.promises(critical, chained(after(0, "desk"), after(2, "desk")))
    desk.opens()
    desk.does("set_priority", "t", 1, hours=1)
    assert desk.clock().policy == "critical"
    desk.scans(4.1)
    desk.scans(7)
    assert desk.letters() == {"pager": 1}


def test_the_present_decides_without_a_moment(desk: Desk) -> None:
    desk.promises(chained(after(0), warnings=(Warn(percent=50),)))
    desk.opens(created_at=datetime.now(UTC) - timedelta(hours=2, minutes=1))
    sweep = monitor.scan_breaches(desk.system.database)
    assert (sweep.found, sweep.breaches, sweep.alarms) == (1, 0, 1)


# --- which call is the higher one, and when a chain that is held back does not move on -------------------------------


def test_after_downtime_a_repeat_of_a_lower_level_is_less_than_a_higher_level(desk: Desk) -> None:
    """Rule 23: only the highest due level, though the repeat came last."""
    desk.promises(chained(after(0, "oncall", repeat_seconds=30 * MINUTE, max_repeats=3), after(1, "boss")))
    desk.opens()
    desk.scans(48)
    assert desk.alarms("escalated") == ["escalated resolution 2/0"]
    assert len(desk.alarms("collapsed")) == 4
    assert desk.letters() == {"boss": 1}


def test_a_level_with_nobody_to_tell_does_not_move_an_acknowledged_chain_on(desk: Desk) -> None:
    """Rule 22: it was raised just before, and finished by a scan after."""
    desk.promises(chained(after(0, "group"), after(2, "desk")))
    desk.opens()
    desk.does("acknowledge", "t", until=at(10), hours=4.1)
    for hours in (4.2, 4.3, 9.9):
        desk.scans(hours)
    assert desk.alarms() == ["escalated resolution 1/0"]
    desk.scans(10.1)
    assert desk.alarms() == ["escalated resolution 1/0", "escalated resolution 2/0"]


@pytest.mark.parametrize("offset", (-0.5, 0))
def test_a_level_with_nobody_to_tell_moves_nobody_on_while_its_ticket_waits(desk: Desk, offset: float) -> None:
    """Rule 12: neither on a paused clock, nor on one that was late when the ticket was put on hold."""
    desk.promises(chained(after(offset, "group"), after(2, "desk")))
    desk.opens()
    desk.does("set_status", "t", "on_hold", hours=4 + offset + 0.1)
    for hours in (4.7, 4.8, 30):
        desk.scans(hours)
    assert desk.alarms() == ["escalated resolution 1/0"]


def test_an_acknowledgement_while_paused_keeps_what_an_earlier_one_held_back(desk: Desk) -> None:
    """Rules 12, 22: the chain has stood still for an hour and a half, and goes on so much later."""
    desk.promises(chained(after(-2), after(0)))
    desk.opens()
    desk.does("acknowledge", "t", until=at(3.5), hours=1)
    assert desk.ahead() == [3.5, 5.5]
    desk.does("set_status", "t", "on_hold", hours=3.6)
    desk.does("acknowledge", "t", until=at(4), hours=3.6)
    desk.does("set_status", "t", "in_progress", hours=4.1)
    assert desk.clock().held_for == timedelta(hours=1.5)
    assert desk.ahead() == [6]
