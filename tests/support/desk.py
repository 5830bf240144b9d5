"""Tickets in a system, for a test that cares about what becomes of them."""

from typing import Any

from tests.support.factories import a_ticket, a_ticket_due_in
from ticket_system import Ticket, TicketSystem


def stored(system: TicketSystem, **changes: Any) -> str:
    """Store a ticket with the fields that are named changed; its new id."""
    return system.create_ticket(a_ticket(id=Ticket("", "", "").id, **changes)).id


def due_in(system: TicketSystem, seconds: float, **changes: Any) -> str:
    """Store a critical ticket whose four hours run out that many seconds from now; its new id."""
    return system.create_ticket(a_ticket_due_in(seconds, id=Ticket("", "", "").id, **changes)).id


def known(system: TicketSystem, ticket_id: str) -> Ticket:
    """A ticket that is there."""
    ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    return ticket
