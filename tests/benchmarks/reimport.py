"""The verdicts that the engine itself reaches when a log is imported under a candidate.

What no policy can say (a clock that goes on after Resolved, an Awaiting state that does not pause) is told to it as a
log in which those states are called Active.
"""

import csv
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tests.benchmarks.fitting import Candidate
from tests.benchmarks.incident_log import Reading, read
from ticket_system import STATUS_FLOW, TicketSystem
from ticket_system.imports import import_servicenow
from ticket_system.imports.rows import Row, Table
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import RESOLUTION, ClockState
from ticket_system.sla.policies import Policy, Reopen, TargetRule

_REOPEN: dict[str, Reopen] = {
    "Resolved, resume": "resume",
    "Resolved, restart": "restart",
    "Resolved, first close": "first_close",
    "Closed": "resume",
}


def verdicts(path: Path, candidate: Candidate | None, hours: Mapping[int, int]) -> dict[str, bool]:
    """Import a log into a fresh system; whether each incident was in time. Without a candidate: the rules built in."""
    with tempfile.TemporaryDirectory(prefix="tickets-fit-") as folder, TicketSystem() as system:
        timezone = "UTC"
        if candidate is not None:
            office, reading = candidate.office, candidate.reading
            timezone = office.calendar.zone.key
            seconds = {priority: wanted * 3600 for priority, wanted in hours.items()}
            # A priority that incidents only pass through has no verdict to be fitted to; it is promised the most.
            seconds = dict.fromkeys(range(1, 5), max(seconds.values())) | seconds
            rule = TargetRule(seconds, office.calendar.name)
            policy = Policy("as recorded", targets={RESOLUTION: rule}, reopen=_REOPEN[reading.end])
            system.put_in_force(PolicyBook((policy,), {office.calendar.name: office.calendar}))
            path = _retold(path, Path(folder) / "log.csv", candidate)
        import_servicenow(system, path, timezone=timezone)
        return {
            ticket.id: ticket.clock is not None and ticket.clock.state is not ClockState.BREACHED
            for status in STATUS_FLOW
            for ticket in system.get_queue(status=status)
        }


def _retold(path: Path, target: Path, candidate: Candidate) -> Path:
    """Write the log as the candidate reads it."""
    reading, zone = candidate.reading, candidate.office.calendar.zone
    starts = {one.number: one.starts[reading.start].astimezone(zone) for one in read(path, zone)[0]}
    table = Table(path, known=("number", "incident_state"), required=("number", "incident_state"))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.columns, extrasaction="ignore")
        writer.writeheader()
        for row in table:
            if isinstance(row, Row) and row.cells["number"].strip() in starts:
                writer.writerow(_cells(row, reading, starts[row.cells["number"].strip()]))
    return target


def _cells(row: Row, reading: Reading, starts: datetime) -> dict[str, str]:
    state, ends_at_closed = row.cells["incident_state"].strip(), reading.end == "Closed"
    runs_on = (state.startswith("Awaiting") and state not in reading.pausing) or (
        state == "Resolved" and ends_at_closed
    )
    cells = row.cells | {"opened_at": f"{starts:%d-%m-%Y %H:%M}"}
    if runs_on:
        cells["incident_state"] = "Active"
    if ends_at_closed:
        cells["resolved_at"] = "?"
    return cells
