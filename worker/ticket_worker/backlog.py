"""Queues that nobody works on: ticks are not piled up in them."""

from __future__ import annotations

from typing import Any

import structlog
from kombu.exceptions import OperationalError

log = structlog.stdlib.get_logger(__name__)

#: So many messages wait only where nobody takes them, or where there is more to do than ticks could add to. Ticks
#: expire, but each is still looked at before the first fresh one: a day of them costs minutes, and memory until then.
UNREAD = 500


class Backlog:
    """Tells whether a queue is to get more ticks; says once when it begins and when it ends."""

    def __init__(self) -> None:
        self._full: set[str] = set()

    def is_full(self, producer: Any, queue: str) -> bool:
        """Ask the broker how many messages wait in a queue."""
        is_full = _length(producer, queue) >= UNREAD
        if is_full is not (queue in self._full):
            if is_full:
                self._full.add(queue)
                log.warning("ticks.withheld", queue=queue, hint="nobody works on it, or more waits than can be done")
            else:
                self._full.discard(queue)
                log.info("ticks.sent_again", queue=queue)
        return is_full


def _length(producer: Any, queue: str) -> int:
    try:
        return int(producer.channel.client.llen(queue))
    except (AttributeError, OperationalError, *producer.connection.connection_errors):
        # Not that kind of broker, or it is away: sending will tell.
        return 0
