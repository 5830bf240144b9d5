"""Deliveries of events as Stripe makes them, and the endpoint they go to, both on a loopback port."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import stripe
from starlette.types import ASGIApp

from ticket_worker.settings import Settings
from ticket_worker.web.listener import Server

SNAPSHOT_SECRET = "whsec_snapshot"
THIN_SECRET = "whsec_thin"


def snapshot(event_id: str = "evt_1", **changes: Any) -> str:
    """An event that carries the object it is about."""
    told = {
        "id": event_id,
        "object": "event",
        "type": "customer.subscription.updated",
        "livemode": False,
        "api_version": "2026-01-28.clover",
        "data": {"object": {"id": "sub_1", "customer": "cus_ädä", "note": "unspeakable"}},
    }
    return json.dumps(told | changes, ensure_ascii=False, indent=2)


def thin(event_id: str = "evt_test_1", **changes: Any) -> str:
    """An event that only says what it is about."""
    told = {
        "id": event_id,
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": False,
        "created": "2026-02-01T00:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    return json.dumps(told | changes)


def signed(body: str, secret: str = SNAPSHOT_SECRET, *, at: int | None = None) -> dict[str, str]:
    """The header that goes with a body."""
    header: str = stripe.WebhookSignature.generate_signature_header(body, secret, at)
    return {"Stripe-Signature": header}


def fresh_second() -> int:
    """The time as signatures have it, early in its second: what takes a moment still happens in the same one."""
    while time.time() % 1 > 0.3:
        time.sleep(0.01)
    return int(time.time())


@dataclass(frozen=True)
class Answer:
    """What the endpoint said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Endpoint:
    """The endpoint as a sender sees it."""

    port: int

    def deliver(
        self, body: str, headers: Mapping[str, str] | None = None, *, path: str = "/stripe", method: str = "POST"
    ) -> Answer:
        """Send a body, by default signed with the first secret, and wait for the answer."""
        return self.send(body.encode(), signed(body) if headers is None else headers, path=path, method=method)

    def send(self, body: bytes, headers: Mapping[str, str], *, path: str = "/stripe", method: str = "POST") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            lowered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lowered, response.read())
        finally:
            connection.close()

    @contextmanager
    def talk(self, head: str) -> Iterator[socket.socket]:
        """A connection on which these lines were sent, ending in the empty one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            yield connection


def status_of(connection: socket.socket) -> int:
    """The status that came back; the connection is at its end then, one way or the other."""
    told = b""
    # A server that hangs up before it has read everything resets the connection behind its answer.
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            told += chunk
    return int(told.split(b" ", 2)[1])


@contextmanager
def serving(app: ASGIApp, settings: Settings) -> Iterator[Endpoint]:
    """An application on the web server that production has, for as long as the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        server = Server(app, place, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "it did not start"
                time.sleep(0.01)
            yield Endpoint(place.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
