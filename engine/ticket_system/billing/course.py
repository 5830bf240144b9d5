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
from dataclasses import replace
from datetime import datetime, timedelta

from ticket_system.billing.deliveries import COUNTED, Answer, Delivery, Said, State
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


def is_to_be_looked_for(one: Delivery, now: datetime) -> bool:
    """Tell whether it must be looked for before it is sent.

    An invoice item that may be there, because it has no identifier. And whatever is sent for the first time later than
    an identifier is known: a database that was restored to an earlier moment does not know that it was sent before.
    """
    if one.first_attempt_at is not None:
        return one.route == INVOICE_ITEM
    return now - one.event_at >= RESEND_FOR


def put_off(one: Delivery, why: str, now: datetime, luck: float) -> Delivery:
    """Return it to be tried later, without an attempt: it could not be looked for."""
    return replace(one, next_attempt_at=now + backoff(4, luck), error=why)


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
