"""The double does as Stripe does. What Stripe itself can be asked runs against its test mode too, if there is a key."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import stripe

from tests.support.stripe import KEY_VARIABLE, NotATestKey, Side, client_of, double_side, real_side, stripe_test_key
from ticket_worker.demo.stripe_double import LIVE_KEY, Rules, StripeDouble
from ticket_worker.demo.stripe_double.forms import decode

# Read here: the fixtures of this folder clear the environment.
KEY = stripe_test_key()

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture(params=("double", *([pytest.param("test mode", marks=pytest.mark.enable_socket)] if KEY else [])))
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with double_side() if request.param == "double" else real_side(KEY or "") as side:
        yield side


@pytest.fixture
def own() -> Iterator[Side]:
    """The double alone, for what Stripe cannot be asked; its time stands still."""
    with double_side(NOW) as side:
        yield side


def the(side: Side) -> StripeDouble:
    assert side.double
    return side.double


def refused(
    call: Callable[[], object], kind: type[stripe.StripeError] = stripe.InvalidRequestError
) -> stripe.StripeError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def headers(error: stripe.StripeError) -> dict[str, str]:
    return {name.lower(): value for name, value in dict(error.headers or {}).items()}


def at(moment: datetime) -> int:
    return int(moment.timestamp())


def report_at(side: Side, moment: datetime, value: str = "1", **named: str) -> stripe.billing.MeterEvent:
    return side.report(value, timestamp=at(moment), **named)


# ------------------------------------------------------------------------------------------- also answered by Stripe


def test_a_meter_event_is_taken_and_said_back(side: Side) -> None:
    event = side.report("3", identifier=(identifier := uuid4().hex))
    assert event.object == "billing.meter_event"
    assert event.identifier == identifier
    assert event.payload["value"] == "3"
    assert event.livemode is False


def test_an_identifier_is_taken_once(side: Side) -> None:
    side.report(identifier=(identifier := uuid4().hex))
    error = refused(lambda: side.report(identifier=identifier))
    assert error.http_status == 400
    assert f"already exists with identifier {identifier}" in str(error)
    assert headers(error)["stripe-should-retry"] == "false"


def test_the_same_key_gets_the_same_answer(side: Side) -> None:
    key, identifier, now = uuid4().hex, uuid4().hex, int(time.time())
    side.report(key=key, identifier=identifier, timestamp=now)
    again = side.report(key=key, identifier=identifier, timestamp=now)
    assert again.identifier == identifier
    assert again.last_response is not None
    assert {name.lower(): value for name, value in again.last_response.headers.items()}["idempotent-replayed"] == "true"


def test_a_key_means_one_request(side: Side) -> None:
    side.report("1", key=(key := uuid4().hex))
    error = refused(lambda: side.report("2", key=key), stripe.IdempotencyError)
    assert error.http_status == 400


def test_an_error_of_the_content_is_kept_under_its_key(side: Side) -> None:
    side.report(identifier=(identifier := uuid4().hex))
    key, now = uuid4().hex, int(time.time())
    refused(lambda: side.report(identifier=identifier, key=key, timestamp=now))
    error = refused(lambda: side.report(identifier=identifier, key=key, timestamp=now))
    assert headers(error)["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("shift", "code"),
    (
        (timedelta(days=-36), "timestamp_too_far_in_past"),
        (timedelta(minutes=10), "timestamp_in_future"),
    ),
)
def test_a_timestamp_has_its_bounds(side: Side, shift: timedelta, code: str) -> None:
    error = refused(lambda: side.report(timestamp=int(time.time() + shift.total_seconds())))
    assert "timestamp" in str(error).lower()
    if side.double:
        assert error.code == code


@pytest.mark.parametrize("value", ("5.5", "many", "1e3"))
def test_a_value_is_a_whole_number(side: Side, value: str) -> None:
    assert refused(lambda: side.report(value)).http_status == 400


def test_an_identifier_has_at_most_100_characters(side: Side) -> None:
    side.report(identifier="i" * 68 + uuid4().hex)
    assert refused(lambda: side.report(identifier="i" * 69 + uuid4().hex)).http_status == 400


def test_a_meter_has_to_exist(side: Side) -> None:
    assert refused(lambda: side.report(event_name="nobody_counts_this")).http_status == 400


def test_unknown_and_missing_parameters_are_told_by_name(side: Side) -> None:
    create = side.client.v1.billing.meter_events.create
    unknown = refused(
        lambda: create({"event_name": side.event_name, "payload": {}, "tickets": 1})  # type: ignore[typeddict-unknown-key]
    )
    assert (unknown.code, unknown.error and unknown.error.param) == ("parameter_unknown", "tickets")
    missing = refused(
        lambda: create({"payload": {"stripe_customer_id": side.customer, "value": "1"}})  # type: ignore[typeddict-item]
    )
    assert (missing.code, missing.error and missing.error.param) == ("parameter_missing", "event_name")


def test_nothing_of_that_id_is_a_404(side: Side) -> None:
    error = refused(lambda: side.client.v1.customers.retrieve("cus_nobody"))
    assert (error.http_status, error.code) == (404, "resource_missing")


def test_an_unknown_key_is_a_401(side: Side) -> None:
    stranger = client_of(side.client._requestor.base_addresses["api"] or "", "sk_test_nobody")
    assert refused(lambda: stranger.v1.customers.retrieve("cus_1"), stripe.AuthenticationError).http_status == 401


def test_no_such_address_is_a_404_in_stripes_shape(side: Side) -> None:
    response = side.client.raw_request("get", "/v1/customers/" + side.customer)
    assert response.code == 200
    error = refused(lambda: side.client.raw_request("get", "/v1/no_such_thing"))
    assert error.http_status == 404
    assert "/v1/no_such_thing" in str(error)


def test_bounds_of_a_summary_are_whole_minutes(side: Side) -> None:
    minute = int(time.time()) // 60 * 60
    assert refused(lambda: side.summary(minute - 61, minute)).http_status == 400
    assert side.summary(minute - 60, minute) == 0


def test_invoice_items_are_made_found_and_deleted(side: Side) -> None:
    items = side.client.v1.invoice_items
    made = [
        items.create(
            {
                "customer": side.customer,
                "amount": amount,
                "currency": "usd",
                "description": "Critical ticket",
                "metadata": {"ledger_id": str(number)},
                "period": {"start": 1767225600, "end": 1767229200},
            }
        )
        for number, amount in enumerate((500, -200, 300))
    ]
    found = list(items.list({"customer": side.customer, "limit": 1}).auto_paging_iter())
    assert [one.id for one in found] == [one.id for one in reversed(made)]
    assert [one.amount for one in found] == [300, -200, 500]
    assert found[0].metadata is not None
    assert found[0].metadata["ledger_id"] == "2"
    assert (found[0].period.start, found[0].period.end) == (1767225600, 1767229200)
    assert items.delete(made[0].id).deleted is True
    assert {one.id for one in items.list({"customer": side.customer}).data} == {made[1].id, made[2].id}


def test_an_item_for_nobody_is_refused(side: Side) -> None:
    error = refused(
        lambda: side.client.v1.invoice_items.create({"customer": "cus_nobody", "amount": 1, "currency": "usd"})
    )
    assert (error.http_status, error.code) == (400, "resource_missing")


@pytest.mark.parametrize("key", ("sk_live_x", "rk_live_x", "pk_test_x", "nonsense"))
def test_only_a_test_key_may_run_these(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(NotATestKey, match="sk_test_"):
        stripe_test_key()


# ------------------------------------------------------------------------------------------------------- meter events


def test_the_identifier_window_is_a_day_and_then_it_counts_again(own: Side) -> None:
    double = the(own)
    report_at(own, NOW, "2", identifier="a")
    double.advance(DAY - timedelta(seconds=1))
    refused(lambda: report_at(own, NOW, "2", identifier="a"))
    double.advance(timedelta(seconds=1))
    report_at(own, NOW, "2", identifier="a")
    assert double.journal.billed(own.customer, own.event_name) == 4


def test_an_answer_is_kept_for_a_day_under_its_key(own: Side) -> None:
    double = the(own)
    report_at(own, NOW, identifier="a", key="k")
    double.advance(DAY - timedelta(seconds=1))
    report_at(own, NOW, identifier="a", key="k")
    double.advance(timedelta(seconds=1))
    report_at(own, NOW, identifier="a", key="k")
    assert double.journal.billed(own.customer, own.event_name) == 2
    assert [seen.is_replay for seen in double.journal.requests] == [False, True, False]


def test_an_error_of_the_form_leaves_its_key_free(own: Side) -> None:
    refused(lambda: own.report("5.5", key="k", timestamp=at(NOW)))
    report_at(own, NOW, "5", key="k")
    assert the(own).journal.billed(own.customer, own.event_name) == 5


def test_35_days_and_5_minutes_exactly(own: Side) -> None:
    for shift in (timedelta(days=-35), timedelta(minutes=5)):
        report_at(own, NOW + shift)
    second = timedelta(seconds=1)
    for shift in (timedelta(days=-35) - second, timedelta(minutes=5) + second):
        refused(lambda shift=shift: report_at(own, NOW + shift))  # type: ignore[misc]


def test_the_wording_of_a_duplicate_can_change(own: Side) -> None:
    the(own).rules.duplicate_wording = "Seen {identifier} before."
    report_at(own, NOW, identifier="a")
    assert "Seen a before." in str(refused(lambda: report_at(own, NOW, identifier="a")))


def test_archived_meters_and_deleted_customers_take_nothing_until_they_are_mended(own: Side) -> None:
    double = the(own)
    double.archive_meter(own.meter)
    assert refused(lambda: report_at(own, NOW)).code == "archived_meter"
    double.reactivate_meter(own.meter)
    report_at(own, NOW)
    double.delete_customer(own.customer)
    assert refused(lambda: report_at(own, NOW)).code == "resource_missing"
    assert own.client.v1.customers.retrieve(own.customer).deleted is True


def test_the_other_mode_is_another_world(own: Side) -> None:
    double = the(own)
    live = double.add_customer(livemode=True)
    assert refused(lambda: report_at(own, NOW, customer=live)).code == "resource_missing"
    assert refused(lambda: own.client.v1.customers.retrieve(live)).http_status == 404
    owner = client_of(own.client._requestor.base_addresses["api"] or "", LIVE_KEY)
    assert owner.v1.customers.retrieve(live).livemode is True
    assert refused(lambda: owner.v1.billing.meters.retrieve(own.meter)).http_status == 404


def test_a_key_can_be_revoked(own: Side) -> None:
    the(own).revoke_key("sk_test_double")
    refused(lambda: report_at(own, NOW), stripe.AuthenticationError)
    the(own).add_key("sk_test_double")
    report_at(own, NOW)


def test_an_event_can_be_cancelled_within_a_day(own: Side) -> None:
    double, cancel = the(own), own.client.v1.billing.meter_event_adjustments.create
    report_at(own, NOW, "7", identifier="a")
    report_at(own, NOW, "1", identifier="b")
    cancel({"event_name": own.event_name, "type": "cancel", "cancel": {"identifier": "a"}})
    assert double.journal.billed(own.customer, own.event_name) == 1
    double.advance(DAY + timedelta(seconds=1))
    refused(lambda: cancel({"event_name": own.event_name, "type": "cancel", "cancel": {"identifier": "b"}}))
    refused(lambda: cancel({"event_name": own.event_name, "type": "cancel", "cancel": {"identifier": "c"}}))


def test_time_can_come_from_elsewhere(own: Side) -> None:
    the(own).advance(DAY)
    the(own).clock = lambda: NOW + 2 * DAY
    assert report_at(own, NOW).created == at(NOW + 2 * DAY)


def test_rules_can_be_given_at_the_start() -> None:
    assert StripeDouble(rules=Rules(summary_lag=DAY)).rules.summary_lag == DAY


# --------------------------------------------------------------------------------------------------------- summaries


def test_a_summary_counts_its_minutes_and_lags(own: Side) -> None:
    double = the(own)
    double.rules.summary_lag = timedelta(minutes=10)
    report_at(own, NOW, "2")
    report_at(own, NOW + timedelta(seconds=59), "3")
    report_at(own, NOW + timedelta(seconds=60), "5")
    double.advance(timedelta(minutes=10) - timedelta(seconds=1))
    assert own.summary(at(NOW), at(NOW) + 60) == 0
    double.advance(timedelta(seconds=1))
    assert own.summary(at(NOW), at(NOW) + 60) == 5
    assert own.summary(at(NOW), at(NOW) + 120) == 10


def test_summaries_by_hour_and_day_leave_out_empty_windows(own: Side) -> None:
    the(own).advance(timedelta(hours=1))
    for shift, value in ((0, "1"), (59, "2"), (-120, "4"), (-60 * 24, "8")):
        report_at(own, NOW + timedelta(minutes=shift), value)
    ask = own.client.v1.billing.meters.event_summaries.list
    midnight = at(NOW.replace(hour=0))
    hours = ask(
        own.meter,
        {
            "customer": own.customer,
            "start_time": midnight,
            "end_time": midnight + 86400,
            "value_grouping_window": "hour",
            "limit": 1,
        },
    )
    listed = [(one.start_time, one.end_time, one.aggregated_value) for one in hours.auto_paging_iter()]
    noon = at(NOW)
    assert listed == [(noon, noon + 3600, 3.0), (noon - 7200, noon - 3600, 4.0)]
    days = ask(
        own.meter,
        {
            "customer": own.customer,
            "start_time": midnight - 86400,
            "end_time": midnight + 86400,
            "value_grouping_window": "day",
        },
    )
    assert [one.aggregated_value for one in days.data] == [7.0, 8.0]
    assert isinstance(days.data[0].aggregated_value, float)


@pytest.mark.parametrize(("grain", "off"), (("hour", 60), ("day", 3600)))
def test_bounds_follow_the_grain(own: Side, grain: str, off: int) -> None:
    midnight = at(NOW.replace(hour=0))
    error = refused(
        lambda: own.client.v1.billing.meters.event_summaries.list(
            own.meter,
            {
                "customer": own.customer,
                "start_time": midnight,
                "end_time": midnight + 86400 + off,
                "value_grouping_window": grain,
            },
        )
    )
    assert error.error is not None
    assert error.error.param == "end_time"


def test_meters_are_listed_by_status(own: Side) -> None:
    other = the(own).add_meter("critical_escalations")
    the(own).archive_meter(other)
    meters = own.client.v1.billing.meters
    assert [one.id for one in meters.list().data] == [other, own.meter]
    assert [one.event_name for one in meters.list({"status": "active"}).data] == [own.event_name]
    assert meters.retrieve(other).status == "inactive"


# ------------------------------------------------------------------------------------------------------------- lists


def test_lists_go_both_ways_in_pages_of_1_to_100(own: Side) -> None:
    listed = own.client.v1.billing.meters.list
    a, b, c = own.meter, the(own).add_meter("b"), the(own).add_meter("c")
    first = listed({"limit": 2})
    assert ([one.id for one in first.data], first.has_more) == ([c, b], True)
    second = listed({"limit": 2, "starting_after": b})
    assert ([one.id for one in second.data], second.has_more) == ([a], False)
    back = listed({"limit": 1, "ending_before": a})
    assert ([one.id for one in back.data], back.has_more) == ([b], True)
    for limit in (0, 101):
        refused(lambda limit=limit: listed({"limit": limit}))  # type: ignore[misc]
    refused(lambda: listed({"starting_after": "mtr_nobody"}))


# -------------------------------------------------------------------------------------------------------------- wire


def test_a_connection_is_kept_and_every_answer_has_its_id(own: Side) -> None:
    parts = urlsplit(own.client._requestor.base_addresses["api"] or "")
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.connect()
    port = connection.sock.getsockname()
    ids = set()
    for path in ("/v1/customers/cus_1", "/v1/customers/cus_2", "/nowhere"):
        connection.request("GET", path, headers={"Authorization": "Bearer sk_test_double"})
        assert connection.sock.getsockname() == port
        answer = connection.getresponse()
        answer.read()
        ids.add(answer.headers["Request-Id"])
    connection.close()
    assert len(ids) == 3
    assert all(one.startswith("req_") for one in ids)


@pytest.mark.parametrize(
    ("text", "params"),
    (
        (
            "payload[value]=1&payload[stripe_customer_id]=cus_1",
            {"payload": {"value": "1", "stripe_customer_id": "cus_1"}},
        ),
        ("items[0][price]=a&items[1][price]=b", {"items": [{"price": "a"}, {"price": "b"}]}),
        ("expand[0]=x&expand[1]=y", {"expand": ["x", "y"]}),
        ("expand[]=x&expand[]=y", {"expand": ["x", "y"]}),
        ("metadata[a b]=c%26d&empty=", {"metadata": {"a b": "c&d"}, "empty": ""}),
    ),
)
def test_forms_are_nested_as_their_names_say(text: str, params: dict[str, object]) -> None:
    assert decode(text) == params
