"""The double on a loopback port, as the SDK's base address."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ticket_worker.demo.stripe_double.answers import Refusal, Response, Way
from ticket_worker.demo.stripe_double.control import PREFIX, control
from ticket_worker.demo.stripe_double.double import StripeDouble
from ticket_worker.demo.stripe_double.forms import decode
from ticket_worker.demo.stripe_double.shapes import as_bytes


@dataclass(frozen=True, slots=True)
class Running:
    """A double that can be called."""

    double: StripeDouble
    url: str


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept open from call to call, as Stripe's are."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes: without this the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    double: StripeDouble
    stopping: threading.Event

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if parts.path.startswith(PREFIX):
            status, told = self._controlled(parts.path, body)
            self._send(Response(status, told))
            return
        text = body.decode() if self.command == "POST" else parts.query
        try:
            params = decode(text)
        except Refusal as refusal:
            self._send(refusal.response())
            return
        self._send(self.double.handle(self.command, parts.path, params, dict(self.headers.items())))

    def _controlled(self, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        try:
            asked = json.loads(body or b"{}")
        except ValueError as error:
            return 400, {"error": str(error)}
        return control(self.double, self.command, path, asked)

    def _send(self, answer: Response) -> None:
        if answer.effect.seconds:
            self.stopping.wait(answer.effect.seconds)
        if answer.effect.way is Way.HANG_UP:
            self._hang_up()
            return
        body = as_bytes(answer.body) if answer.raw is None else answer.raw
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if answer.effect.way is Way.HANG_UP_MID_BODY:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._hang_up()
            return
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The caller was faster.
            return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it is called by
        """Nothing is printed; the journal has it all."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A worker's whole pool may knock at once.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that lost patience is no news; anything else is a flaw of the double, and printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def running_double(double: StripeDouble, host: str = "127.0.0.1", port: int = 0) -> Iterator[Running]:
    """Serve the double for as long as the block runs."""
    stopping = threading.Event()
    handler = type("Handler", (_Handler,), {"double": double, "stopping": stopping})
    server = _Server((host, port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="stripe-double")
    thread.start()
    try:
        yield Running(double, f"http://{host}:{server.server_address[1]}")
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
