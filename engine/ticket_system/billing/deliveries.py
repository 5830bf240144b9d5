"""A delivery: one batch on its way to whoever bills it, where it stands, and what a call came to. Pure.

What becomes of it stands in `course`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands."""

    SEALED = "sealed"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    VERIFIED = "verified"
    REJECTED = "rejected"
    REJECTED_ASYNC = "rejected_async"
    DISPUTED = "disputed"
    EXPIRED = "expired"
    #: Ended; another generation of the batch follows it.
    ABSENT = "absent"
    REPLACED = "replaced"
    #: Ended: taken back before it was sent, carried over to an invoice item, or settled by a person.
    VOIDED = "voided"
    CARRIED = "carried"
    RESOLVED = "resolved"


#: To be sent, now or later.
TO_SEND = (State.SEALED, State.SENDING)
#: A person has to look.
STUCK = (State.REJECTED, State.REJECTED_ASYNC, State.DISPUTED, State.EXPIRED)
#: Counted, as far as is known.
COUNTED = (State.ACCEPTED, State.VERIFIED)
#: Another generation has taken its place.
SUPERSEDED = (State.ABSENT, State.REPLACED)


class Answer(StrEnum):
    """What a call came to."""

    ACCEPTED = "accepted"
    #: Refused because it is there already: which is what we wanted.
    DUPLICATE = "duplicate"
    #: No answer, or "the same call is running": it may have arrived, and the same key asks again.
    LOST = "lost"
    #: Their failure, or an answer that makes no sense: it may have arrived, and the same key would repeat the failure.
    FAILED = "failed"
    #: Not now; surely not done.
    THROTTLED = "throttled"
    #: Not now; surely not done, and the same key would say so for a day.
    LOCKED = "locked"
    #: Its moment lies ahead of their clock; surely not done, and the same key would say so for a day.
    TOO_EARLY = "too_early"
    TOO_OLD = "too_old"
    REFUSED = "refused"
    #: The same key came with another content: a defect of ours.
    MISMATCH = "mismatch"
    #: They do not know us: nothing else would get through either.
    UNAUTHORIZED = "unauthorized"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and what it said of itself; nothing of it is secret."""

    answer: Answer
    request_id: str | None = None
    http: int | None = None
    code: str | None = None
    message: str | None = None
    #: What was made there: the id of an invoice item.
    made: str | None = None
    #: Not before so many seconds.
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to have a batch counted, under one identifier."""

    id: int
    batch_id: str
    generation: int
    identifier: str
    route: str
    quantity: int
    event_at: datetime
    epoch: int = 0
    state: str = State.SEALED
    attempts: int = 0
    #: The first attempt that may have arrived.
    first_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    #: When to send it, or to look for it, again.
    next_attempt_at: datetime | None = None
    #: Since when it is known not to be counted.
    absent_since: datetime | None = None
    refused_at: datetime | None = None
    confirmed_by: str | None = None
    #: What was counted in its minute, where that is not what was sent.
    found: int | None = None
    made: str | None = None
    request_id: str | None = None
    error_http: int | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def idempotency_key(self) -> str:
        """The key of the next call."""
        return f"{self.identifier}:e{self.epoch}"

    @property
    def may_have_arrived_before(self) -> bool:
        """Whether an attempt before the last one may have arrived."""
        return self.first_attempt_at is not None and self.first_attempt_at != self.last_attempt_at


def identifier(batch_id: str, generation: int) -> str:
    """Name a batch for whoever bills it: the same however often it is sent."""
    return f"tickets:{batch_id}:g{generation}"
