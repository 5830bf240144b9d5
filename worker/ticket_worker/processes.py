"""The two kinds of Celery process, each in the process that calls it."""

from __future__ import annotations

import os
import socket
import warnings
from importlib.util import find_spec

import structlog
from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from ticket_worker.app import create_app
from ticket_worker.broker import broker_problem
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings

log = structlog.stdlib.get_logger(__name__)


def run_worker(settings: Settings, queues: list[str], concurrency: int | None) -> int:
    """Be a Celery worker for these queues until asked to stop; return the exit status."""
    _say_if_unreachable(settings)
    _say_if_privileged()
    was_asked = False

    def asked(**_: object) -> None:
        nonlocal was_asked
        was_asked = True

    signals.worker_shutting_down.connect(asked)
    signals.worker_ready.connect(_accept)
    worker = create_app(settings).Worker(
        hostname=f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}",
        queues=queues,
        concurrency=concurrency or settings.concurrency,
        pool_cls="prefork",
        loglevel=settings.log_level.upper(),
        # Workers here have nothing to say to each other; these would only add keys to the broker, and a wait.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    # Celery calls a bounded stop a failure; who asked for it would see one after every deployment.
    return 0 if was_asked else int(worker.exitcode or 0)


def run_beat(settings: Settings) -> int:
    """Send ticks until asked to stop, while no other beat does; return the exit status."""
    if settings.beat == "redbeat" and find_spec("redbeat") is None:
        raise SettingsError(
            "TICKETS_BEAT: redbeat needs an extra. Expected: pip install 'blackroad-ticket-system[redbeat]'"
        )
    _say_if_unreachable(settings)
    log.info("beat.started", scan_interval_seconds=settings.scan_interval_seconds)
    create_app(settings).Beat(loglevel=settings.log_level.upper(), quiet=True).run()
    return 0


def _accept(**_: object) -> None:
    """Keep Celery from announcing at every reconnect what app.py decided on purpose; earlier it does not listen."""
    warnings.filterwarnings("ignore", message=r"\s*In Celery 5.1 we introduced", category=CPendingDeprecationWarning)


def _say_if_privileged() -> None:
    """Say in one line what Celery says in eight."""
    warnings.simplefilter("ignore", SecurityWarning)
    if os.geteuid() == 0:
        log.warning("worker.privileged", hint="it runs as root and needs no right of root's; start it as another user")


def _say_if_unreachable(settings: Settings) -> None:
    """Say at once that the broker is away, and how it should be named. Celery waits for it: it may be starting too."""
    if (problem := broker_problem(settings.broker)) is not None:
        log.error(
            "broker.unreachable",
            error=problem,
            hint="is TICKETS_REDIS_URL right? trying again until it answers",
        )
