"""Ask a broker whether it is there, within seconds and without a traceback."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry


def broker_problem(url: str, *, timeout_seconds: float = 3.0) -> str | None:
    """Return one line saying why the broker cannot be used, or None when it answers."""
    where = broker_name(url)
    try:
        client = Redis.from_url(
            url,
            socket_connect_timeout=timeout_seconds,
            socket_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        with closing(client):
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
