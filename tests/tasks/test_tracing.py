import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from ticket_tasks import tracing

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"


@pytest.fixture
def going_on() -> Iterator[None]:
    """A trace that somebody began before us."""
    span = NonRecordingSpan(SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(1)))
    token = context.attach(trace.set_span_in_context(span))
    yield
    context.detach(token)


@pytest.mark.usefixtures("going_on")
def test_a_message_carries_the_trace_that_is_going_on() -> None:
    headers: dict[str, Any] = {"sent_at": 1.0}
    tracing.inject(headers)
    assert headers == {"sent_at": 1.0, "traceparent": PARENT}


@pytest.mark.usefixtures("going_on")
def test_a_message_that_names_its_trace_keeps_it() -> None:
    headers = {"traceparent": "00-1-1-01"}
    tracing.inject(headers)
    assert headers == {"traceparent": "00-1-1-01"}


def test_without_a_trace_there_is_nothing_to_carry() -> None:
    headers: dict[str, Any] = {}
    tracing.inject(headers)
    assert headers == {}


def test_what_was_carried_is_found_again() -> None:
    found = trace.get_current_span(tracing.carried({"traceparent": PARENT, "sent_at": 1.0})).get_span_context()
    assert (found.trace_id, found.span_id, found.is_remote) == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    "headers", (None, {}, {"traceparent": "nonsense"}, {"traceparent": 7}, {"traceparent": PARENT + "x" * 600})
)
def test_what_is_no_trace_is_none(headers: dict[str, Any] | None) -> None:
    assert tracing.carried(headers) is None


def test_a_part_of_nothing_may_say_what_it_likes() -> None:
    with tracing.span("deliver notice", ticket_id="t", attempt=1) as tell:
        tell("fate", "sent")


def test_where_it_is_not_installed_all_of_it_is_nothing() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from ticket_tasks import tracing\n"
        "headers = {}; tracing.inject(headers); assert headers == {}\n"
        f"assert tracing.carried({{'traceparent': '{PARENT}'}}) is None\n"
        "with tracing.span('x') as tell: tell('fate', 'sent')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
