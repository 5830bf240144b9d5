"""A ticket as a row of a spreadsheet, and back: exactly the same ticket. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from ticket_system.errors import InvalidTicket
from ticket_system.tickets import MAX_AHEAD, PRIORITY_LABELS, Ticket, as_utc, check_status, check_ticket

COLUMNS = (
    "id", "title", "description", "requester", "priority", "status", "assignee", "sla_hours", "created_at",
    "updated_at", "resolved_at", "tags", "customer", "plan", "group",
)  # fmt: skip
REQUIRED = ("title", "requester")

# A spreadsheet runs a cell that begins like this as a formula, whoever wrote it. An apostrophe before it makes it
# text again; one more apostrophe keeps a text that looks guarded already apart from one that was guarded here.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_PRIORITIES = {label: priority for priority, label in PRIORITY_LABELS.items()}


def guard(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """Return what `guard` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def cells_of(ticket: Ticket) -> list[str]:
    """Write a ticket as the cells of COLUMNS."""
    cells = {
        "id": ticket.id,
        "title": ticket.title,
        "description": ticket.description,
        "requester": ticket.requester,
        "priority": str(ticket.priority),
        "status": ticket.status,
        "assignee": ticket.assignee or "",
        "sla_hours": str(ticket.sla_hours),
        "created_at": ticket.created_at.isoformat(),
        "updated_at": ticket.updated_at.isoformat(),
        "resolved_at": ticket.resolved_at.isoformat() if ticket.resolved_at else "",
        "tags": _joined(ticket.tags),
        "customer": ticket.customer or "",
        "plan": ticket.plan or "",
        "group": ticket.group or "",
    }
    return [guard(cells[column]) for column in COLUMNS]


def ticket_from(
    row: Mapping[str, str], *, new_id: str, suggest: Callable[[str], int], hours: Mapping[int, int], now: datetime
) -> Ticket:
    """Read a ticket from cells by column, checked; InvalidTicket says what makes no sense.

    What is missing is filled in: the id by `new_id`, the priority from the words, the hours from the policy.
    """
    cells = {column: unguard(cell) for column, cell in row.items()}
    cell = {column: cells.get(column, "").strip() for column in COLUMNS}
    created_at = _moment("created_at", cell["created_at"]) or now
    resolved_at = _moment("resolved_at", cell["resolved_at"])
    updated_at = _moment("updated_at", cell["updated_at"]) or resolved_at or created_at
    status = check_status("_".join(cell["status"].lower().replace("-", " ").split()) or "open")
    if resolved_at and status not in {"resolved", "closed"}:
        raise InvalidTicket(f"resolved_at is given, but the status is {status}")
    title, description = cells.get("title", ""), cells.get("description", "")
    priority = _priority(cell["priority"]) if cell["priority"] else suggest(f"{title}\n{description}")
    ticket = Ticket(
        title=title,
        description=description,
        requester=cells.get("requester", ""),
        id=cells["id"] if cell["id"] else new_id,
        priority=priority,
        status=status,
        assignee=cells["assignee"] if cell["assignee"] else None,
        sla_hours=_whole("sla_hours", cell["sla_hours"]) if cell["sla_hours"] else hours.get(priority, 0),
        created_at=created_at,
        updated_at=updated_at,
        resolved_at=resolved_at,
        tags=_split(cells.get("tags", "")),
        customer=cells["customer"] if cell["customer"] else None,
        plan=cells["plan"] if cell["plan"] else None,
        group=cells["group"] if cell["group"] else None,
    )
    check_ticket(ticket, now)
    if updated_at > now + MAX_AHEAD:
        raise InvalidTicket(f"updated_at lies in the future: {updated_at.isoformat()}")
    return ticket


def _joined(tags: list[str]) -> str:
    """Write tags with commas between; as JSON where that would not read back the same."""
    text = ",".join(tags)
    return text if _split(text) == tags else json.dumps(tags, ensure_ascii=False)


def _split(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(tag, str) for tag in found):
            return [str(tag) for tag in found]
    return [tag.strip() for tag in re.split("[,;]", text) if tag.strip()]


def _moment(what: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise InvalidTicket(f"{what} must be a time like 2026-03-01T09:30:00Z, not {text[:60]!r}") from None


def _priority(text: str) -> int:
    return _PRIORITIES.get(text.lower()) or _whole("priority", text)


def _whole(what: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        raise InvalidTicket(f"{what} must be a whole number, not {text[:60]!r}")
    return int(text)
