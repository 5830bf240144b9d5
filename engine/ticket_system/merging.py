"""Merging: a ticket that is another one in other words ends, points there, and costs nothing (rule 20)."""

from __future__ import annotations

from datetime import datetime

from ticket_system.changes import Changes
from ticket_system.errors import InvalidTicket, InvalidTransition, TicketNotFound
from ticket_system.storage import tickets
from ticket_system.tickets import ACTIVE_STATUSES, STATUS_FLOW, Comment


def merge(changes: Changes, ticket_id: str, into: str, *, actor: str = "system", now: datetime | None = None) -> bool:
    """End a ticket in favour of another; False when it is not there, TicketNotFound when the other is not.

    It may stand anywhere in the flow, if it is active. Its clocks end as cancelled and count nowhere; what it was
    counted for on a bill is taken back.
    """
    if ticket_id == into:
        raise InvalidTicket("a ticket cannot be merged into itself")
    if tickets.get(changes.connection, into) is None:
        raise TicketNotFound(into)
    # Both, always in one order: two merges in opposite directions would wait for each other.
    locked = {one: changes.lock(one, now) for one in sorted((ticket_id, into))}
    ticket, now = locked[ticket_id]
    if ticket is None:
        return False
    other = locked[into][0]
    if other is not None and other.status == "cancelled":
        raise InvalidTicket(f"{into} is cancelled; a ticket is merged into one that counts")
    if ticket.status not in ACTIVE_STATUSES:
        raise InvalidTransition(ticket_id, ticket.status, "cancelled", STATUS_FLOW[ticket.status])
    changes.cancel(ticket, f"Merged into {into}.", now, actor=actor)
    changes.note(ticket_id, now, "merged", actor, new=into)
    changes.forgive(ticket, f"merged into {into}", now, actor=actor)
    said = f"Ticket {ticket_id} was merged into this one."
    changes.comment(Comment(into, "system", said, created_at=now, is_internal=True), now=now)
    return True
