"""Stripe behind its ports: what errors mean, what crosses a fork, one pace for a fleet, keys that are shown nowhere."""

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.till import HOUR, MINUTE, Till, a_till
from ticket_system.billing.deliveries import Answer
from ticket_worker.billing.client import Account, said
from ticket_worker.billing.console import ConsoleMeter
from ticket_worker.billing.pace import Pace
from ticket_worker.checks import run_checks
from ticket_worker.demo.stripe_double import TEST_KEY, StripeDouble, running_double
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings, read_settings


@pytest.fixture
def till() -> Iterator[Till]:
    with a_till(":memory:") as opened:
        yield opened


@pytest.mark.parametrize(
    ("fault", "answer"),
    (
        ("throttle", Answer.THROTTLED), ("lock_timeout", Answer.LOCKED), ("error_before", Answer.FAILED),
        ("error_html", Answer.FAILED), ("junk", Answer.FAILED), ("empty", Answer.FAILED), ("reset_after", Answer.LOST),
        ("unauthorized", Answer.UNAUTHORIZED),
    ),
)  # fmt: skip
def test_what_an_error_means(till: Till, fault: str, answer: Answer) -> None:
    import stripe  # noqa: PLC0415

    till.breaks(fault)
    with pytest.raises(stripe.StripeError) as caught:
        till.account.client.v1.billing.meter_events.create({"event_name": "tickets_opened", "payload": {
            "stripe_customer_id": "cus_acme", "value": "1"}})  # fmt: skip
    found = said(caught.value)
    assert found.answer is answer
    assert found.message
    assert TEST_KEY not in repr(found)


def test_an_invalid_request_is_told_by_what_it_says(till: Till) -> None:
    import stripe  # noqa: PLC0415

    answers = []
    for changes in ({"identifier": "same"}, {"identifier": "same"}, {"timestamp": 1}, {"event_name": "nobody"}):
        event = {"event_name": "tickets_opened", "payload": {"stripe_customer_id": "cus_acme", "value": "1"}} | changes
        try:
            till.account.client.v1.billing.meter_events.create(event)  # type: ignore[arg-type]
        except stripe.StripeError as error:
            answers.append(said(error).answer)
    assert answers == [Answer.DUPLICATE, Answer.TOO_OLD, Answer.REFUSED]


def _ask(account: Account, results: "multiprocessing.Queue[str]") -> None:
    try:
        for _ in range(5):
            found = account.client.v1.billing.meters.list()
            results.put(found.data[0].event_name)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to know
        results.put(repr(error))


def test_four_children_of_a_process_that_used_its_client(till: Till) -> None:
    """Fault matrix 22: no child reads another's answer."""
    names = {one.event_name for one in till.account.client.v1.billing.meters.list().data}
    fork = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = fork.Queue()
    children = [fork.Process(target=_ask, args=(till.account, results)) for _ in range(4)]
    for child in children:
        child.start()
    found = [results.get(timeout=20) for _ in range(20)]
    for child in children:
        child.join(10)
    assert set(found) <= names


def test_a_fleet_keeps_one_pace(redis_url: str) -> None:
    """Two workers together make no more calls than one may."""
    paces = [Pace(10, redis_url, "test:"), Pace(10, redis_url, "test:")]
    began = time.monotonic()
    for turn in range(25):
        paces[turn % 2].take_turn()
    assert time.monotonic() - began >= 1.9


def test_without_redis_every_process_keeps_its_own_pace() -> None:
    """Fault matrix 18: slower or faster, but it goes on."""
    pace = Pace(10, "redis://127.0.0.1:1/0")
    began = time.monotonic()
    for _ in range(15):
        pace.take_turn()
    assert 0.8 <= time.monotonic() - began < 10
    assert "127.0.0.1" not in repr(pace)


@pytest.mark.parametrize(
    ("key", "mode", "expected"),
    (
        ("sk_live_x", "test", "this is a live key, and TICKETS_STRIPE_MODE is test"),
        ("rk_live_x", "test", "this is a live key, and TICKETS_STRIPE_MODE is test"),
        ("sk_test_x", "live", "this is a test key, and TICKETS_STRIPE_MODE is live"),
        ("pk_test_x", "test", "this is no secret key"),
        (None, "test", "TICKETS_STRIPE_API_KEY: missing"),
    ),
)
def test_a_key_of_another_mode_is_refused(key: str | None, mode: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(billing="stripe", stripe_mode=mode, stripe_api_key=key)
    assert expected in str(caught.value)
    assert (key or "sk_live_x") not in str(caught.value)


def test_live_usage_is_never_called_reported_by_a_log() -> None:
    with pytest.raises(SettingsError, match="console"):
        read_settings(billing="console", stripe_mode="live")
    assert ConsoleMeter().livemode is False


@pytest.mark.parametrize("url", ("http://stripe.example.org", "ftp://127.0.0.1", "http://127.0.0.1.example.org"))
def test_a_key_goes_nowhere_unencrypted(url: str) -> None:
    with pytest.raises(SettingsError, match="unencrypted"):
        read_settings(billing="stripe", stripe_api_key="sk_test_x", stripe_api_url=url)


def test_keys_are_shown_nowhere() -> None:
    key = "sk_test_51QverySecretIndeed"
    settings = Settings(billing="stripe", stripe_api_key=SecretStr(key))
    assert key not in repr(settings)
    assert key in settings.secrets
    assert key not in repr(Account(key, livemode=False))


def test_a_check_says_whether_stripe_knows_us(tmp_path: Path) -> None:
    double = StripeDouble()
    double.add_meter("tickets_opened")
    with running_double(double) as running:
        common = {"billing": "stripe", "stripe_api_url": running.url, "database_url": str(tmp_path / "t.db")}

        def found(key: str) -> tuple[bool, str]:
            settings = read_settings(**common, stripe_api_key=key, redis_url="redis://127.0.0.1:1")
            [one] = [one for one in run_checks(settings) if one.what == "billing"]
            return one.is_ok, one.detail

        is_ok, detail = found(TEST_KEY)
        assert not is_ok
        assert "no meter for events named 'critical_tickets'" in detail
        double.add_meter("critical_tickets")
        is_ok, detail = found(TEST_KEY)
        assert is_ok
        assert "tickets_opened" in detail
        is_ok, detail = found("sk_test_wrong")
        assert (is_ok, "sk_test_wrong" in detail) == (False, False)


def test_the_console_shows_what_would_be_sent(till: Till, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace  # noqa: PLC0415

    till.toolbox = replace(till.toolbox, meter=ConsoleMeter())
    till.opens(3)
    till.passes(HOUR + 10 * MINUTE)
    till.works()
    shown = capsys.readouterr()
    assert "usage.console" in shown.out + shown.err
    assert till.states() == ["accepted"]
    assert till.billed() == 0
