"""Beat's scheduler: of any number of beats one ticks, and keeps nothing on disk.

Which one, a lock in the database decides. A beat that is killed, or cut off from the database, loses it at once. One
that only hangs is put out by another that does not; should it wake up, it finds its connection closed before it sends
anything. That two of them tick for a moment can never be excluded, and does no harm: workers take each tick once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from kombu.exceptions import OperationalError
from typing_extensions import override

from ticket_system.storage.session_lock import SessionLock
from ticket_tasks.names import SLOT_HEADER
from ticket_worker import pulse
from ticket_worker.schedules import interval_of, seconds_to_next, slot_at

log = structlog.stdlib.get_logger(__name__)

#: A leader that cannot send for so long makes room for another that can.
_CUT_OFF_SECONDS = 5.0
#: What the server needs to end a connection.
_AT_ONCE_SECONDS = 0.05
#: Ticks wait in a queue by the hundred only where nobody works on it. They expire, but each is still looked at before
#: the first fresh one: a day's worth takes minutes, and in the meantime fills the broker.
_UNREAD = 500


def with_slot(entry: ScheduleEntry, slot: datetime) -> ScheduleEntry:
    """Return the entry with the slot in its message's headers."""
    options = entry.options or {}
    headers = {**options.get("headers", {}), SLOT_HEADER: slot.isoformat()}
    # As Celery itself makes a new entry of an old one; its entries are not all made to be copied.
    parts: dict[str, Any] = {**vars(entry), "options": {**options, "headers": headers}}
    return type(entry)(**parts)


class Ticker(Scheduler):
    """Sends the ticks. A tick that cannot be sent is lost, which costs latency and nothing else."""

    #: Also how often a beat that stands by looks whether it is needed, in seconds.
    max_interval = 1

    def __init__(
        self,
        *args: Any,
        lock: SessionLock | None = None,
        reaches_broker: Callable[[], bool] = lambda: True,
        **named: Any,
    ) -> None:
        self._lock, self._reaches_broker = lock, reaches_broker
        #: The last slot of each entry that was sent. Compared, not measured from: a clock may be set back.
        self._sent: dict[str, datetime] = {}
        self._is_leading = False
        self._said: str | None = None
        self._cut_off_since: float | None = None
        self._rest: float = self.max_interval
        #: Queues that get no ticks, because nobody takes them.
        self._withheld: set[str] = set()
        super().__init__(*args, **named)

    @override
    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due; return how long nothing will be. Whoever begins to tick sends the newest slot of each."""
        if not self._leads():
            return self._rest
        due = [(entry, slot) for entry in self.schedule.values() if (slot := self._slot_of(entry)) is not None]
        # The scan first: a broker that hangs keeps whatever comes after.
        for entry, slot in sorted(due, key=lambda one: interval_of(one[0])):
            self._sent[str(entry.name)] = slot
            self.apply_entry(with_slot(entry, slot), producer=self.producer)
        if due:
            # It may have taken long, and the lock is looked at again before more is sent.
            return 0
        now = datetime.now(UTC)
        waits = (seconds_to_next(now, interval_of(entry)) for entry in self.schedule.values())
        return min(self.max_interval, *waits)

    @override
    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            # Celery's own answer is a traceback and a stack for every tick, one a second for as long as it lasts.
            if self._cut_off_since is None:
                log.warning("tick.lost", tick=entry.name, error=str(error))
                self._cut_off_since = time.monotonic()
        else:
            if self._cut_off_since is not None:
                log.info("tick.resumed", tick=entry.name)
            self._cut_off_since = None
            pulse.ticked(str(entry.name))

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

    @override
    def close(self) -> None:
        """Let the next one tick."""
        self._lead(leads=False)
        if self._lock is not None:
            self._lock.release()
        super().close()

    def _slot_of(self, entry: ScheduleEntry) -> datetime | None:
        slot = slot_at(datetime.now(UTC), interval_of(entry))
        return slot if slot != self._sent.get(str(entry.name)) else None

    def _leads(self) -> bool:
        if self._lock is None:
            self._lead(leads=True)
            return True
        if self._is_leading and not self._lock.keep(fit=self._is_fit()):
            self._say("beat.lost", error=self._lock.error)
            self._lead(leads=False)
            # Whoever was put out must not be the first who comes for what he lost.
            return False
        leads = self._is_leading or self._lock.take()
        self._lead(leads=leads)
        if not leads:
            self._stand_by(self._lock)
        return leads

    def _stand_by(self, lock: SessionLock) -> None:
        self._rest, error = self.max_interval, lock.error
        if error is not None:
            self._say("beat.lost", error=error)
            return
        self._say("beat.standing_by")
        # Whoever cannot reach the broker either is no improvement.
        if lock.is_stuck() and self._reaches_broker():
            if lock.evict():
                self._rest = _AT_ONCE_SECONDS
                log.warning(
                    "beat.evicted", hint="the beat that led gave no sign of life, or could not reach the broker"
                )
            elif lock.error is not None:
                log.error("beat.not_evicted", error=lock.error, hint="all beats are to log in as the same user")

    def _is_fit(self) -> bool:
        return self._cut_off_since is None or time.monotonic() - self._cut_off_since < _CUT_OFF_SECONDS

    def _lead(self, *, leads: bool) -> None:
        if leads and not self._is_leading:
            self._sent.clear()
            self._cut_off_since, self._rest = None, self.max_interval
            self._say("beat.leading")
        self._is_leading = leads
        pulse.leading(leads)

    def _say(self, event: str, *, error: str | None = None) -> None:
        """Say it once, however long it stays so."""
        if event == self._said:
            return
        self._said = event
        if error is None:
            log.info(event)
        else:
            log.warning(event, error=error)


def queue_length(producer: Any, queue: str) -> int:
    """Return how many messages wait in a queue; 0 where the broker does not say."""
    try:
        return int(producer.channel.client.llen(queue))
    except (AttributeError, OperationalError, *producer.connection.connection_errors):
        return 0
