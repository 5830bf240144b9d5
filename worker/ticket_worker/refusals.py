"""A broker that takes nothing for a while is away, as if nobody listened: its disk is full, its memory, or it loads.

It says so by an error answer to whatever it is asked. kombu takes that for a fault of whoever asks, and Celery ends the
worker with "Unrecoverable error", in the middle of its jobs. Taken for a lost connection, it is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport.redis import Channel
from redis import Connection, SSLConnection
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

#: The first word of such an answer; all of them pass without anybody asking for anything else.
PASSING = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"})


def wait_for_refusals(channel_class: type[Any] = Channel) -> None:
    """Have the channels of this process take a broker that refuses everything for one that is away."""
    channel_class.connection_class = _Patient
    channel_class.connection_class_ssl = _PatientSsl


class _Patient(Connection):
    """A connection that is lost when the broker refuses everything."""

    def read_response(self, *words: Any, **how: Any) -> Any:
        """Read an answer."""
        with _translated():
            return super().read_response(*words, **how)


class _PatientSsl(SSLConnection):
    """The same, encrypted."""

    def read_response(self, *words: Any, **how: Any) -> Any:
        """Read an answer."""
        with _translated():
            return super().read_response(*words, **how)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        # Of the answers that it knows, redis-py takes the first word off.
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if code in PASSING:
            raise ConnectionLost(f"the broker refuses everything: {error}") from error
        raise
