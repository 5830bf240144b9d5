"""Merging: a ticket that is another one in other words ends, points there, and costs nothing (rule 20)."""

from __future__ import annotations

from datetime import datetime

from ticket_system.changes import Changes
from ticket_system.errors import InvalidTicket, TicketNotFound
from ticket_system.storage import tickets
from ticket_system.tickets import Comment


def merge(changes: Changes, ticket_id: str, into: str, *, actor: str = "system", now: datetime | None = None) -> bool:
    """End a ticket in favour of another; False when it is not there, TicketNotFound when the other is not.

    Its clocks end as cancelled and count nowhere; what it was counted for on a bill is taken back.
    """
    if ticket_id == into:
        raise InvalidTicket("a ticket cannot be merged into itself")
    if tickets.get(changes.connection, into) is None:
        raise TicketNotFound(into)
    ticket, now = changes.lock(ticket_id, now)
    if ticket is None:
        return False
    changes.set_status(ticket_id, "cancelled", actor=actor, note=f"Merged into {into}.", now=now)
    changes.note(ticket_id, now, "merged", actor, new=into)
    changes.forgive(ticket, f"merged into {into}", now, actor=actor)
    other = Comment(into, "system", f"Ticket {ticket_id} was merged into this one.", created_at=now, is_internal=True)
    changes.comment(other, now=now)
    return True
