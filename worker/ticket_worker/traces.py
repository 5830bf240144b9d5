"""Spans of tasks, sent to a collector by OTLP over HTTP; needs the extra `trace`.

A task that came with a trace is a span of it. A tick comes with none, and is none: one a second that found nothing
would bury the others. What a tick hands over is traced nevertheless, each delivery by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any

import structlog
from celery import signals, states
from celery.app.task import Task
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from typing_extensions import override

from ticket_tasks import tracing

log = structlog.stdlib.get_logger(__name__)

_LAST_SECONDS = 5


def start_tracing(url: str) -> None:
    """Trace the tasks of every process that is forked from now on."""
    traced = Traced(url)
    signals.worker_process_init.connect(traced.open, weak=False)
    signals.worker_process_shutdown.connect(traced.close, weak=False)
    signals.task_prerun.connect(traced.begin, weak=False)
    signals.task_postrun.connect(traced.end, weak=False)


class Sender(SpanExporter):
    """Says once that spans get lost, and once that they arrive again: nothing else depends on it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._cut_off = False
        # It has a line for every attempt, with the address and what may be a token in it.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_lost = result is not SpanExportResult.SUCCESS
        if is_lost and not self._cut_off:
            log.warning("traces.lost", spans=len(spans), hint="does the collector of TICKETS_TRACE_URL run?")
        elif self._cut_off and not is_lost:
            log.info("traces.resumed")
        self._cut_off = is_lost
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


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
        self._provider.add_span_processor(BatchSpanProcessor(Sender(OTLPSpanExporter(endpoint=self._url, timeout=5))))
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
