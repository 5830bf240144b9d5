"""Deliver what the outbox holds, one letter at a time, so that neither a bad letter nor a dead place stops the rest.

Promised: a letter is handed to the mail system at most once per attempt, and an attempt is only repeated when the one
before surely failed. Not promised: that a letter whose line broke halfway arrived, or did not; it becomes `uncertain`
and waits for a person.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import structlog

from ticket_system import outbox
from ticket_system.errors import StorageError, TicketSystemError
from ticket_system.outbox import OutboxRow
from ticket_tasks import letters
from ticket_tasks.errors import Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.toolbox import Letter, Toolbox

log = structlog.stdlib.get_logger(__name__)

# A letter that takes longer keeps the letters to other places waiting.
_SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one run of the outbox came to."""

    sent: int = 0
    postponed: int = 0
    parked: int = 0
    uncertain: int = 0
    lost: int = 0

    @property
    def found(self) -> int:
        """How many letters were tried."""
        return self.sent + self.postponed + self.parked + self.uncertain + self.lost


class _LeaseLost(Exception):
    """Somebody else has this letter now."""


def deliver_outbox(toolbox: Toolbox) -> Delivery:
    """Send what is due, until nothing is or the time is up."""
    stop_at = time.monotonic() + toolbox.deliver_budget_seconds
    outcomes: Counter[str] = Counter()
    _bundle(toolbox)
    while time.monotonic() < stop_at:
        notices = outbox.claim(toolbox.database, limit=toolbox.deliver_batch_size, lease_seconds=toolbox.lease_seconds)
        if not notices:
            break
        outcomes += _deliver_batch(toolbox, notices, stop_at)
    delivery = Delivery(**outcomes)
    if delivery.found:
        log.info("outbox.delivered", **outcomes)
    else:
        log.debug("outbox.delivered", sent=0)
    return delivery


def _deliver_batch(toolbox: Toolbox, notices: list[OutboxRow], stop_at: float) -> Counter[str]:
    """Try each letter, except those to places that turn out to be away or slow; give back what was not begun."""
    outcomes: Counter[str] = Counter()
    resting: set[str] = set()
    kept_back: list[OutboxRow] = []
    others_wait = len({outbox.channel(notice.destination) for notice in notices}) > 1
    for notice in notices:
        channel, began_at = outbox.channel(notice.destination), time.monotonic()
        if channel in resting or began_at >= stop_at:
            kept_back.append(notice)
            continue
        outcome, error = _deliver(toolbox, notice)
        outcomes[outcome] += 1
        took = time.monotonic() - began_at
        if isinstance(error, Unreachable):
            until = outbox.rest(toolbox.database, channel, _reason(error), seconds=error.wait_seconds)
            log.warning("destination.resting", destination=channel, error=_reason(error), until=until.isoformat())
            resting.add(channel)
        elif took >= _SLOW_SECONDS and others_wait:
            # It may have half of this worker's time, and no more.
            outbox.rest(toolbox.database, channel, None, seconds=took)
            resting.add(channel)
    outbox.release(toolbox.database, kept_back)
    return outcomes


def _deliver(toolbox: Toolbox, notice: OutboxRow) -> tuple[str, Exception | None]:
    """Try one letter and record how it went; what kept it from being sent, if anything."""
    begun = False

    def begin() -> None:
        nonlocal begun
        if not outbox.begin_sending(toolbox.database, notice, lease_seconds=toolbox.lease_seconds):
            raise _LeaseLost
        begun = True

    try:
        letter = _write(toolbox, notice)
        if outbox.channel(notice.destination) == outbox.MAIL:
            toolbox.mailer.send(letter, before_data=begin)
        else:
            toolbox.notifier.send(notice.destination, letter, before_data=begin)
    except StorageError:
        raise
    except _LeaseLost as error:
        log.warning("notice.lost", **_who(notice))
        return "lost", error
    except Transient as error:
        return _postpone(toolbox, notice, error), error
    except Uncertain as error:
        return _doubt(toolbox, notice, error), error
    except (Rejected, TicketSystemError) as error:
        return _park(toolbox, notice, error), error
    except Exception as error:
        # A bug, not the weather: loud, and out of the way of the letters behind it.
        log.exception("notice.failed", **_who(notice))
        return (_doubt if begun else _park)(toolbox, notice, error), error
    outbox.delivered(toolbox.database, notice)
    log.info("notice.delivered", **_who(notice))
    return "sent", None


def _write(toolbox: Toolbox, notice: OutboxRow) -> Letter:
    if notice.kind == outbox.BUNDLE:
        rows, total = outbox.bundled(toolbox.database, notice, letters.LISTED)
        alarms = list(zip(rows, outbox.tickets_of(toolbox.database, rows), strict=True))
        return letters.bundle_letter(notice, alarms, total, toolbox.mail_to)
    if notice.kind not in outbox.ALARMS:
        raise Rejected(f"nobody knows how to write a notice of the kind {notice.kind!r}")
    return letters.alarm_letter(notice, outbox.ticket_of(toolbox.database, notice), toolbox.mail_to)


def _bundle(toolbox: Toolbox) -> None:
    """Let what would be a storm of letters to one recipient go out as one (rule 23)."""
    cap = toolbox.system.storm_cap()
    if cap is None:
        return
    place = partial(letters.place, mail_to=toolbox.mail_to)
    if bundled := outbox.bundle(toolbox.database, cap, place):
        log.warning("alarms.bundled", alarms=bundled, storm_cap=cap)


def _postpone(toolbox: Toolbox, notice: OutboxRow, error: Transient) -> str:
    again_at = outbox.postpone(toolbox.database, notice, _reason(error), wait_seconds=error.wait_seconds)
    if again_at is None:
        log.error("notice.parked", **_who(notice), error=_reason(error), hint="tried too often")
        return "parked"
    log.warning("notice.postponed", **_who(notice), error=_reason(error), again_at=again_at.isoformat())
    return "postponed"


def _park(toolbox: Toolbox, notice: OutboxRow, error: Exception) -> str:
    outbox.park(toolbox.database, notice, _reason(error))
    log.error("notice.parked", **_who(notice), error=_reason(error))
    return "parked"


def _doubt(toolbox: Toolbox, notice: OutboxRow, error: Exception) -> str:
    outbox.uncertain(toolbox.database, notice, _reason(error))
    log.error("notice.uncertain", **_who(notice), error=_reason(error))
    return "uncertain"


def _who(notice: OutboxRow) -> dict[str, object]:
    return {
        "key": notice.key,
        "ticket_id": notice.ticket_id,
        "destination": notice.destination,
        "delivery_attempt": notice.attempts,
    }


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
