"""Messages that no job understands: put where a person sees them, instead of dropped.

Celery acknowledges such a message, prints what is in it, and goes on, or dies of it. Here it becomes a message of our
own, which keeps it in the database as soon as that answers.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Container
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, cast

import structlog
from celery.utils.dispatch import Signal
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError
from kombu.transport import redis
from typing_extensions import override
from vine import promise as _promise

from ticket_system.parking import MAX_BODY
from ticket_tasks import names

log = structlog.stdlib.get_logger(__name__)

#: Sent with `kind` when a message is put aside. For whoever counts.
stray_found: Final = Signal(name="stray_found", providing_args=["kind"])

#: Between two attempts to reach a broker that went away.
_LONGEST_PAUSE_SECONDS = 5


class Stray(NamedTuple):
    """A message that no job understands."""

    name: str
    #: JSON, where it was any.
    body: str
    #: `unknown`, `undecodable` or `malformed`; and the same in a sentence.
    kind: str
    reason: str


class StrayConsumer(Consumer):
    """Takes messages from the broker; puts aside what would be dropped."""

    # What the stubs do not know of the class above.
    strategies: dict[str, Any]
    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Where the transport reads what it took off a list: what it cannot read would end the worker, and be gone.
        redis.loads = read_envelope  # type: ignore[attr-defined] # missing in the stubs
        super().__init__(*args, **kwargs)

    @override
    def ensure_connected(self, conn: Any) -> Any:
        # By itself it pauses for up to half a minute between two attempts, however long the broker has been back.
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=_LONGEST_PAUSE_SECONDS)
        return super().ensure_connected(conn)

    @override
    def create_task_handler(self, promise: Any = _promise) -> Callable[[Any], Any]:
        handle = super().create_task_handler(promise)

        def received(message: Any) -> Any:
            stray = stray_in(message, self.strategies)
            if stray is None:
                try:
                    return handle(message)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    stray = _stray(message, "malformed", f"its headers make no sense ({type(error).__name__})")
            return self._put_aside(message, stray)

        return received

    @override
    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._put_aside(message, _stray(message, "malformed", "it names no task"))

    @override
    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._put_aside(message, _stray(message, "unknown", "this worker knows no such task"))

    @override
    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._put_aside(message, _stray(message, "malformed", f"its headers make no sense ({type(exc).__name__})"))

    @override
    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._put_aside(message, _stray(message, "undecodable", f"it cannot be read ({type(exc).__name__})"))

    def _put_aside(self, message: Any, stray: Stray) -> None:
        try:
            carried = {"name": stray.name, "body": stray.body, "reason": stray.reason}
            self.app.send_task(names.PARK_MESSAGE, kwargs=carried, queue=names.INTAKE, argsrepr="()", kwargsrepr="{…}")
        except OperationalError as error:
            # Not acknowledged: it comes back.
            log.warning("stray.postponed", error=str(error))
            return
        stray_found.send(sender=None, kind=stray.kind)
        log.error("stray.found", name=stray.name[:200], kind=stray.kind, reason=stray.reason)
        message.ack_log_error(log, self.connection_errors)


def read_envelope(text: str) -> Any:
    """Return the envelope of a message; what is none is put into one, as the body of a message without headers."""
    try:
        match json.loads(text):
            # By the same way the transport reads what a worker holds, before it gives it back: an envelope that was
            # read here once, and where it goes.
            case [{"body": _, "properties": {"delivery_info": _}}, str() | None, str() | None] as held:
                return held
            case {
                "body": str(body),
                "headers": dict() | None,
                "content-type": str(),
                "content-encoding": str(),
                "properties": {
                    "delivery_tag": str(),
                    "delivery_info": {"exchange": str(), "routing_key": str()},
                    **more,
                },
            } as envelope if more.get("body_encoding") in {None, "base64"}:
                if more.get("body_encoding"):
                    base64.b64decode(body, validate=True)
                return cast("dict[str, Any]", envelope)
    except ValueError:
        pass
    properties = {
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": {"exchange": "", "routing_key": names.INTAKE},
    }
    body = base64.b64encode(text.encode("utf-8", "backslashreplace")).decode()
    return {
        "body": body,
        "headers": {},
        "content-type": "text/plain",
        "content-encoding": "utf-8",
        "properties": properties,
    }


def stray_in(message: Any, known: Container[str]) -> Stray | None:
    """Return what is wrong with a message before any job has seen it; None: nothing."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    if not isinstance(headers.get("task"), str) or not isinstance(headers.get("id"), str):
        return _stray(message, "malformed", "it has no headers task and id")
    if not _are_usable(headers):
        # Celery meets them only when a place in the pool is taken already, which it would never give back.
        return _stray(message, "malformed", "its headers eta, expires, retries or timelimit make no sense")
    if headers["task"] not in known:
        return _stray(message, "unknown", "this worker knows no such task")
    try:
        body = message.payload
    except Exception as error:  # noqa: BLE001 - whatever a reader of foreign bytes comes up with
        return _stray(message, "undecodable", f"it cannot be read ({type(error).__name__})")
    match body:
        case [list() | tuple(), dict(), dict() | None]:
            return None
        case _:
            return _stray(message, "malformed", "its body is not [arguments, keywords, more]")


def _are_usable(headers: dict[str, Any]) -> bool:
    try:
        for name in ("eta", "expires"):
            if headers.get(name) is not None:
                datetime.fromisoformat(headers[name])
    except (TypeError, ValueError):
        return False
    limits, retries = headers.get("timelimit") or [None, None], headers.get("retries") or 0
    return (
        isinstance(retries, int)
        and isinstance(limits, list)
        and len(limits) == len(("hard", "soft"))
        and all(one is None or isinstance(one, int | float) for one in limits)
    )


def _stray(message: Any, kind: str, reason: str) -> Stray:
    headers = message.headers if isinstance(message.headers, dict) else {}
    return Stray(str(headers.get("task") or "")[:500], _body(message), kind, reason)


def _body(message: Any) -> str:
    """Return what the message carries: its payload where it has one, so that it can be tried again under its name."""
    raw = message.body
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes | bytearray) else str(raw)
    try:
        match json.loads(text):
            case [[], {"payload": payload, **more}, *_] if not more.keys() - {"tries", "waits"}:
                text = json.dumps(payload, ensure_ascii=False)
    except ValueError:
        pass
    return text[: MAX_BODY + 1]
