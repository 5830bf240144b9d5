"""What other help desks get wrong about clocks, one test each: the system, the defect in a few words, our rule.

Defects in alarms, and in how a notice reaches somebody, are tested where alarms and deliveries are.
"""

import os
import time as wall
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket
from tests.support.promises import MONDAY, OFFICE, PromisingDesk, a_policy, at, promise
from ticket_system import PolicyError, Ticket, TicketSystem, monitor, outbox
from ticket_system.audit import audit_clocks
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, ClockState, pause, resume, start, stop
from ticket_system.sla.days_off import DayOff, DaysOff, read_icalendar
from ticket_system.sla.policies import Match, Policy

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def desk(system: TicketSystem) -> Iterator[PromisingDesk]:
    """A desk; whatever happened at it, its clocks are what its events alone make of them (rule 27)."""
    yield PromisingDesk(system)
    assert audit_clocks(system.database, everything=True).differences == []


def week(zone: str, *shifts: str, days: range = range(5), off: Any = None) -> Calendar:
    """A calendar of shifts like 09:00-17:00."""
    hours = tuple(Hours.of(*(time.fromisoformat(end) for end in shift.split("-"))) for shift in shifts)
    return Calendar("a week", ZoneInfo(zone), dict.fromkeys(days, hours), **({"days_off": off} if off else {}))


def local(zone: str, text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


class Statements:
    """The statements that are executed meanwhile, with their parameters."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def _note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self.seen.append((statement, parameters))

    def __enter__(self) -> Self:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sa.event.remove(sa.Engine, "before_cursor_execute", self._note)


# ------------------------------------------------------------------------------------- the library this one replaces


def test_closing_does_not_move_the_moment_it_was_solved(desk: PromisingDesk) -> None:
    """The earlier library: closing overwrote `resolved_at`, and what was solved in time became late. Rule 5."""
    desk.opens(status="in_progress", priority=1, sla_hours=4)
    desk.moves(("resolved", 3), ("closed", 13))
    ticket = desk.system.get_ticket("t")
    assert ticket is not None
    assert (ticket.resolved_at, ticket.is_breached()) == (at(3), False)
    assert desk.clock().state is ClockState.MET


def test_raising_the_priority_by_hand_never_backdates_a_breach(desk: PromisingDesk) -> None:
    """The earlier library: re-based from the opening, it was late by an hour the moment it was raised. Rule 10."""
    desk.opens(priority=2, sla_hours=24)
    desk.does("escalate", "It is the payroll", hours=5)
    clock = desk.clock()
    assert (clock.state, clock.cause, clock.breached_at) == (ClockState.BREACHED, "retarget", at(5))
    assert [event.at for event in desk.system.get_history("t") if event.kind == "breached"] == [at(5)]


def test_on_hold_stops_the_resolution(desk: PromisingDesk) -> None:
    """The earlier library, Chatwoot, libredesk, osTicket #3034: waiting for the requester counted. Rule 12."""
    desk.opens(status="in_progress", priority=1, sla_hours=4)
    desk.moves(("on_hold", 3))
    assert monitor.scan_breaches(desk.system.database, now=at(1000)).found == 0
    assert desk.system.get_breached_tickets() == []
    desk.moves(("in_progress", 1000), ("resolved", 1001))
    assert desk.clock().state is ClockState.MET


def test_one_late_ticket_of_five_is_twenty_percent(system: TicketSystem) -> None:
    """The earlier library: breached status changes over all status changes, 50 %. Rule 24."""
    now = datetime.now(UTC)
    for number in range(5):
        late = 2 if number == 0 else 0
        ticket = a_ticket(id=str(number), status="in_progress", sla_hours=24, created_at=now - (23 + late) * HOUR)
        system.create_ticket(ticket)
        for status in ("resolved", "closed"):
            system.update_status(str(number), status)
    assert system.generate_report()["sla_breach_rate_pct"] == 20.0


def test_what_is_late_is_found_through_an_index(system: TicketSystem) -> None:
    """The earlier library, Frappe, Chatwoot: every open ticket was loaded and judged, whatever was due. Rule 7."""
    with Statements() as statements:
        monitor.scan_breaches(system.database)
    statement, parameters = next(one for one in statements.seen if "next_check_at" in one[0])
    with system.database.write() as connection:
        if connection.dialect.name == "postgresql":
            # So small a table is read whole, unless that is forbidden.
            connection.exec_driver_sql("set local enable_seqscan = off")
        explain = "explain query plan" if connection.dialect.name == "sqlite" else "explain"
        plan = [str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)]
    assert any("INDEX" in line.upper() and "clocks" in line for line in plan)
    assert not any("Seq Scan on clocks" in line or ("SCAN clocks" in line and "INDEX" not in line) for line in plan)


def test_a_moment_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier library: naive moments; RT: the process's TZ is switched for a calculation. Rule 1."""
    start_, due = local("Europe/Berlin", "2026-03-27 16:00"), local("Europe/Berlin", "2026-03-30 10:00")
    ticket = Ticket("t", "", "ada", created_at=datetime(2026, 3, 27, 15, 0), sla_hours=4)  # noqa: DTZ001
    before = os.environ.get("TZ")
    for zone in ("Asia/Tokyo", "America/New_York", "UTC"):
        monkeypatch.setenv("TZ", zone)
        wall.tzset()
        assert OFFICE.add(start_, 2 * HOUR) == due
        assert ticket.sla_deadline() == datetime(2026, 3, 27, 19, tzinfo=UTC)
        assert os.environ["TZ"] == zone
    monkeypatch.undo()
    wall.tzset()
    assert os.environ.get("TZ") == before


# --------------------------------------------------------------------------------------------------------- verdicts


def _resolved_late(desk: PromisingDesk) -> None:
    desk.moves(("resolved", 26 + 1 / 30))


def _answered_late(desk: PromisingDesk) -> None:
    desk.says("grace", hours=1 + 1 / 30)


def _answered_again_late(desk: PromisingDesk) -> None:
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=1)
    desk.says("grace", hours=3 + 1 / 30)


@pytest.mark.parametrize(
    ("target", "due", "happens"),
    ((RESOLUTION, 26, _resolved_late), (FIRST_RESPONSE, 1, _answered_late), (NEXT_RESPONSE, 3, _answered_again_late)),
)
def test_late_between_two_scans_is_late(desk: PromisingDesk, target: str, due: float, happens: Any) -> None:
    """Chatwoot: what was done late, but before the next five-minute scan, was recorded as met. Rule 7."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    happens(desk)
    assert desk.clock(target).state is ClockState.BREACHED
    assert (target, at(due)) in desk.breaches()
    assert monitor.scan_breaches(desk.system.database, now=at(26)).found == 0, "a scan adds nothing"


def test_every_target_has_a_breach_of_its_own(desk: PromisingDesk) -> None:
    """Zammad: one `escalation_at`, the least of three; once it had passed, later ones left no trace. Rules 6, 8."""
    desk.promises(a_policy())
    desk.opens()
    monitor.scan_breaches(desk.system.database, now=at(100))
    assert sorted(desk.breaches()) == [(FIRST_RESPONSE, at(1)), (RESOLUTION, at(26))]


def test_a_breach_is_dated_by_its_deadline_not_by_its_detection(desk: PromisingDesk) -> None:
    """libredesk: `breached_at = NOW()`, up to a scan too late. Rule 6."""
    desk.promises(a_policy())
    desk.opens()
    monitor.scan_breaches(desk.system.database, now=at(30))
    assert (desk.clock().breached_at, desk.clock().detected_at) == (at(26), at(30))


def test_a_lower_priority_does_not_undo_a_breach(desk: PromisingDesk) -> None:
    """Frappe: "Failed" is worked out anew, a lower priority un-fails; osTicket #5160: a stale flag. Rule 9."""
    desk.promises(a_policy(targets={RESOLUTION: promise({1: 1, 2: 2, 3: 4, 4: 80})}))
    desk.opens(priority=1)
    monitor.scan_breaches(desk.system.database, now=at(2))
    late = desk.clock()
    desk.does("set_priority", 4, hours=3)
    assert (late.state, late.breached_at) == (ClockState.BREACHED, at(1))
    assert desk.clock() == late, "its deadline is the one it was missed by"
    assert len(desk.breaches()) == 1


def test_a_pause_after_the_breach_changes_nothing_about_it(desk: PromisingDesk) -> None:
    """ServiceNow: a retroactive pause can take a breach away again. Rule 9."""
    desk.promises(a_policy(targets={RESOLUTION: promise(1)}))
    desk.opens()
    desk.moves(("on_hold", 2), ("in_progress", 30), ("resolved", 31))
    assert (desk.clock().state, desk.clock().breached_at) == (ClockState.BREACHED, at(1))


@pytest.mark.parametrize(("seconds", "state"), ((0, ClockState.MET), (1, ClockState.BREACHED)))
def test_at_the_deadline_is_in_time_and_a_second_later_is_not(seconds: int, state: ClockState) -> None:
    """osTicket #1684, "to overdue or to not overdue?": it was not laid down. Rule 5."""
    clock = start("t", MONDAY, 2 * HOUR, OFFICE)
    assert stop(clock, at(2) + timedelta(seconds=seconds), OFFICE).state is state


def test_a_ticket_that_is_done_is_never_found_late(desk: PromisingDesk) -> None:
    """libredesk #70: alerts for tickets that were closed. Rule 7."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.says("grace", hours=0.5)
    desk.moves(("resolved", 2), ("closed", 3))
    assert monitor.scan_breaches(desk.system.database, now=at(10_000)).found == 0


def test_a_ticket_without_a_promised_resolution_is_never_late(desk: PromisingDesk) -> None:
    """Frappe #1643: where no resolution was promised it was taken to be due at once, and failed. Rule 17."""
    desk.promises(
        a_policy(rank=1, match=Match(plans=frozenset({"answers"})), targets={FIRST_RESPONSE: promise(1)}),
        Policy("nothing", rank=2, no_sla=True),
    )
    for plan in ("answers", None):
        ticket = a_ticket(id=f"{plan}", plan=plan, status="in_progress", created_at=MONDAY - 100 * DAY)
        assert not desk.system.create_ticket(ticket).is_breached()
        stored = desk.system.get_ticket(f"{plan}")
        assert stored is not None
        assert not stored.is_breached()
        assert not desk.system.check_sla_breach(f"{plan}")["is_breached"]
        desk.system.update_status(f"{plan}", "resolved")
        assert not desk.system.check_sla_breach(f"{plan}")["is_breached"]
    assert desk.system.get_breached_tickets() == []


# -------------------------------------------------------------------------------------------------------- calendars


def test_excluded_days_put_a_deadline_off() -> None:
    """django-helpdesk: excluded days lowered the age that was asked for: five days became three, not seven. Rule 2."""
    days = week("UTC", "00:00-00:00")
    assert days.add(datetime(2026, 6, 4, tzinfo=UTC), 5 * DAY) == datetime(2026, 6, 11, tzinfo=UTC)


def test_a_holiday_of_one_calendar_leaves_another_alone(desk: PromisingDesk) -> None:
    """django-helpdesk: exclusions ignored the queue they were for. Rule 1."""
    holiday = week("Europe/Berlin", "09:00-17:00", off=DaysOff(own=(DayOff(date(2026, 6, 1), "off"),)))
    south = a_policy(
        name="south",
        rank=1,
        match=Match(groups=frozenset({"south"})),
        targets={RESOLUTION: promise(2, calendar="south")},
    )
    desk.promises(south, a_policy(targets={RESOLUTION: promise(2)}), south=holiday)
    desk.opens()
    there = desk.system.create_ticket(a_ticket(group="south", created_at=MONDAY))
    assert there.clock is not None
    assert (desk.clock().due_at, there.clock.due_at) == (at(2), at(26))


@pytest.mark.parametrize(
    ("since", "until", "sunday"),
    (
        # Steps of 86,400 seconds lead from Saturday 23:30 to Monday 00:30.
        ("2026-03-28 23:30", "2026-03-30 23:30", date(2026, 3, 29)),
        # And from Sunday 00:15 to Sunday 23:15.
        ("2026-10-25 00:15", "2026-10-26 23:15", date(2026, 10, 25)),
    ),
)
def test_the_day_on_which_the_clocks_change_counts_once(since: str, until: str, sunday: date) -> None:
    """GLPI: stepping by 86,400 seconds skipped one Sunday of the year and counted another twice. Rule 3."""
    paris = (local("Europe/Paris", since), local("Europe/Paris", until))
    assert week("Europe/Paris", "00:00-00:00", days=range(7)).between(*paris) == paris[1] - paris[0]
    mornings = week("Europe/Paris", "09:00-10:00", days=range(7))
    assert mornings.between(*paris) == 2 * HOUR
    opened = [opens.astimezone(mornings.zone).date() for opens, _ in mornings.windows(*paris)]
    assert opened == [sunday, sunday + DAY]


def test_a_calendar_that_never_opens_is_refused_and_ends_no_program() -> None:
    """Frappe: a calendar without open time never ends its loop; Zammad #1396: it is an HTTP 500. Rule 3."""
    never = Calendar("never", ZoneInfo("UTC"), {})
    with pytest.raises(PolicyError, match="no open time"):
        never.check(MONDAY)
    with pytest.raises(PolicyError, match="no open time"):
        never.add(MONDAY, HOUR)


@pytest.mark.parametrize(("fold", "left"), ((0, 90), (1, 30)), ids=("the first 02:30", "the second 02:30"))
def test_a_pause_in_the_repeated_hour_is_measured_to_the_minute(fold: int, left: int) -> None:
    """Zammad: pauses are kept as local hours and minutes, of which that night has two. Rules 1, 12."""
    nights = week("Europe/Berlin", "00:00-06:00", days=range(7))
    begins = local("Europe/Berlin", "2026-10-25 02:30", fold=fold)
    clock = start("t", local("Europe/Berlin", "2026-10-25 00:00"), 7 * HOUR, nights)
    paused = pause(clock, begins, nights)
    again = resume(paused, local("Europe/Berlin", "2026-10-25 03:00"), nights)
    assert again.paused_for == timedelta(minutes=left)
    assert again.due_at == local("Europe/Berlin", "2026-10-26 00:00") + timedelta(minutes=left)


@pytest.mark.parametrize("zone", ("Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Sydney"))
def test_opening_hours_keep_to_the_clock_on_the_wall_all_year(zone: str) -> None:
    """OnCall #3261, dbt_zendesk #25, moment-business-time #58, working_hours #26: off by the hour. Rule 3."""
    office = week(zone, "09:00-17:00")
    opened = local(zone, "2026-01-01 09:00")
    for opens, closes in office.windows(opened, opened + 365 * DAY):
        assert (opens.astimezone(office.zone).hour, closes.astimezone(office.zone).hour) == (9, 17)
        assert closes - opens == 8 * HOUR


def test_a_deadline_belongs_to_its_calendars_zone_not_to_whoever_looks() -> None:
    """Frappe PR #3776, #2487: deadlines in the site's or the viewer's zone. Rule 1."""
    seen = [OFFICE.add(MONDAY.astimezone(ZoneInfo(zone)), 10 * HOUR) for zone in ("Asia/Tokyo", "UTC", "America/Lima")]
    assert seen == [at(26)] * 3


def test_several_stretches_a_day_and_the_lunch_between_them() -> None:
    """Chatwoot PR #13392, #14009, Frappe #2212, osTicket #6847: one stretch a day, lunch counted. Rules 1, 2."""
    lunch = week("Europe/Berlin", "09:00-13:00", "14:00-18:00")
    assert lunch.add(local("Europe/Berlin", "2026-06-01 12:30"), HOUR) == local("Europe/Berlin", "2026-06-01 14:30")
    assert lunch.add(local("Europe/Berlin", "2026-06-01 12:30"), HOUR / 2) == local("Europe/Berlin", "2026-06-01 13:00")
    assert lunch.business_day() == 8 * HOUR


def test_a_weekend_does_not_make_a_ticket_late() -> None:
    """osTicket #1168, #4969: what came in on Saturday was overdue on Sunday. Rule 2."""
    saturday = local("Europe/Berlin", "2026-06-06 10:00")
    assert OFFICE.add(saturday, 8 * HOUR) == local("Europe/Berlin", "2026-06-08 17:00")
    whit_monday = week("Europe/Berlin", "09:00-17:00", off=DaysOff("DE"))
    assert whit_monday.add(local("Europe/Berlin", "2026-05-23 10:00"), HOUR) == local(
        "Europe/Berlin", "2026-05-26 10:00"
    )


def test_only_whole_days_of_an_ical_file_are_days_off(tmp_path: Path) -> None:
    """Zammad #390: every entry of a calendar was a holiday, meetings and birthdays too. Rule 1."""
    lines = (
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//t//",
        "BEGIN:VEVENT", "UID:1", "DTSTART;VALUE=DATE:20260601", "SUMMARY:Off", "END:VEVENT",
        "BEGIN:VEVENT", "UID:2", "DTSTART:20260602T100000Z", "DTEND:20260602T110000Z", "SUMMARY:Meeting", "END:VEVENT",
        "END:VCALENDAR", "",
    )  # fmt: skip
    file = tmp_path / "days.ics"
    file.write_text("\r\n".join(lines))
    days = DaysOff(own=read_icalendar(file))(2026)
    assert dict(days) == {date(2026, 6, 1): "Off"}


def test_a_deadline_never_lies_outside_the_open_hours() -> None:
    """GLPI PR #22678, #9082, #15429: wrong by calendar, or after closing time once it had been paused. Rules 2, 12."""
    calendar = week("Europe/Paris", "08:00-18:00")
    begins = local("Europe/Paris", "2021-05-07 10:03")
    clock = start("t", begins, 50 * HOUR, calendar)
    assert clock.due_at == local("Europe/Paris", "2021-05-14 10:03")
    paused = pause(clock, local("Europe/Paris", "2021-05-12 15:29"), calendar)
    again = resume(paused, local("Europe/Paris", "2021-05-12 23:00"), calendar)
    assert again.due_at == local("Europe/Paris", "2021-05-14 12:34")
    late = resume(pause(clock, local("Europe/Paris", "2021-05-12 08:00"), calendar), begins + 6 * DAY, calendar)
    assert late.due_at is not None
    assert calendar.is_open(late.due_at - timedelta(microseconds=1))


# ----------------------------------------------------------------------------------------------------------- pauses


def test_the_pause_is_added_to_the_deadline_not_to_the_start(desk: PromisingDesk) -> None:
    """Frappe #1554, PR #2449: the pause did nothing, or was added to the start in wall time. Rule 12."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.moves(("on_hold", 6), ("in_progress", 24))
    assert (desk.clock().started_at, desk.clock().paused_for, desk.clock().due_at) == (at(0), 2 * HOUR, at(28))


def test_what_waits_cannot_become_late(desk: PromisingDesk) -> None:
    """GLPI #10594, #24481: violated while pending. Rule 12."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.says("grace", hours=0.5)
    desk.moves(("on_hold", 1))
    assert (desk.clock().due_at, desk.clock().remaining) == (None, 9 * HOUR)
    assert monitor.scan_breaches(desk.system.database, now=at(10_000)).found == 0


def test_a_pause_is_the_resolutions_and_not_the_first_responses(desk: PromisingDesk) -> None:
    """Znuny: pending suspends the update target only; others stop all or none. Rule 12."""
    desk.promises(a_policy())
    desk.opens()
    desk.moves(("on_hold", 0.5))
    states = {target: desk.clock(target).state for target in (FIRST_RESPONSE, RESOLUTION)}
    assert states == {FIRST_RESPONSE: ClockState.RUNNING, RESOLUTION: ClockState.PAUSED}


@pytest.mark.parametrize(
    ("status", "expected"), (("on_hold", [ClockState.PAUSED]), ("closed", []), ("resolved", []), ("cancelled", []))
)
def test_the_status_at_the_opening_decides_how_the_clock_starts(
    desk: PromisingDesk, status: str, expected: list[ClockState]
) -> None:
    """alga-psa PR #3091: opened on hold, it ran; opened closed, it ran too. Rule 13."""
    desk.promises(a_policy(targets={RESOLUTION: promise(10)}))
    desk.opens(status=status)
    assert [clock.state for clock in desk.clocks().values()] == expected


# ---------------------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("still_paused", (True, False))
def test_a_new_promise_keeps_the_pauses_there_were(desk: PromisingDesk, still_paused: bool) -> None:
    """GLPI #6902, #15605: another SLA counted from the opening and forgot what was paused. Rule 10."""
    desk.promises(a_policy(targets={RESOLUTION: promise({1: 4, 2: 6, 3: 10, 4: 20})}))
    desk.opens(status="in_progress")
    desk.moves(("on_hold", 2))
    if still_paused:
        desk.does("set_priority", 1, hours=25)
        assert desk.clock().remaining == 2 * HOUR
        desk.moves(("in_progress", 26))
    else:
        desk.moves(("in_progress", 26))
        desk.does("set_priority", 1, hours=26)
    assert (desk.clock().state, desk.clock().paused_for, desk.clock().due_at) == (ClockState.RUNNING, 8 * HOUR, at(28))


def test_a_new_promise_counts_from_the_opening(desk: PromisingDesk) -> None:
    """GLPI #1911 asks for the other way round: a clock that starts anew hides the time already gone. Rule 10."""
    desk.promises(a_policy(targets={RESOLUTION: promise({1: 4, 2: 6, 3: 10, 4: 20})}))
    desk.opens(priority=4)
    desk.does("set_priority", 2, hours=5)
    assert desk.clock().due_at == at(6)


def test_resolving_ends_the_wait_for_an_answer(desk: PromisingDesk) -> None:
    """Chatwoot #10178: the next response counted on after the resolution. Rule 16."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=1)
    desk.moves(("resolved", 2))
    assert desk.clock(NEXT_RESPONSE).state is ClockState.CANCELLED
    assert monitor.scan_breaches(desk.system.database, now=at(100)).found == 0


def test_a_promise_that_no_longer_applies_is_cancelled_and_a_breach_stays(desk: PromisingDesk) -> None:
    """Frappe PR #3639: a ticket may come to have no promise, but a breach that happened is a fact. Rule 9."""
    urgent = a_policy(name="urgent", rank=1, match=Match(priorities=frozenset({1})), targets={RESOLUTION: promise(4)})
    desk.promises(urgent, Policy("nothing", rank=2, no_sla=True))
    desk.opens(priority=1)
    monitor.scan_breaches(desk.system.database, now=at(5))
    desk.does("set_priority", 3, hours=6)
    assert desk.breaches() == [(RESOLUTION, at(4))]
    assert desk.clock().breached_at == at(4)
    assert desk.clock().stopped_at == at(6)
    assert desk.clock().state is ClockState.BREACHED
    [told] = desk.system.explain("t")
    assert [mark["text"] for mark in told["marks"] if mark["what"] == "ended"] == [
        "priority 1 → 3; promised no longer, late all the same"
    ]


# ----------------------------------------------------------------------------------------------------------- reopen


@pytest.mark.parametrize(("reopen", "due", "cycle"), (("resume", 28, 1), ("restart", 51, 2), ("first_close", None, 1)))
def test_a_reopened_ticket_does_as_its_policy_says(
    desk: PromisingDesk, reopen: Any, due: float | None, cycle: int
) -> None:
    """Zammad #188, GLPI PR #9267, #23359, Znuny PR #369, osTicket PR #5206: each had one way, and not this. Rule 14."""
    desk.promises(a_policy(reopen=reopen, targets={RESOLUTION: promise(10)}))
    desk.opens(status="in_progress")
    desk.moves(("resolved", 7))
    first = desk.clock()
    desk.moves(("open", 25))
    newest = desk.clock(RESOLUTION, cycle)
    if due is None:
        assert desk.clocks() == {(RESOLUTION, 1): first}
    else:
        assert (newest.state, newest.due_at) == (ClockState.RUNNING, at(due))
        assert newest.paused_for == (2 * HOUR if reopen == "resume" else timedelta(0)), "kept for the next promise"
    if reopen != "resume":
        assert desk.clock(RESOLUTION, 1) == first, "records of earlier cycles never change"


def test_a_verdict_is_not_frozen_by_a_first_close(desk: PromisingDesk) -> None:
    """Chatwoot: hit is final, so a reopened conversation could take as long as it liked. Rule 14."""
    desk.promises(a_policy(targets={RESOLUTION: promise(10)}))
    desk.opens(status="in_progress")
    desk.moves(("resolved", 1), ("open", 2))
    assert monitor.scan_breaches(desk.system.database, now=at(100)).found == 1
    assert desk.clock().state is ClockState.BREACHED


# ------------------------------------------------------------------------------------------------ retroactive edits


def test_an_edit_of_the_rules_moves_no_deadline_that_was_given(desk: PromisingDesk) -> None:
    """Chatwoot, Zammad #4353, #534, ServiceNow: an edit, or a repair after it, judged anew what ran. Rule 18."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    before = desk.clocks()
    desk.promises(a_policy(targets={RESOLUTION: promise(0.5)}))
    desk.promises(Policy("nothing", no_sla=True))
    desk.promises(a_policy(), office=week("Asia/Tokyo", "01:00-02:00"))
    assert desk.clocks() == before
    desk.moves(("on_hold", 1), ("in_progress", 2))
    assert desk.clock().due_at == at(27), "later changes count by the hours it started with"


def test_an_edit_costs_the_same_however_many_tickets_are_open(system: TicketSystem) -> None:
    """Zammad's documentation warns that saving a policy may slow the system down: it counts every ticket. Rule 18."""
    desk, counts = PromisingDesk(system), []
    for _ in range(2):
        system.create_tickets([a_ticket(id=Ticket("", "", "").id) for _ in range(30)])
        with Statements() as statements:
            desk.promises(a_policy())
        counts.append(len(statements.seen))
    assert counts[0] == counts[1]


def test_choosing_a_policy_asks_the_database_nothing_per_policy(system: TicketSystem) -> None:
    """Zammad: one statement for each policy, and the whole history, for each commit of a ticket. Rule 17."""
    desk, counts = PromisingDesk(system), []
    for number in (1, 60):
        desk.promises(
            *(a_policy(name=f"p{n:02}", match=Match(customers=frozenset({str(n)}))) for n in range(number)), a_policy()
        )
        system.create_ticket(a_ticket())  # reads the rules, once
        with Statements() as statements:
            system.create_ticket(a_ticket(id=f"t{number}", customer="none"))
        counts.append(len(statements.seen))
    assert counts[0] == counts[1]


# -------------------------------------------------------------------------------------------------------- semantics


def test_a_change_of_status_is_no_first_response(desk: PromisingDesk) -> None:
    """Frappe: any move away from open counted as the response. Rule 15."""
    desk.promises(a_policy())
    desk.opens()
    desk.moves(("in_progress", 0.5), ("on_hold", 0.6), ("open", 0.7))
    monitor.scan_breaches(desk.system.database, now=at(2))
    assert desk.clock(FIRST_RESPONSE).state is ClockState.BREACHED


def test_an_internal_note_is_no_response(desk: PromisingDesk) -> None:
    """Zammad #1620: a note that the requester never sees met the first response. Rule 15."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("grace", hours=0.5, is_internal=True)
    assert desk.clock(FIRST_RESPONSE).state is ClockState.RUNNING


def test_the_requesters_message_starts_the_wait_however_it_came(desk: PromisingDesk) -> None:
    """Zammad #1322: what the requester said by way of a note started no clock. Rule 16."""
    desk.promises(a_policy())
    desk.opens()
    desk.says("grace", hours=0.5)
    desk.says("ada", hours=1)
    assert desk.clock(NEXT_RESPONSE).due_at == at(3)


def test_the_next_response_does_not_overtake_the_first(desk: PromisingDesk) -> None:
    """Zammad #5177: a shorter update time overruled the first response from the start. Rule 16."""
    targets = {FIRST_RESPONSE: promise(4, pausing=frozenset()), NEXT_RESPONSE: promise(1)}
    desk.promises(a_policy(targets=targets))
    desk.opens()
    desk.says("ada", hours=0.5)
    assert set(desk.clocks()) == {(FIRST_RESPONSE, 1)}
    assert desk.clock(FIRST_RESPONSE).due_at == at(4)


def test_overdue_and_still_running_counts_as_breached(system: TicketSystem) -> None:
    """aidingapp PR #1441 and printing-press-library PR #1413: opposite ideas of the denominator. Rule 24."""
    now = datetime.now(UTC)
    kept = a_ticket(id="kept", status="in_progress", created_at=now - HOUR)
    overdue = a_ticket(id="overdue", priority=1, sla_hours=4, created_at=now - 5 * HOUR)
    undecided = a_ticket(id="undecided", created_at=now)
    system.create_tickets([kept, overdue, undecided])
    system.update_status("kept", "resolved")
    assert system.generate_report()["sla_breach_rate_pct"] == 50.0


def test_each_client_can_be_promised_something_else(desk: PromisingDesk) -> None:
    """Frappe #2020, osTicket #2733: one promise for all clients. Rule 17."""
    desk.promises(
        a_policy(name="acme", rank=1, match=Match(customers=frozenset({"acme"})), targets={RESOLUTION: promise(2)}),
        a_policy(),
    )
    desk.opens(customer="acme")
    other = desk.system.create_ticket(a_ticket(customer="other", created_at=MONDAY))
    assert other.clock is not None
    assert (desk.clock().due_at, other.clock.due_at) == (at(2), at(26))


def test_policies_are_tried_in_an_order_that_is_written_down(desk: PromisingDesk) -> None:
    """Frappe: no order at all; Zammad: by name. Rule 17."""
    names = ("zebra", "ant", "cat", "bee")
    desk.promises(*(a_policy(name=name, rank=rank) for rank, name in enumerate(names)))
    ticket = desk.opens()
    assert ticket.clock is not None
    assert ticket.clock.policy == "zebra"
    ranks = [policy.rank for policy in desk.system.in_force()[1].policies]
    assert all(before <= after for before, after in pairwise(ranks))


def test_a_ticket_that_changes_while_a_scan_waits_is_judged_as_it_is(desk: PromisingDesk) -> None:
    """Zammad #3329: a long run went on with tickets as they were when it began. Rule 7."""
    desk.promises(a_policy(targets={RESOLUTION: promise(1)}))
    desk.opens(status="in_progress")
    desk.moves(("on_hold", 0.5))
    assert monitor.scan_breaches(desk.system.database, now=at(2)).found == 0
    desk.moves(("in_progress", 2), ("resolved", 2.25))
    assert desk.clock().state is ClockState.MET


def test_an_edit_of_a_calendar_wakes_nobody_up_and_touches_no_verdict(desk: PromisingDesk) -> None:
    """Zammad, JSM: an edit counts what is open anew, and what is past by the new hours is late at once. Rule 19."""
    desk.promises(a_policy())
    desk.opens(status="in_progress")
    desk.says("grace", hours=2)
    before = desk.clocks(), desk.breaches(), outbox.count(desk.system.database)
    desk.promises(a_policy(), office=week("Europe/Berlin", "09:00-09:30"))
    assert monitor.scan_breaches(desk.system.database, now=at(25)).found == 0, "due long ago by the new hours"
    assert (desk.clocks(), desk.breaches(), outbox.count(desk.system.database)) == before
