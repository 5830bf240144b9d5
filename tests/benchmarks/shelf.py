"""The databases of one run, filled when somebody first asks for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import track

from tests.benchmarks import stock
from tests.support.postgres import create_database, mortal_postgres
from ticket_system.storage.database import Database

#: Tickets in one piece; between two of them the bar moves on.
_PIECE = 250_000
_TOLD = 1_000_000
#: What a database server of this size would be given. Both sides of every figure have the same.
SETTINGS = {
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB",
    # Compiling a plan pays for statements of minutes; ours would be slowed down by it, and their floors, too.
    "jit": "off",
}
#: SQLite is for one machine: nobody keeps ten millions there, and the run would take hours.
_MODERATE = 1_000_000


class Shelf:
    """Databases by dialect and by what they hold."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        self._folder, self._sizes = folder, sorted(sizes)
        self._stack = ExitStack()
        self._known: dict[tuple[str, str], Database] = {}

    @cached_property
    def server(self) -> str:
        """The URL of a PostgreSQL server of our own, started when it is needed."""
        return self._stack.enter_context(mortal_postgres(self._folder, **SETTINGS)).url

    def sizes(self, dialect: str) -> list[int]:
        """Return the numbers of tickets to measure with, ascending."""
        return [size for size in self._sizes if dialect == "postgresql" or size <= _MODERATE]

    def stored(self, dialect: str) -> dict[int, Database]:
        """Return a database of each size."""
        return {size: self._filled(dialect, size) for size in self.sizes(dialect)}

    def largest(self, dialect: str) -> Database:
        """Return the one that holds most."""
        return self._filled(dialect, self.sizes(dialect)[-1])

    def moderate(self, dialect: str) -> tuple[int, Database]:
        """Return one with no more than a million, and its size: for what writes a history to every ticket first."""
        size = max((one for one in self.sizes(dialect) if one <= _MODERATE), default=self.sizes(dialect)[0])
        return size, self._filled(dialect, size)

    def empty(self, dialect: str, name: str) -> Database:
        """Return a database of this name that holds nothing yet."""
        if (dialect, name) not in self._known:
            url = create_database(self.server, name) if dialect == "postgresql" else f"{self._folder}/{name}.db"
            database = self._known[dialect, name] = self._stack.enter_context(Database(url))
            database.upgrade()
        return self._known[dialect, name]

    def _filled(self, dialect: str, size: int) -> Database:
        name = f"stored_{size}"
        if (dialect, name) in self._known:
            return self._known[dialect, name]
        database, began, start = self.empty(dialect, name), time.monotonic(), datetime.now(UTC)
        print(f"  {dialect}: storing {size:,} tickets", file=sys.stderr)
        with stock.without_indexes(database):
            for first in track(
                range(1, size + 1, _PIECE), "  storing", console=Console(stderr=True), disable=size <= _PIECE
            ):
                stock.fill(database, first, last := min(first + _PIECE - 1, size), start)
                # Where nobody watches a bar, a log tells.
                if not sys.stderr.isatty() and last % _TOLD == 0:
                    print(f"  {dialect}: {last:,} after {time.monotonic() - began:,.0f} s", file=sys.stderr)
            print(f"  {dialect}: making its indexes", file=sys.stderr)
        stock.settle_down(database)
        print(f"  {dialect}: {size:,} tickets stored in {time.monotonic() - began:,.0f} s", file=sys.stderr)
        return database

    def __enter__(self) -> Self:
        """Be a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of all of them, and of the server."""
        self._stack.close()
