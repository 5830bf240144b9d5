"""The other way to run several beats: RedBeat's lock in Redis, with our slots. Needs the extra `redbeat`.

For fleets that have it already. A Redis that is away for a moment ends every beat of this kind, with exit status 1: it
wants a supervisor that starts it again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import schedstate, schedule
from redbeat.schedulers import RedBeatScheduler, RedBeatSchedulerEntry
from typing_extensions import override

from ticket_worker import pulse
from ticket_worker.schedules import interval_of, seconds_to_next, slot_at
from ticket_worker.ticker import with_slot


class Aligned(schedule):
    """Due once in every slot, whenever it was last done."""

    run_every: timedelta

    @override
    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        following = slot_at(self.maybe_make_aware(last_run_at), self.run_every) + self.run_every
        return following - datetime.now(UTC)

    @override
    def is_due(self, last_run_at: datetime) -> schedstate:
        now = datetime.now(UTC)
        is_new = slot_at(now, self.run_every) != slot_at(self.maybe_make_aware(last_run_at), self.run_every)
        return schedstate(is_due=is_new, next=seconds_to_next(now, self.run_every))


class Entry(RedBeatSchedulerEntry):
    """What RedBeat keeps of an entry, with a schedule of ours: it would make one of Celery's of what it reads."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)  # type: ignore[no-untyped-call] # no annotations there
        self.schedule = Aligned(interval_of(self), app=self.app)


class RedBeatTicker(RedBeatScheduler):
    """Sends the ticks while it holds RedBeat's lock."""

    Entry = Entry

    @override
    def tick(self, *args: Any, **named: Any) -> float:
        pulse.leading(leads=True)
        return float(super().tick(*args, **named))  # type: ignore[no-untyped-call] # likewise

    @override
    def apply_async(self, entry: ScheduleEntry, *args: Any, **named: Any) -> Any:
        slot = slot_at(datetime.now(UTC), interval_of(entry))
        sent = super().apply_async(with_slot(entry, slot), *args, **named)
        pulse.ticked(str(entry.name))
        return sent
