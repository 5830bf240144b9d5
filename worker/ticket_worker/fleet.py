"""Which processes a fleet is made of, and what each of them is."""

from __future__ import annotations

import os
import socket
import sys

import structlog
from celery import signals

from ticket_system.storage.database import Database
from ticket_tasks import names
from ticket_worker import embedded
from ticket_worker.app import create_app
from ticket_worker.lifecycle import prepare_database
from ticket_worker.settings import BROKER_URL_FILE, FILE_SUFFIX, Settings, variable
from ticket_worker.supervisor import Child, Supervisor

log = structlog.stdlib.get_logger(__name__)


def worker_children(environ: dict[str, str], concurrency: int | None = None) -> list[Child]:
    """Return one worker for each queue: a mail server that keeps the desk waiting never delays the clock."""
    extra = [] if concurrency is None else ["--concurrency", str(concurrency)]
    return [
        Child(queue.name, [sys.executable, "-m", "ticket_worker", "worker", "--queues", queue.name, *extra], environ)
        for queue in names.QUEUES
    ]


def beat_child(environ: dict[str, str]) -> Child:
    """Return the process that ticks."""
    return Child("beat", [sys.executable, "-m", "ticket_worker", "beat"], environ)


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make a child work with the database and broker of these settings."""
    given = {"database_url": settings.database, "redis_url": settings.broker, "data_dir": str(settings.data_dir)}
    return {variable(name): value for name, value in given.items()} | {
        # Said here and in a file would be said twice.
        variable(name) + FILE_SUFFIX: ""
        for name in given
    }


def run_worker(settings: Settings, queues: list[str], concurrency: int | None) -> int:
    """Be a Celery worker for these queues until asked to stop; return the exit status."""
    was_asked = False

    def asked(**_: object) -> None:
        nonlocal was_asked
        was_asked = True

    signals.worker_shutting_down.connect(asked)
    worker = create_app(settings).Worker(
        hostname=f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}",
        queues=queues,
        concurrency=concurrency or settings.concurrency,
        pool_cls="prefork",
        loglevel=settings.log_level.upper(),
        # Workers here have nothing to say to each other; each would only add keys to the broker and a wait at the start.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    # Celery calls a bounded stop a failure; who asked for it would see one after every deployment.
    return 0 if was_asked else int(worker.exitcode or 0)


def run_beat(settings: Settings) -> int:
    """Send ticks until asked to stop; return the exit status."""
    create_app(settings).Beat(loglevel=settings.log_level.upper(), quiet=True).run()
    return 0


def run_fleet(settings: Settings, concurrency: int | None) -> int:
    """Run everything on this machine until asked to stop; return the exit status."""
    with embedded.hold(settings.data_dir):
        supervisor = Supervisor(grace_seconds=settings.stop_seconds + 10)
        try:
            start_fleet(supervisor, settings, concurrency)
        except BaseException:
            supervisor.stop()
            raise
        return supervisor.run()


def start_fleet(supervisor: Supervisor, settings: Settings, concurrency: int | None = None) -> None:
    """Start broker (unless one is set), ticker and workers."""
    prepare_database(settings)
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
