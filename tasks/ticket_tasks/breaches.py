"""Find the clocks that ran out, and act on what was found."""

from __future__ import annotations

import structlog

from ticket_system import monitor
from ticket_system.monitor import Sweep
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)


def scan_breaches(toolbox: Toolbox) -> Sweep:
    """Record every breach that is due by now; says nothing when there was none."""
    sweep = monitor.scan_breaches(
        toolbox.database, batch_size=toolbox.scan_batch_size, budget_seconds=toolbox.scan_budget_seconds
    )
    _tell("breaches.scanned", sweep)
    return sweep


def escalate(toolbox: Toolbox) -> Sweep:
    """Take the first escalation step on every breach that has not had it."""
    sweep = monitor.escalate(
        toolbox.database, batch_size=toolbox.escalate_batch_size, budget_seconds=toolbox.scan_budget_seconds
    )
    _tell("breaches.escalated", sweep)
    return sweep


def _tell(event: str, sweep: Sweep) -> None:
    # A tick a second that found nothing is worth a line only to somebody who is looking for it.
    tell = log.info if sweep.found else log.debug
    tell(
        event,
        found=sweep.found,
        batches=sweep.batches,
        slowest_seconds=round(sweep.slowest_seconds, 4),
        drained=sweep.drained,
    )
