"""Deliver what the outbox holds, one letter at a time, so that neither a bad letter nor a dead place stops the rest.

Promised: a letter is handed to the mail system at most once per attempt, and an attempt is only repeated when the one
before surely failed. Not promised: that a letter whose line broke halfway arrived, or did not; it becomes `uncertain`
and waits for a person.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from ticket_system import outbox
from ticket_system.outbox import OutboxRow
from ticket_tasks import letters, tracing
from ticket_tasks.attempts import Outcome, attempt
from ticket_tasks.errors import Rejected
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
    #: How many of each went by mail; the others to chats, pagers and webhooks.
    by_mail: Mapping[str, int] = field(default_factory=dict)

    @property
    def found(self) -> int:
        """How many letters were tried."""
        return self.sent + self.postponed + self.parked + self.uncertain + self.lost


def deliver_outbox(toolbox: Toolbox) -> Delivery:
    """Send what is due, until nothing is or the time is up."""
    stop_at = time.monotonic() + toolbox.deliver_budget_seconds
    outcomes: Counter[str] = Counter()
    by_mail: Counter[str] = Counter()
    _bundle(toolbox)
    while time.monotonic() < stop_at:
        notices = outbox.claim(toolbox.database, limit=toolbox.deliver_batch_size, lease_seconds=toolbox.lease_seconds)
        if not notices:
            break
        for channel, told in _deliver_batch(toolbox, notices, stop_at):
            outcomes[told] += 1
            by_mail[told] += channel == outbox.MAIL
    delivery = Delivery(**outcomes, by_mail=dict(+by_mail))
    if delivery.found:
        log.info("outbox.delivered", **outcomes)
    else:
        log.debug("outbox.delivered", sent=0)
    return delivery


def _deliver_batch(toolbox: Toolbox, notices: list[OutboxRow], stop_at: float) -> list[tuple[str, str]]:
    """Try each letter, except those to places that turn out to be away or slow; give back what was not begun.

    Returns where each went, and what became of it.
    """
    outcomes: list[tuple[str, str]] = []
    resting: set[str] = set()
    kept_back: list[OutboxRow] = []
    others_wait = len({outbox.channel(notice.destination) for notice in notices}) > 1
    for notice in notices:
        channel, began_at = outbox.channel(notice.destination), time.monotonic()
        if channel in resting or began_at >= stop_at:
            kept_back.append(notice)
            continue
        told, outcome = _deliver(toolbox, notice)
        outcomes.append((channel, told))
        took = time.monotonic() - began_at
        if outcome.is_away:
            until = outbox.rest(toolbox.database, channel, outcome.reason, seconds=outcome.wait_seconds)
            log.warning("destination.resting", destination=channel, error=outcome.reason, until=until.isoformat())
            resting.add(channel)
        elif took >= _SLOW_SECONDS and others_wait:
            # It may have half of this worker's time, and no more.
            outbox.rest(toolbox.database, channel, None, seconds=took)
            resting.add(channel)
    outbox.release(toolbox.database, kept_back)
    return outcomes


def _deliver(toolbox: Toolbox, notice: OutboxRow) -> tuple[str, Outcome]:
    """Try one letter and record how it went."""

    def begin() -> bool:
        return outbox.begin_sending(toolbox.database, notice, lease_seconds=toolbox.lease_seconds)

    def send(before_data: Callable[[], None]) -> None:
        letter = _write(toolbox, notice)
        if outbox.channel(notice.destination) == outbox.MAIL:
            toolbox.mailer.send(letter, before_data=before_data)
        else:
            toolbox.notifier.send(notice.destination, letter, before_data=before_data)

    with tracing.span("deliver notice", ticket_id=notice.ticket_id, notice=notice.id, attempt=notice.attempts) as tell:
        outcome = attempt(send, begin)
        tell("fate", outcome.fate)
    if outcome.is_bug:
        log.error("notice.failed", **_who(notice), exc_info=outcome.error)
    match outcome.fate:
        case "sent":
            outbox.delivered(toolbox.database, notice)
            log.info("notice.delivered", **_who(notice))
        case "lost":
            log.warning("notice.lost", **_who(notice))
        case "postponed":
            return _postpone(toolbox, notice, outcome), outcome
        case "uncertain":
            outbox.uncertain(toolbox.database, notice, outcome.reason)
            log.error("notice.uncertain", **_who(notice), error=outcome.reason)
        case "refused":
            outbox.park(toolbox.database, notice, outcome.reason)
            log.error("notice.parked", **_who(notice), error=outcome.reason)
            return "parked", outcome
    return outcome.fate, outcome


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


def _postpone(toolbox: Toolbox, notice: OutboxRow, outcome: Outcome) -> str:
    again_at = outbox.postpone(toolbox.database, notice, outcome.reason, wait_seconds=outcome.wait_seconds)
    if again_at is False:
        log.warning("notice.lost", **_who(notice), error=outcome.reason)
        return "lost"
    if again_at is None:
        log.error("notice.parked", **_who(notice), error=outcome.reason, hint="tried too often")
        return "parked"
    log.warning("notice.postponed", **_who(notice), error=outcome.reason, again_at=again_at.isoformat())
    return "postponed"


def _who(notice: OutboxRow) -> dict[str, object]:
    return {
        "key": notice.key,
        "ticket_id": notice.ticket_id,
        "destination": notice.destination,
        "delivery_attempt": notice.attempts,
    }
