"""What a client has sent and nobody has confirmed yet: kept in memory, or in a small file that outlives the process."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ticket_tasks.errors import JournalError

#: Older ones are not sent again by themselves: the fleet remembers a key for 30 days, and a doubt is for a person.
LONGEST_REPEAT_SECONDS = 14 * 86_400
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3600.0

_TABLE = """
CREATE TABLE IF NOT EXISTS sent (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    kept_at REAL NOT NULL,
    sent_at REAL,
    times INTEGER NOT NULL
)
"""


class Kept(NamedTuple):
    """One message that was not confirmed yet."""

    key: str
    #: Its name on the wire, and its payload as JSON.
    name: str
    payload: str
    #: When it was handed over, when it was last sent (None: it did not get out), in seconds since 1970; and how often.
    kept_at: float
    sent_at: float | None
    times: int

    @property
    def is_stale(self) -> bool:
        """Whether it is too old to be sent again by itself."""
        return time.time() - self.kept_at > LONGEST_REPEAT_SECONDS

    def is_to_be_sent(self, queued_since: float | None) -> bool:
        """Whether it is time to send it again; `queued_since`: the oldest message that still waits was sent then.

        What was sent later than that may wait itself. The pauses grow: what is held by a worker that cannot finish it
        waits in no queue.
        """
        if self.is_stale:
            return False
        if self.sent_at is None:
            return True
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** max(self.times - 1, 0), _LONGEST_PAUSE_SECONDS)
        return time.time() - self.sent_at >= pause and (queued_since is None or self.sent_at < queued_since)


class Journal:
    """Keeps messages until they are confirmed. Safe to share between threads, and a file between processes.

    Every method raises JournalError where the file cannot be used: its disk is full, it is no journal, or not ours.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._turn = threading.Lock()
        self._where = str(path or "memory")
        with self._translated():
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=30, check_same_thread=False, isolation_level=None
            )
            if path is not None:
                # What customers wrote stands in it.
                path.chmod(0o600)
            # Written through before anything is sent: a machine that fails loses nothing that was handed over.
            self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
            self._connection.execute(_TABLE)

    def keep(self, key: str, name: str, payload: str) -> None:
        """Write a message down that is about to be sent; one whose key is here already stays as it is."""
        now = time.time()
        row = (key, name, payload, now, now)
        self._do("INSERT INTO sent VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (key) DO NOTHING", row)

    def failed(self, key: str) -> None:
        """Say that the broker did not take it: it is to be sent as soon as it does."""
        self._do("UPDATE sent SET sent_at = NULL WHERE key = ?", (key,))

    def sent(self, key: str) -> None:
        """Say that the broker took it once more."""
        self._do("UPDATE sent SET sent_at = ?, times = times + 1 WHERE key = ?", (time.time(), key))

    def confirmed(self, *keys: str) -> None:
        """Forget messages that were done."""
        with self._turn, self._translated():
            self._connection.executemany("DELETE FROM sent WHERE key = ?", [(key,) for key in keys])

    def waiting(self, limit: int = 1000, *, after: str = "") -> list[Kept]:
        """Return messages that were not confirmed, by key, those behind one of them."""
        query = "SELECT key, name, payload, kept_at, sent_at, times FROM sent WHERE key > ? ORDER BY key LIMIT ?"
        return [Kept(*row) for row in self._do(query, (after, limit))]

    def all(self) -> Iterator[list[Kept]]:
        """Yield everything that was not confirmed, so many at once that it takes no memory to speak of."""
        after = ""
        while some := self.waiting(after=after):
            yield some
            after = some[-1].key

    def count(self) -> int:
        """Count the messages that were not confirmed."""
        [(number,)] = self._do("SELECT count(*) FROM sent", ())
        return int(number)

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._connection.close()

    def _do(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._turn, self._translated(), closing(self._connection.execute(statement, values)) as found:
            return found.fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the journal {self._where} cannot be used ({error}); nothing was sent") from error
