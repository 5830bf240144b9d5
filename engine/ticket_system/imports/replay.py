"""What happened elsewhere, in moves that the status flow has."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from functools import cache

from ticket_system.changes import Changes
from ticket_system.tickets import STATUS_FLOW


@cache
def route(old: str, new: str) -> tuple[str, ...] | None:
    """Return the shortest way from one status to another, without the first; None when there is none.

    Other systems jump: New → Resolved is open → in_progress → resolved, all at the same moment.
    """
    ways: deque[tuple[str, ...]] = deque([()])
    seen = {old}
    while ways:
        way = ways.popleft()
        here = way[-1] if way else old
        if here == new:
            return way
        for following in STATUS_FLOW[here]:
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return None


def move(changes: Changes, ticket_id: str, old: str, new: str, *, now: datetime, actor: str = "system") -> int:
    """Take a ticket all the way from one status to another; returns the number of moves."""
    way = route(old, new) or ()
    for status in way:
        changes.set_status(ticket_id, status, actor=actor, now=now)
    return len(way)
