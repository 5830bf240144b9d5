"""One model per message that carries anything: those that come in, and those that webhooks send out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ticket_tasks import names

# As much as the engine stores, and nothing that it refuses: it would travel only to be parked behind the broker.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
#: One line of text that is not blank, spelt so that the patterns of every language read it.
_LINE = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=_LINE)]
Line = Annotated[str, Field(min_length=1, max_length=500, pattern=_LINE)]
Text = Annotated[str, Field(max_length=1_000_000, pattern=r"^[^\u0000]*$")]


class Wish(BaseModel):
    """What everything that another service asks for has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = 1
    """Of the shape. Under one number fields may be added; one that goes, or changes its meaning, makes a new one."""
    key: Id | None = None
    """However often a wish arrives, it is granted once under one key. None, for a ticket: its id."""
    asked_at: datetime | None = None
    """When it was asked for, by the sender's clock. Naive moments are taken as UTC."""
    answer: Annotated[bool, Field(strict=True)] = False
    """Leave word in the broker of what became of it, under its key, for ten minutes."""


class OpenTicket(Wish):
    """Open a ticket. Its id is the sender's, so that a message sent twice opens one ticket."""

    ticket_id: Id
    title: Line
    description: Text
    requester: Line
    priority: Annotated[int, Field(strict=True, ge=1, le=4)] | None = None
    """None: the words of title and description decide."""
    sla_hours: Annotated[int, Field(strict=True, ge=1, le=87_600)] | None = None
    """None: as the priority says."""
    assignee: Line | None = None
    tags: tuple[Line, ...] = ()
    customer: Line | None = None
    """What a policy may be chosen by."""
    plan: Line | None = None
    group: Line | None = None
    created_at: datetime | None = None
    """When the request came in, and the promise begins; None: when it was asked for, else when the job runs."""


class _AboutTicket(Wish):
    key: Id
    ticket_id: Id


class AddComment(_AboutTicket):
    """Add a comment to a ticket; it is from when it was asked for, else from when the job runs."""

    author: Line
    body: Annotated[Text, Field(min_length=1)]
    is_internal: Annotated[bool, Field(strict=True)] = False


class AssignTicket(_AboutTicket):
    """Give a ticket to somebody; an open one moves to in_progress. Nothing happens to one that is done."""

    assignee: Line
    author: Line = "system"


class SetStatus(_AboutTicket):
    """Move a ticket along its way; a note becomes an internal comment. Nothing happens to one that is there already."""

    status: Literal["open", "in_progress", "review", "on_hold", "resolved", "closed", "cancelled"]
    author: Line = "system"
    note: Text = ""


class EscalateTicket(_AboutTicket):
    """Raise the priority of a ticket one step, and with it what is promised."""

    reason: Text = ""
    author: Line = "system"


class AcknowledgeTicket(_AboutTicket):
    """Stop the escalation chains of a ticket, not its clocks. Nothing happens to one that is done."""

    author: Line
    until: datetime | None = None
    """When the chains go on; None: when the policy says, or not at all. Naive moments are taken as UTC."""
    note: Text = ""


class Report(Wish):
    """Count what was opened, resolved and breached in the last days; the figures come with the answer."""

    key: Id
    days: Annotated[int, Field(strict=True, ge=1, le=36_500)] = 7


class Answer(BaseModel):
    """What became of a wish."""

    model_config = ConfigDict(frozen=True)

    key: str
    #: `done`; `unchanged`: there was nothing to do; `repeated`: it was done before; `parked`: a person has to look.
    outcome: Literal["done", "unchanged", "repeated", "parked"]
    reason: str = ""
    #: What was asked for, where figures were.
    value: dict[str, Any] | None = None


#: Which shape the payload of each message has.
WISHES: Mapping[str, type[Wish]] = {
    names.OPEN_TICKET: OpenTicket,
    names.ADD_COMMENT: AddComment,
    names.ASSIGN_TICKET: AssignTicket,
    names.SET_STATUS: SetStatus,
    names.ESCALATE_TICKET: EscalateTicket,
    names.ACKNOWLEDGE_TICKET: AcknowledgeTicket,
    names.REPORT: Report,
}


class AlarmFacts(BaseModel):
    """What is certain about an alarm. Ids, numbers and moments: nothing that a customer wrote leaves the house."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: `warned`: before the deadline; `escalated`: a level of the chain, before the deadline or behind it.
    kind: Literal["warned", "escalated"]
    ticket_id: str
    #: As they stand when the message is sent.
    priority: int
    status: str
    assignee: str | None
    #: Which clock: its target, and how often that target has started on this ticket.
    target: str
    cycle: int
    #: The deadline; None while the clock is paused.
    due_at: datetime | None
    #: The deadline that passed, and when it was noticed that it had; None: it is not late.
    breached_at: datetime | None
    detected_at: datetime | None
    #: `deadline` passed, or a `retarget` put it into the past.
    cause: str | None
    #: Which warning of the policy, or which level of its chain, from 1; and which repeat of it, from 0.
    number: int
    repeat: int


class TicketAlarm(BaseModel):
    """The body of a webhook, as the Standard Webhooks specification lays it out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ticket.warned", "ticket.escalated"]
    #: Of `data`. A field may be added under the same number; a field that goes or changes its meaning makes a new one.
    version: Literal[1] = 1
    timestamp: datetime
    data: AlarmFacts


class AlarmList(BaseModel):
    """Many alarms at once; `total` is more than the list holds where it would be too long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: int
    alarms: tuple[AlarmFacts, ...]


class TicketAlarms(BaseModel):
    """The body of a webhook that stands for many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["tickets.alarms"] = "tickets.alarms"
    version: Literal[1] = 1
    timestamp: datetime
    data: AlarmList
