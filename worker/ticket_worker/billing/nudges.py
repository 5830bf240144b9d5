"""Ask the fleet to look at new events now, and not at its next tick."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from ticket_tasks import names, registry
from ticket_tasks.client import TicketClient
from ticket_worker.settings import Settings

log = structlog.stdlib.get_logger(__name__)


class Nudges:
    """Sends nudges, one at a time: those asked for meanwhile become one. A lost one costs latency, nothing else."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._wanted = threading.Event()
        self._turn = threading.Lock()

    def __call__(self) -> None:
        """Send one, unless somebody here is at it, who then sends another. Raises nothing."""
        self._wanted.set()
        while self._wanted.is_set() and self._turn.acquire(blocking=False):
            try:
                self._wanted.clear()
                self._send()
            except Exception as error:  # noqa: BLE001 - whatever it is, the event is stored, and the next tick finds it
                log.warning("nudge.lost", job=names.SYNC_SUBSCRIPTIONS, error=str(error) or type(error).__name__)
            finally:
                self._turn.release()


class FleetNudge:
    """Sends the tick itself; connects when it is first called."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: TicketClient | None = None

    def __call__(self) -> None:
        """Send the tick. Raises SettingsError without a broker, BrokerUnreachable when it does not answer."""
        if self._client is None:
            self._client = TicketClient(self._settings.broker)
        job = registry.BY_NAME[names.SYNC_SUBSCRIPTIONS]
        self._client.tick(job.name, job.queue, expires_seconds=registry.TICK_EXPIRES_SECONDS)

    def close(self) -> None:
        """Give back the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None
