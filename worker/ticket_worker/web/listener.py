"""The web server under the endpoints: where it listens, what it logs, how it ends."""

from __future__ import annotations

import signal
import socket

import structlog
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from ticket_worker.database import prepare_database
from ticket_worker.errors import FleetError
from ticket_worker.settings import Settings
from ticket_worker.web.app import create_web_app
from ticket_worker.web.serve import served_paths, takes_events

log = structlog.stdlib.get_logger(__name__)

#: Requests in progress get so long to end when the process is asked to.
_GRACE_SECONDS = 5


def listen(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit status."""
    # Before the server, which would print a traceback and another status.
    prepare_database(settings, patience_seconds=settings.start_patience_seconds)
    with _listening(settings.webhook_host, settings.webhook_port) as place:
        server = Server(create_web_app(settings), place, settings)

        def stop(*_: object) -> None:
            server.should_exit = True

        # The server raises what it caught once more when it is done, for whoever was there before it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if takes_events(settings) and settings.billing != "stripe":
            hint = "they are stored, and nothing follows from them until TICKETS_BILLING=stripe"
            log.warning("events.unattended", billing=settings.billing, hint=hint)
        server.run(sockets=[place])
    log.info("webhook.stopped")
    return 0


class Server(uvicorn.Server):
    """Says when it can be reached, and where."""

    def __init__(self, app: ASGIApp, place: socket.socket, settings: Settings) -> None:
        host, port = place.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.paths = served_paths(settings)
        config = uvicorn.Config(
            app,
            # Its own would throw out ours.
            log_config=None,
            log_level="info" if settings.log_level == "debug" else "warning",
            # What came is logged where it is known what it was, and a path may hold a signed link.
            access_log=False,
            server_header=False,
            # Nothing here asks who calls or how: what is signed counts.
            proxy_headers=False,
            lifespan="on",
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("webhook.started", address=self.address, paths=self.paths)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        raise FleetError(
            f"cannot listen on {host}:{port} ({why}); "
            "set TICKETS_WEBHOOK_HOST and TICKETS_WEBHOOK_PORT, or --host and --port"
        ) from error
