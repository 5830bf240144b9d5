"""Ask a broker whether it is there, within seconds and without a traceback."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from ticket_tasks import names
from ticket_tasks.answers import sent_at


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in one queue, and since when the oldest does; 0 where nothing waits, or it does not say."""

    name: str
    messages: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Glance:
    """What a broker holds: for each queue, and what workers took and have not finished."""

    queues: tuple[Queue, ...]
    unacked: int


def glance_at(url: str, *, now: float, timeout_seconds: float = 3.0) -> Glance:
    """Look at the queues and take nothing out; `now` in seconds since 1970. Raises RedisError or OSError."""
    with closing(_client(url, timeout_seconds)) as client, client.pipeline(transaction=False) as asked:
        queues = [queue.name for queue in names.QUEUES]
        for queue in queues:
            asked.llen(names.KEY_PREFIX + queue)
            # New ones come in on the left, so this is the one that waits longest.
            asked.lindex(names.KEY_PREFIX + queue, -1)
        asked.hlen(f"{names.KEY_PREFIX}unacked")
        *found, unacked = asked.execute()
    pairs = zip(queues, found[::2], found[1::2], strict=True)
    return Glance(tuple(Queue(name, count, _age(oldest, now)) for name, count, oldest in pairs), unacked)


def _age(message: bytes | None, now: float) -> float:
    """Return how long ago a message was sent; 0 where it does not say."""
    at = sent_at(message)
    return 0.0 if at is None else max(now - at, 0.0)


def _client(url: str, timeout_seconds: float) -> Redis:
    return Redis.from_url(
        url,
        socket_connect_timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def broker_problem(url: str, *, timeout_seconds: float = 3.0) -> str | None:
    """Return one line saying why the broker cannot be used, or None when it answers."""
    where = broker_name(url)
    try:
        with closing(_client(url, timeout_seconds)) as client:
            client.ping()
    except AuthenticationError:
        return f"the broker at {where} refuses this user or password"
    except RedisTimeout:
        return f"the broker at {where} does not answer within {timeout_seconds:g} s"
    except (RedisError, OSError, ValueError) as error:
        return f"the broker at {where} cannot be reached: {_reason(error)}"
    return None


def broker_name(url: str) -> str:
    """Return where a broker is, without its password."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{_port(url)}"


def _port(url: str) -> int | str:
    try:
        return urlsplit(url).port or 6379
    except ValueError:
        return "?"


def _reason(error: Exception) -> str:
    text = str(error).rstrip(".")
    return "nothing listens there" if "refused" in text else text
