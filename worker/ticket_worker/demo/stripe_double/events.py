"""What happened, as Stripe tells it: snapshot events of v1, thin events of v2, and signed webhooks of both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Literal
from urllib.parse import urlsplit

import stripe
from stripe import WebhookSignature

from ticket_worker.demo.stripe_double.answers import Json
from ticket_worker.demo.stripe_double.shapes import as_bytes, iso
from ticket_worker.demo.stripe_double.things import unix

_PATIENCE_SECONDS = 30.0

Order = Literal["as it happened", "reversed", "shuffled"]


@dataclass(kw_only=True, slots=True)
class Event:
    """Something that happened. `related` makes it a thin one."""

    id: str
    type: str
    created: datetime
    livemode: bool
    #: The object as it was then, or what else a thin event has to say when it is fetched.
    data: Json
    related: Json | None = None
    is_thin: bool = False
    is_delivered: bool = False

    def json(self) -> Json:
        """As it is fetched."""
        if self.is_thin:
            return self.notification() | {"data": self.data}
        return self.notification()

    def notification(self) -> Json:
        """As a webhook carries it: a thin event leaves out its data."""
        head: Json = {"id": self.id, "type": self.type, "livemode": self.livemode}
        if self.is_thin:
            thin = head | {"object": "v2.core.event", "created": iso(self.created), "context": None, "reason": None}
            return thin | ({"related_object": self.related} if self.related else {})
        return head | {
            "object": "event",
            "api_version": stripe.api_version,
            "created": unix(self.created),
            "data": {"object": self.data},
            "pending_webhooks": 0 if self.is_delivered else 1,
            "request": {"id": None, "idempotency_key": None},
        }


def signed(body: bytes, secret: str, *, skew_seconds: int = 0) -> str:
    """Return the Stripe-Signature of these very bytes, made so many seconds from now."""
    header: str = WebhookSignature.generate_signature_header(body.decode(), secret, int(time.time()) + skew_seconds)
    return header


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks go. Stripe sends snapshot and thin events to destinations of their own."""

    url: str
    secret: str
    is_thin: bool = False
    livemode: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver an event, and what the receiver said; None when it said nothing."""

    event_id: str
    type: str
    url: str
    status: int | None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_taken(self) -> bool:
        """Whether the receiver answered with a status that means "taken"."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - "it was taken"


@dataclass(slots=True)
class Postman:
    """Takes webhooks to their endpoints, when and as he is told; nothing goes out on its own.

    Signatures are stamped with the machine's time, not the double's: the SDK checks them against that.
    """

    endpoints: list[Endpoint] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def deliver(
        self,
        events: Iterable[Event],
        *,
        copies: int = 1,
        order: Order = "as it happened",
        pause_seconds: float = 0.0,
        secret: str | None = None,
        skew_seconds: int = 0,
        seed: int = 0,
    ) -> Sequence[Delivery]:
        """Post events to the endpoints of their kind: several times over, out of order, late, or badly signed."""
        round_of = [event for event in events for _ in range(copies)]
        if order == "reversed":
            round_of.reverse()
        elif order == "shuffled":
            Random(seed).shuffle(round_of)  # noqa: S311 - an order, not a secret
        made = []
        for event in round_of:
            for endpoint in self.endpoints:
                if endpoint.is_thin is event.is_thin and endpoint.livemode is event.livemode:
                    time.sleep(pause_seconds)
                    delivery = self.post(event, endpoint, secret=secret, skew_seconds=skew_seconds)
                    made.append(delivery)
        return made

    def post(
        self,
        event: Event,
        endpoint: Endpoint,
        *,
        secret: str | None = None,
        skew_seconds: int = 0,
        body: bytes | None = None,
    ) -> Delivery:
        """Post one event once; `secret` and `body` replace the right ones."""
        body = as_bytes(event.notification()) if body is None else body
        signature = signed(body, endpoint.secret if secret is None else secret, skew_seconds=skew_seconds)
        delivery = Delivery(event.id, event.type, endpoint.url, _posted(endpoint.url, body, signature))
        event.is_delivered = event.is_delivered or delivery.is_taken
        self.deliveries.append(delivery)
        return delivery


def _posted(url: str, body: bytes, signature: str) -> int | None:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_PATIENCE_SECONDS)
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
    try:
        connection.request("POST", parts.path or "/", body, headers)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
