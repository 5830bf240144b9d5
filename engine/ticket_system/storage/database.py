"""One database: how it is opened, what a transaction is, and where SQLite and PostgreSQL differ."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import StaticPool

from ticket_system.errors import DamagedFile, StorageUnavailable
from ticket_system.storage import schema
from ticket_system.storage.horizon import Horizon
from ticket_system.storage.moments import moment

if TYPE_CHECKING:
    from ticket_system.storage.legacy_upgrade import Conversion

#: How long a SQLite writer waits for another process's transaction, in seconds.
_PATIENCE = 30


def url_of(path_or_url: str | Path) -> sa.URL:
    """Read a file path, `":memory:"` or a SQLAlchemy URL as a URL; PostgreSQL always means psycopg 3."""
    text = str(path_or_url)
    if "://" not in text:
        return sa.URL.create("sqlite", database=text)
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        # Without the cause: where a password was not quoted, it is what was taken for a port.
        raise StorageUnavailable("the database URL cannot be read; expected scheme://user:password@host/name") from None
    if "@" in (url.host or ""):
        raise StorageUnavailable("the database URL cannot be read; write an @ in its password as %40")
    if url.drivername in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in {"postgresql", "sqlite"}:
        raise StorageUnavailable(f"{url.drivername} is not supported; use postgresql+psycopg:// or sqlite:///")
    return url


class Database:
    """Hands out transactions. Safe to use from several threads; to be made anew after a fork.

    `read()` and `write()` are one transaction each: committed at the end, rolled back as a whole when anything
    is raised. Trouble with the database itself comes out as StorageUnavailable.

    On PostgreSQL it keeps up to `pool_size` connections, and opens at most five more for as long as they are needed.
    With `statement_seconds` a statement that takes longer is undone by the server, and one that the server does not
    answer is given up a few seconds later; without, both are waited for.
    """

    def __init__(
        self,
        path_or_url: str | Path,
        *,
        pool_size: int = 5,
        clock: Callable[[], datetime] | None = None,
        statement_seconds: float | None = None,
    ) -> None:
        self.url = url_of(path_or_url)
        self.dialect = self.url.get_backend_name()
        #: From where on scans of this program look for what is due.
        self.horizon = Horizon()
        self.in_memory = self.dialect == "sqlite" and self.url.database in {None, "", ":memory:"}
        # One writer at a time: SQLite's own queue between threads is a sleep and retry.
        self._turn: AbstractContextManager[Any] = threading.RLock() if self.dialect == "sqlite" else nullcontext()
        try:
            if self.dialect == "sqlite":
                self.engine = _sqlite(self.url, self.in_memory)
            else:
                from ticket_system.storage import postgresql  # noqa: PLC0415 - its driver is an extra

                self.engine = postgresql.connect(self.url, pool_size, statement_seconds)
            if clock is not None:
                self.engine.update_execution_options(tickets_clock=clock)
        except ModuleNotFoundError as error:
            raise StorageUnavailable(
                "PostgreSQL needs psycopg: pip install 'blackroad-ticket-system[postgres]'"
            ) from error

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database; None for any other."""
        return (
            Path(self.url.database) if self.dialect == "sqlite" and self.url.database and not self.in_memory else None
        )

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with (
            self._turn if self.in_memory else nullcontext(),
            _translated(self),
            self.engine.connect() as connection,
        ):
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads, and sees one moment in all its queries."""
        with self.read() as connection:
            # SQLite's readers do so by themselves.
            level = "REPEATABLE READ" if self.dialect == "postgresql" else None
            yield connection.execution_options(isolation_level=level) if level else connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction; it is committed when the block ends and undone when the block raises."""
        with (
            self._turn,
            _translated(self),
            self.engine.connect().execution_options(tickets_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def statement(self) -> Iterator[sa.Connection]:
        """Open a connection for one statement that is a transaction by itself; SQLite still wants a `write()`."""
        with self.write() if self.dialect == "sqlite" else self._alone() as connection:
            yield connection

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        """Open a connection for one query, without a transaction around it."""
        with self.read() if self.dialect == "sqlite" else self._alone() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        # Two round trips fewer than BEGIN and COMMIT around it.
        with _translated(self), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    def ping(self) -> None:
        """Raise StorageUnavailable unless the database answers."""
        with self.read() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with self.read() as connection:
            return moment(connection)

    def schema_version(self) -> str | None:
        """Return the revision the database is at; None when it holds no schema of ours."""
        with self.read() as connection:
            return schema.version(connection)

    def upgrade(self) -> Conversion | None:
        """Bring the schema up to this program's, under a lock; several at once are fine, and so is a second time.

        A SQLite file of the earlier library is converted, after a copy was made; returns what became of it.
        """
        with self._turn, _translated(self):
            found, converted = self.schema_version(), None
            # Looked at first: a file that is current may be one that this program cannot write.
            if found == schema.HEAD:
                return None
            if found is not None and found > schema.HEAD:
                schema.require(found)
            if found is None and self.dialect == "sqlite" and not self.in_memory:
                from ticket_system.storage import legacy_upgrade  # noqa: PLC0415 - few files ever need it

                converted = legacy_upgrade.convert(self)
            schema.upgrade(self.engine, in_memory=self.in_memory)
            if self.path:
                self._keep_journal()
            return converted

    def _keep_journal(self) -> None:
        """Let readers and a writer work side by side; the file remembers it."""
        patience_ends = time.monotonic() + _PATIENCE
        with closing(self.engine.raw_connection()) as connection:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError as error:
                    # For this one lock SQLite does not wait, and others may be opening the file as well.
                    if "locked" not in str(error) or time.monotonic() > patience_ends:
                        raise StorageUnavailable(f"{self!r}: {_hint(str(error))}") from error
                    time.sleep(0.01)
                else:
                    return

    def require_current_schema(self) -> None:
        """Raise SchemaOutdated, saying what to do, unless program and database belong together."""
        schema.require(self.schema_version())

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        """Be a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Name the database without its password."""
        hidden = {name: "***" for name in self.url.query if "password" in name}
        return f"Database({self.url.update_query_dict(hidden).render_as_string(hide_password=True)!r})"


def _sqlite(url: sa.URL, in_memory: bool) -> sa.Engine:  # noqa: FBT001
    arguments: dict[str, Any] = {"timeout": _PATIENCE, "check_same_thread": False}
    # A database in memory lives in one connection, which all threads take in turns.
    pool: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
    engine = sa.create_engine(url, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _record: object) -> None:
        # We say when a transaction begins; the driver's own guesses would start a writer as a reader.
        dbapi_connection.isolation_level = None
        dbapi_connection.create_function("gen_random_uuid", 0, lambda: str(uuid.uuid4()))
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def began(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("tickets_writes")
        # A writer takes its place at once: one that began as a reader can find the door shut half-way.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    """Turn the driver's operational errors into StorageUnavailable with a hint, keeping the cause."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StorageUnavailable(f"{database!r}: all of its connections are in use") from error
    except (exc.OperationalError, exc.InterfaceError, exc.DatabaseError) as error:
        # Constraint violations and bad values are about the request; they were checked before, so they are bugs.
        if isinstance(error, exc.IntegrityError | exc.DataError | exc.ProgrammingError):
            raise
        message = str(error.orig)
        damaged = any(sign in message for sign in _DAMAGED)
        raise (DamagedFile if damaged else StorageUnavailable)(f"{database!r}: {_hint(message)}") from error


_DAMAGED = ("not a database", "malformed")
_HINTS = {
    "readonly database": "the file or its folder is read-only; give this user the right to write both",
    "unable to open": "the file cannot be opened; does its folder exist, and may this user read it?",
    "disk is full": "the disk is full; nothing was written, make room and try again",
    "disk i/o error": "the disk refuses; is it full, over a quota or failing? Nothing was half-written",
    "is locked": "another program keeps the file locked; try again when it is done",
    "not a database": "this is not a SQLite file, or it is damaged; it was left as it is",
    "malformed": "the file is damaged; it was left as it is, restore it from a copy",
    "refused": "nothing listens at this address; is the server running, are host and port right?",
    "too many clients": "the server has no connection left; let it take more, or run fewer processes",
    "connection slots": "the server has no connection left; let it take more, or run fewer processes",
    "starting up": "the server is starting; it lets us in when it is done",
    "shutting down": "the server is shutting down",
    "statement timeout": "a statement took longer than it may, and was undone",
    "lock timeout": "somebody else's transaction kept what we needed for too long; nothing was written",
    "idle-in-transaction timeout": "we kept a transaction open for too long, and the server undid it",
    "timeout": "the server does not answer",
    "password authentication failed": "the server refuses this user or password",
}


def _hint(message: str) -> str:
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    return next((hint for sign, hint in _HINTS.items() if sign in message.lower()), first)
