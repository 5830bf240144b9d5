"""Signed webhooks, as the Standard Webhooks specification lays them out.

A receiver checks `webhook-signature` and drops what it has seen by `webhook-id`, which is the same for every attempt.
So a repeat is harmless, and whatever breaks, even after the request went out, is tried again.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from standardwebhooks.webhooks import Webhook
from urllib3.exceptions import HTTPError, InvalidHeader

from ticket_tasks.errors import Rejected, Transient, Unreachable
from ticket_tasks.toolbox import Letter
from ticket_worker.destinations import WebhookPlace

_CONNECT_SECONDS = 5.0
_KNOCK_SECONDS = 3.0
#: Answers that may be another the next time; the receiver is there and does not want any of it now.
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """Posts facts to one receiver, one connection each.

    TLS is verified and redirects are not followed: a signed message goes where the operator said, and nowhere else.
    Private addresses are allowed: places come from the operator's file, never from a user of the desk.
    """

    place: WebhookPlace
    timeout_seconds: float = field(default=10.0, repr=False)

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver the facts of one letter."""
        if letter.facts is None:
            raise Rejected("this notice holds nothing that a program could read")
        body = letter.facts.model_dump_json()
        headers = {"content-type": "application/json", "user-agent": "blackroad-ticket-system"}
        headers |= signature(self.place.secret, letter.key, body)
        before_data()
        self._judge(*self._post(body.encode(), headers))

    def look(self) -> str:
        """Knock, without saying anything."""
        parts = urlsplit(self.place.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=_KNOCK_SECONDS).close()
        except OSError as error:
            raise Unreachable(f"webhook, nobody answers: {error.strerror or type(error).__name__}") from None
        return "webhook, somebody answers" + ("" if parts.scheme == "https" else "; not encrypted")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str | None]:
        """Return the answer's status and its Retry-After. urllib3 may quote the URL in its errors: none is kept."""
        timeout = urllib3.Timeout(connect=min(_CONNECT_SECONDS, self.timeout_seconds), read=self.timeout_seconds)
        with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
            try:
                answer = pool.request(
                    "POST", self.place.url, body=body, headers=headers, redirect=False, preload_content=False
                )
            except (HTTPError, OSError) as error:
                broke = type(error).__name__
            else:
                # What it says is not read: its status is the answer, and a body may go on for ever.
                answer.close()
                return answer.status, answer.headers.get("retry-after")
        # Raised out here, where no error of urllib3 hangs on to it.
        raise Unreachable(f"the call failed: {broke}")

    def _judge(self, status: int, retry_after: str | None) -> None:
        """Raise what an answer other than "taken" means."""
        if 200 <= status < 300:  # noqa: PLR2004 - "it was taken"
            return
        said = f"the receiver said {described(status)}"
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(said, wait_seconds=seconds_to_wait(retry_after))
        if status == HTTPStatus.CONFLICT:
            # About this one message, which may be in its hands just now.
            raise Transient(said, wait_seconds=seconds_to_wait(retry_after))
        if status < HTTPStatus.BAD_REQUEST:
            said += "; redirects are not followed, its address has to be set anew"
        raise Rejected(said)


def signature(secret: str, key: str, body: str) -> dict[str, str]:
    """Return the three headers that make a webhook: who, when, and the proof."""
    message_id = f"msg_{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    # In whole seconds, and told apart from local time by nothing: the signer takes it as UTC.
    now = datetime.now(UTC).replace(microsecond=0)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }


def seconds_to_wait(retry_after: str | None) -> float:
    """Return what a Retry-After asks for, seconds or a date; 0 where it makes no sense."""
    try:
        return float(urllib3.Retry().parse_retry_after(retry_after)) if retry_after else 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def described(status: int) -> str:
    """Return a status as a person says it, in our words and not in the receiver's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
