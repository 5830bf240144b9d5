"""Open the tickets that other services asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from ticket_system import Ticket
from ticket_system.errors import DuplicateTicket, InvalidTicket
from ticket_tasks.payloads import OpenTicket
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)


def open_ticket(toolbox: Toolbox, payload: object = None) -> str | None:
    """Open one ticket and return its id, or None when the message made no sense.

    A message that arrives twice opens one ticket: the sender chose its id.
    """
    try:
        wish = OpenTicket.model_validate(payload)
    except ValidationError as error:
        _refuse(payload, [f"{_place(issue['loc'])}: {issue['msg']}" for issue in error.errors()])
        return None
    priority, hours = wish.priority, wish.sla_hours
    if priority is None:
        priority, _ = toolbox.system.auto_priority(f"{wish.title}\n{wish.description}")
    created_at = wish.created_at or datetime.now(UTC)
    ticket = Ticket(
        title=wish.title,
        description=wish.description,
        requester=wish.requester,
        id=wish.ticket_id,
        priority=priority,
        sla_hours=hours or toolbox.system.policy.hours[priority],
        assignee=wish.assignee,
        tags=list(wish.tags),
        customer=wish.customer,
        plan=wish.plan,
        group=wish.group,
        created_at=created_at,
        updated_at=created_at,
    )
    try:
        toolbox.system.create_ticket(ticket)
    except DuplicateTicket:
        log.info("intake.repeated", ticket_id=wish.ticket_id)
    except InvalidTicket as error:
        _refuse(payload, [str(error)])
        return None
    else:
        log.info("intake.opened", ticket_id=wish.ticket_id, priority=priority)
    return wish.ticket_id


def _refuse(payload: object, reasons: list[str]) -> None:
    """Say why, and for which ticket; what the requester wrote stays out of the log."""
    ticket_id = payload.get("ticket_id") if isinstance(payload, dict) else None
    log.error("intake.refused", ticket_id=str(ticket_id)[:200], reasons=reasons)


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in path) or "payload"
