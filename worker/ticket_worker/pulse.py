"""What a beat is doing just now, for whoever watches it."""

from __future__ import annotations

from collections import Counter

#: How often each job was ticked by this process.
ticks: Counter[str] = Counter()
_leads = False


def leading(leads: bool) -> None:  # noqa: FBT001 - the fact, and nothing beside it
    """Say whether this process is the one that ticks."""
    global _leads  # noqa: PLW0603 - there is one beat in a process
    _leads = leads


def is_leading() -> bool:
    """Return whether this process is the one that ticks."""
    return _leads


def ticked(job: str) -> None:
    """Say that a tick of this job was handed to the broker."""
    ticks[job] += 1
