"""Tickets from a ServiceNow incident log: every event is applied at its own time, so verdicts come out as then.

Each row is an incident as it stood after an update. From a row only that is read which could be known at its time:
`resolved_at`, `closed_at` and `closed_code` repeat the final outcome on every row, the first one included, and
`made_sla` is another system's verdict. The one exception is told where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from ticket_system.changes import Changes
from ticket_system.errors import DuplicateTicket, ImportFailed, StorageError, TicketSystemError
from ticket_system.imports.replay import move, route
from ticket_system.imports.rows import Row, Table
from ticket_system.imports.summary import ImportSummary, Problem, Progress
from ticket_system.storage import tickets
from ticket_system.system import TicketSystem
from ticket_system.tickets import ACTIVE_STATUSES, Ticket, check_name

_REQUIRED = ("number", "incident_state", "opened_at", "sys_updated_at", "priority", "caller_id")
_OPTIONAL = (
    "assigned_to", "assignment_group", "category", "contact_type", "impact", "location", "opened_by", "resolved_at",
    "subcategory", "sys_updated_by", "u_symptom", "urgency",
)  # fmt: skip
_STATES = {"new": "open", "active": "in_progress", "resolved": "resolved", "closed": "closed"}
_BATCH = 50


@dataclass(frozen=True, slots=True)
class _Update:
    """What one row says of its incident."""

    line: int
    number: str
    at: datetime
    opened_at: datetime
    status: str
    priority: int
    assignee: str | None
    actor: str
    resolved_at: datetime | None
    known: Mapping[str, str]


def import_servicenow(
    system: TicketSystem, path: str | Path, *, progress: Progress | None = None, timezone: str = "UTC"
) -> ImportSummary:
    """Import an incident event log, one ticket per incident under its number; its times are local to `timezone`.

    ImportFailed when the file as a whole cannot be read. An incident that is here already is left alone.
    """
    zone = _zone(timezone)
    table = Table(path, known=_REQUIRED + _OPTIONAL, required=_REQUIRED)
    summary = ImportSummary()
    incidents: dict[str, list[_Update]] = {}
    for row in table:
        summary.read += 1
        if isinstance(row, Problem):
            summary.fail(row.line, row.reason)
            continue
        try:
            update = _update(row, zone)
        except (TicketSystemError, ValueError, OverflowError) as error:
            summary.fail(row.line, str(error))
        else:
            incidents.setdefault(update.number, []).append(update)
    numbers = list(incidents)
    for start in range(0, len(numbers), _BATCH):
        batch = {number: incidents[number] for number in numbers[start : start + _BATCH]}
        with system.database.write() as connection:
            _store(system, connection, batch, summary)
        if progress:
            progress(start + len(batch), len(numbers))
    return summary


def _store(
    system: TicketSystem, connection: sa.Connection, batch: Mapping[str, list[_Update]], summary: ImportSummary
) -> None:
    here = tickets.exists(connection, batch)
    for number, updates in batch.items():
        if number in here:
            summary.present += 1
            continue
        # By time, and by their order in the file where that does not tell: a few rows stand in the wrong place.
        updates.sort(key=lambda update: update.at)
        incident = _Incident(system, connection)
        try:
            with connection.begin_nested():
                incident.replay(updates)
        except StorageError:
            raise
        except DuplicateTicket:
            summary.present += 1  # another import was faster
            continue
        except TicketSystemError as error:
            summary.fail(updates[0].line, f"incident {number}: {error}")
            continue
        summary.added += 1
        summary.events += len(updates) - len(incident.problems)
        for problem in incident.problems:
            summary.fail(problem.line, problem.reason)


class _Incident:
    """One incident on its way through its updates."""

    def __init__(self, system: TicketSystem, connection: sa.Connection) -> None:
        self._connection = connection
        self._changes = Changes(connection, system.rules, alarms=False)
        self._hours = system.policy.hours
        self.problems: list[Problem] = []

    def replay(self, updates: list[_Update]) -> None:
        """Open the ticket and apply what happened to it."""
        first = updates[0]
        ticket = _opened(first, self._hours[first.priority])
        self._changes.create(ticket)
        self._id, self._status = ticket.id, ticket.status
        self._priority, self._assignee = ticket.priority, ticket.assignee
        # A few updates are stamped earlier than the opening; they happened, at the opening at the earliest.
        previous = first.opened_at
        for update in updates:
            at = max(update.at, first.opened_at)
            if route(self._status, update.status) is None:
                reason = f"incident {self._id} is {self._status} and cannot become {update.status}"
                self.problems.append(Problem(update.line, reason))
                continue
            if update.status == "closed" and self._status in ACTIVE_STATUSES:
                self._move("resolved", _closed_without_solution(update, previous, at), update.actor)
            self._apply(update, at)
            previous = at
        tickets.update(self._connection, self._id, updated_at=previous)
        if self._status in ACTIVE_STATUSES:
            self._changes.settle(self._id)

    def _apply(self, update: _Update, at: datetime) -> None:
        # Priority and assignee belong to the work: they change before an update ends it, and after one that resumes it.
        resumes = self._status not in ACTIVE_STATUSES
        if resumes:
            self._move(update.status, at, update.actor)
        if update.priority != self._priority:
            self._changes.set_priority(self._id, update.priority, actor=update.actor, now=at)
            self._priority = update.priority
        if update.assignee != self._assignee and self._status in ACTIVE_STATUSES:
            self._changes.reassign(self._id, update.assignee, actor=update.actor, now=at)
            self._assignee = update.assignee
        if not resumes:
            self._move(update.status, at, update.actor)

    def _move(self, status: str, at: datetime, actor: str) -> None:
        move(self._changes, self._id, self._status, status, now=at, actor=actor)
        self._status = status


def _closed_without_solution(update: _Update, previous: datetime, at: datetime) -> datetime:
    """Return when an incident was solved whose log goes straight to Closed.

    No row tells; the column that is otherwise not trusted is the only source left. It cannot have been before the last
    thing that happened to the open incident, nor after the closing.
    """
    return at if update.resolved_at is None else min(max(update.resolved_at, previous), at)


def _update(row: Row, zone: ZoneInfo) -> _Update:
    known = {column: cell.strip() for column, cell in row.cells.items() if cell.strip() not in {"", "?"}}
    for column in _REQUIRED:
        if column not in known:
            raise ValueError(f"{column} is empty")
    state = known["incident_state"]
    status = "on_hold" if state.lower().startswith("awaiting") else _STATES.get(state.lower())
    if status is None:
        raise ValueError(f"incident_state {state!r} is unknown; known: New, Active, Awaiting …, Resolved, Closed")
    priority = known["priority"].split(" ", 1)[0]
    if priority not in {"1", "2", "3", "4"}:
        raise ValueError(f"priority {known['priority']!r} is unknown; known: 1 - Critical to 4 - Low")
    solved = known.get("resolved_at")
    return _Update(
        line=row.line,
        number=check_name("number", known["number"], limit=200),
        at=_moment("sys_updated_at", known["sys_updated_at"], zone),
        opened_at=_moment("opened_at", known["opened_at"], zone),
        status=status,
        priority=int(priority),
        assignee=known.get("assigned_to") and check_name("assigned_to", known["assigned_to"]),
        actor=check_name("sys_updated_by", known.get("sys_updated_by", "system")),
        resolved_at=_moment("resolved_at", solved, zone) if solved else None,
        known=known,
    )


def _moment(what: str, text: str, zone: ZoneInfo) -> datetime:
    try:
        return datetime.strptime(text, "%d-%m-%Y %H:%M").replace(tzinfo=zone).astimezone(UTC)
    except ValueError:
        raise ValueError(f"{what} must be a time like 29-02-2016 01:16, not {text[:60]!r}") from None


def _opened(first: _Update, hours: int) -> Ticket:
    """Return the ticket as its first row tells it; what later rows say of it was not known then."""
    known = first.known
    about = [known[column] for column in ("category", "subcategory", "u_symptom") if column in known]
    told = {
        "Contact": "contact_type", "Location": "location", "Opened by": "opened_by", "Impact": "impact",
        "Urgency": "urgency",
    }  # fmt: skip
    return Ticket(
        id=first.number,
        title=", ".join(about) or f"Incident {first.number}",
        description="\n".join(f"{label}: {known[column]}" for label, column in told.items() if column in known),
        requester=known["caller_id"],
        priority=first.priority,
        sla_hours=hours,
        created_at=first.opened_at,
        updated_at=first.opened_at,
        tags=[known[column] for column in ("category", "assignment_group") if column in known],
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ImportFailed(f"no time zone is called {name!r}; give one like Europe/Lisbon or UTC") from error
