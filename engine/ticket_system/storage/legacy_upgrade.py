"""A file of the earlier library becomes one of ours: in place, in one transaction, after a copy was made."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ticket_system.errors import DamagedFile, StorageError, StorageUnavailable
from ticket_system.sla.alarms import BUILT_IN_STEPS, plan
from ticket_system.sla.calendars import AROUND_THE_CLOCK
from ticket_system.storage import alarms, clocks, events, legacy, schema, tickets
from ticket_system.storage.legacy import Earlier
from ticket_system.storage.tables import metadata
from ticket_system.tickets import utc_now

if TYPE_CHECKING:
    from ticket_system.storage.database import Database

_log = logging.getLogger(__name__)

_ASIDE = "before_upgrade_"
_BATCH = 500
_SHOWN = 5
_TWICE = "SELECT CAST(id AS TEXT) FROM comments WHERE id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a file of the earlier library, and where the file as it was lies."""

    copy: Path
    tickets: int
    comments: int
    #: Comments and history rows whose ticket was gone; kept as events.
    strays: int


def convert(database: Database) -> Conversion | None:
    """Convert a file of the earlier library; None when there is nothing to convert.

    A file with somebody else's tables raises DamagedFile. Several processes at once are fine: one converts, the others
    wait. Whatever goes wrong, the file is what it was.
    """
    with database.read() as connection:
        if not _needs_conversion(connection):
            return None
    copy: Path | None = None
    try:
        with database.write() as connection:
            if not _needs_conversion(connection):
                return None  # somebody else was faster
            raw = raw_connection(connection)
            path = _file_of(raw)
            require_intact(raw, path)
            _require_convertible(raw, path)
            copy = _copy(path)
            done = _rebuild(connection, raw, copy)
    except BaseException:
        if copy is not None:
            _discard(database, copy)
        raise
    _log.info(
        "%s is upgraded: %d tickets, %d comments, %d strays; as it was: %s",
        path, done.tickets, done.comments, done.strays, copy,
    )  # fmt: skip
    return done


def raw_connection(connection: sa.Connection) -> sqlite3.Connection:
    """Return the driver's own connection."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError("not a SQLite database")
    return raw


def require_intact(raw: sqlite3.Connection, path: Path) -> None:
    """Raise DamagedFile unless SQLite finds every page in order."""
    try:
        found = [row[0] for row in raw.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        shown = "; ".join(str(one) for one in found)
        raise DamagedFile(f"{path} is damaged ({shown}); it was left as it is, restore it from a backup")


def store(connection: sa.Connection, found: Iterable[Earlier]) -> None:
    """Write tickets of the earlier library, with all that belongs to them."""
    known = [one for one in found if one.ticket]
    if known:
        tickets.insert(connection, *(one.ticket for one in known if one.ticket))
        running = [one.clock for one in known if one.clock]
        clocks.insert(connection, *running)
        ahead = (plan(one, BUILT_IN_STEPS, AROUND_THE_CLOCK) for one in running if one.next_check_at is not None)
        alarms.insert(connection, [alarm for planned in ahead for alarm in planned])
    if said := [comment for one in known for comment in one.comments]:
        tickets.insert_comments(connection, *said)
    events.append(connection, *(event for one in found for event in one.events))


def batches(found: Iterator[Earlier], size: int = _BATCH) -> Iterator[list[Earlier]]:
    """Take so many at a time."""
    while batch := list(islice(found, size)):
        yield batch


def _needs_conversion(connection: sa.Connection) -> bool:
    if schema.version(connection) is not None:
        return False
    raw = raw_connection(connection)
    names = [
        name
        for (name,) in raw.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
    ]
    if not names:
        return False
    path = _file_of(raw)
    if not legacy.is_legacy(raw):
        shown = ", ".join(sorted(names)[:_SHOWN])
        raise DamagedFile(
            f"{path} belongs to another program (its tables: {shown}); it was left as it is, name another file"
        )
    if taken := (set(names) & set(metadata.tables)) - set(legacy.TABLES):
        raise DamagedFile(
            f"{path} has tables of its own called {', '.join(sorted(taken))}; it was left as it is, rename them first"
        )
    for name in sorted(set(names) - set(legacy.TABLES)):
        if any(row[2] in legacy.TABLES for row in raw.execute("SELECT * FROM pragma_foreign_key_list(?)", (name,))):
            raise DamagedFile(
                f"{path}: the table {name} refers to the tickets; it was left as it is, drop the reference first"
            )
    return True


def _require_convertible(raw: sqlite3.Connection, path: Path) -> None:
    """Go through everything before anything is changed, so that one answer names all that is in the way."""
    refused = 0
    shown: list[str] = []
    for one in legacy.read(raw, now=utc_now()):
        if one.trouble:
            refused += 1
            shown += [f"ticket {one.ticket_id!r}: {one.trouble}"] if len(shown) < _SHOWN else []
    for (comment_id,) in raw.execute(_TWICE).fetchall():
        refused += 1
        shown += [f"several comments have the id {comment_id!r}"] if len(shown) < _SHOWN else []
    if refused:
        more = f"; and {refused - len(shown)} more" if refused > len(shown) else ""
        raise DamagedFile(
            f"{path} was written by the earlier library and cannot be upgraded without a loss:"
            f" {'; '.join(shown)}{more}. Nothing was changed; correct these rows with the sqlite3 program and try again"
        )


def _copy(path: Path) -> Path:
    """Copy the file as SQLite sees it, its write-ahead log included, and have the disk confirm it."""
    partial = path.with_name(f"{path.name}.before-upgrade.partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        shutil.copymode(path, partial)
        _sync(partial)
        copy = _free_name(path)
        partial.rename(copy)
        _sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            left.unlink(missing_ok=True)
        needed = path.stat().st_size
        raise StorageUnavailable(
            f"{path} needs an upgrade, but no copy of it could be made beside it ({error});"
            f" make {needed:,} bytes of room in a folder that can be written. Nothing was changed"
        ) from error
    return copy


def _free_name(path: Path) -> Path:
    """Never overwrite an earlier copy. Nobody else takes the name: we hold the database's lock."""
    first = path.with_name(f"{path.name}.before-upgrade")
    copy, number = first, 0
    while copy.exists():
        number += 1
        copy = first.with_name(f"{first.name}.{number}")
    return copy


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rebuild(connection: sa.Connection, raw: sqlite3.Connection, copy: Path) -> Conversion:
    # Views keep meaning the tables' names, not the tables that are put aside.
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
    for table in legacy.TABLES:
        indexes = raw.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (table,)
        ).fetchall()
        for (index,) in indexes:
            quoted = index.replace('"', '""')
            connection.exec_driver_sql(f'DROP INDEX "{quoted}"')
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {_ASIDE}{table}")
    schema.migrate(connection)
    kept, said, lost = 0, 0, 0
    for batch in batches(legacy.read(raw, now=utc_now(), prefix=_ASIDE)):
        store(connection, batch)
        kept += sum(one.ticket is not None for one in batch)
        said += sum(len(one.comments) for one in batch)
        lost += legacy.strays(batch)
    for table in reversed(legacy.TABLES):
        connection.exec_driver_sql(f"DROP TABLE {_ASIDE}{table}")
    connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")
    return Conversion(copy, kept, said, lost)


def _discard(database: Database, copy: Path) -> None:
    """Remove a copy that nothing came of, once the original is seen to be what it was."""
    try:
        with database.read() as connection:
            if _needs_conversion(connection):
                copy.unlink(missing_ok=True)
    except StorageError:
        _log.warning("the upgrade failed; the file as it was: %s", copy)


def _file_of(raw: sqlite3.Connection) -> Path:
    return Path(next(file for _, name, file in raw.execute("PRAGMA database_list") if name == "main"))
