"""Tickets and comments, what a sensible one looks like, and which moves are allowed. Pure."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

from ticket_system.errors import InvalidTicket, shown

if TYPE_CHECKING:
    from ticket_system.sla.calendars import Calendar
    from ticket_system.sla.clocks import Clock


class Status(StrEnum):
    """Where a ticket stands."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    REVIEW = "review"
    ON_HOLD = "on_hold"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """How much it hurts; 1 is the worst."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4


class Leave(Enum):
    """Said of a field in a change: it stays as it is. None would clear it."""

    AS_IT_IS = "as it is"


LEAVE: Final = Leave.AS_IT_IS

#: Resolution targets in hours, by priority.
DEFAULT_SLA: dict[int, int] = {1: 4, 2: 24, 3: 72, 4: 168}
PRIORITY_LABELS: dict[int, str] = {priority.value: priority.name.lower() for priority in Priority}
#: Which statuses may follow which.
STATUS_FLOW: dict[str, list[str]] = {
    "open": ["in_progress", "on_hold", "cancelled"],
    "in_progress": ["review", "on_hold", "resolved"],
    "review": ["resolved", "in_progress"],
    "on_hold": ["open", "in_progress", "cancelled"],
    "resolved": ["closed", "open"],
    "closed": [],
    "cancelled": [],
}
#: Somebody still has to do something about a ticket in one of these.
ACTIVE_STATUSES: tuple[str, ...] = ("open", "in_progress", "review", "on_hold")

MAX_NAME = 500
MAX_TEXT = 1_000_000
MAX_HOURS = 87_600
#: Clocks of other machines are a little wrong and naive local times are off by a zone; beyond that it is a mistake.
MAX_AHEAD = timedelta(days=1)

_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IN_AN_ADDRESS = r"[^\x00-\x20\x7f@<>,;:\"()\[\]\\]+"
_ADDRESS = re.compile(rf"{_IN_AN_ADDRESS}@{_IN_AN_ADDRESS}(?<!\.)")
_NOT_IN_A_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def utc_now() -> datetime:
    """Return this moment, aware, in UTC."""
    return datetime.now(UTC)


def as_utc(moment: datetime) -> datetime:
    """Return the same instant in UTC; a naive one is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment.astimezone(UTC)


@dataclass
class Ticket:
    """One request and where it stands. Three fields are enough: `Ticket(title, description, requester)`."""

    title: str
    description: str
    requester: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    priority: int = 3
    status: str = "open"
    assignee: str | None = None
    sla_hours: int = 72
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    resolved_at: datetime | None = None
    tags: list[str] = field(default_factory=list)
    #: Whose ticket it is, what they pay for, and who works on it: what a policy may be chosen by (rule 17).
    customer: str | None = None
    plan: str | None = None
    group: str | None = None
    #: The resolution clock of a ticket that was read from the store; None before, and for "no SLA".
    clock: Clock | None = field(default=None, repr=False, compare=False)
    #: The calendar of that clock; None: around the clock.
    calendar: Calendar | None = field(default=None, repr=False, compare=False)
    #: Whether a resolution was promised: a stored ticket without its clock has no verdict (rules 13, 17).
    is_promised: bool = field(default=True, repr=False, compare=False)

    def sla_deadline(self) -> datetime:
        """Return the instant the resolution is due; while paused, the one it would be if work resumed now."""
        if self.clock is not None:
            return self.clock.deadline(utc_now(), *([self.calendar] if self.calendar else []))
        return as_utc(self.created_at) + timedelta(hours=self.sla_hours)

    def is_breached(self) -> bool:
        """Tell whether the resolution is, or was, later than promised."""
        if self.clock is not None:
            return self.clock.is_breached(utc_now())
        if not self.is_promised or (self.resolved_at is None and self.status not in ACTIVE_STATUSES):
            return False  # nothing was promised (rule 17), or it was done before it came here (rule 13)
        done = self.resolved_at or utc_now()
        return as_utc(done) > self.sla_deadline()

    def time_to_sla(self) -> timedelta:
        """Return what is left until the deadline; negative when overdue."""
        return self.sla_deadline() - utc_now()

    def age_hours(self) -> float:
        """Return the hours since the ticket was opened."""
        return (utc_now() - as_utc(self.created_at)).total_seconds() / 3600


@dataclass
class Comment:
    """Something said about a ticket; an internal one is not for the requester."""

    ticket_id: str
    author: str
    body: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=utc_now)
    is_internal: bool = False


def check_name(what: str, value: object, *, limit: int = MAX_NAME) -> str:
    """Return a one-line text, or raise InvalidTicket saying what is wrong with it."""
    if not isinstance(value, str):
        raise InvalidTicket(f"{what} must be text, not {type(value).__name__}")
    if not value.strip():
        raise InvalidTicket(f"{what} must not be empty")
    if len(value) > limit:
        raise InvalidTicket(f"{what} must be at most {limit} characters long, not {len(value)}")
    if found := _NOT_IN_A_NAME.search(value):
        raise InvalidTicket(f"{what} must be one line of plain text; it holds {found.group()!r}")
    return value


def check_text(what: str, value: object) -> str:
    """Return a text of any number of lines, or raise InvalidTicket saying what is wrong with it."""
    if not isinstance(value, str):
        raise InvalidTicket(f"{what} must be text, not {type(value).__name__}")
    if len(value) > MAX_TEXT:
        raise InvalidTicket(f"{what} must be at most {MAX_TEXT:,} characters long, not {len(value):,}")
    if found := _NOT_IN_A_TEXT.search(value):
        raise InvalidTicket(f"{what} holds {found.group()!r}, which no database stores")
    return value


def is_storable(value: object) -> bool:
    """Tell whether a database can hold this text at all; what it cannot hold is not there."""
    return isinstance(value, str) and not _NOT_IN_A_TEXT.search(value)


def storable(text: str) -> str:
    """Return somebody else's text with a mark in place of what no database can hold."""
    return _NOT_IN_A_TEXT.sub("\ufffd", text)


def is_address(text: str | None) -> bool:
    """Tell whether a text is a plain mail address and nothing else: ASCII, one @, a domain with a dot."""
    found = _ADDRESS.fullmatch(text) if text is not None and text.isascii() else None
    return found is not None and "." in found.group().partition("@")[2]


def check_whole(what: str, value: object, lowest: int, highest: int) -> int:
    """Return a whole number within bounds, or raise InvalidTicket."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTicket(f"{what} must be a whole number, not {shown(value)}")
    if not lowest <= value <= highest:
        raise InvalidTicket(f"{what} must be from {lowest} to {highest}, not {shown(value)}")
    return int(value)


def check_status(value: object) -> str:
    """Return the name of a status, or raise InvalidTicket."""
    if not isinstance(value, str) or value not in STATUS_FLOW:
        raise InvalidTicket(f"status must be one of {', '.join(STATUS_FLOW)}, not {shown(value)}")
    return str(value)


def check_moment(what: str, value: object) -> datetime:
    """Return an aware instant in UTC, or raise InvalidTicket."""
    if not isinstance(value, datetime):
        raise InvalidTicket(f"{what} must be a datetime, not {type(value).__name__}")
    try:
        return as_utc(value)
    except OverflowError as error:
        raise InvalidTicket(f"{what} lies outside the years 1 to 9999 in UTC") from error


def check_tags(value: object) -> list[str]:
    """Return tags as a list, or raise InvalidTicket."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidTicket(f"tags must be a list of texts, not {type(value).__name__}")
    return [check_name("a tag", tag) for tag in value]


def check_ticket(ticket: Ticket, now: datetime) -> None:
    """Bring a ticket into its stored form in place, or raise InvalidTicket and leave it alone."""
    check_name("id", ticket.id, limit=200)
    check_name("title", ticket.title)
    check_text("description", ticket.description)
    check_name("requester", ticket.requester)
    for what in ("assignee", "customer", "plan", "group"):
        if getattr(ticket, what) is not None:
            check_name(what, getattr(ticket, what))
    priority = check_whole("priority", ticket.priority, 1, 4)
    hours = check_whole("sla_hours", ticket.sla_hours, 1, MAX_HOURS)
    status = check_status(ticket.status)
    tags = check_tags(ticket.tags)
    created_at = check_moment("created_at", ticket.created_at)
    updated_at = check_moment("updated_at", ticket.updated_at)
    resolved_at = None if ticket.resolved_at is None else check_moment("resolved_at", ticket.resolved_at)
    for what, moment in (("created_at", created_at), ("resolved_at", resolved_at)):
        if moment is not None and moment > now + MAX_AHEAD:
            raise InvalidTicket(f"{what} lies in the future: {moment.isoformat()}")
    if resolved_at is not None and resolved_at < created_at:
        raise InvalidTicket("resolved_at lies before created_at")
    ticket.priority, ticket.sla_hours, ticket.status, ticket.tags = priority, hours, status, tags
    ticket.created_at, ticket.updated_at, ticket.resolved_at = created_at, updated_at, resolved_at


def check_comment(comment: Comment) -> None:
    """Bring a comment into its stored form in place, or raise InvalidTicket and leave it alone."""
    check_name("comment id", comment.id, limit=200)
    check_name("author", comment.author)
    check_text("comment body", comment.body)
    comment.created_at = check_moment("created_at", comment.created_at)
    comment.is_internal = bool(comment.is_internal)
