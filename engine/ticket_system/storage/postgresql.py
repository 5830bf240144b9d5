"""How a PostgreSQL server is spoken to: on a line on which nobody waits without end, and never out of step."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from typing_extensions import override

_Result = TypeVar("_Result")

#: An unreachable server is an error within seconds, and one that vanished without a goodbye within fifteen.
LINE = {
    "connect_timeout": 5,
    "application_name": "ticket_system",
    # Where nothing is on its way, the line is tried; where something is, this long without a sign of life ends it.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: Time for the server to say by itself that a statement took too long.
MARGIN_SECONDS = 5.0


def connect(url: sa.URL, pool_size: int, statement_seconds: float | None) -> sa.Engine:
    """Return an engine; without `statement_seconds`, whoever asks waits for as long as the server takes."""
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=5,
        # A connection that died in the pool is replaced, not handed out.
        pool_pre_ping=True,
        connect_args=LINE,
    )

    @event.listens_for(engine, "do_connect")
    def connecting(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        connection = PatientConnection.connect(*arguments, **options)
        if statement_seconds is not None:
            connection.longest_wait_seconds = statement_seconds + MARGIN_SECONDS
        return connection

    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _record: object) -> None:
        # In the server's own zone, the first or the last day that we can store may be one that Python cannot hold.
        settings = ["SET TIME ZONE 'UTC'"]
        if statement_seconds is not None:
            settings += _limits(statement_seconds)
        dbapi_connection.autocommit = True
        # All in one round trip; as options of the connection, a pooler between would refuse them.
        dbapi_connection.execute("; ".join(settings))
        dbapi_connection.autocommit = False

    return engine


def _limits(statement_seconds: float) -> list[str]:
    """Return what keeps one program from holding up all others."""
    longest = int(statement_seconds * 1000)
    return [
        f"SET statement_timeout = {longest}",
        # Sooner than the statement as a whole, so that the error says which of the two it was.
        f"SET lock_timeout = {longest // 2}",
        # A program that was stopped in the middle of a transaction keeps its rows locked against all others.
        f"SET idle_in_transaction_session_timeout = {2 * longest}",
    ]


class PatientConnection(psycopg.Connection[Any]):
    """Gives a server up that does not answer: it may be frozen, or whatever lies between may be.

    The server's own limit on a statement says nothing then, and a line that something still holds open looks alive.
    """

    longest_wait_seconds: float | None = None

    @override
    def wait(self, gen: Generator[Any, Any, _Result], *args: Any, **kwargs: Any) -> _Result:
        if self.longest_wait_seconds is not None:
            gen = _bounded(gen, self.longest_wait_seconds)
        try:
            return super().wait(gen, *args, **kwargs)
        except BaseException as error:
            # psycopg itself sees to what the server says, and to a Ctrl-C. Where we gave up, or a job's time limit cut
            # in, the answer may still be on its way: whoever used the line next would take it for theirs.
            if isinstance(error, NoAnswer) or not isinstance(error, psycopg.Error | KeyboardInterrupt):
                self.close()
            raise

    @override
    def rollback(self) -> None:
        """Undo the transaction; on a line that was given up the server does so by itself, and nothing hides why."""
        if not self.closed:
            super().rollback()


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


def _bounded(steps: Generator[Any, Any, _Result], seconds: float) -> Generator[Any, Any, _Result]:
    """Go through the steps of a query; psycopg comes by ten times a second, with nothing where nothing has come."""
    stop_at = time.monotonic() + seconds
    ready: Any = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as finished:
            result: _Result = finished.value
            return result
        ready = yield wanted
        if not ready and time.monotonic() > stop_at:
            raise NoAnswer(f"timeout: no answer within {seconds:g} s")
