"""Everything that can go wrong on purpose.

TicketSystemError
├── InvalidTicket (ValueError)              a field makes no sense
│   ├── DuplicateComment                    likewise, for a comment
│   └── DuplicateTicket                     the id is taken; nothing was overwritten
├── InvalidTransition (ValueError)          the status flow has no such move
├── PolicyError (ValueError)                a promise that cannot be kept, or read
├── NotBreached (ValueError)                there is no breach to waive
├── TicketNotFound (LookupError, ValueError)
├── BillingError (ValueError)               an account, or a delivery of usage, does not allow this
├── ReportError (ValueError)                a report, or whoever gets it, does not allow this
├── ParkingError (ValueError)               a parked message does not allow this
├── RetentionError (ValueError)             what is needed would be forgotten
├── HistoryPruned (LookupError)             what is asked for was forgotten, by policy
├── ImportFailed (ValueError)               the file as a whole cannot be read
└── StorageError
    ├── SchemaOutdated                      upgrade the database, or the program
    ├── StorageUnavailable                  cannot be reached, opened, written
    └── DamagedFile                         not a database, or not one of ours; left as it was
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

_LONGEST_SHOWN = 100


def shown(value: object) -> str:
    """Return a value as a message quotes it: printable, whatever it holds, and not longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # a whole number with more digits than Python prints
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


class TicketSystemError(Exception):
    """The root of every error this package raises on purpose."""


class InvalidTicket(TicketSystemError, ValueError):
    """A field makes no sense; the message names the field and what was expected."""


class DuplicateTicket(InvalidTicket):
    """A ticket with this id is stored already; nothing was overwritten."""

    def __init__(self, ticket_id: str) -> None:
        super().__init__(f"a ticket with the id {ticket_id!r} exists already")
        self.ticket_id = ticket_id


class DuplicateComment(InvalidTicket):
    """A comment with this id is stored already; nothing was overwritten."""

    def __init__(self, comment_id: str) -> None:
        super().__init__(f"a comment with the id {comment_id!r} exists already")
        self.comment_id = comment_id


class InvalidTransition(TicketSystemError, ValueError):
    """The status flow has no such move; carries both ends and what would be allowed."""

    def __init__(self, ticket_id: str, old: str, new: str, allowed: Iterable[str]) -> None:
        self.ticket_id, self.old, self.new, self.allowed = ticket_id, old, new, tuple(allowed)
        choices = ", ".join(self.allowed) or "nothing, this status is final"
        super().__init__(f"Invalid transition: {old} → {shown(new)[1:-1]} (ticket {ticket_id}; allowed: {choices})")


class TicketNotFound(TicketSystemError, LookupError, ValueError):
    """No ticket has this id."""

    def __init__(self, ticket_id: str) -> None:
        super().__init__(f"no ticket has the id {shown(ticket_id)}")
        self.ticket_id = ticket_id


class NotBreached(TicketSystemError, ValueError):
    """There is no breach that could be waived."""

    def __init__(self, ticket_id: str, target: str, cycle: int | None) -> None:
        of = f"{shown(target)[1:-1]}" + (f", cycle {cycle}" if cycle is not None else "")
        super().__init__(f"ticket {ticket_id} has no breach of its {of}; `tickets explain` shows its clocks")
        self.ticket_id, self.target, self.cycle = ticket_id, target, cycle


class PolicyError(TicketSystemError, ValueError):
    """A policy or calendar makes no sense; the message names the file, the key and what was expected."""


class BillingError(TicketSystemError, ValueError):
    """What was asked of an account or of the usage ledger cannot be done; the message says why, and what can."""


class ReportError(TicketSystemError, ValueError):
    """What was asked of a report, or of whoever gets it, cannot be done; the message says why, and what can."""


class ParkingError(TicketSystemError, ValueError):
    """What was asked of a parked message cannot be done; the message says why, and what can."""


class RetentionError(TicketSystemError, ValueError):
    """Something would be kept too short to be safe; the message says how long it has to be."""


class HistoryPruned(TicketSystemError, LookupError):
    """The events of a ticket were forgotten, by policy: its verdicts stand, and cannot be explained any more."""

    def __init__(self, ticket_id: str, at: datetime) -> None:
        super().__init__(f"the history of ticket {ticket_id} was pruned on {at:%Y-%m-%d}; its clocks stand as they are")
        self.ticket_id, self.at = ticket_id, at


class ImportFailed(TicketSystemError, ValueError):
    """The file as a whole cannot be imported; nothing was."""


class StorageError(TicketSystemError):
    """The database, not the request, is the trouble."""


class SchemaOutdated(StorageError):
    """The database's schema and this program do not belong together; the message says what to do."""

    def __init__(self, message: str, *, is_newer: bool = False) -> None:
        super().__init__(message)
        #: Whether it is the program that has to change; else an upgrade of the database may be on its way.
        self.is_newer = is_newer


class StorageUnavailable(StorageError):
    """The database cannot be reached, opened or written right now; nothing was half-written."""


class DamagedFile(StorageError):
    """The file is not a database this package can open; it was left as it was."""
