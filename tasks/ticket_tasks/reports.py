"""Make the reports that are due, and mail each to whoever gets it, one letter at a time.

Promised: a letter goes over the wire at most once, unless the attempt before surely failed. What nobody can know is
`uncertain`, and waits for a person. What a report says does not change between two attempts.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import structlog

from ticket_system import digests, mailings
from ticket_system.digests import Run
from ticket_system.errors import StorageError
from ticket_system.mailings import Occasion, ReportDelivery, Skip
from ticket_system.reports.contents import Weekly
from ticket_tasks.attempts import Outcome, attempt
from ticket_tasks.toolbox import Letter, Toolbox

log = structlog.stdlib.get_logger(__name__)

#: Longer than counting over everything takes at its slowest, and than its process lives.
_MAKING_SECONDS = 360.0
# The server of the address says that there is nobody; 5.1.7 and 5.1.8 are about the sender.
_NOBODY_THERE = re.compile(r"RCPT TO: .*\b5\.1\.(1|2|3|6|10)\b")


@dataclass(frozen=True, slots=True)
class Made:
    """What one run of making reports came to."""

    planned: int = 0
    missed: int = 0
    made: int = 0
    failed: int = 0

    @property
    def found(self) -> int:
        """How many there are to send."""
        return self.made


@dataclass(frozen=True, slots=True)
class Mailed:
    """What one run of mailing reports came to."""

    sent: int = 0
    postponed: int = 0
    failed: int = 0
    uncertain: int = 0
    skipped: int = 0
    lost: int = 0

    @property
    def found(self) -> int:
        """How many were tried."""
        return self.sent + self.postponed + self.failed + self.uncertain + self.skipped + self.lost


def can_write() -> bool:
    """Tell whether this worker can write reports. One that cannot leaves them to others; late ones become missed."""
    return all(find_spec(name) for name in ("jinja2", "css_inline", "babel"))


def make_reports(toolbox: Toolbox) -> Made:
    """Plan what is due, count it and freeze it, until nothing is left or the time is up."""
    stop_at = time.monotonic() + toolbox.reports_budget_seconds
    counts: Counter[str] = Counter()
    while any(planned := digests.plan(toolbox.database)):
        counts += Counter(planned._asdict())
        if planned.missed:
            log.error("reports.missed", missed=planned.missed, hint="`tickets digest list --reports` names them")
    while time.monotonic() < stop_at and can_write():
        run = digests.claim_run(toolbox.database, lease_seconds=_MAKING_SECONDS)
        if run is None:
            break
        counts[_make(toolbox, run)] += 1
    made = Made(**counts)
    (log.info if counts else log.debug)("reports.made", **counts)
    return made


def _make(toolbox: Toolbox, run: Run) -> str:
    from ticket_tasks.digest import chart  # noqa: PLC0415 - an extra

    who, began_at = {"organisation": run.organisation, "kind": run.kind, "sent_on": str(run.sent_on)}, time.monotonic()
    if digests.miss(toolbox.database, run):
        log.error("report.missed", **who, error=run.error or "it was too late")
        return "missed"
    try:
        content = digests.make(toolbox.database, toolbox.system.rules, run)
        picture = chart.draw(content) if isinstance(content, Weekly) and not content.is_empty else None
    except StorageError:
        raise
    except Exception as error:
        # Whatever it is: the other organisations get theirs.
        again_at = digests.fail(toolbox.database, run, str(error) or type(error).__name__)
        log.exception("report.failed", **who, again_at=again_at.isoformat() if again_at else None)
        return "failed"
    letters = digests.freeze(toolbox.database, run, content, picture)
    if letters is None:
        log.warning("report.lost", **who)
        return "failed"
    log.info("report.frozen", **who, letters=letters, seconds=round(time.monotonic() - began_at, 3))
    return "made"


def send_reports(toolbox: Toolbox) -> Mailed:
    """Mail what is due, until nothing is, the time is up, or the mail server is away."""
    stop_at = time.monotonic() + toolbox.reports_budget_seconds
    counts: Counter[str] = Counter()
    is_away = False
    while time.monotonic() < stop_at and not is_away and can_write():
        batch = mailings.claim(toolbox.database, limit=toolbox.deliver_batch_size, lease_seconds=toolbox.lease_seconds)
        if not batch:
            break
        while batch and not is_away and time.monotonic() < stop_at:
            outcome, is_away = _mail(toolbox, batch.pop(0))
            counts[outcome] += 1
        mailings.put_back(toolbox.database, batch)
    (log.info if counts else log.debug)("reports.mailed", **counts)
    return Mailed(**counts)


def _mail(toolbox: Toolbox, delivery: ReportDelivery) -> tuple[str, bool]:
    """Try one letter and record how it went; tells, too, whether the mail server is away."""
    found = _read(toolbox, delivery)
    if not isinstance(found, Occasion):
        return found, False

    def begin() -> bool:
        return mailings.begin(toolbox.database, delivery, lease_seconds=toolbox.lease_seconds)

    def send(before_data: Callable[[], None]) -> str:
        return toolbox.mailer.send(write(toolbox, found, delivery.key), before_data=before_data)

    outcome = attempt(send, begin)
    if outcome.is_bug:
        log.error("letter.broken", **_who(delivery), exc_info=outcome.error)
    match outcome.fate:
        case "sent":
            mailings.sent(toolbox.database, delivery, outcome.answer)
            log.info("letter.sent", **_who(delivery))
        case "lost":
            log.warning("letter.lost", **_who(delivery))
        case "postponed":
            return _postpone(toolbox, delivery, outcome), outcome.is_away
        case "uncertain":
            mailings.uncertain(toolbox.database, delivery, outcome.reason)
            log.error("letter.uncertain", **_who(delivery), error=outcome.reason)
        case "refused":
            nobody = _NOBODY_THERE.match(outcome.reason) is not None
            mailings.failed(toolbox.database, delivery, outcome.reason, suppress=nobody)
            log.error("letter.failed", **_who(delivery), error=outcome.reason, suppressed=nobody)
            return "failed", False
    return outcome.fate, False


def _read(toolbox: Toolbox, delivery: ReportDelivery) -> Occasion | str:
    """Return what the letter is written from; or, where none is, what became of it, which is on record then."""
    try:
        found = mailings.occasion(toolbox.database, delivery)
    except StorageError:
        raise
    except Exception as error:
        # What was frozen cannot be read: a mistake of ours, and out of the way of the letters behind it.
        log.exception("letter.broken", **_who(delivery))
        mailings.failed(toolbox.database, delivery, str(error) or type(error).__name__)
        return "failed"
    if isinstance(found, Skip):
        mailings.skip(toolbox.database, delivery, found.reason)
        log.info("letter.skipped", **_who(delivery), reason=found.reason)
        return "skipped"
    return found


def write(toolbox: Toolbox, occasion: Occasion, key: str) -> Letter:
    """Write a report to one person; `key` names them among those who get it."""
    from ticket_tasks.digest import letter  # noqa: PLC0415 - an extra

    run, reader, paper = occasion.run, occasion.reader, toolbox.stationery
    return letter.write(
        occasion.content,
        reader,
        paper,
        key=f"report/{run.organisation}/{run.kind}/{run.sent_on}/{key}",
        at=run.due_at,
        picture=occasion.picture,
        unsubscribe_url=paper.unsubscribe_url(reader.id, run.kind, run.due_at) if paper.unsubscribe_url else None,
    )


def _postpone(toolbox: Toolbox, delivery: ReportDelivery, outcome: Outcome) -> str:
    again_at = mailings.postpone(toolbox.database, delivery, outcome.reason, wait_seconds=outcome.wait_seconds)
    if again_at is False:
        log.warning("letter.lost", **_who(delivery), error=outcome.reason)
        return "lost"
    if again_at is None:
        log.error("letter.failed", **_who(delivery), error=outcome.reason, hint="it is too late for it now")
        return "failed"
    log.warning("letter.postponed", **_who(delivery), error=outcome.reason, again_at=again_at.isoformat())
    return "postponed"


def _who(delivery: ReportDelivery) -> dict[str, object]:
    # Ids, never addresses.
    return {"delivery_id": delivery.id, "run_id": delivery.run_id, "delivery_attempt": delivery.attempts}
