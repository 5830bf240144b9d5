"""What becomes of a delivery: one batch on its way to whoever bills it. Pure; times are the database's.

    sealed ──► sending ──► accepted ──► verified
                  │ ▲          └──────► rejected_async    it was taken, and thrown away later
                  │ └ again               disputed        something else is counted than was sent
                  ├──────► unknown ─────► absent          proved not to have arrived: the next generation follows
                  ├──────► rejected                       refused; a person mends it and has it sent again
                  └──────► expired                        too old to be taken; carried over by a person, or let go

A delivery that may have arrived is only repeated under its identifier, which the other side knows for at least 24
hours: so for 23 hours after the first attempt that may have arrived (`RESEND_FOR`). Then nobody sends; what was counted
in its minute is looked up, and only an absence that lasts (`ABSENT_FOR`) allows a new identifier.

The idempotency key is not the identifier. Under a key the other side repeats its answer, a failure included: after one
the key is changed (`epoch`) and the identifier stays. An invoice item has no identifier. There the key is all that
keeps it from being charged twice: it is changed only where an answer proves that nothing was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ticket_system.billing.usage import INVOICE_ITEM

RESEND_FOR = timedelta(hours=23)
ABSENT_FOR = timedelta(hours=24)
#: What was taken may be counted later: nobody looks before.
LOOK_AFTER = timedelta(hours=2)
LOOK_AGAIN = timedelta(hours=1)
#: The other side takes what is up to 35 days old; an hour less, because its clock is not ours.
OLDEST = timedelta(days=35) - timedelta(hours=1)
TOO_OLD = "older than 35 days: no longer taken"
FINAL = "the invoice of its period is final"
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)


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


def begun(one: Delivery, now: datetime, lease: timedelta) -> Delivery:
    """Return it as it stands before a call, to be committed first; a state other than `sending` forbids the call."""
    if one.first_attempt_at is not None and now >= one.first_attempt_at + RESEND_FOR:
        return _looked_for(one, now)
    if is_too_old(one, now):
        return expired(one, TOO_OLD) if one.first_attempt_at is None else _looked_for(one, now)
    return replace(
        one,
        state=State.SENDING,
        attempts=one.attempts + 1,
        first_attempt_at=one.first_attempt_at or now,
        last_attempt_at=now,
        next_attempt_at=now + lease,
    )


def too_late(one: Delivery, now: datetime) -> Delivery:
    """Return it as it stands when its invoice is final: not sent any more; looked for, if it may have arrived."""
    return expired(one, FINAL) if one.first_attempt_at is None else _looked_for(one, now)


def expired(one: Delivery, why: str) -> Delivery:
    """Return it as too late to be counted."""
    return _ended(one, State.EXPIRED, error=why)


def is_too_old(one: Delivery, now: datetime) -> bool:
    """Tell whether its moment lies too far back to be taken. An invoice item has none."""
    return one.route != INVOICE_ITEM and now - one.event_at >= OLDEST


def answered(one: Delivery, said: Said, now: datetime, luck: float) -> Delivery:  # noqa: C901, PLR0911 - a table
    """Return what a call that was begun came to; `luck`, from 0 to 1, spreads what is tried again."""
    kept = replace(
        one,
        request_id=said.request_id or one.request_id,
        error_http=said.http,
        error_code=said.code,
        error=said.message,
    )
    match said.answer:
        case Answer.ACCEPTED:
            return _accepted(kept, "response", now, made=said.made)
        case Answer.DUPLICATE:
            return _accepted(kept, "duplicate", now)
        case Answer.LOST:
            return _again(kept, said, now, luck)
        case Answer.FAILED:
            # The key of an invoice item is all there is: it stays.
            rotated = one.epoch if one.route == INVOICE_ITEM else one.epoch + 1
            return _again(replace(kept, epoch=rotated), said, now, luck)
        case Answer.THROTTLED:
            return _again(_undone(kept), said, now, luck)
        case Answer.LOCKED | Answer.TOO_EARLY:
            return _again(replace(_undone(kept), epoch=one.epoch + 1), said, now, luck)
        case Answer.UNAUTHORIZED:
            return replace(_undone(kept), attempts=one.attempts - 1, next_attempt_at=now)
        case Answer.MISMATCH:
            return _ended(kept, State.REJECTED, refused_at=now)
        case Answer.TOO_OLD | Answer.REFUSED:
            if one.may_have_arrived_before:
                # It may be "there already" in other words: what is counted tells.
                return replace(kept, state=State.UNKNOWN, refused_at=now, next_attempt_at=now + LOOK_AFTER)
            ended = State.EXPIRED if said.answer is Answer.TOO_OLD else State.REJECTED
            return _ended(kept, ended, refused_at=now)


def observed(one: Delivery, total: int, now: datetime) -> Delivery:
    """Return what follows from what is counted in its minute: evidence for it counts at once, absence when it lasts."""
    if total == one.quantity:
        if one.state == State.UNKNOWN:
            return _accepted(one, "summary", now)
        return replace(one, state=State.VERIFIED, absent_since=None, found=None, next_attempt_at=None)
    if one.state not in {State.UNKNOWN, *COUNTED}:
        # It waits for a person already; that something else is counted is one thing more to know.
        return replace(one, state=State.DISPUTED, found=total) if total or one.state == State.DISPUTED else one
    if total == 0:
        return missed(one, now)
    return replace(one, state=State.DISPUTED, found=total, next_attempt_at=None)


def missed(one: Delivery, now: datetime) -> Delivery:
    """Return what follows from its absence."""
    since = one.absent_since or now
    if now - since < ABSENT_FOR:
        again = now + LOOK_AGAIN if one.state == State.UNKNOWN else one.next_attempt_at
        return replace(one, absent_since=since, next_attempt_at=again)
    if one.state in COUNTED:
        return replace(one, state=State.REJECTED_ASYNC, absent_since=since, found=0)
    if is_too_old(one, now):
        return expired(replace(one, absent_since=since), TOO_OLD)
    return _ended(one, State.REJECTED if one.refused_at else State.ABSENT, absent_since=since)


def found_there(one: Delivery, made: Sequence[str], now: datetime) -> Delivery:
    """Return it with the invoice item that was found to be there; two are one too many."""
    if len(made) > 1:
        return replace(_ended(one, State.DISPUTED), made=", ".join(made), found=one.quantity * len(made))
    return replace(_accepted(one, "search", now, made=made[0]), state=State.VERIFIED)


def thrown_away(one: Delivery, code: str) -> Delivery:
    """Return it as it stands when they say that they took it and did not count it."""
    return _ended(one, State.REJECTED_ASYNC, error_code=code)


def replaced(one: Delivery) -> Delivery:
    """Return it as over: another generation follows."""
    return _ended(one, State.REPLACED)


def carried(one: Delivery) -> Delivery:
    """Return it as over: an invoice item stands for it."""
    return _ended(one, State.CARRIED)


def resolved(one: Delivery) -> Delivery:
    """Return it as over: a person has settled it elsewhere."""
    return _ended(one, State.RESOLVED)


def backoff(attempts: int, luck: float) -> timedelta:
    """Return how long to wait after so many attempts: any time up to one that doubles, an hour at most."""
    longest: timedelta = min(_FIRST_WAIT * 2 ** min(max(attempts - 1, 0), 16), _LONGEST_WAIT)
    return longest * luck


def _accepted(one: Delivery, by: str, now: datetime, *, made: str | None = None) -> Delivery:
    return replace(
        one,
        state=State.ACCEPTED,
        confirmed_by=by,
        made=made or one.made,
        last_attempt_at=one.last_attempt_at or now,
        next_attempt_at=None,
        absent_since=None,
        refused_at=None,
        error_http=None,
        error_code=None,
        error=None,
    )


def _again(one: Delivery, said: Said, now: datetime, luck: float) -> Delivery:
    wait = max(backoff(one.attempts, luck), timedelta(seconds=min(said.wait_seconds, 3600)))
    return replace(one, next_attempt_at=now + wait)


def _undone(one: Delivery) -> Delivery:
    """Return it as if the last attempt had not been made: it surely did not arrive."""
    if one.may_have_arrived_before:
        return one
    return replace(one, state=State.SEALED, first_attempt_at=None)


def _looked_for(one: Delivery, now: datetime) -> Delivery:
    look_at = max(now, (one.last_attempt_at or now) + LOOK_AFTER)
    return replace(one, state=State.UNKNOWN, next_attempt_at=look_at)


def _ended(one: Delivery, state: State, **more: object) -> Delivery:
    return replace(one, state=state, next_attempt_at=None, **more)  # type: ignore[arg-type]
