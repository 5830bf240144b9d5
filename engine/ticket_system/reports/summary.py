"""The report of the last days, as `generate_report` returns it: its shape and arithmetic. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ticket_system.tickets import PRIORITY_LABELS


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted over a period."""

    opened: Mapping[int, int]
    resolved: Mapping[int, int]
    resolution_seconds: float
    met: int
    breached: int
    active: Mapping[str | None, int]


def report(figures: Figures, *, days: int, now: datetime) -> dict[str, Any]:
    """Return the report of the last `days` days, ready for JSON."""
    resolved = sum(figures.resolved.values())
    decided = figures.met + figures.breached
    active: Counter[str] = Counter()
    for name, number in figures.active.items():
        active[name or "unassigned"] += number  # somebody may be called that
    return {
        "report_days": days,
        "generated_at": now.isoformat(),
        "total_opened": sum(figures.opened.values()),
        "total_resolved": resolved,
        "avg_resolution_hours": round(figures.resolution_seconds / resolved / 3600, 1) if resolved else None,
        # Breached tickets over tickets decided in the period (rule 24); nothing decided is nothing breached.
        "sla_breach_rate_pct": round(100 * figures.breached / decided, 1) if decided else 0.0,
        "by_priority": {
            label: {"opened": figures.opened.get(priority, 0), "resolved": figures.resolved.get(priority, 0)}
            for priority, label in PRIORITY_LABELS.items()
        },
        "open_by_assignee": dict(sorted(active.items(), key=lambda item: (-item[1], item[0]))),
        "currently_open": sum(figures.active.values()),
    }
