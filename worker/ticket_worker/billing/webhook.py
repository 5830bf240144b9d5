"""The endpoint that Stripe delivers events to: verified, stored once, answered; what follows is somebody else's job.

Each form of event has its own path and its own secrets, because each has its own destination at Stripe. An ASGI
application: `ticket-worker webhook` serves it, another service can mount it, `uvicorn --factory
ticket_worker.billing.webhook:app_from_environment` runs it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import structlog
from pydantic import BaseModel, Field, StrictBool, ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ticket_system import inbox
from ticket_system.errors import StorageError
from ticket_system.inbox import InboxEvent
from ticket_system.storage.database import Database
from ticket_worker.billing.nudges import FleetNudge, Nudges
from ticket_worker.billing.serve import enabled_paths, require
from ticket_worker.billing.signatures import BadSignature, verify
from ticket_worker.database import prepare_database
from ticket_worker.logging import configure_logging
from ticket_worker.settings import Settings, read_settings

log = structlog.stdlib.get_logger(__name__)

MAX_BODY_BYTES = 512 * 1024
#: A sender that takes longer over one body is not Stripe.
READ_SECONDS = 10.0
_POOL_SIZE = 5
_OBJECTS = {"snapshot": "event", "thin": "v2.core.event"}

# What becomes a key or a line of a log: printable, and not a body in disguise.
Word = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]


class Envelope(BaseModel):
    """What is read of an event before it is stored; nothing is taken from what it tells of."""

    id: Word
    object: Literal["event", "v2.core.event"]
    type: Word
    livemode: StrictBool
    account: Word | None = None
    context: Word | None = None


class Refused(Exception):
    """A request is answered with this status; nothing was stored."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def create_webhook_app(settings: Settings, *, nudge: Callable[[], None] | None = None) -> Starlette:
    """Return the endpoint. `nudge` is called after an event was stored; by default it is a tick for the fleet."""
    store = _Store(settings)
    fleet = FleetNudge(settings)
    nudges = Nudges(nudge or fleet)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(store.database)
        try:
            yield
        finally:
            await run_in_threadpool(store.close)
            await run_in_threadpool(fleet.close)

    async def health(_request: Request) -> Response:
        try:
            await run_in_threadpool(store.ping)
        except StorageError as error:
            log.warning("database.unavailable", error=str(error))
            return JSONResponse({"status": "unavailable"}, 503)
        return JSONResponse({"status": "ok"})

    endpoints = [
        Route(path, _Endpoint(form, secrets, settings, store, nudges).receive, methods=["POST"])
        for form, path, secrets in enabled_paths(settings)
    ]
    return Starlette(routes=[*endpoints, Route("/healthz", health)], lifespan=lifespan)


def app_from_environment() -> Starlette:
    """Return the endpoint as the environment describes it, its log set up; for `uvicorn --factory`."""
    settings = read_settings()
    require(settings)
    configure_logging(settings.log_level, settings.log_format, hidden=settings.secrets)
    return create_webhook_app(settings)


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
                self._database = Database(self._settings.database, pool_size=_POOL_SIZE)
            return self._database

    def ping(self) -> None:
        self.database().ping()

    def receive(self, event: InboxEvent, ignored: str | None) -> bool:
        return inbox.receive(self.database(), event, ignored=ignored)

    def close(self) -> None:
        with self._turn:
            if self._database is not None:
                self._database.close()
                self._database = None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One path: which form of event comes here, and who may have signed it."""

    form: str
    secrets: tuple[str, ...]
    settings: Settings
    store: _Store
    nudges: Nudges

    async def receive(self, request: Request) -> Response:
        """Answer a delivery: 200 when it is stored, now or earlier; 4xx when it is none; 503 to have it again."""
        try:
            body = await _body(request)
            verify(body, request.headers.get("stripe-signature"), self.secrets)
            envelope = _opened(body, self.form)
        except (Refused, BadSignature) as refusal:
            status = refusal.status if isinstance(refusal, Refused) else 400
            log.warning("delivery.refused", path=request.url.path, status=status, reason=str(refusal))
            # What was not read would be taken for the next request.
            headers = {"connection": "close"} if status != 400 else None  # noqa: PLR2004
            return JSONResponse({"error": str(refusal)}, status, headers)
        event = InboxEvent(envelope.id, self.form, envelope.type, envelope.livemode, body.decode())
        about = {"event_id": event.id, "type": event.type, "form": event.form}
        ignored = _foreign(envelope, self.settings)
        try:
            is_new = await run_in_threadpool(self.store.receive, event, ignored)
        except Exception as error:  # noqa: BLE001 - whatever it is: not stored, so it has to come again
            # No traceback: the database's own would quote the body.
            log.error("event.not_stored", **about, error=_first_line(error))  # noqa: TRY400
            return JSONResponse({"error": "not stored; try again"}, 503)
        if not is_new:
            log.info("event.repeated", **about)
            return JSONResponse({"status": "known"})
        if ignored is not None:
            log.info("event.ignored", **about, reason=ignored)
            return JSONResponse({"status": "ignored"})
        log.info("event.received", **about)
        # After the answer: a broker that hangs keeps nobody waiting.
        return JSONResponse({"status": "stored"}, background=BackgroundTask(self.nudges))


async def _body(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise Refused(413, "the body is too large")
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(413, "the body is too large")
    except TimeoutError:
        raise Refused(408, "the body takes too long") from None
    except ClientDisconnect:
        raise Refused(408, "the sender hung up") from None
    return bytes(body)


def _opened(body: bytes, form: str) -> Envelope:
    try:
        envelope = Envelope.model_validate(json.loads(body.decode()))
    except ValidationError as error:
        strange = ", ".join(sorted({str(issue["loc"][0]) if issue["loc"] else "all of it" for issue in error.errors()}))
        raise Refused(400, f"this is not an event: {strange}") from None
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if envelope.object != _OBJECTS[form]:
        raise Refused(400, f"{form} events come here, and this is another kind")
    return envelope


def _foreign(envelope: Envelope, settings: Settings) -> str | None:
    """Return why an event is none of ours; None: it is ours."""
    if envelope.livemode != settings.livemode:
        return f"a {'live' if envelope.livemode else 'test'} event, and TICKETS_STRIPE_MODE is {settings.stripe_mode}"
    own = settings.stripe_account
    others = [one for one in (envelope.account, envelope.context) if own and one and one != own]
    return f"of {others[0]}, and TICKETS_STRIPE_ACCOUNT is {own}" if others else None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
