"""Which processes a fleet is made of, and how it is started on one machine."""

from __future__ import annotations

import os
import sys

import structlog

from ticket_system.storage.database import Database
from ticket_tasks import names
from ticket_worker import embedded
from ticket_worker.database import prepare_database
from ticket_worker.settings import BROKER_URL_FILE, FILE_SUFFIX, Settings, variable
from ticket_worker.supervisor import Child, Supervisor

log = structlog.stdlib.get_logger(__name__)

#: What a worker needs to give back its messages after its jobs are done or cut short.
_LAST_WORDS_SECONDS = 10


def worker_children(environ: dict[str, str], concurrency: int | None = None) -> list[Child]:
    """Return one worker for each queue: a mail server that keeps the desk waiting never delays the clock."""
    extra = [] if concurrency is None else ["--concurrency", str(concurrency)]
    return [
        Child(
            queue.name,
            [sys.executable, "-m", "ticket_worker", "worker", "--queues", queue.name, *extra],
            _with_port(environ, number),
        )
        for number, queue in enumerate(names.QUEUES)
    ]


def beat_child(environ: dict[str, str]) -> Child:
    """Return the process that ticks."""
    return Child("beat", [sys.executable, "-m", "ticket_worker", "beat"], _with_port(environ, len(names.QUEUES)))


def _with_port(environ: dict[str, str], number: int) -> dict[str, str]:
    """Give the child of this number a port for metrics of its own, counted from the one that is set; 0 stays 0."""
    name = variable("metrics_port")
    first = int(environ.get(name) or 0)
    return environ | {name: str(first + number)} if first else environ


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that makes a child work with the database and broker of these settings."""
    given = {
        "database_url": settings.database,
        "redis_url": settings.broker,
        "data_dir": str(settings.data_dir),
        "metrics_port": str(settings.metrics_port),
    }
    # Said in a file too, it would be said twice.
    kept = {
        name: value for name, value in os.environ.items() if name not in {variable(own) + FILE_SUFFIX for own in given}
    }
    return kept | {variable(name): value for name, value in given.items()}


def run_workers(settings: Settings, concurrency: int | None) -> int:
    """Keep one worker per queue running until asked to stop; return the exit status."""
    children = worker_children(environment(settings), concurrency)
    prepare_database(settings, patience_seconds=settings.start_patience_seconds)
    supervisor = Supervisor(grace_seconds=settings.stop_seconds + _LAST_WORDS_SECONDS)
    supervisor.start(*children)
    return supervisor.run()


def run_fleet(settings: Settings, concurrency: int | None) -> int:
    """Run everything on this machine until asked to stop; return the exit status."""
    with embedded.hold(settings.data_dir):
        supervisor = Supervisor(grace_seconds=settings.stop_seconds + _LAST_WORDS_SECONDS)
        try:
            start_fleet(supervisor, settings, concurrency)
        except BaseException:
            supervisor.stop()
            raise
        return supervisor.run()


def start_fleet(supervisor: Supervisor, settings: Settings, concurrency: int | None = None) -> None:
    """Start broker (unless one is set), ticker and workers."""
    prepare_database(settings, patience_seconds=settings.start_patience_seconds)
    if settings.redis_url is None:
        broker = embedded.prepare_broker(settings.data_dir)
        supervisor.start(broker.child)
        broker.wait_until_ready(supervisor.poll)
    environ = environment(settings)
    supervisor.start(*worker_children(environ, concurrency), beat_child(environ))
    log.info(
        "fleet.started",
        database=repr(Database(settings.database)),
        broker_url_file=str(settings.data_dir / BROKER_URL_FILE) if settings.redis_url is None else None,
    )
