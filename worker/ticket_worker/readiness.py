"""Whether what a fleet needs is there: it is alive, the database answers and fits, the broker answers."""

from __future__ import annotations

from ticket_system.errors import StorageError
from ticket_system.storage.database import Database
from ticket_worker.broker import broker_problem
from ticket_worker.errors import SettingsError
from ticket_worker.health import Verdict
from ticket_worker.settings import Settings


def ready(settings: Settings) -> Verdict:
    """Look at database and broker, for a few seconds at most."""
    reasons = [problem for problem in (_database_problem(settings), _broker_problem(settings)) if problem]
    return Verdict(not reasons, tuple(reasons))


def _database_problem(settings: Settings) -> str | None:
    try:
        with Database(settings.database, pool_size=1) as database:
            database.require_current_schema()
    except StorageError as error:
        return str(error)
    return None


def _broker_problem(settings: Settings) -> str | None:
    try:
        return broker_problem(settings.broker)
    except SettingsError as error:
        return str(error)
