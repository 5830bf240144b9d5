"""What can go wrong on the way to Stripe, inside it, and on the way back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from ticket_worker.demo.stripe_double.answers import Effect, Refusal, Response, Way
from ticket_worker.demo.stripe_double.forms import Params


class FaultKind(StrEnum):
    """The faults, by the name that a plan or a control call gives them."""

    #: 429 ahead of the idempotency layer: nothing done, nothing kept.
    THROTTLE = "throttle"
    #: 429 `lock_timeout` from inside: nothing done, and kept under the key.
    LOCK_TIMEOUT = "lock_timeout"
    #: 500, nothing done, kept under the key.
    ERROR_BEFORE = "error_before"
    #: 500 although it was done, kept under the key.
    ERROR_AFTER = "error_after"
    #: A proxy's 503 in HTML: nothing done, nothing kept.
    ERROR_HTML = "error_html"
    #: Done, but what comes back is 200 with a page of HTML.
    JUNK = "junk"
    #: Done, but what comes back is 200 and nothing else.
    EMPTY = "empty"
    #: The connection breaks before anything was done.
    RESET_BEFORE = "reset_before"
    #: Done, then the connection breaks.
    RESET_AFTER = "reset_after"
    #: Done, then the connection breaks half-way through the answer.
    RESET_MID_BODY = "reset_mid_body"
    #: Nothing is done and nothing is said for so many seconds; then the connection breaks.
    HANG_BEFORE = "hang_before"
    #: Done, but nothing is said for so many seconds; then the connection breaks.
    HANG_AFTER = "hang_after"
    #: The key is refused.
    UNAUTHORIZED = "unauthorized"
    #: Everything is well, after so many seconds of work.
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Request:
    """A call as the double sees it."""

    method: str
    path: str
    params: Params
    key: str | None = None

    @property
    def identifier(self) -> str | None:
        """The identifier of a meter event."""
        found = self.params.get("identifier")
        return found if isinstance(found, str) else None

    @property
    def flight(self) -> tuple[str, str] | None:
        """The customer and the meter of a meter event: Stripe wants one call at a time for each."""
        payload = self.params.get("payload")
        name = self.params.get("event_name")
        if self.method != "POST" or self.path != "/v1/billing/meter_events" or not isinstance(payload, dict):
            return None
        customer = payload.get("stripe_customer_id")
        return (customer, name) if isinstance(customer, str) and isinstance(name, str) else None


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, for whom, and how often; `times=None` is until the plan is cleared."""

    kind: FaultKind
    seconds: float = 0.0
    path: str = "/"
    method: str | None = None
    times: int | None = 1
    when: Callable[[Request], bool] | None = None

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)

    def hits(self, request: Request) -> bool:
        """Whether it befalls this call."""
        return (
            self.times != 0
            and request.path.startswith(self.path)
            and self.method in {None, request.method}
            and (self.when is None or self.when(request))
        )


@dataclass(slots=True)
class FaultPlan:
    """The faults to come, in order: each call suffers the first that is meant for it."""

    #: Asked where no fault in the queue hits; for plans that are drawn by lot.
    chooser: Callable[[Request], Fault | None] | None = None
    _queue: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *faults: Fault | FaultKind | str) -> None:
        """Plan faults; a bare kind befalls the next call, once."""
        with self._lock:
            self._queue.extend(fault if isinstance(fault, Fault) else Fault(FaultKind(fault)) for fault in faults)

    def clear(self) -> None:
        """From here on all is well."""
        with self._lock:
            self._queue.clear()
            self.chooser = None

    @property
    def left(self) -> int:
        """How many planned faults have not happened; those that repeat count once."""
        with self._lock:
            return len(self._queue)

    def draw(self, request: Request) -> Fault | None:
        """Return the fault of this call, and use it up."""
        with self._lock:
            for fault in self._queue:
                if fault.hits(request):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._queue.remove(fault)
                    return fault
            return self.chooser(request) if self.chooser else None


_PAGE = b"<!doctype html><title>Something went wrong</title><p>Please try again."
_SERVER_ERROR = Refusal(500, "An unknown error occurred.", type="api_error")


def in_the_way(fault: Fault) -> Response | None:
    """Return the answer of a call that never reaches the idempotency layer."""
    match fault.kind:
        case FaultKind.THROTTLE:
            return Refusal(429, "Request rate limit exceeded.", "rate_limit").response()
        case FaultKind.UNAUTHORIZED:
            return Refusal(401, "Invalid API Key provided.").response()
        case FaultKind.ERROR_HTML:
            return Response(503, {}, raw=_PAGE, content_type="text/html")
        case FaultKind.RESET_BEFORE:
            return Response(0, {}, effect=Effect(Way.HANG_UP))
        case FaultKind.HANG_BEFORE:
            return Response(0, {}, effect=Effect(Way.HANG_UP, fault.seconds))
        case _:
            return None


def instead_of_work(fault: Fault) -> Refusal | None:
    """Return what is said, and kept, in place of the work."""
    match fault.kind:
        case FaultKind.LOCK_TIMEOUT:
            return lock_timeout()
        case FaultKind.ERROR_BEFORE:
            return _SERVER_ERROR
        case _:
            return None


def instead_of_answer(fault: Fault) -> Refusal | None:
    """Return what is said, and kept, in place of the answer to work that was done."""
    return _SERVER_ERROR if fault.kind is FaultKind.ERROR_AFTER else None


def on_the_way_back(fault: Fault, answer: Response) -> Response:
    """Return what is left of an answer that was kept as it was."""
    match fault.kind:
        case FaultKind.JUNK:
            return Response(200, {}, answer.headers, raw=_PAGE, content_type="text/html")
        case FaultKind.EMPTY:
            return Response(200, {}, answer.headers, raw=b"")
        case FaultKind.RESET_AFTER:
            effect = Effect(Way.HANG_UP)
        case FaultKind.RESET_MID_BODY:
            effect = Effect(Way.HANG_UP_MID_BODY)
        case FaultKind.HANG_AFTER:
            effect = Effect(Way.HANG_UP, fault.seconds)
        case _:
            return answer
    return Response(answer.status, answer.body, answer.headers, effect)


def lock_timeout() -> Refusal:
    """Someone else is at this object; unlike other 429s it comes from inside and is kept."""
    return Refusal(
        429,
        "This object is in use by another request; try again later.",
        "lock_timeout",
        headers={"stripe-should-retry": "true"},
        is_content=True,
    )
