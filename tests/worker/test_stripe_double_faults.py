"""What goes wrong between the SDK and the double, and what the double bills all the same."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.support.stripe import Side, client_of, double_side
from ticket_worker.demo.stripe_double import TEST_KEY, Fault, FaultKind, Request, StripeDouble

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
STAMP = int(NOW.timestamp())

#: Fault, the SDK's error, its status, whether the event counts, whether the answer is kept under the key.
CASES = (
    (FaultKind.THROTTLE, stripe.RateLimitError, 429, False, False),
    (FaultKind.LOCK_TIMEOUT, stripe.RateLimitError, 429, False, True),
    (FaultKind.ERROR_BEFORE, stripe.APIError, 500, False, True),
    (FaultKind.ERROR_AFTER, stripe.APIError, 500, True, True),
    (FaultKind.ERROR_HTML, stripe.APIError, 503, False, False),
    (FaultKind.JUNK, stripe.APIError, 200, True, True),
    (FaultKind.EMPTY, stripe.APIError, 200, True, True),
    (FaultKind.RESET_BEFORE, stripe.APIConnectionError, None, False, False),
    (FaultKind.RESET_AFTER, stripe.APIConnectionError, None, True, True),
    (FaultKind.RESET_MID_BODY, stripe.APIConnectionError, None, True, True),
    (FaultKind.HANG_BEFORE, stripe.APIConnectionError, None, False, False),
    (FaultKind.HANG_AFTER, stripe.APIConnectionError, None, True, True),
    (FaultKind.UNAUTHORIZED, stripe.AuthenticationError, 401, False, False),
)
#: What a kept answer is, when it is asked for again without a fault.
KEPT_AS_ERROR = {FaultKind.LOCK_TIMEOUT, FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER}


@pytest.fixture
def side() -> Iterator[Side]:
    with double_side(NOW) as side:
        yield side


@pytest.fixture
def double(side: Side) -> StripeDouble:
    assert side.double
    return side.double


def billed(side: Side) -> int:
    assert side.double
    return side.double.journal.billed(side.customer, side.event_name)


@pytest.mark.parametrize(("kind", "error", "status", "counts", "is_kept"), CASES)
def test_every_fault_does_what_its_name_says(
    side: Side,
    double: StripeDouble,
    kind: FaultKind,
    error: type[stripe.StripeError],
    status: int | None,
    counts: bool,
    is_kept: bool,
) -> None:
    double.faults.add(Fault(kind, seconds=30 if "hang" in kind else 0))
    hasty = client_of(side.client._requestor.base_addresses["api"] or "", patience_seconds=0.3)
    impatient = Side(hasty, side.customer, side.meter, side.event_name, double)
    with pytest.raises(error) as caught:
        impatient.report("3", identifier="a", key="k", timestamp=STAMP)
    assert caught.value.http_status == status
    assert billed(side) == (3 if counts else 0)
    assert double.faults.left == 0

    if kind in KEPT_AS_ERROR:
        with pytest.raises(error) as again:
            side.report("3", identifier="a", key="k", timestamp=STAMP)
        assert again.value.http_status == status
    else:
        side.report("3", identifier="a", key="k", timestamp=STAMP)
    seen = double.journal.requests
    assert (seen[0].fault, seen[0].identifier, seen[0].key) == (kind, "a", "k")
    assert seen[-1].is_replay is is_kept
    # Whatever happened: asked again with a key that never was, the identifier decides.
    if counts or kind not in KEPT_AS_ERROR:
        with pytest.raises(stripe.InvalidRequestError, match="already exists"):
            side.report("3", identifier="a", key="k2", timestamp=STAMP)
    else:
        side.report("3", identifier="a", key="k2", timestamp=STAMP)
    assert billed(side) == 3


def test_every_kind_of_fault_is_tried() -> None:
    assert {case[0] for case in CASES} | {FaultKind.SLOW} == set(FaultKind)


def test_a_stored_lock_timeout_lapses_with_its_key(side: Side, double: StripeDouble) -> None:
    double.faults.add("lock_timeout")
    for _ in range(3):
        with pytest.raises(stripe.RateLimitError) as caught:
            side.report(identifier="a", key="k", timestamp=STAMP)
        assert caught.value.error is not None
        assert caught.value.error.code == "lock_timeout"
    double.advance(timedelta(hours=24))
    side.report(identifier="a", key="k", timestamp=STAMP)
    assert billed(side) == 1


def test_a_fault_keeps_to_its_path_its_calls_and_its_number(side: Side, double: StripeDouble) -> None:
    double.faults.add(
        Fault(FaultKind.THROTTLE, path="/v1/customers", times=2),
        Fault(FaultKind.ERROR_BEFORE, method="POST", when=lambda request: request.identifier == "b"),
    )
    side.report(identifier="a")
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            side.client.v1.customers.retrieve(side.customer)
    side.client.v1.customers.retrieve(side.customer)
    with pytest.raises(stripe.APIError):
        side.report(identifier="b")
    side.report(identifier="b")


def test_a_fault_can_last_until_it_is_cleared(side: Side, double: StripeDouble) -> None:
    double.faults.add(Fault(FaultKind.UNAUTHORIZED, times=None))
    for _ in range(4):
        with pytest.raises(stripe.AuthenticationError):
            side.report()
    double.faults.clear()
    side.report()


def test_faults_can_be_drawn_call_by_call(side: Side, double: StripeDouble) -> None:
    seen: list[Request] = []

    def choose(request: Request) -> Fault | None:
        seen.append(request)
        return Fault(FaultKind.THROTTLE) if len(seen) % 2 else None

    double.faults.chooser = choose
    with pytest.raises(stripe.RateLimitError):
        side.report(identifier="a")
    side.report(identifier="a")
    assert [request.identifier for request in seen] == ["a", "a"]


def at_once(count: int, side: Side, key: str | None = None) -> list[str]:
    """Report in so many threads, each with a client of its own; return what came of it."""
    url = side.client._requestor.base_addresses["api"] or ""
    outcomes: list[str] = []
    gate = threading.Barrier(count)

    def call(number: int) -> None:
        own = Side(client_of(url), side.customer, side.meter, side.event_name)
        gate.wait()
        try:
            own.report(identifier="same" if key else f"i{number}", key=key, timestamp=STAMP)
            outcomes.append("taken")
        except stripe.StripeError as error:
            outcomes.append(f"{error.http_status} {error.error and error.error.code}")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_key_in_use_is_a_409_and_then_a_replay(side: Side, double: StripeDouble) -> None:
    double.rules.work_seconds = 1
    assert sorted(at_once(2, side, key="k")) == ["409 idempotency_key_in_use", "taken"]
    side.report(identifier="same", key="k", timestamp=STAMP)
    assert double.journal.requests[-1].is_replay
    assert billed(side) == 1


def test_calls_in_flight_are_counted_for_each_customer_and_meter(side: Side, double: StripeDouble) -> None:
    side.report()
    assert double.in_flight_peak == {(side.customer, side.event_name): 1}
    double.rules.work_seconds = 0.5
    other = double.add_customer()
    assert at_once(3, side) == ["taken"] * 3
    side.report(customer=other)
    assert double.in_flight_peak == {(side.customer, side.event_name): 3, (other, side.event_name): 1}


def test_a_second_call_at_a_time_can_be_refused(side: Side, double: StripeDouble) -> None:
    double.rules.work_seconds = 0.5
    double.rules.refuses_concurrent_calls = True
    assert sorted(at_once(3, side)) == ["429 lock_timeout", "429 lock_timeout", "taken"]
    assert billed(side) == 1


def test_slow_is_late_and_right(side: Side, double: StripeDouble) -> None:
    double.faults.add(Fault(FaultKind.SLOW, seconds=0.3))
    began = time.monotonic()
    side.report("2")
    assert time.monotonic() - began >= 0.3
    assert billed(side) == 2


def test_the_journal_knows_every_call(side: Side, double: StripeDouble) -> None:
    side.report(identifier="a", key="k")
    with pytest.raises(stripe.InvalidRequestError):
        side.client.v1.customers.retrieve("cus_nobody")
    told = [(seen.method, seen.path, seen.key, seen.identifier, seen.outcome) for seen in double.journal.requests]
    assert told == [
        ("POST", "/v1/billing/meter_events", "k", "a", "200"),
        ("GET", "/v1/customers/cus_nobody", None, None, "404 resource_missing"),
    ]


def test_two_modes_do_not_share_their_keys(side: Side, double: StripeDouble) -> None:
    double.add_key("sk_live_own", livemode=True)
    double.add_meter(side.event_name, livemode=True)
    live = double.add_customer(livemode=True)
    side.report(identifier="a", key="k", timestamp=STAMP)
    owner = Side(
        client_of(side.client._requestor.base_addresses["api"] or "", "sk_live_own"), live, "", side.event_name
    )
    assert owner.report(identifier="a", key="k", timestamp=STAMP).livemode is True
    assert double.world.keys[TEST_KEY] is False
    assert double.journal.billed(live, side.event_name) == 1
