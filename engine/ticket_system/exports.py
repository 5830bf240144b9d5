"""Tickets to elsewhere: a spreadsheet, or JSON lines. Any number of them, in constant memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TextIO

from ticket_system import cells
from ticket_system.sla.clocks import Clock
from ticket_system.storage import tickets
from ticket_system.system import TicketSystem
from ticket_system.tickets import Ticket

_PAGE = 1000


def export_csv(system: TicketSystem, file: TextIO, *, progress: Callable[[int], None] | None = None) -> int:
    """Write every ticket as a row that `import_csv` reads back as it was; returns how many there are.

    Open the file with `newline=""`. A cell that a spreadsheet would run as a formula gets an apostrophe before it,
    which the import takes away.
    """
    writer = csv.writer(file)
    writer.writerow(cells.COLUMNS)
    number = 0
    for page in _pages(system):
        writer.writerows(cells.cells_of(ticket) for ticket in page)
        number += len(page)
        if progress:
            progress(number)
    return number


def export_json_lines(system: TicketSystem, file: TextIO, *, progress: Callable[[int], None] | None = None) -> int:
    """Write every ticket with its clock as a line of JSON; returns how many there are."""
    number = 0
    for page in _pages(system):
        file.writelines(json.dumps(ticket_as_json(ticket), ensure_ascii=False) + "\n" for ticket in page)
        number += len(page)
        if progress:
            progress(number)
    return number


def ticket_as_json(ticket: Ticket) -> dict[str, Any]:
    """Return a ticket and its clock, ready for JSON; every time is ISO 8601 in UTC."""
    names = [field.name for field in fields(ticket) if field.name not in {"calendar", "clock"}]
    return {name: _plain(getattr(ticket, name)) for name in names} | {"clock": clock_as_json(ticket.clock)}


def clock_as_json(clock: Clock | None) -> dict[str, Any] | None:
    """Return a clock, ready for JSON; lengths of time are in seconds."""
    if clock is None:
        return None
    told = asdict(clock)
    for name in ("paused_for", "remaining", "held_for", "worked"):
        length = told.pop(name)
        told[f"{name.removesuffix('_for')}_seconds"] = None if length is None else length.total_seconds()
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _pages(system: TicketSystem) -> Iterator[list[Ticket]]:
    """Each page is read by itself: an export that takes its time keeps nobody from writing."""
    after = ""
    while True:
        with system.database.read() as connection:
            page = tickets.page(connection, after=after, limit=_PAGE)
        if not page:
            return
        yield page
        after = page[-1].id
