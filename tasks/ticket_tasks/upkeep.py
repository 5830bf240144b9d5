"""Look after what is stored: whether it still is what its history makes of it, and what of it may go."""

from __future__ import annotations

import structlog

from ticket_system import retention
from ticket_system.audit import AuditReport
from ticket_system.audit import audit_clocks as audit
from ticket_system.retention import Pruned
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)


def audit_clocks(toolbox: Toolbox) -> AuditReport:
    """Compare the clocks of what changed, and of a sample of the rest, with their history; a difference is an error."""
    report = audit(
        toolbox.database,
        policy=toolbox.system.policy,
        sample=toolbox.audit_sample,
        batch_size=toolbox.audit_batch_size,
        budget_seconds=toolbox.audit_budget_seconds,
    )
    for one in report.differences:
        # What is a state, an instant or a length: no text that somebody wrote.
        log.error(
            "clock.differs",
            ticket_id=one.ticket_id,
            target=one.target,
            cycle=one.cycle,
            field=one.field,
            stored=one.stored,
            computed=one.computed,
        )
    log.info(
        "clocks.audited",
        checked=report.checked,
        clocks=report.clocks,
        differences=report.found,
        drained=report.drained,
        seconds=round(report.seconds, 3),
    )
    return report


def prune(toolbox: Toolbox) -> Pruned:
    """Forget what is older than it is kept, until nothing is or the time is up."""
    pruned = retention.prune(
        toolbox.database,
        toolbox.keep,
        batch_size=toolbox.prune_batch_size,
        budget_seconds=toolbox.prune_budget_seconds,
    )
    gone = {name.replace(" ", "_").lower(): number for name, number in pruned.gone.items()}
    tell = log.info if pruned.found else log.debug
    tell("records.pruned", **gone, drained=pruned.drained, seconds=round(pruned.seconds, 3))
    return pruned
