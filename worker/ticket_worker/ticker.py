"""Beat's scheduler: keeps nothing on disk, and says in one line when the broker is away."""

from __future__ import annotations

from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from typing_extensions import override

log = structlog.stdlib.get_logger(__name__)


class Ticker(Scheduler):
    """Sends the ticks. A tick that cannot be sent is lost, which costs latency and nothing else."""

    _cut_off = False

    @override
    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            # Celery's own answer is a traceback and a stack for every tick, one a second for as long as it lasts.
            if not self._cut_off:
                log.warning("tick.lost", tick=entry.name, error=str(error))
            self._cut_off = True
        else:
            if self._cut_off:
                log.info("tick.resumed", tick=entry.name)
            self._cut_off = False
