"""How what was counted is read: over HTTP, from files that a worker's processes share.

A worker forks, and each of its processes counts for itself, into a file of its own. The file is named after the
process's place in the pool and not after its id: who takes over a place goes on with its file, or there would be
another one every few hours for as long as the worker lives.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import structlog
from billiard.process import current_process
from prometheus_client import CollectorRegistry, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = structlog.stdlib.get_logger(__name__)

#: Where the makers' library looks for the folder.
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_counts() -> Path | None:
    """Have this process and those that it forks count into one new folder; before the first metric is made.

    Returns None, and says so, where there is no room for one: the work is worth more than its figures.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="ticket-worker-metrics-"))
    except OSError as error:
        log.error("metrics.unavailable", error=str(error.strerror))  # noqa: TRY400 - the sentence is the message
        return None
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(process_identifier=_place)  # type: ignore[no-untyped-call]
    owner = os.getpid()

    def clear() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(clear)
    return folder


def shared_counts(folder: Path) -> CollectorRegistry:
    """Return what all processes of a folder counted, added up whenever it is read."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry


def collected_by(*collectors: Collector) -> CollectorRegistry:
    """Return what these collectors tell, and nothing of this process by itself."""
    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    return registry


@dataclass
class Scraped:
    """A port on which metrics are served, by a thread of this process."""

    server: WSGIServer

    @property
    def port(self) -> int:
        """Where it listens, also when it was left to the system."""
        return int(self.server.server_port)

    def stop(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.let_go()

    def let_go(self) -> None:
        """Close the port in a process that was forked off: nobody serves it there, and it would stay taken."""
        self.server.socket.close()


def serve(registry: CollectorRegistry, host: str, port: int) -> Scraped | None:
    """Serve metrics; None, and a line that says why, where the port cannot be had."""
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        log.error("metrics.unavailable", host=host, port=port, error=str(error.strerror))  # noqa: TRY400 - as above
        return None
    scraped = Scraped(server)
    log.info("metrics.served", host=host, port=scraped.port)
    return scraped


def _place() -> str:
    """Name the place of this process in its worker's pool; the worker itself is no part of it."""
    index = getattr(current_process(), "index", None)
    return "worker" if index is None else str(index)
