"""When a tick is due: at the multiples of its interval since 1970, whoever ticks and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def interval_of(entry: ScheduleEntry) -> timedelta:
    """Return how far apart the ticks of an entry are; every job of ours has an interval, and no other schedule."""
    schedule: Any = entry.schedule
    interval: timedelta = schedule.run_every
    return interval


def slot_at(now: datetime, every: timedelta) -> datetime:
    """Return the newest slot that is due by now. All beats come to the same one, and none keeps anything on disk."""
    every = max(every, timedelta.resolution)
    return _EPOCH + (now - _EPOCH) // every * every


def seconds_to_next(now: datetime, every: timedelta) -> float:
    """Return how long it is until the slot after that; never 0."""
    return (slot_at(now, every) + max(every, timedelta.resolution) - now).total_seconds()
