"""One ASGI application of every part that has its secret.

`ticket-worker webhook` serves it, another service can mount it, and `uvicorn --factory
ticket_worker.web.app:app_from_environment` runs it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ticket_system.errors import StorageError
from ticket_system.storage.database import Database
from ticket_worker.database import prepare_database
from ticket_worker.endpoints import Part
from ticket_worker.logging import configure_logging
from ticket_worker.settings import Settings, read_settings
from ticket_worker.web.serve import require, takes_events, takes_leave

log = structlog.stdlib.get_logger(__name__)

_POOL_SIZE = 5


def create_web_app(settings: Settings, *, nudge: Callable[[], None] | None = None) -> Starlette:
    """Return the application. `nudge` is called after an event was stored; by default it is a tick for the fleet."""
    store = _Store(settings)
    parts = _parts(settings, store.database, nudge)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(store.database)
        try:
            yield
        finally:
            for close in (store.close, *(part.close for part in parts)):
                if close is not None:
                    await run_in_threadpool(close)

    async def health(_request: Request) -> Response:
        try:
            await run_in_threadpool(lambda: store.database().ping())
        except StorageError as error:
            log.warning("database.unavailable", error=str(error))
            return JSONResponse({"status": "unavailable"}, 503)
        return JSONResponse({"status": "ok"})

    routes = [route for part in parts for route in part.routes]
    return Starlette(routes=[*routes, Route("/healthz", health)], lifespan=lifespan)


def app_from_environment() -> Starlette:
    """Return the application as the environment describes it, its log set up; for `uvicorn --factory`."""
    settings = read_settings()
    require(settings)
    configure_logging(settings.log_level, settings.log_format, hidden=settings.secrets)
    return create_web_app(settings)


def _parts(settings: Settings, database: Callable[[], Database], nudge: Callable[[], None] | None) -> list[Part]:
    parts = []
    if takes_events(settings):
        from ticket_worker.billing.webhook import events_part  # noqa: PLC0415 - an extra that others need not have

        parts.append(events_part(settings, database, nudge))
    if takes_leave(settings):
        from ticket_worker.web.unsubscribe import StoredSubscribers, unsubscribe_part  # noqa: PLC0415 - as above

        parts.append(unsubscribe_part(settings, StoredSubscribers(database)))
    return parts


class _Store:
    """The database of this process, opened and looked at when it is first needed: what is mounted is never started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database | None = None
        self._turn = threading.Lock()

    def database(self) -> Database:
        with self._turn:
            if self._database is None:
                prepare_database(self._settings)
                self._database = Database(
                    self._settings.database, pool_size=_POOL_SIZE, statement_seconds=self._settings.statement_seconds
                )
            return self._database

    def close(self) -> None:
        with self._turn:
            if self._database is not None:
                self._database.close()
                self._database = None
