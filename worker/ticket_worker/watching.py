"""What of a process is watched, as its settings say."""

from __future__ import annotations

from celery import Celery

from ticket_tasks.registry import Observer
from ticket_worker import health, heartbeats
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings


def watch(app: Celery, settings: Settings) -> Observer:
    """Have a worker or a beat of this application give signs of life, count and trace; returns what is told of jobs."""
    heartbeats.attach(app, health.folder_in(settings.health_dir, settings.data_dir))
    if settings.trace_url is not None:
        _trace(settings.trace_url.get_secret_value())
    if not settings.metrics_port:
        return _nobody
    from ticket_worker.counting import start_counting  # noqa: PLC0415 - what is not watched costs nothing

    return start_counting(settings)


def _trace(url: str) -> None:
    try:
        from ticket_worker.traces import start_tracing  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "TICKETS_TRACE_URL: traces need an extra. Expected: pip install 'blackroad-ticket-system[trace]'"
        ) from None
    start_tracing(url)


def _nobody(_job: str, _outcome: object) -> None:
    """Tell nobody."""
