"""Beat's scheduler: keeps nothing on disk, and says in one line when the broker is away."""

from __future__ import annotations

from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from kombu.exceptions import OperationalError
from typing_extensions import override

log = structlog.stdlib.get_logger(__name__)


#: Ticks wait in a queue by the hundred only where nobody works on it. They expire, but each is still looked at before
#: the first fresh one: a day's worth takes minutes, and in the meantime fills the broker.
_UNREAD = 500


class Ticker(Scheduler):
    """Sends the ticks. A tick that cannot be sent is lost, which costs latency and nothing else."""

    _cut_off = False

    def __init__(self, *args: Any, **named: Any) -> None:
        #: Queues that get no ticks, because nobody takes them.
        self._withheld: set[str] = set()
        super().__init__(*args, **named)

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

    @override
    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send a tick, unless its queue is full of messages that nobody takes."""
        queue = str((entry.options or {}).get("queue", ""))
        is_unread = queue_length(producer, queue) >= _UNREAD
        if is_unread is not (queue in self._withheld):
            tell = log.warning if is_unread else log.info
            tell("ticks.withheld" if is_unread else "ticks.sent_again", queue=queue)
            (self._withheld.add if is_unread else self._withheld.discard)(queue)
        return None if is_unread else super().apply_async(entry, producer, advance, **kwargs)


def queue_length(producer: Any, queue: str) -> int:
    """Return how many messages wait in a queue; 0 where the broker does not say."""
    try:
        return int(producer.channel.client.llen(queue))
    except (AttributeError, OperationalError, *producer.connection.connection_errors):
        return 0
