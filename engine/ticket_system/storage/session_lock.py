"""One holder at a time, over all machines: a PostgreSQL session advisory lock on a connection of its own.

The lock lasts as long as the connection: whoever is killed, or loses it, holds nothing any more. It has to be a direct
one: behind a pooler that hands out connections for one transaction each, nobody's lock is his own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg

from ticket_system.storage.database import url_of
from ticket_system.storage.postgresql import LINE, PatientConnection

#: Any two numbers, the same for every beat.
_KEY = "7120245, 6"
_MINE = "locktype = 'advisory' AND classid = 7120245 AND objid = 6 AND objsubid = 2 AND granted"
#: What administrators see in the list of connections.
_LEADS, _STANDS_BY, _CUT_OFF = "ticket_beat leads", "ticket_beat stands by", "ticket_beat cut off"
#: A holder says every second that it lives. One that has said nothing for so long is stopped, or hangs.
_SILENCE_SECONDS = 5

# A host that went away without a goodbye is noticed within seconds: by the one who is left, and by the server, which
# would keep the lock for it.
_PATIENCE = {**LINE, "connect_timeout": 3, "tcp_user_timeout": 5000}
_SERVERS_PATIENCE = """
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 8000; SET statement_timeout = '5s'
"""
#: What answers at this level but not at ours, a proxy that hangs, would be waited for without end.
_LONGEST_ANSWER_SECONDS = 6.0
_SIGN = "SELECT set_config('application_name', %s, false)"
_KEEP = f"{_SIGN}, EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND {_MINE})"
_TAKE = f"SELECT pg_try_advisory_lock({_KEY})"
_STUCK = f"""
    FROM pg_locks JOIN pg_stat_activity AS holder USING (pid)
    WHERE {_MINE} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (clock_timestamp() - holder.query_start > interval '{_SILENCE_SECONDS} s' OR application_name = '{_CUT_OFF}')
"""  # noqa: S608 - constants
_IS_STUCK = f"SELECT EXISTS (SELECT {_STUCK})"
_EVICT = f"SELECT pg_terminate_backend(pid) {_STUCK}"


class _Impatient(PatientConnection):
    """A connection on which no answer is waited for long."""

    longest_wait_seconds = _LONGEST_ANSWER_SECONDS


class SessionLock:
    """A lock that lasts as long as its connection. No method raises when the database is away: see `error`."""

    def __init__(self, url: str | Path) -> None:
        self._url = url_of(url)
        self._connection: _Impatient | None = None
        #: Why the database, or the lock, could not be reached the last time; None: it could.
        self.error: str | None = None

    def take(self) -> bool:
        """Try to take the lock, and return at once."""
        return self._ask(_TAKE)

    def keep(self, *, fit: bool = True) -> bool:
        """Show a sign of life; False: the lock is lost. Whoever is not `fit` keeps it until a fitter one comes."""
        kept = self._ask(_KEEP, _LEADS if fit else _CUT_OFF)
        if not kept and self.error is None:
            self.error = "the lock went away while its connection stayed: is this a pooled connection?"
            self.release()
        return kept

    def is_stuck(self) -> bool:
        """Whether the holder of the lock has shown no sign of life for some seconds, or is not fit."""
        return self._ask(_IS_STUCK)

    def evict(self) -> bool:
        """End the connection of a holder that is stuck, and its hold with it; False: it has come back to life."""
        return self._ask(_EVICT)

    def release(self) -> None:
        """Give the lock and the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.close()

    def _ask(self, question: str, *about: str) -> bool:
        """Return the last value of the answer as yes or no; no answer, and no row, is no."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            row = self._connection.execute(question.encode(), about or None).fetchone()
        except (psycopg.Error, OSError) as error:
            self.error = (str(error).strip() or type(error).__name__).splitlines()[0]
            if self._connection is not None and not isinstance(error, psycopg.errors.InsufficientPrivilege):
                self.release()
            return False
        self.error = None
        return bool(row and row[-1])

    def _connect(self) -> _Impatient:
        words, named = self._url.get_dialect()().create_connect_args(self._url)
        connection = _Impatient.connect(*words, **{**_PATIENCE, **named, "autocommit": True})
        try:
            connection.execute(_SERVERS_PATIENCE.encode())
            connection.execute(_SIGN.encode(), [_STANDS_BY])
        except BaseException:
            connection.close()
            raise
        return connection
