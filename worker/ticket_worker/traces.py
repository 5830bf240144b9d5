"""Spans of tasks, sent to a collector by OTLP over HTTP; needs the extra `trace`.

A task that came with a trace is a span of it. A tick comes with none, and is none: one a second that found nothing
would bury the others. What a tick hands over is traced nevertheless, each delivery by itself.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any

import structlog
from celery import signals, states
from celery.app.task import Task
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ticket_tasks import tracing

_LAST_SECONDS = 5


def start_tracing(url: str) -> None:
    """Trace the tasks of every process that is forked from now on."""
    traced = Traced(url)
    signals.worker_process_init.connect(traced.open, weak=False)
    signals.worker_process_shutdown.connect(traced.close, weak=False)
    signals.task_prerun.connect(traced.begin, weak=False)
    signals.task_postrun.connect(traced.end, weak=False)


class Traced:
    """The tasks of one process, as spans."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._provider: TracerProvider | None = None
        self._running: dict[str, AbstractContextManager[Any]] = {}

    def open(self, **_: object) -> None:
        """Begin, in the process that will run the tasks: the thread that sends spans does not outlast a fork."""
        version = metadata.version("blackroad-ticket-system")
        about = Resource.create({"service.name": "ticket-worker", "service.version": version})
        self._provider = TracerProvider(resource=about)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=self._url, timeout=5)))
        trace.set_tracer_provider(self._provider)

    def close(self, **_: object) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.force_flush(_LAST_SECONDS * 1000)
            self._provider.shutdown()
            self._provider = None

    def begin(self, task_id: str, task: Task[..., Any], **_: object) -> None:
        """Go on with the trace that a message came with."""
        context = tracing.carried(task.request.headers)
        if context is None:
            return
        about = {
            "messaging.system": "redis",
            "messaging.operation.type": "process",
            "messaging.destination.name": str((task.request.delivery_info or {}).get("routing_key")),
            "messaging.message.id": task_id,
            "tickets.attempt": str(task.request.retries + 1),
            # The same as on every line of the log.
            "tickets.correlation": str(structlog.contextvars.get_contextvars().get("correlation", "")),
        }
        current = trace.get_tracer(__name__).start_as_current_span(
            task.name, context, kind=trace.SpanKind.CONSUMER, attributes=about
        )
        current.__enter__()
        self._running[task_id] = current

    def end(self, task_id: str, state: str, **_: object) -> None:
        """End its part; of an error it tells that there was one, and no text, which may quote what a customer wrote."""
        current = self._running.pop(task_id, None)
        if current is None:
            return
        if state == states.FAILURE:
            trace.get_current_span().set_status(trace.StatusCode.ERROR)
        current.__exit__(None, None, None)
