"""When a process counts: at the beginnings and ends of tasks, as Celery tells of them."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.app.task import Task
from prometheus_client import CollectorRegistry

from ticket_tasks import names
from ticket_tasks.registry import Observer
from ticket_tasks.turns import slot_settled
from ticket_worker import scraping
from ticket_worker.settings import Settings
from ticket_worker.strays import stray_found

_OUTCOMES = {states.SUCCESS: "done", states.FAILURE: "failed", states.RETRY: "postponed"}


def start_counting(settings: Settings) -> Observer:
    """Count from now on, and serve it as soon as a worker or a beat runs; returns what is told of each job's outcome.

    To be called before anything else imports the metrics.
    """
    folder = scraping.share_counts()
    from ticket_worker import metrics  # noqa: PLC0415 - its values are made in the folder

    counting = Counting(metrics, settings, folder)
    signals.task_prerun.connect(counting.begin, weak=False)
    signals.task_postrun.connect(counting.end, weak=False)
    signals.task_failure.connect(counting.killed, weak=False)
    slot_settled.connect(counting.slot, weak=False)
    stray_found.connect(counting.stray, weak=False)
    signals.worker_ready.connect(counting.serve_worker, weak=False)
    signals.worker_process_init.connect(counting.forked, weak=False)
    signals.beat_init.connect(counting.serve_beat, weak=False)
    observe: Observer = metrics.observe
    return observe


class Counting:
    """What one process counts by itself, and where it serves it."""

    def __init__(self, metrics: ModuleType, settings: Settings, folder: Path | None) -> None:
        self._metrics, self._settings, self._folder = metrics, settings, folder
        self._began_at: dict[str, float] = {}
        self._served: scraping.Scraped | None = None

    def begin(self, task_id: str, task: Task[..., Any], **_: object) -> None:
        """See a task begin, and how long its message waited."""
        self._began_at[task_id] = time.monotonic()
        request = task.request
        sent_at = getattr(request, names.SENT_AT, None)
        # One that was put off waited because it was told to.
        if isinstance(sent_at, int | float) and not request.eta:
            self._metrics.waited((request.delivery_info or {}).get("routing_key"), time.time() - sent_at)

    def end(self, task_id: str, task: Task[..., Any], state: str, **_: object) -> None:
        """See it end."""
        seconds = time.monotonic() - self._began_at.pop(task_id, time.monotonic())
        self._metrics.finished(task.name, _OUTCOMES.get(state, "done"), seconds)

    def killed(self, sender: Task[..., Any], exception: object, **_: object) -> None:
        """See it killed, as the worker tells: the process that ran it cannot any more."""
        if isinstance(exception, TimeLimitExceeded):
            self._metrics.finished(sender.name, "failed", float(exception.args[0]))
        elif isinstance(exception, WorkerLostError):
            self._metrics.finished(sender.name, "failed", 0.0)

    def stray(self, kind: str, **_: object) -> None:
        """See a message that no job understands."""
        self._metrics.strayed(kind)

    def slot(self, job: str, outcome: str, **_: object) -> None:
        """See what became of a tick."""
        self._metrics.settled(job, outcome)

    def serve_worker(self, **_: object) -> None:
        """Serve what all processes of this worker count; once, however often it is connected anew."""
        if self._served is None and self._folder is not None:
            self._metrics.say_version()
            self._serve(scraping.shared_counts(self._folder))

    def serve_beat(self, **_: object) -> None:
        """Serve what this beat counts."""
        self._metrics.say_version()
        self._serve(scraping.collected_by(self._metrics.registry, self._metrics.Beat()))

    def forked(self, **_: object) -> None:
        """Let go of the port in a process that was forked off later than it was opened."""
        if self._served is not None:
            self._served.let_go()

    def _serve(self, registry: CollectorRegistry) -> None:
        self._served = scraping.serve(registry, self._settings.metrics_host, self._settings.metrics_port)
