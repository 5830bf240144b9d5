"""A web server on a loopback port: it keeps what it is sent, and answers as a test tells it to."""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What the server says, how long it thinks first, and whether it hangs up instead."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    after_seconds: float = 0
    hang_up: bool = False


HANG_UP = Answer(hang_up=True)
"""The request was read to its end; the caller never learns of it."""


@dataclass(frozen=True)
class Call:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class WebServer:
    """The server as a test sees it: where it listens, what came, what it will say next."""

    host: str = "127.0.0.1"
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    _script: deque[Answer] = field(default_factory=deque)

    def answer(self, *answers: Answer | int) -> None:
        """The next answers, in order; after them everything is welcome again."""
        self._script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}:{self.port}{path}"

    def _next(self) -> Answer:
        return self._script.popleft() if self._script else Answer()


@contextmanager
def running_web_server() -> Iterator[WebServer]:
    """A web server for as long as the block runs."""
    kept = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.calls.append(Call(self.command, self.path, headers, body))
            answer = kept._next()
            time.sleep(answer.after_seconds)
            if answer.hang_up:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it is called by
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that lost patience is what the test wanted."""

    server = Quiet((kept.host, 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
