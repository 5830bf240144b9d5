"""Tickets and comments for a test that cares about one or two of their fields."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ticket_system import Comment, Ticket


def a_ticket(**changes: Any) -> Ticket:
    """A ticket that makes sense, with the fields that are named changed."""
    return replace(Ticket("Printer prints stars", "Since Monday, on every page.", "ada"), **changes)


def a_ticket_due_in(seconds: float, **changes: Any) -> Ticket:
    """A critical ticket whose four hours run out that many seconds from now; ago, if negative."""
    hours = 4
    created_at = datetime.now(UTC) - timedelta(hours=hours) + timedelta(seconds=seconds)
    return a_ticket(**{"priority": 1, "sla_hours": hours, "created_at": created_at} | changes)


def a_comment(ticket_id: str, **changes: Any) -> Comment:
    """A comment that makes sense, with the fields that are named changed."""
    return replace(Comment(ticket_id, "grace", "Have you tried another tray?"), **changes)
