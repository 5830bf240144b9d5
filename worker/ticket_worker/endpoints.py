"""What every endpoint does: it is a part of one process, and reads no body to its end that has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

#: Whoever takes longer over one body is not who we expect.
READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """Some paths, and what has to be given back when the process ends."""

    routes: list[Route]
    close: Callable[[], None] | None = None


class Refused(Exception):
    """A request is answered with this status; nothing was stored."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body, or raise Refused where it is larger, slow, or cut off; the rest is not read then."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise Refused(413, "the body is too large")
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise Refused(413, "the body is too large")
    except TimeoutError:
        raise Refused(408, "the body takes too long") from None
    except ClientDisconnect:
        raise Refused(408, "the sender hung up") from None
    return bytes(body)
