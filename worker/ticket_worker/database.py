"""Make sure that program and database belong together before anything starts."""

from __future__ import annotations

import time

import structlog

from ticket_system.errors import DamagedFile, SchemaOutdated, StorageError
from ticket_system.storage.database import Database
from ticket_worker.settings import Settings

log = structlog.stdlib.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 10.0


def prepare_database(settings: Settings, *, patience_seconds: float = 0.0) -> None:
    """Raise a StorageError unless program and database belong together; a SQLite file is brought up to date.

    What may pass by itself is waited for that long: a server that is away or starting, a schema that is still to be
    upgraded. A process that ended instead would be started again and again, and say the same each time.
    """
    give_up_at = time.monotonic() + patience_seconds
    pause, said = 0.5, ""
    with Database(settings.database, pool_size=1, statement_seconds=settings.statement_seconds) as database:
        while True:
            try:
                _prepare(database)
            except StorageError as error:
                if not _may_pass(error) or time.monotonic() + pause > give_up_at:
                    raise
                if str(error) != said:
                    said = str(error)
                    log.warning("database.awaited", error=said, patience_seconds=patience_seconds)
            else:
                if said:
                    log.info("database.found")
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _prepare(database: Database) -> None:
    if database.dialect == "sqlite":
        database.upgrade()
    database.require_current_schema()


def _may_pass(error: StorageError) -> bool:
    if isinstance(error, SchemaOutdated):
        return not error.is_newer
    return not isinstance(error, DamagedFile)
