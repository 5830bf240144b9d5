"""A ServiceNow incident log as the importer reads it, and how long each incident took under a reading of it. Pure.

A `Reading` says what the log leaves open: when the clock starts, which states pause it, where it stops, and what a
reopening does to it. The clock itself is the engine's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from ticket_system.errors import TicketSystemError
from ticket_system.imports import servicenow
from ticket_system.imports.rows import Row, Table
from ticket_system.sla import clocks
from ticket_system.sla.calendars import Calendar
from ticket_system.tickets import ACTIVE_STATUSES

AWAITING = ("Awaiting User Info", "Awaiting Problem", "Awaiting Vendor", "Awaiting Evidence")
#: Columns beyond those that the importer reads.
MORE = ("made_sla", "sys_created_at", "reassignment_count", "reopen_count", "sys_mod_count")
#: Longer than anything in a log: what is asked is how much of it was used.
_PROMISED = timedelta(hours=20_000)

Start = Literal["opened_at", "sys_created_at", "first event"]
End = Literal["Resolved, resume", "Resolved, restart", "Resolved, first close", "Closed"]


class Reading(NamedTuple):
    """What the log leaves open."""

    start: Start
    pausing: frozenset[str]
    end: End


class Update(NamedTuple):
    """One row: when, in which state, as what the importer makes of it."""

    at: datetime
    state: str
    status: str
    solved_at: datetime | None


@dataclass(frozen=True)
class Incident:
    """One incident, its updates in order, and the verdict that its log ends with."""

    number: str
    priority: int
    made_sla: bool
    starts: dict[Start, datetime]
    updates: tuple[Update, ...]
    #: The state before and after the update that took the verdict from true to false.
    turned: str
    counts: dict[str, int]
    contact_type: str

    @property
    def is_even(self) -> bool:
        """Whether it belongs to the half that policies are fitted on."""
        return int("".join(filter(str.isdigit, self.number)) or "0") % 2 == 0


class Unread(NamedTuple):
    """A row that was left out."""

    line: int | None
    reason: str


def read(path: Path, zone: ZoneInfo) -> tuple[list[Incident], list[Unread]]:
    """Read a log whose times are local to the zone; ImportFailed when it is none, or has no `made_sla`."""
    known = (*servicenow._REQUIRED, *servicenow._OPTIONAL, *MORE)
    table = Table(path, known=known, required=(*servicenow._REQUIRED, "made_sla"))
    found: dict[str, list[servicenow._Update]] = {}
    unread: list[Unread] = []
    for row in table:
        if not isinstance(row, Row):
            unread.append(Unread(row.line, row.reason))
            continue
        try:
            update = servicenow._update(row, zone)
            _made(update)
        except (TicketSystemError, ValueError, OverflowError) as error:
            unread.append(Unread(row.line, str(error)))
        else:
            found.setdefault(update.number, []).append(update)
    return [_incident(updates, zone) for updates in found.values()], unread


def _made(update: servicenow._Update) -> bool:
    verdict = update.known.get("made_sla", "?").upper()
    if verdict not in {"TRUE", "FALSE"}:
        raise ValueError(f"made_sla must be TRUE or FALSE, not {verdict[:60]!r}")
    return verdict == "TRUE"


def _incident(updates: list[servicenow._Update], zone: ZoneInfo) -> Incident:
    updates.sort(key=lambda update: update.at)
    first, last = updates[0], updates[-1]
    created = first.known.get("sys_created_at")
    made = [_made(update) for update in updates]
    turned = [
        f"{before.known['incident_state']} → {after.known['incident_state']}"
        for before, after, was, still in zip(updates, updates[1:], made, made[1:], strict=False)
        if was and not still
    ]
    return Incident(
        number=last.number,
        priority=last.priority,
        made_sla=made[-1],
        starts={
            "opened_at": first.opened_at,
            "sys_created_at": servicenow._moment("sys_created_at", created, zone) if created else first.opened_at,
            "first event": first.at,
        },
        updates=tuple(Update(one.at, one.known["incident_state"], one.status, one.resolved_at) for one in updates),
        turned=", ".join(turned) or ("never" if made[-1] else "from the first row on"),
        counts={name: int(last.known.get(name, "0")) for name in MORE if name.endswith("_count")},
        contact_type=last.known.get("contact_type", "?"),
    )


#: What happens to the clock, and when.
Course = tuple[tuple[datetime, str], ...]


def course(incident: Incident, reading: Reading) -> Course:
    """Return what happens to the clock of an incident, in the engine's verbs."""
    begins = incident.starts[reading.start]
    happened: list[tuple[datetime, str]] = [(begins, "start")]
    doing, previous = "run", begins
    for update in incident.updates:
        at = max(update.at, begins)
        if update.status == "closed":
            if doing in {"run", "pause"}:
                solved = at if reading.end == "Closed" else _solved(update, previous, at)
                happened.append((solved, "stop"))
            break
        stops = update.status == "resolved" and reading.end != "Closed"
        wanted = "stop" if stops else "pause" if update.state in reading.pausing else "run"
        if doing == "stop" and wanted != "stop":
            if reading.end == "Resolved, first close":
                break
            happened.append((at, "restart" if reading.end == "Resolved, restart" else "reopen"))
            doing = "run"
        if wanted != doing:
            happened.append((at, {"run": "resume"}.get(wanted, wanted)))
        doing, previous = wanted, at
    return tuple(happened)


def _solved(update: Update, previous: datetime, at: datetime) -> datetime:
    """As the importer has it: of an incident that went straight to Closed only one column tells when it was solved."""
    return at if update.solved_at is None else min(max(update.solved_at, previous), at)


def used(happened: Course, calendar: Calendar) -> timedelta:
    """Return the open time that the engine's clock counted, of its newest cycle; until the last update if it runs."""
    clock = clocks.start("", happened[0][0], _PROMISED, calendar)
    for at, verb in happened[1:]:
        match verb:
            case "pause":
                clock = clocks.pause(clock, at, calendar)
            case "resume":
                clock = clocks.resume(clock, at, calendar)
            case "stop":
                clock = clocks.stop(clock, at, calendar)
            case "reopen":
                clock = clocks.reopen(clock, at, calendar)
            case _:
                clock = clocks.start("", at, _PROMISED, calendar)
    ended = clock.stopped_at or clock.paused_at or happened[-1][0]
    return calendar.between(clock.started_at, ended) - clock.paused_for


def hours_in(incident: Incident, states: Iterable[str]) -> float:
    """Return the hours that an incident spent in some states."""
    wanted, total = set(states), timedelta(0)
    for before, after in zip(incident.updates, incident.updates[1:], strict=False):
        if before.state in wanted:
            total += after.at - before.at
    return total / timedelta(hours=1)


def is_finished(incident: Incident) -> bool:
    """Tell whether the log ends with the incident done: a verdict on a running one is not final."""
    return incident.updates[-1].status not in ACTIVE_STATUSES
