"""Traces across the queue: a message carries the trace that it belongs to, as W3C says (`traceparent`, `tracestate`).

All of it is nothing where OpenTelemetry is not installed, and next to nothing where nobody collects spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

#: The headers that carry it; whatever else a sender has in its context stays with the sender.
HEADERS = ("traceparent", "tracestate")
_LONGEST = 512


def inject(headers: MutableMapping[str, Any]) -> None:
    """Write the trace that is going on here into the headers of a message, unless they name one."""
    found = _found()
    if found is None or headers.get(HEADERS[0]) is not None:
        return
    carrier: dict[str, str] = {}
    found.propagation.TraceContextTextMapPropagator().inject(carrier)
    headers.update(carrier)


def carried(headers: Mapping[str, Any] | None) -> Any:
    """Return the context of the trace that a message came with; None where it came with none."""
    found = _found()
    carrier = {name: value for name in HEADERS if isinstance(value := (headers or {}).get(name), str)}
    if found is None or HEADERS[0] not in carrier or any(len(value) > _LONGEST for value in carrier.values()):
        return None
    context = found.propagation.TraceContextTextMapPropagator().extract(carrier)
    return context if found.api.get_current_span(context).get_span_context().is_valid else None


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[Callable[[str, str], None]]:
    """Do something as a part of the trace that is going on, or as a trace of its own; yields what tells more of it."""
    found = _found()
    if found is None:
        yield lambda _key, _value: None
        return
    told = {f"tickets.{key}": value for key, value in attributes.items()}
    with found.api.get_tracer("ticket_tasks").start_as_current_span(name, attributes=told) as current:
        yield lambda key, value: current.set_attribute(f"tickets.{key}", value)


class _Found:
    """OpenTelemetry's interface, where it is installed."""

    def __init__(self, api: ModuleType, propagation: ModuleType) -> None:
        self.api: Any = api
        self.propagation: Any = propagation


@cache
def _found() -> _Found | None:
    try:
        from opentelemetry import trace  # noqa: PLC0415 - installed or not, it costs nothing before it is needed
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415
    except ImportError:
        return None
    return _Found(trace, tracecontext)
