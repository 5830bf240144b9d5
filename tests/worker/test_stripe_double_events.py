"""Events, webhooks, rejections after the fact, and the double as a process of its own."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.support.http import WebServer, running_web_server
from tests.support.processes import running
from tests.support.stripe import Side, client_of, double_side
from ticket_worker.demo.stripe_double import TEST_KEY, Endpoint, MeterEvent, StripeDouble

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
SECRET = "whsec_snapshot"
THIN_SECRET = "whsec_thin"
REPORT = "v1.billing.meter.error_report_triggered"


@pytest.fixture
def side() -> Iterator[Side]:
    with double_side(NOW) as side:
        yield side


@pytest.fixture
def double(side: Side) -> StripeDouble:
    assert side.double
    return side.double


@pytest.fixture
def receiver(double: StripeDouble) -> Iterator[WebServer]:
    with running_web_server() as server:
        double.postman.endpoints += [
            Endpoint(server.url("/snapshot"), SECRET),
            Endpoint(server.url("/thin"), THIN_SECRET, is_thin=True),
        ]
        yield server


def verified(call: Any, secret: str) -> stripe.Event:
    event: stripe.Event = stripe.Webhook.construct_event(call.body, call.headers["stripe-signature"], secret)
    return event


def report(side: Side, identifier: str, value: str = "1", **named: str) -> None:
    side.report(value, identifier=identifier, timestamp=int(NOW.timestamp()), **named)


# -------------------------------------------------------------------------------------------------------- rejections


@pytest.mark.parametrize("is_sampled", (True, False))
def test_an_event_can_be_rejected_after_a_200(side: Side, double: StripeDouble, is_sampled: bool) -> None:
    report(side, "a", "5")
    report(side, "b", "2")
    assert double.reject_async("a", "meter_event_invalid_value", is_sampled=is_sampled) == 1
    assert double.journal.billed(side.customer, side.event_name) == 2
    minute = int(NOW.timestamp())
    assert side.summary(minute, minute + 60) == 2
    [event] = side.client.v2.core.events.list({"types": [REPORT], "object_id": side.meter}).data
    fetched = side.client.v2.core.events.retrieve(event.id)
    data = fetched.to_dict()["data"]
    [kind] = data["reason"]["error_types"]
    assert (kind["code"], kind["error_count"], data["reason"]["error_count"]) == ("meter_event_invalid_value", 1, 1)
    named = [sample["request"]["identifier"] for sample in kind["sample_errors"]]
    assert named == (["a"] if is_sampled else [])
    span = datetime.fromisoformat(data["validation_end"]) - datetime.fromisoformat(data["validation_start"])
    assert span == timedelta(seconds=10)


def test_events_to_come_can_be_rejected_until_that_is_over(side: Side, double: StripeDouble) -> None:
    def is_big(event: MeterEvent) -> bool:
        return event.value > 10

    assert double.reject_async(is_big) == 0
    report(side, "a", "11")
    report(side, "b", "1")
    double.stop_rejecting()
    report(side, "c", "12")
    assert double.journal.billed(side.customer, side.event_name) == 13
    assert [event.rejected for event in double.journal.events] == ["meter_event_invalid_value", None, None]


def test_flaws_can_be_found_later(side: Side, double: StripeDouble) -> None:
    double.rules.customers_are_checked_later = double.rules.meters_are_checked_later = True
    report(side, "a", customer="cus_nobody")
    report(side, "b", event_name="nobody_counts_this")
    assert [event.rejected for event in double.journal.events] == ["meter_event_customer_not_found", "no_meter"]
    kinds = [event.type for event in double.events if event.is_thin]
    assert kinds == [REPORT, "v1.billing.meter.no_meter_found"]


# ------------------------------------------------------------------------------------------------------------ events


def test_thin_events_are_listed_page_by_page(side: Side, double: StripeDouble) -> None:
    for number in range(5):
        report(side, str(number))
        double.reject_async(str(number))
        double.advance(timedelta(minutes=1))
    listed = side.client.v2.core.events.list
    everything = list(listed({"limit": 2, "types": [REPORT]}).auto_paging_iter())
    assert len({event.id for event in everything}) == 5
    since = (NOW + timedelta(minutes=3)).isoformat()
    assert len(listed({"created": {"gte": since}}).data) == 2
    assert listed({"types": ["v1.billing.meter.no_meter_found"]}).data == []


def test_snapshot_events_are_listed_by_type_time_and_delivery(
    side: Side, double: StripeDouble, receiver: WebServer
) -> None:
    double.deliver()
    double.advance(timedelta(hours=1))
    subscription = double.subscribe(side.customer, double.add_price("gold", double.add_product()))
    double.set_status(subscription, "past_due")
    listed = side.client.v1.events.list
    assert [one.type for one in listed({"delivery_success": False, "limit": 1}).auto_paging_iter()] == [
        "customer.subscription.updated",
        "customer.subscription.created",
    ]
    assert [one.type for one in listed({"delivery_success": True}).data] == ["customer.created"]
    [made] = listed({"types": ["customer.subscription.created"]}).data
    assert side.client.v1.events.retrieve(made.id).data.object["status"] == "active"
    assert len(listed({"type": "customer.subscription.*"}).data) == 2
    assert len(listed({"created": {"gt": int(NOW.timestamp())}}).data) == 2
    double.advance(timedelta(days=31))
    assert listed().data == []


# ---------------------------------------------------------------------------------------------------------- webhooks


def test_a_snapshot_is_signed_as_the_sdk_checks_it(side: Side, double: StripeDouble, receiver: WebServer) -> None:
    [delivery] = double.deliver()
    [call] = receiver.calls
    event = verified(call, SECRET)
    assert (event.type, event.id, event.livemode) == ("customer.created", delivery.event_id, False)
    assert event.data.object["id"] == side.customer
    assert event.api_version == stripe.api_version
    assert delivery.is_taken
    assert double.deliver() == []


def test_a_thin_event_is_fetched_by_its_notification(side: Side, double: StripeDouble, receiver: WebServer) -> None:
    report(side, "a")
    double.reject_async("a")
    double.deliver()
    [call] = [call for call in receiver.calls if call.path == "/thin"]
    assert "data" not in json.loads(call.body)
    told = side.client.parse_event_notification(call.body, call.headers["stripe-signature"], THIN_SECRET)
    assert isinstance(told, stripe.events.V1BillingMeterErrorReportTriggeredEventNotification)
    assert told.related_object.id == side.meter
    assert told.fetch_event().data.reason.error_types[0].sample_errors[0].request.identifier == "a"
    assert told.fetch_related_object().event_name == side.event_name


def test_a_refused_delivery_stays_open(double: StripeDouble, receiver: WebServer) -> None:
    receiver.answer(500)
    assert [delivery.status for delivery in double.deliver()] == [500]
    assert [delivery.status for delivery in double.deliver()] == [204]
    double.postman.endpoints = [Endpoint("http://127.0.0.1:9/", SECRET)]
    double.add_customer()
    assert [delivery.status for delivery in double.deliver()] == [None]
    assert len(double.deliveries) == 3


def test_deliveries_can_be_doubled_and_reordered(double: StripeDouble, receiver: WebServer) -> None:
    double.add_customer()
    first, second = (event.id for event in double.events)
    double.deliver(copies=2, order="reversed", pause_seconds=0.01)
    assert [verified(call, SECRET).id for call in receiver.calls] == [second, second, first, first]
    told = double.deliver([first])
    assert [delivery.event_id for delivery in told] == [first]


@pytest.mark.parametrize(
    ("how", "reason"), (({"secret": "whsec_other"}, "No signatures found"), ({"skew_seconds": -400}, "tolerance"))
)
def test_deliveries_can_be_badly_signed(
    double: StripeDouble, receiver: WebServer, how: dict[str, Any], reason: str
) -> None:
    double.deliver(**how)
    with pytest.raises(stripe.SignatureVerificationError, match=reason):
        verified(receiver.calls[0], SECRET)


def test_a_signature_can_come_from_the_future(double: StripeDouble, receiver: WebServer) -> None:
    double.deliver(skew_seconds=86400)
    stamp = int(receiver.calls[0].headers["stripe-signature"].split(",")[0].removeprefix("t="))
    assert stamp > time.time() + 86000
    verified(receiver.calls[0], SECRET)


def test_a_body_can_be_anything(double: StripeDouble, receiver: WebServer) -> None:
    double.postman.post(double.events[0], double.postman.endpoints[0], body=b"not json")
    assert receiver.calls[0].body == b"not json"


# ----------------------------------------------------------------------------------------------- another process


def asked(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_double/{path}", data), timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The address of a double in another process."""
    log = tmp_path / "url"
    command = [sys.executable, "-m", "ticket_worker.demo.stripe_double", "--port", "0", "--key", TEST_KEY]
    with log.open("wb") as out, running(command, log=out) as process:
        deadline = time.monotonic() + 30
        while not log.read_text().endswith("\n"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield log.read_text().strip()
    assert process.returncode == 0


def test_a_double_elsewhere_can_be_driven(elsewhere: str) -> None:
    customer = asked(elsewhere, "add_customer", {})["result"]
    meter = asked(elsewhere, "add_meter", {"args": ["tickets_opened"]})["result"]
    assert (
        asked(elsewhere, "clock", {"at": NOW.isoformat(), "advance_seconds": 60})["now"] == "2026-03-10T12:01:00+00:00"
    )
    assert asked(elsewhere, "rules", {"summary_lag": 600})["summary_lag"] == 600
    assert asked(elsewhere, "faults", {"faults": [{"kind": "error_after", "path": "/v1/billing"}]}) == {"left": 1}
    side = Side(client_of(elsewhere), customer, meter, "tickets_opened")
    with pytest.raises(stripe.APIError):
        report(side, "a", "3")
    with running_web_server() as receiver:
        asked(elsewhere, "endpoints", {"url": receiver.url(), "secret": SECRET})
        assert [one["status"] for one in asked(elsewhere, "deliver", {})["deliveries"]] == [204]
        assert verified(receiver.calls[0], SECRET).type == "customer.created"
    journal = asked(elsewhere, "journal")
    assert journal["billed"] == [{"customer": customer, "event_name": "tickets_opened", "value": 3}]
    assert journal["in_flight_peak"] == [{"customer": customer, "event_name": "tickets_opened", "peak": 1}]
    assert [(seen["path"], seen["fault"], seen["identifier"]) for seen in journal["requests"]] == [
        ("/v1/billing/meter_events", "error_after", "a")
    ]
    price = asked(elsewhere, "add_price", {"args": ["gold", asked(elsewhere, "add_product", {})["result"]]})["result"]
    subscription = asked(
        elsewhere, "subscribe", {"args": [customer, price], "start": "2026-03-01T00:00:00Z", "end": 1775001600}
    )["result"]
    assert asked(elsewhere, "finalize", {"args": [subscription]})["result"]["status"] == "open"
    assert asked(elsewhere, "events")["events"][-1]["type"] == "invoice.finalized"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    (
        ("no_such_thing", {}, 404),
        ("handle", {}, 404),
        ("faults", {"faults": [{"kind": "flood"}]}, 400),
        ("rules", {"kindness": 1}, 400),
        ("clock", {"at": "2026-03-10T12:00:00"}, 400),
        ("subscribe", {"args": ["cus_nobody", "price_nobody"]}, 400),
    ),
)
def test_a_control_call_that_makes_no_sense_is_told_so(
    side: Side, path: str, body: dict[str, Any], status: int
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        asked(side.client._requestor.base_addresses["api"] or "", path, body)
    with caught.value:
        assert caught.value.code == status
