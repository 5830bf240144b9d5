"""Tickets, their clocks, and what became of the promises."""

from typing import TYPE_CHECKING

from ticket_system.errors import (
    BillingError,
    DamagedFile,
    DuplicateComment,
    DuplicateTicket,
    HistoryPruned,
    ImportFailed,
    InvalidTicket,
    InvalidTransition,
    NotBreached,
    ParkingError,
    PolicyError,
    ReportError,
    RetentionError,
    SchemaOutdated,
    StorageError,
    StorageUnavailable,
    TicketNotFound,
    TicketSystemError,
)
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

if TYPE_CHECKING:
    from ticket_system.system import TicketSystem

__all__ = [
    "DEFAULT_SLA",
    "PRIORITY_KEYWORDS",
    "PRIORITY_LABELS",
    "STATUS_FLOW",
    "BillingError",
    "Comment",
    "DamagedFile",
    "DuplicateComment",
    "DuplicateTicket",
    "HistoryPruned",
    "ImportFailed",
    "InvalidTicket",
    "InvalidTransition",
    "NotBreached",
    "ParkingError",
    "PolicyError",
    "Priority",
    "ReportError",
    "RetentionError",
    "SchemaOutdated",
    "Status",
    "StorageError",
    "StorageUnavailable",
    "Ticket",
    "TicketNotFound",
    "TicketSystem",
    "TicketSystemError",
]


def __getattr__(name: str) -> object:
    """Load the engine, and SQLAlchemy with it, when it is first asked for: `tickets --help` needs neither."""
    if name == "TicketSystem":
        from ticket_system.system import TicketSystem  # noqa: PLC0415

        return TicketSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
