"""A ServiceNow log comes in whole, and its verdicts are those a person would reach with pencil and paper."""

import csv
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ticket_system import ImportFailed, TicketSystem, monitor, outbox
from ticket_system.imports import import_servicenow
from ticket_system.sla.clocks import ClockState

LOG = Path(
    os.environ.get("TICKETS_TEST_SERVICENOW_LOG")
    or Path(__file__).parents[3] / "shared" / "data" / "servicenow_incidents.csv"
)
HEADER = "number,incident_state,opened_at,sys_updated_at,priority,caller_id,assigned_to,sys_updated_by,resolved_at"


def a_log(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "log.csv"
    path.write_text("\n".join((HEADER, *rows, "")), encoding="utf-8")
    return path


def a_row(state: str, at: str, *, number: str = "INC1", priority: str = "3 - Moderate", **more: str) -> str:
    cells = {"assigned": "?", "by": "Updated by 1", "resolved": "?", "opened": "01-03-2016 08:00"} | more
    return (
        f"{number},{state},{cells['opened']},{at},{priority},Caller 1,{cells['assigned']},{cells['by']},"
        f"{cells['resolved']}"
    )


def pencil_and_paper() -> Iterator[tuple[str, bool]]:
    """Each incident and whether it was late, by counting minutes: nothing of the project is used here."""
    hours = {"1": 4, "2": 24, "3": 72, "4": 168}
    incidents: dict[str, list[dict[str, str]]] = {}
    with LOG.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            incidents.setdefault(row["number"], []).append(row)

    def time(text: str) -> datetime:
        return datetime.strptime(text, "%d-%m-%Y %H:%M").replace(tzinfo=UTC)

    for number, rows in incidents.items():
        rows.sort(key=lambda row: time(row["sys_updated_at"]))
        now = opened = time(rows[0]["opened_at"])
        state, promise = "New", timedelta(hours=hours[rows[0]["priority"][0]])
        used, late = timedelta(0), False
        for row in rows:
            before, now = now, max(time(row["sys_updated_at"]), opened)
            if row["incident_state"] == "Closed" and state != "Resolved":
                # Closed without having been solved: it was solved when the log says so, if that can be.
                now = min(max(time(row["resolved_at"]), before), now)
            # Time counts while somebody works on it: neither while waiting nor after it was solved.
            if state in {"New", "Active"}:
                used += now - before
            late = late or used > promise
            if state not in {"Resolved", "Closed"}:
                promise = timedelta(hours=hours[row["priority"][0]])
                # A promise that became shorter than what is used up already is broken at once.
                late = late or used > promise
            state = row["incident_state"]
        yield number, late


@pytest.mark.skipif(not LOG.exists(), reason=f"the log is not at {LOG}; TICKETS_TEST_SERVICENOW_LOG names another")
class TestTheRealLog:
    def test_every_verdict_is_that_of_pencil_and_paper(self, system: TicketSystem) -> None:
        summary = import_servicenow(system, LOG)
        assert (summary.read, summary.added, summary.events, summary.failed) == (3892, 581, 3892, 0)
        differing = []
        verdicts = dict(pencil_and_paper())
        for number, late in verdicts.items():
            ticket = system.get_ticket(number)
            assert ticket is not None
            assert ticket.clock is not None
            assert ticket.clock.state in {ClockState.MET, ClockState.BREACHED}
            if ticket.is_breached() is not late:
                differing.append(number)
        assert differing == []
        assert len(verdicts) == 581
        assert 0 < sum(verdicts.values()) < 581

        report = system.generate_report(36_500)
        assert report["total_opened"] == report["total_resolved"] == 581
        assert report["sla_breach_rate_pct"] == round(100 * sum(verdicts.values()) / 581, 1)

        again = import_servicenow(system, LOG)
        assert (again.read, again.added, again.present, again.events) == (3892, 0, 581, 0)
        assert outbox.count(system.database) == {}, "what is years back wakes nobody up"
        assert monitor.scan_breaches(system.database).found == 0


def test_jumps_take_the_steps_that_the_flow_has_at_the_same_moment(system: TicketSystem, tmp_path: Path) -> None:
    rows = (
        a_row("New", "01-03-2016 08:05"),
        a_row("Awaiting User Info", "01-03-2016 09:00"),
        a_row("Resolved", "01-03-2016 10:00", by="Ann"),
        a_row("Active", "01-03-2016 11:00"),
        a_row("New", "01-03-2016 12:00"),
        a_row("Closed", "01-03-2016 13:00"),
    )
    summary = import_servicenow(system, a_log(tmp_path, *rows))
    assert (summary.added, summary.failed) == (1, 0)
    moves = [(event.at.hour, event.new) for event in system.get_history("INC1") if event.kind == "status"]
    assert moves == [
        (9, "on_hold"),
        (10, "in_progress"), (10, "resolved"),
        (11, "open"), (11, "in_progress"),
        (12, "on_hold"), (12, "open"),
        (13, "in_progress"), (13, "resolved"), (13, "closed"),
    ]  # fmt: skip
    assert {event.actor for event in system.get_history("INC1") if event.at.hour == 10} == {"Ann"}


def test_times_are_local_to_the_zone(system: TicketSystem, tmp_path: Path) -> None:
    rows = (a_row("New", "01-07-2016 09:00", opened="01-07-2016 08:00"),)
    import_servicenow(system, a_log(tmp_path, *rows), timezone="Europe/Lisbon")
    ticket = system.get_ticket("INC1")
    assert ticket is not None
    assert ticket.created_at == datetime(2016, 7, 1, 7, tzinfo=UTC)


def test_what_is_still_open_and_late_is_settled_without_alarm(system: TicketSystem, tmp_path: Path) -> None:
    import_servicenow(system, a_log(tmp_path, a_row("Active", "01-03-2016 09:00")))
    ticket = system.get_ticket("INC1")
    assert ticket is not None
    assert ticket.clock is not None
    assert (ticket.clock.state, ticket.clock.next_check_at) == (ClockState.BREACHED, None)
    assert outbox.count(system.database) == {}


def test_a_late_incident_that_was_reopened_wakes_nobody_up(system: TicketSystem, tmp_path: Path) -> None:
    rows = (
        a_row("Active", "01-03-2016 09:00", priority="1 - Critical"),
        a_row("Resolved", "01-03-2016 20:00", priority="1 - Critical"),
        a_row("Active", "01-03-2016 21:00", priority="1 - Critical"),
    )
    import_servicenow(system, a_log(tmp_path, *rows))
    assert monitor.scan_breaches(system.database).found == 0


def test_priority_and_assignee_follow_the_log(system: TicketSystem, tmp_path: Path) -> None:
    rows = (
        a_row("New", "01-03-2016 08:05"),
        a_row("Active", "01-03-2016 09:00", priority="2 - High", assigned="Ann"),
        a_row("Resolved", "01-03-2016 10:00", priority="2 - High", assigned="Bob"),
    )
    import_servicenow(system, a_log(tmp_path, *rows))
    ticket = system.get_ticket("INC1")
    assert ticket is not None
    assert (ticket.priority, ticket.sla_hours, ticket.assignee, ticket.status) == (2, 24, "Bob", "resolved")


def test_rows_out_of_order_and_before_the_opening_are_put_right(system: TicketSystem, tmp_path: Path) -> None:
    rows = (
        a_row("Resolved", "01-03-2016 10:00"),
        a_row("Active", "01-03-2016 07:00"),
    )
    import_servicenow(system, a_log(tmp_path, *rows))
    moves = [(event.at.hour, event.new) for event in system.get_history("INC1") if event.kind == "status"]
    assert moves == [(8, "in_progress"), (10, "resolved")]


def test_a_bad_row_is_named_and_the_rest_goes_on(system: TicketSystem, tmp_path: Path) -> None:
    rows = (
        a_row("New", "01-03-2016 08:05"),
        a_row("-100", "01-03-2016 08:06"),
        a_row("Active", "soon"),
        a_row("Active", "01-03-2016 09:00", priority="9 - Whatever"),
        a_row("Closed", "01-03-2016 10:00"),
        a_row("Active", "01-03-2016 11:00"),
        a_row("New", "01-03-2016 08:05", number="INC2"),
        "only,three,cells",
        a_row("New", "01-03-2016 08:05", number="?"),
    )
    summary = import_servicenow(system, a_log(tmp_path, *rows))
    assert (summary.read, summary.added, summary.failed, summary.events) == (9, 2, 6, 3)
    assert {problem.line: problem.reason.split(";")[0] for problem in summary.problems} == {
        3: "incident_state '-100' is unknown",
        4: "sys_updated_at must be a time like 29-02-2016 01:16, not 'soon'",
        5: "priority '9 - Whatever' is unknown",
        7: "incident INC1 is closed and cannot become in_progress",
        9: "has 3 cells where the first line names 9 columns",
        10: "number is empty",
    }


def test_a_file_or_zone_that_makes_no_sense_imports_nothing(system: TicketSystem, tmp_path: Path) -> None:
    log = a_log(tmp_path, a_row("New", "01-03-2016 08:05"))
    with pytest.raises(ImportFailed, match="no time zone is called 'Mars/Olympus'"):
        import_servicenow(system, log, timezone="Mars/Olympus")
    log.write_text("number,priority\n1,2\n", encoding="utf-8")
    with pytest.raises(ImportFailed, match="has no column incident_state, opened_at, sys_updated_at, caller_id"):
        import_servicenow(system, log)
    assert system.get_queue() == []
