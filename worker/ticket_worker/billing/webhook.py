"""The endpoint that Stripe delivers events to: verified, stored once, answered; what follows is somebody else's job.

Each form of event has its own path and its own secrets, because each has its own destination at Stripe.
`ticket_worker.web` serves them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import structlog
from pydantic import BaseModel, Field, StrictBool, ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ticket_system import inbox
from ticket_system.inbox import InboxEvent
from ticket_system.storage.database import Database
from ticket_worker.billing.nudges import FleetNudge, Nudges
from ticket_worker.billing.paths import enabled_paths
from ticket_worker.billing.signatures import BadSignature, verify
from ticket_worker.endpoints import Part, Refused, read_body
from ticket_worker.settings import Settings

log = structlog.stdlib.get_logger(__name__)

MAX_BODY_BYTES = 512 * 1024
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


def events_part(settings: Settings, database: Callable[[], Database], nudge: Callable[[], None] | None) -> Part:
    """Return the endpoint. `nudge` is called after an event was stored; None: it is a tick for the fleet."""
    fleet = FleetNudge(settings)
    nudges = Nudges(nudge or fleet)
    routes = [
        Route(path, _Endpoint(form, secrets, settings, database, nudges).receive, methods=["POST"])
        for form, path, secrets in enabled_paths(settings)
    ]
    return Part(routes, fleet.close)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One path: which form of event comes here, and who may have signed it."""

    form: str
    secrets: tuple[str, ...]
    settings: Settings
    database: Callable[[], Database]
    nudges: Nudges

    async def receive(self, request: Request) -> Response:
        """Answer a delivery: 200 when it is stored, now or earlier; 4xx when it is none; 503 to have it again."""
        try:
            body = await read_body(request, max_bytes=MAX_BODY_BYTES)
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
            is_new = await run_in_threadpool(self._store, event, ignored)
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

    def _store(self, event: InboxEvent, ignored: str | None) -> bool:
        return inbox.receive(self.database(), event, ignored=ignored)


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
