"""Whose turn it is: a tick that came twice is done once."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from celery.utils.dispatch import Signal

from ticket_system import runs
from ticket_system.errors import StorageUnavailable
from ticket_system.storage.database import Database
from ticket_tasks.names import SLOT_HEADER

log = structlog.stdlib.get_logger(__name__)

#: Sent with `job` and `outcome`: taken, passed (somebody else has it) or failed. For whoever counts.
slot_settled: Final = Signal(name="slot_settled", providing_args=["job", "outcome"])
TAKEN, PASSED, FAILED = "taken", "passed", "failed"


def in_turn(
    job: str,
    slot: datetime | None,
    database: Database,
    run: Callable[[], Any],
    *,
    lease: timedelta,
    again_after: timedelta,
) -> Any:
    """Return what a run comes to; None where somebody else took this tick. Without a slot it runs in any case.

    Raises what the run raises, and StorageUnavailable where nobody can say whose turn it is.
    """
    if slot is None:
        return run()
    # Of this run, not of its message: a message that comes back after a kill must not pass for the one before.
    by = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    if not runs.claim(database, job, slot, by=by, lease=lease, again_after=again_after):
        log.debug("tick.passed", slot=slot.isoformat())
        slot_settled.send(sender=None, job=job, outcome=PASSED)
        return None
    log.debug("tick.taken", slot=slot.isoformat())
    slot_settled.send(sender=None, job=job, outcome=TAKEN)
    try:
        outcome = run()
    except Exception as error:
        slot_settled.send(sender=None, job=job, outcome=FAILED)
        # Of an error that is not ours the text may hold what a customer wrote; the log has the rest.
        told = str(error) if isinstance(error, StorageUnavailable) else type(error).__name__
        _settle(job, slot, lambda: runs.failed(database, job, slot, by=by, error=told))
        raise
    found = getattr(outcome, "found", None)
    _settle(job, slot, lambda: runs.done(database, job, slot, by=by, found=None if found is None else bool(found)))
    return outcome


def slot_in(headers: object) -> datetime | None:
    """Read the slot that a message carries; None: it carries none, or none that can be read."""
    return _instant(headers.get(SLOT_HEADER)) if isinstance(headers, dict) else None


def life_of(slot: datetime | None, expires: object) -> timedelta:
    """Return how long after its slot a message of this tick may still be on its way: as long as beat let it live."""
    until = _instant(expires.isoformat() if isinstance(expires, datetime) else expires)
    return max(until - slot, timedelta()) if slot is not None and until is not None else timedelta()


def _instant(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return instant.astimezone(UTC) if instant is not None and instant.tzinfo is not None else None


def _settle(job: str, slot: datetime, settle: Callable[[], bool]) -> None:
    """Write down what became of it. What was done is done: that it cannot be written down changes nothing about it."""
    try:
        if not settle():
            log.warning("tick.overrun", job=job, slot=slot.isoformat(), hint="it took longer than its lease")
    except StorageUnavailable as error:
        log.warning("tick.unrecorded", job=job, slot=slot.isoformat(), error=str(error))
