"""One rate of calls for the whole fleet, counted in Redis; in this process alone while Redis is away."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import ceil

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter

log = structlog.stdlib.get_logger(__name__)

_LONGEST_WAIT_SECONDS = 30.0
_AWAY_SECONDS = 30.0


@dataclass(slots=True)
class Pace:
    """So many calls a second; each waits for its turn."""

    calls_per_second: float
    redis_url: str | None = field(default=None, repr=False)
    prefix: str = "tickets:"
    _shared: MovingWindowRateLimiter | None = field(default=None, init=False, repr=False)
    _own: MovingWindowRateLimiter | None = field(default=None, init=False, repr=False)
    _away_until: float = field(default=0.0, init=False, repr=False)

    def take_turn(self) -> None:
        """Wait until a call keeps within the rate; never longer than half a minute, for the other side says so too."""
        item = RateLimitItemPerSecond(ceil(self.calls_per_second), 1, namespace=f"{self.prefix}stripe")
        patience_ends = time.monotonic() + _LONGEST_WAIT_SECONDS
        while not self._hit(item) and time.monotonic() < patience_ends:
            time.sleep(0.5 / self.calls_per_second)

    def _hit(self, item: RateLimitItem) -> bool:
        if self.redis_url is not None and time.monotonic() >= self._away_until:
            try:
                self._shared = self._shared or _limiter(RedisStorage(self.redis_url, wrap_exceptions=True))
                return self._shared.hit(item)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, usage is reported
                log.warning("pace.alone", error=type(error).__name__, hint="is Redis away? every process counts alone")
                self._away_until = time.monotonic() + _AWAY_SECONDS
        self._own = self._own or _limiter(MemoryStorage())
        return self._own.hit(item)


def _limiter(storage: Storage) -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(storage)
