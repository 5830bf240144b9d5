"""What other desks get wrong about warnings and calls; each test names whose defect it is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from tests.support.promises import HOUR, MONDAY, Desk, a_policy, at, promise
from ticket_system import TicketSystem, monitor
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION
from ticket_system.sla.policies import Level, Policy, Warn
from ticket_system.storage import tables

TELL = Level(notify=("desk",))


def chain(
    *levels: Level, hours: float = 4, calendar: str = "around the clock", warnings: tuple[Warn, ...] = ()
) -> Policy:
    return Policy("p", targets={RESOLUTION: promise(hours, calendar=calendar)}, chain=levels, warnings=warnings)


def test_a_level_that_only_tells_leaves_the_priority_alone(desk: Desk) -> None:
    """django-helpdesk: `--notify-only` lowers the priority all the same. Rule 22."""
    desk.promises(chain(TELL))
    desk.opens(priority=3)
    desk.scans(5)
    assert (desk.ticket().priority, desk.letters()) == (3, {"mail:desk": 1})


def test_every_level_of_a_chain_comes_not_only_the_first(desk: Desk) -> None:
    """GLPI #5319: only the first level is ever queued. Rule 22."""
    desk.promises(chain(TELL, replace(TELL, offset_seconds=HOUR), replace(TELL, offset_seconds=2 * HOUR)))
    desk.opens()
    for hours in (4.1, 5.1, 6.1):
        desk.scans(hours)
    assert desk.alarms() == [f"escalated resolution {number}/0" for number in (1, 2, 3)]


def test_the_first_response_has_its_own_calls(desk: Desk) -> None:
    """GLPI #6898: no mail for the time to take a ticket up. Rules 21, 22."""
    desk.promises(a_policy(warnings=(Warn(percent=50),), chain=(TELL,)))
    desk.opens()
    desk.scans(0.6)
    desk.scans(1.1)
    assert desk.alarms() == ["warned first_response 1/0", "escalated first_response 1/0"]


def test_one_late_target_does_not_hide_that_another_gets_late(desk: Desk) -> None:
    """Zammad: one escalation time for three targets; what comes after the first has no event of its own. Rules 6, 8."""
    desk.promises(a_policy(chain=(TELL,)))
    desk.opens()
    desk.scans(1.5)
    desk.scans(27)
    assert [event.key for event in desk.history("breached")] == [
        f"t/{FIRST_RESPONSE}/1/breached/0/0",
        f"t/{RESOLUTION}/1/breached/0/0",
    ]
    assert desk.letters() == {"mail:desk": 2}


@pytest.mark.parametrize("days", (1, 30))
def test_what_stays_late_is_not_told_again_every_day(desk: Desk, days: int) -> None:
    """Zammad #4348, daily; GLPI #1996 and #2408, constantly; Znuny with a decay time of 0, at every run. Rule 8."""
    desk.promises(chain(TELL))
    desk.opens()
    for hour in range(5, 24 * days, 6):
        desk.scans(hour)
    assert desk.letters() == {"mail:desk": 1}


def test_calls_in_open_hours_wait_for_the_morning(desk: Desk) -> None:
    """otobo #2928, osTicket #6405, Zammad #4432: alerts at midnight instead of in service times. Rules 21, 22."""
    levels = (TELL, replace(TELL, offset_seconds=HOUR // 2, repeat_seconds=HOUR // 2, max_repeats=2))
    desk.promises(chain(*levels, hours=8, calendar="office", warnings=(Warn(seconds_before=HOUR),)))
    desk.opens(created_at=MONDAY + timedelta(hours=7))
    moments = [MONDAY + timedelta(hours=hours) for hours in desk.ahead()]
    assert moments
    opens, closes = timedelta(hours=7), timedelta(hours=15)  # nine to five in Berlin
    assert all(opens <= moment - moment.replace(hour=0, minute=0) <= closes for moment in moments)


def test_a_warning_is_counted_in_open_time(desk: Desk) -> None:
    """libredesk: warnings in wall-clock time, in the middle of the night before. Rule 21."""
    desk.promises(chain(hours=4, calendar="office", warnings=(Warn(seconds_before=3 * HOUR),)))
    desk.opens(created_at=MONDAY + timedelta(hours=6))
    assert desk.clock().due_at == at(26)
    assert desk.ahead() == [7], "15:00 on Monday plus an hour; not 8:00 on Tuesday"


def test_a_chain_goes_on_over_a_weekend(desk: Desk) -> None:
    """RT ignores business days; OnCall #1206 and #558 stop at a range of times that is over. Rule 22."""
    desk.promises(chain(TELL, replace(TELL, offset_seconds=2 * HOUR), hours=8, calendar="office"))
    desk.opens(created_at=MONDAY + timedelta(days=4))
    assert desk.ahead() == [4 * 24 + 8, 7 * 24 + 2]
    for hours in (4 * 24 + 9, 6 * 24, 7 * 24 + 3):
        desk.scans(hours)
    assert desk.alarms() == ["escalated resolution 1/0", "escalated resolution 2/0"]


def test_what_was_due_long_ago_is_raised_not_dropped(desk: Desk) -> None:
    """libredesk drops what is older than five minutes; OnCall's auditor looks back two days. Rule 23."""
    desk.promises(chain(TELL))
    desk.opens()
    assert desk.scans(24 * 60).alarms == 1


def test_a_level_with_nobody_to_tell_does_not_wait_out_its_delay(desk: Desk) -> None:
    """GoAlert #4548. Rule 22."""
    desk.promises(chain(Level(notify=("assignee",)), replace(TELL, offset_seconds=10 * HOUR)))
    desk.opens()
    desk.scans(4.1)
    assert desk.ahead() == [pytest.approx(4.1)]
    desk.scans(4.2)
    assert desk.letters() == {"mail:desk": 1}


@pytest.mark.parametrize("status", ("resolved", "closed", "cancelled"))
def test_a_ticket_that_is_done_calls_nobody(desk: Desk, status: str) -> None:
    """libredesk #70: alerts although the ticket is closed. Rule 22."""
    desk.promises(chain(TELL))
    desk.opens(status="in_progress" if status != "cancelled" else "open")
    for step in ("resolved", "closed") if status == "closed" else (status,):
        desk.does("set_status", "t", step, hours=1)
    assert desk.scans(100).found == 0


def test_all_that_is_due_is_handled_however_much(system: TicketSystem) -> None:
    """Znuny sees the first thousand, osTicket a hundred at a time. Rule 7."""
    desk = Desk(system)
    desk.promises(chain(TELL))
    system.create_tickets([a_ticket(id=f"{number:04}", created_at=MONDAY) for number in range(1200)])
    sweep = monitor.scan_breaches(system.database, now=at(5), batch_size=100)
    assert (sweep.breaches, sweep.alarms, sweep.drained) == (1200, 1200, True)
    assert len(rows_of(system.database, tables.outbox)) == 1200


def test_every_recipient_of_a_level_is_told_or_none(desk: Desk) -> None:
    """libredesk marks a message as handled inside the loop over its recipients. Rule 25."""
    desk.promises(chain(Level(notify=("desk", "a@example.org", "b@example.org", "oncall"))))
    desk.opens()
    desk.scans(5)
    assert sorted(desk.letters()) == ["mail:a@example.org", "mail:b@example.org", "mail:desk", "oncall"]
