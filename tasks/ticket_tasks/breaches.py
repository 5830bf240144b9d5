"""Find the clocks that ran out, and raise the alarms that are due."""

from __future__ import annotations

import structlog

from ticket_system import monitor
from ticket_system.monitor import Sweep
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)


def scan_breaches(toolbox: Toolbox) -> Sweep:
    """Record every breach and raise every alarm that is due by now; says nothing when there was none."""
    sweep = monitor.scan_breaches(
        toolbox.database,
        batch_size=toolbox.scan_batch_size,
        budget_seconds=toolbox.scan_budget_seconds,
        policy=toolbox.system.policy,
    )
    # A tick a second that found nothing is worth a line only to somebody who is looking for it.
    tell = log.info if sweep.found else log.debug
    tell(
        "breaches.scanned",
        found=sweep.found,
        breaches=sweep.breaches,
        alarms=sweep.alarms,
        batches=sweep.batches,
        slowest_seconds=round(sweep.slowest_seconds, 4),
        drained=sweep.drained,
    )
    return sweep
