"""Tickets, their clocks, and what became of the promises."""

from ticket_system.errors import (
    DamagedFile,
    DuplicateTicket,
    ImportFailed,
    InvalidTicket,
    InvalidTransition,
    SchemaOutdated,
    StorageError,
    StorageUnavailable,
    TicketNotFound,
    TicketSystemError,
)
from ticket_system.system import TicketSystem
from ticket_system.tickets import (
    DEFAULT_SLA,
    PRIORITY_LABELS,
    STATUS_FLOW,
    Comment,
    Priority,
    Status,
    Ticket,
)
from ticket_system.triage import PRIORITY_KEYWORDS

__all__ = [
    "DEFAULT_SLA",
    "PRIORITY_KEYWORDS",
    "PRIORITY_LABELS",
    "STATUS_FLOW",
    "Comment",
    "DamagedFile",
    "DuplicateTicket",
    "ImportFailed",
    "InvalidTicket",
    "InvalidTransition",
    "Priority",
    "SchemaOutdated",
    "Status",
    "StorageError",
    "StorageUnavailable",
    "Ticket",
    "TicketNotFound",
    "TicketSystem",
    "TicketSystemError",
]
