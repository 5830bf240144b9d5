"""Make sure that program and database belong together before anything starts."""

from __future__ import annotations

from ticket_system.storage.database import Database
from ticket_worker.settings import Settings


def prepare_database(settings: Settings) -> None:
    """Raise a StorageError unless program and database belong together; a SQLite file is brought up to date."""
    with Database(settings.database, pool_size=1) as database:
        if database.dialect == "sqlite":
            database.upgrade()
        database.require_current_schema()
