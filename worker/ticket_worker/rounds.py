"""The fleet's work without a broker: one process that scans and delivers in turn."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from ticket_system.errors import StorageUnavailable
from ticket_system.monitor import Sweep
from ticket_tasks import names
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.outbox import Delivery, deliver_outbox
from ticket_tasks.registry import JOBS
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)


#: What nobody waits for by the second, and how often it is done, in seconds, as in a fleet.
_NOW_AND_THEN: dict[Callable[[Toolbox], object], float] = {
    job.run: job.every
    for job in JOBS
    if job.queue in {names.INTAKE, names.MONEY, names.REPORTS} and job.every is not None
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one turn came to."""

    scan: Sweep
    deliver: Delivery

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)


def one_round(toolbox: Toolbox) -> Round:
    """Find what is late, raise the alarms that are due, deliver the notices."""
    return Round(scan_breaches(toolbox), deliver_outbox(toolbox))


def rounds(toolbox: Toolbox, interval_seconds: float) -> None:
    """Go round until SIGTERM or Ctrl-C; a database that is away is waited for."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    log.info("rounds.started", interval_seconds=interval_seconds)
    due = dict.fromkeys(_NOW_AND_THEN, 0.0)
    while not stop.is_set():
        try:
            one_round(toolbox)
            for job, every in _NOW_AND_THEN.items():
                if time.monotonic() >= due[job]:
                    due[job] = time.monotonic() + every
                    job(toolbox)
        except StorageUnavailable as error:
            log.warning("round.skipped", error=str(error))
        stop.wait(interval_seconds)
    log.info("rounds.stopped")
