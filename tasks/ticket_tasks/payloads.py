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


class BreachFacts(BaseModel):
    """What is certain about a breach. Ids, numbers and moments: nothing that a customer wrote leaves the house."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ticket_id: str
    #: As they stand when the message is sent.
    priority: int
    status: str
    assignee: str | None
    #: Which clock: its target, and how often that target has started on this ticket.
    target: str
    cycle: int
    #: The deadline, and when it was noticed that it had passed.
    breached_at: datetime
    detected_at: datetime
    #: `deadline` passed, or a `retarget` put it into the past.
    cause: str | None


class TicketBreached(BaseModel):
    """The body of a webhook, as the Standard Webhooks specification lays it out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ticket.breached"] = "ticket.breached"
    #: Of `data`. A field may be added under the same number; a field that goes or changes its meaning makes a new one.
    version: Literal[1] = 1
    timestamp: datetime
    data: BreachFacts
