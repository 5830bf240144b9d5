"""A guard against a fault of Celery 5.7.0: a broker that goes away for a moment ends the worker.

After a lost connection 5.7.0 closes it a second time (`Consumer.on_connection_error_after_connected`). A channel that
still holds unacknowledged messages then asks a connection that is gone for its host, and so does each late
acknowledgement that follows: an AttributeError, which nobody takes for a lost connection, and the worker ends with
"Unrecoverable error". Earlier versions are not affected. Nothing is lost by the guard: what could not be given back or
acknowledged lies in the broker until the visibility timeout and runs once more, which every job here can bear.

To be removed with the first Celery that does without it; tests/worker/test_guard.py fails on it, and says so.
"""

from __future__ import annotations

from typing import Any

import celery
from kombu.transport.redis import Channel
from redis.exceptions import ConnectionError as ConnectionLost

AFFECTED = {"5.7.0"}


def guard_channels(channel_class: type[Any] = Channel, *, version: str = celery.__version__) -> bool:
    """Have a channel without a connection say so; returns whether this Celery needs it. A second time is fine."""
    if version not in AFFECTED:
        return False
    original = channel_class._connparams  # noqa: SLF001 - there is no public place between the two faults
    if hasattr(original, "unguarded"):
        return True

    def connparams(self: Any, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's own signature
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection to the broker was closed")
        return original(self, asynchronous=asynchronous)

    connparams.unguarded = original  # type: ignore[attr-defined] # for a second call, and for whoever compares
    channel_class._connparams = connparams  # noqa: SLF001 - as above
    return True
