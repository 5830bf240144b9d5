"""One model per message that carries anything: those that come in, and those that webhooks send out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Line = Annotated[str, Field(min_length=1, max_length=500)]
# As much as the engine stores: a bigger one would travel through the broker only to be refused behind it.
Text = Annotated[str, Field(max_length=1_000_000)]


class OpenTicket(BaseModel):
    """A wish to open a ticket. Its id is the sender's, so that a message sent twice opens one ticket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    ticket_id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Line
    description: Text
    requester: Line
    #: None: the words of title and description decide.
    priority: Annotated[int, Field(strict=True, ge=1, le=4)] | None = None
    #: None: as the priority says.
    sla_hours: Annotated[int, Field(strict=True, ge=1, le=87_600)] | None = None
    assignee: Line | None = None
    tags: tuple[Line, ...] = ()
    #: What a policy may be chosen by.
    customer: Line | None = None
    plan: Line | None = None
    group: Line | None = None
    #: When the request came in; None: when the job runs. Naive moments are taken as UTC.
    created_at: datetime | None = None


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
