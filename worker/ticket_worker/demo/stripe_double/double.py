"""The double itself: who calls, what goes wrong, what was answered before, and only then the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import Any

from ticket_worker.demo.stripe_double import faults
from ticket_worker.demo.stripe_double.answers import Json, Refusal, Response
from ticket_worker.demo.stripe_double.events import Delivery, Event, Postman
from ticket_worker.demo.stripe_double.faults import Fault, FaultKind, FaultPlan, Request
from ticket_worker.demo.stripe_double.forms import Params
from ticket_worker.demo.stripe_double.idempotency import IdempotencyLayer
from ticket_worker.demo.stripe_double.journal import Journal, Seen
from ticket_worker.demo.stripe_double.routes import Route, find
from ticket_worker.demo.stripe_double.shapes import expand
from ticket_worker.demo.stripe_double.stage import Stage
from ticket_worker.demo.stripe_double.world import Rules, World

TEST_KEY = "sk_test_double"
LIVE_KEY = "sk_live_double"


class StripeDouble(Stage):
    """A Stripe of one account, in test and in live mode, without HTTP. Any number of threads may call it."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        rules: Rules | None = None,
        keys: Mapping[str, bool] | None = None,
    ) -> None:
        super().__init__(World(rules=rules or Rules()))
        if clock:
            self.world.clock = clock
        self.world.keys = dict({TEST_KEY: False, LIVE_KEY: True} if keys is None else keys)
        self.faults = FaultPlan()
        self.journal = Journal(self.world)
        self.postman = Postman()
        self._layer = IdempotencyLayer()
        self._flights: dict[tuple[str, str], int] = {}
        self._flights_lock = threading.Lock()
        self._request_numbers = count(1)

    @property
    def rules(self) -> Rules:
        """Where the real Stripe is not known exactly."""
        return self.world.rules

    @property
    def clock(self) -> Callable[[], datetime]:
        """Where the time comes from, before what was added by hand."""
        return self.world.clock

    @clock.setter
    def clock(self, clock: Callable[[], datetime]) -> None:
        self.set_clock(clock)

    @property
    def in_flight_peak(self) -> dict[tuple[str, str], int]:
        """For each customer and meter, how many calls were being worked on at once, at most."""
        return self.journal.in_flight_peak

    @property
    def events(self) -> list[Event]:
        """Everything that happened, in order: snapshot and thin events."""
        with self.world.lock:
            return list(self.world.events)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook that was posted."""
        return self.postman.deliveries

    def deliver(self, ids: Collection[str] | None = None, **how: Any) -> Sequence[Delivery]:
        """Post these events, or all that were not taken yet, as `Postman.deliver` does."""
        chosen = [event for event in self.events if (event.id in ids if ids is not None else not event.is_delivered)]
        return self.postman.deliver(chosen, **how)

    def handle(self, method: str, path: str, params: Params, headers: Mapping[str, str]) -> Response:
        """Answer one call, and note it down."""
        headers = {name.lower(): value for name, value in headers.items()}
        request = Request(method, path, params, headers.get("idempotency-key"))
        fault = self.faults.draw(request)
        try:
            answer = self._admitted(request, headers, fault)
        except Refusal as refusal:
            answer = refusal.response()
        named = {"Request-Id": f"req_{next(self._request_numbers):014d}", **answer.headers}
        answer = Response(answer.status, answer.body, named, answer.effect, answer.raw, answer.content_type)
        self.journal.requests.append(
            Seen(
                at=self.world.now(),
                method=method,
                path=path,
                key=request.key,
                identifier=request.identifier,
                outcome=answer.outcome,
                fault=fault.kind.value if fault else None,
                is_replay="Idempotent-Replayed" in answer.headers,
            )
        )
        return answer

    def _admitted(self, request: Request, headers: Mapping[str, str], fault: Fault | None) -> Response:
        """Answer a call that comes as far as the door."""
        if fault and (in_the_way := faults.in_the_way(fault)):
            return in_the_way
        with self.world.lock:
            livemode = self._mode(headers.get("authorization", ""))
        route, object_id = find(request.method, request.path)
        answer = self._remembered(request, route, object_id, fault, livemode=livemode)
        return faults.on_the_way_back(fault, answer) if fault else answer

    def _mode(self, authorization: str) -> bool:
        """Return whether a caller's key is a live one."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or key not in self.world.keys:
            raise Refusal(401, f"Invalid API Key provided: {key[:7]}***", headers={"www-authenticate": "Bearer"})
        return self.world.keys[key]

    def _remembered(
        self, request: Request, route: Route, object_id: str, fault: Fault | None, *, livemode: bool
    ) -> Response:
        """Answer as before, where this was asked before; else do the work and remember its answer."""
        world = self.world
        with world.lock:
            if kept := self._layer.look_up(request, world.now(), livemode=livemode):
                return kept
            params = route.read(request.params)
            self._layer.begin(request, livemode=livemode)
        try:
            with self._in_flight(request) as is_alone:
                time.sleep(world.rules.work_seconds + (fault.seconds if fault and fault.kind is FaultKind.SLOW else 0))
                with world.lock:
                    answer = self._worked(route, object_id, params, fault, livemode=livemode, is_alone=is_alone)
                    self._layer.keep(request, answer, world.now(), livemode=livemode)
                    return answer
        except BaseException:
            # A flaw of the form that showed only now, or of the double: the key stays free.
            with world.lock:
                self._layer.forget(request, livemode=livemode)
            raise

    def _worked(
        self, route: Route, object_id: str, params: Params, fault: Fault | None, *, livemode: bool, is_alone: bool
    ) -> Response:
        """Return the answer that is kept: the work's, or that of a fault in its place."""
        try:
            if not is_alone and self.rules.refuses_concurrent_calls:
                raise faults.lock_timeout()
            if fault and (instead := faults.instead_of_work(fault)):
                return instead.response()
            body = self._expanded(
                route.work(self.world, object_id, params, livemode=livemode), params, livemode=livemode
            )
        except Refusal as refusal:
            if not refusal.is_content:
                raise
            return refusal.response()
        if fault and (instead := faults.instead_of_answer(fault)):
            return instead.response()
        return Response(200, body)

    def _expanded(self, body: Json, params: Params, *, livemode: bool) -> Json:
        return expand(body, params.get("expand") or [], lambda found: self.world.look_up(found, livemode=livemode))

    @contextmanager
    def _in_flight(self, request: Request) -> Iterator[bool]:
        """Count a call while it is worked on, and tell whether it is the only one for its customer and meter."""
        if (flight := request.flight) is None:
            yield True
            return
        with self._flights_lock:
            flying = self._flights[flight] = self._flights.get(flight, 0) + 1
            self.in_flight_peak[flight] = max(flying, self.in_flight_peak.get(flight, 0))
        try:
            yield flying == 1
        finally:
            with self._flights_lock:
                self._flights[flight] -= 1
