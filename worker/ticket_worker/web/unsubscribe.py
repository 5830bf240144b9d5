"""Where a reader leaves a series of reports, by the signed link of any of them (RFC 8058).

Looking changes nothing, because mail scanners follow links; a POST does, from a mail program or from the page's button.
No session, no cookie, no redirect: the link says everything. It stands in no log, since whoever has it may leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ticket_system import recipients
from ticket_system.recipients import Told
from ticket_system.storage.database import Database
from ticket_worker.endpoints import Part, Refused, read_body
from ticket_worker.links import BadLink, ExpiredLink, Links, links_of
from ticket_worker.settings import Settings
from ticket_worker.web.pages import Button, page
from ticket_worker.web.serve import UNSUBSCRIBE

log = structlog.stdlib.get_logger(__name__)

MAX_BODY_BYTES = 4096
_MOST_FIELDS = 8


class Subscribers(Protocol):
    """Whoever knows who gets which reports."""

    def told(self, recipient_id: int, kind: str) -> Told | None:
        """Return what they are told; None: there is no such person any more."""

    def subscribe(self, recipient_id: int, kind: str, wanted: bool, how: str) -> bool:  # noqa: FBT001 - the wish itself
        """Have them get the series, or no more; saying so twice changes nothing. False: no such person."""


@dataclass(frozen=True, slots=True)
class StoredSubscribers:
    """Those that the database knows."""

    database: Callable[[], Database]

    def told(self, recipient_id: int, kind: str) -> Told | None:
        """Return what they are told; None: there is no such person any more."""
        return recipients.told(self.database(), recipient_id, kind)

    def subscribe(self, recipient_id: int, kind: str, wanted: bool, how: str) -> bool:  # noqa: FBT001 - as above
        """Have them get the series, or no more. False: no such person."""
        return recipients.subscribe(self.database(), recipient_id, kind, wanted=wanted, actor=how)


class Wish(NamedTuple):
    """What a POST asks for, and where it was asked."""

    wanted: bool
    how: str


#: By the field of the form: a mail program's, and those of our own buttons.
WISHES: Final = {
    ("List-Unsubscribe", "One-Click"): Wish(wanted=False, how="one click"),
    ("leave", "1"): Wish(wanted=False, how="unsubscribe page"),
    ("again", "1"): Wish(wanted=True, how="unsubscribe page"),
}


class _Gone(Exception):
    """The link was good, and there is nobody behind it any more."""


def unsubscribe_part(settings: Settings, subscribers: Subscribers) -> Part:
    """Return the pages."""
    pages = _Pages(links_of(settings), subscribers)
    path = UNSUBSCRIBE + "/{token}"
    return Part([Route(path, pages.show), Route(path, pages.act, methods=["POST"])])


@dataclass(frozen=True, slots=True)
class _Pages:
    links: Links
    subscribers: Subscribers

    async def show(self, request: Request) -> Response:
        """Say whom the link concerns, and offer to act; change nothing."""
        return await self._answer(request, None)

    async def act(self, request: Request) -> Response:
        """Do what is asked for; answer 200 with a page, the second time as the first."""
        try:
            body = await read_body(request, max_bytes=MAX_BODY_BYTES)
            wish = _wish(request.headers.get("content-type", ""), body)
        except Refused as refusal:
            log.warning("wish.refused", status=refusal.status, reason=str(refusal))
            response = page("This cannot be read", "Nothing was changed.", status=refusal.status)
            # What was not read would be taken for the next request.
            response.headers["connection"] = "close"
            return response
        return await self._answer(request, wish)

    async def _answer(self, request: Request, wish: Wish | None) -> Response:
        try:
            recipient_id, kind = self.links.read(request.path_params["token"], datetime.now(UTC))
            told = await run_in_threadpool(self._done, recipient_id, kind, wish)
        except ExpiredLink:
            return page("This link is too old", "The link in a newer report still works.", status=410)
        except BadLink:
            return page("There is no such link", "Perhaps it was cut off. Nothing was changed.", status=404)
        except _Gone:
            return page("You get no reports", "Nobody by this link gets any of them.", status=410)
        except Exception as error:  # noqa: BLE001 - whatever it is: not done, so it has to be tried again
            log.error("wish.not_done", error=type(error).__name__)  # noqa: TRY400 - a traceback could quote an address
            response = page(
                "This does not work right now", "Please try again later; asking twice does no harm.", status=503
            )
            response.headers["Retry-After"] = "60"
            return response
        return _told(told, kind, wish)

    def _done(self, recipient_id: int, kind: str, wish: Wish | None) -> Told:
        if wish is not None:
            if not self.subscribers.subscribe(recipient_id, kind, wish.wanted, wish.how):
                raise _Gone
            log.info("wish.done", recipient_id=recipient_id, kind=kind, wanted=wish.wanted, how=wish.how)
        told = self.subscribers.told(recipient_id, kind)
        if told is None:
            raise _Gone
        return told


def _told(told: Told, kind: str, wish: Wish | None) -> Response:
    """Return the page that says how it stands now, and offers the opposite."""
    series, who = f"the {kind} report of {told.organisation}", masked(told.address)
    title = f"{kind.capitalize()} report of {told.organisation}"
    if told.is_subscribed:
        said = f"{who} gets {series}{' again' if wish else ''}."
        return page(title, said, button=Button("Stop sending it", "leave", "1"))
    said = f"{who} no longer gets {series}." if wish else f"{who} does not get {series}."
    return page(title, said, button=Button("Send it again", "again", "1"))


def masked(address: str) -> str:
    """Return an address as its owner recognises it, and nobody else writes to it: `a…@example.com`."""
    user, _, domain = address.rpartition("@")
    return f"{user[:1]}…@{domain}"


def _wish(content_type: str, body: bytes) -> Wish:
    """Return what is asked for, in either form that RFC 8058 names, or raise Refused."""
    wishes = {WISHES[field] for field in _fields(content_type, body) if field in WISHES}
    if len(wishes) != 1:
        raise Refused(400, "it asks for nothing, or for more than one thing")
    return wishes.pop()


def _fields(content_type: str, body: bytes) -> list[tuple[str, str]]:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return parse_qsl(body.decode("ascii"), max_num_fields=_MOST_FIELDS)
        if kind == "multipart/form-data":
            message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
            return [
                (str(part.get_param("name", header="content-disposition")), part.get_content().strip())
                for part in message.iter_parts()
            ]
    except (ValueError, LookupError, AttributeError, RecursionError):
        raise Refused(400, "the form cannot be read") from None
    raise Refused(400, "this is no form")
