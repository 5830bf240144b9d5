"""Waivers: a breach that does not count, because somebody said so, and why (rule 9).

A waiver is a mark on a breach: the clock stays breached, with everything that is known of it; reports and bills leave
it out. Whoever grants or revokes one stands in the ticket's history. The caller owns the transaction.
"""

from __future__ import annotations

from datetime import datetime

from ticket_system.changes import Changes
from ticket_system.errors import NotBreached
from ticket_system.sla.clocks import RESOLUTION, Clock, unwaive, waive
from ticket_system.storage import clocks, events
from ticket_system.tickets import check_name, check_text


def grant(
    changes: Changes,
    ticket_id: str,
    reason: str,
    *,
    target: str = RESOLUTION,
    cycle: int | None = None,
    actor: str = "system",
    now: datetime | None = None,
) -> bool:
    """Waive the breach of a target, of its newest cycle unless another is named; False when there is no such ticket.

    NotBreached where there is no breach. A second time changes nothing.
    """
    return _change(changes, ticket_id, reason, target, cycle, actor, now, granted=True)


def revoke(
    changes: Changes,
    ticket_id: str,
    reason: str,
    *,
    target: str = RESOLUTION,
    cycle: int | None = None,
    actor: str = "system",
    now: datetime | None = None,
) -> bool:
    """Let a waived breach count again; False when there is no such ticket."""
    return _change(changes, ticket_id, reason, target, cycle, actor, now, granted=False)


def _change(
    changes: Changes,
    ticket_id: str,
    reason: str,
    target: str,
    cycle: int | None,
    actor: str,
    now: datetime | None,
    *,
    granted: bool,
) -> bool:
    check_name("author", actor)
    check_name("reason", check_text("reason", reason), limit=_LONGEST_REASON)
    ticket, now = changes.lock(ticket_id, now)
    if ticket is None:
        return False
    before = _breached(clocks.lock(changes.connection, ticket_id), ticket_id, target, cycle)
    after = waive(before, now) if granted else unwaive(before)
    if after != before:
        clocks.save(changes.connection, after)
        detail = events.detail(target=target, cycle=before.cycle)
        kind = "waived" if granted else "waiver_revoked"
        changes.note(ticket_id, now, kind, actor, new=target, note=reason, detail=detail)
    return True


def _breached(mine: list[Clock], ticket_id: str, target: str, cycle: int | None) -> Clock:
    found = [clock for clock in mine if clock.target == target and cycle in {None, clock.cycle}]
    if not found or found[-1].breached_at is None:
        raise NotBreached(ticket_id, target, cycle)
    return found[-1]


_LONGEST_REASON = 1000
