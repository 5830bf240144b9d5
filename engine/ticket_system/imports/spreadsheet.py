"""Tickets from a spreadsheet: delimited text whose first line names the columns."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from ticket_system import cells
from ticket_system.changes import Changes
from ticket_system.errors import DuplicateTicket, StorageError, TicketSystemError
from ticket_system.imports.replay import move
from ticket_system.imports.rows import Table
from ticket_system.imports.summary import ImportSummary, Problem, Progress
from ticket_system.storage import tickets
from ticket_system.system import TicketSystem
from ticket_system.tickets import ACTIVE_STATUSES, Ticket, utc_now

_BATCH = 500
_IDS = uuid.UUID("0d7cf1de-6a4c-4c7e-8a3e-6f2a6e6a7c55")


def import_csv(system: TicketSystem, path: str | Path, *, progress: Progress | None = None) -> ImportSummary:
    """Import a spreadsheet saved as CSV; ImportFailed when the file as a whole cannot be read.

    The columns are the fields of a ticket; `title` and `requester` have to be there. A row without an id gets one from
    what it says, so that it is known again. A solved ticket is opened and solved at its own times, so that reports
    count it. A ticket whose id is here already is left alone, whatever the file says.
    """
    table = Table(path, known=cells.COLUMNS, required=cells.REQUIRED)
    summary = ImportSummary(ignored=table.ignored)
    reader = _Reader(system, now=utc_now())
    batch: list[tuple[int, Ticket]] = []
    for row in table:
        summary.read += 1
        if isinstance(row, Problem):
            summary.fail(row.line, row.reason)
            continue
        try:
            batch.append((row.line, reader.ticket(row.line, row.cells)))
        except TicketSystemError as error:
            summary.fail(row.line, str(error))
        if len(batch) == _BATCH:
            _store(system, batch, summary)
            batch = []
            if progress:
                progress(table.position, table.size)
    _store(system, batch, summary)
    if progress:
        progress(table.size, table.size)
    return summary


class _Reader:
    """Makes tickets of rows; remembers which ids the file has used."""

    def __init__(self, system: TicketSystem, *, now: datetime) -> None:
        self._system, self._now = system, now
        self._equal_rows: Counter[uuid.UUID] = Counter()
        self._lines: dict[str, int] = {}

    def ticket(self, line: int, row: Mapping[str, str]) -> Ticket:
        ticket = cells.ticket_from(
            row,
            new_id="" if row.get("id", "").strip() else self._id(row),
            suggest=lambda text: self._system.auto_priority(text)[0],
            hours=self._system.policy.hours,
            now=self._now,
        )
        if earlier := self._lines.get(ticket.id):
            raise DuplicateTicketInFile(ticket.id, earlier)
        self._lines[ticket.id] = line
        return ticket

    def _id(self, row: Mapping[str, str]) -> str:
        """Name a row by what it says, and by how many rows before it say the same."""
        said = {column: row[column] for column in cells.COLUMNS if row.get(column)}
        content = uuid.uuid5(_IDS, json.dumps(said, sort_keys=True))
        self._equal_rows[content] += 1
        return str(uuid.uuid5(content, str(self._equal_rows[content])))


class DuplicateTicketInFile(DuplicateTicket):
    """Two rows have the same id; the first one counts."""

    def __init__(self, ticket_id: str, line: int) -> None:
        super().__init__(ticket_id)
        self.args = (f"the id {ticket_id!r} stands in line {line} already",)


def _store(system: TicketSystem, batch: list[tuple[int, Ticket]], summary: ImportSummary) -> None:
    if not batch:
        return
    with system.database.write() as connection:
        here = tickets.exists(connection, [ticket.id for _, ticket in batch])
        fresh = [(line, ticket) for line, ticket in batch if ticket.id not in here]
        summary.present += len(batch) - len(fresh)
        try:
            with connection.begin_nested():
                _add(system, connection, [ticket for _, ticket in fresh])
            summary.added += len(fresh)
        except StorageError:
            raise
        except TicketSystemError:
            # One of them is in the way of all; one at a time it gets its own line.
            for line, ticket in fresh:
                _add_one(system, connection, line, ticket, summary)


def _add_one(
    system: TicketSystem, connection: sa.Connection, line: int, ticket: Ticket, summary: ImportSummary
) -> None:
    try:
        with connection.begin_nested():
            _add(system, connection, [ticket])
        summary.added += 1
    except StorageError:
        raise
    except DuplicateTicket:
        summary.present += 1  # another import was faster
    except TicketSystemError as error:
        summary.fail(line, str(error))


def _add(system: TicketSystem, connection: sa.Connection, wanted: list[Ticket]) -> None:
    if not wanted:
        return
    changes = Changes(connection, system.rules, alarms=False)
    changes.create(*(_as_opened(ticket) for ticket in wanted))
    for ticket in wanted:
        if _has_a_past(ticket):
            at = max(ticket.resolved_at or ticket.updated_at, ticket.created_at)
            reached = "resolved" if ticket.status == "closed" else ticket.status
            move(changes, ticket.id, "open", reached, now=at)
            if ticket.status == "closed":
                move(changes, ticket.id, "resolved", "closed", now=max(ticket.updated_at, at))
            tickets.update(connection, ticket.id, updated_at=ticket.updated_at)
        if ticket.status in ACTIVE_STATUSES and _is_due(ticket):
            changes.settle(ticket.id)


def _has_a_past(ticket: Ticket) -> bool:
    """Tell whether a ticket was opened and then moved; one that says nothing of it is stored as it stands."""
    if ticket.status in {"resolved", "closed"}:
        return ticket.resolved_at is not None
    return ticket.status == "cancelled" or (ticket.status != "open" and ticket.updated_at > ticket.created_at)


def _as_opened(ticket: Ticket) -> Ticket:
    return replace(ticket, status="open", resolved_at=None) if _has_a_past(ticket) else replace(ticket)


def _is_due(ticket: Ticket) -> bool:
    return utc_now() - ticket.created_at > timedelta(hours=ticket.sla_hours)
