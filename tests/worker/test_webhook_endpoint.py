"""The endpoint over real HTTP, on the web server that production has, on each kind of database."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.support.deliveries import (
    SNAPSHOT_SECRET,
    THIN_SECRET,
    Endpoint,
    fresh_second,
    serving,
    signed,
    snapshot,
    status_of,
    thin,
)
from ticket_system import inbox
from ticket_system.storage.billing_tables import stripe_events
from ticket_system.storage.database import Database
from ticket_worker import endpoints
from ticket_worker.billing import webhook
from ticket_worker.errors import SettingsError
from ticket_worker.logging import configure_logging
from ticket_worker.settings import Settings, read_settings
from ticket_worker.web.app import app_from_environment, create_web_app

pytestmark = pytest.mark.usefixtures("own_logging")

Start = Callable[..., Endpoint]


class Nudge:
    """Counts how often the fleet was told."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> None:
        self.number += 1


@pytest.fixture(params=("sqlite-file", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The databases that another process can reach."""
    if request.param == "sqlite-file":
        return str(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tickets.db"))
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def nudge() -> Nudge:
    return Nudge()


@pytest.fixture
def start(database_url: str, nudge: Nudge) -> Iterator[Start]:
    """Start the endpoint with these settings."""
    with ExitStack() as stack:

        def started(nudge: Callable[[], None] = nudge, **given: Any) -> Endpoint:
            settings = settings_of(database_url, **given)
            return stack.enter_context(serving(create_web_app(settings, nudge=nudge), settings))

        yield started


@pytest.fixture
def endpoint(start: Start) -> Endpoint:
    return start()


def settings_of(database_url: str, **given: Any) -> Settings:
    secrets = {"stripe_webhook_secrets": SNAPSHOT_SECRET, "stripe_thin_secrets": THIN_SECRET}
    return read_settings(**{"database_url": database_url, **secrets, **given})


def stored(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(stripe_events).order_by(stripe_events.c.id)))


def until(find: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not find():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


# --- what is stored ----------------------------------------------------------------------------------------------


def test_a_delivery_is_stored_as_it_came_and_the_fleet_is_told(
    endpoint: Endpoint, database: Database, nudge: Nudge
) -> None:
    body = snapshot()
    answer = endpoint.deliver(body)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "stored"})
    assert "server" not in answer.headers
    (row,) = stored(database)
    assert (row.id, row.form, row.type, row.livemode, row.body, row.state) == (
        "evt_1", "snapshot", "customer.subscription.updated", False, body, "new",
    )  # fmt: skip
    assert [one.event.id for one in inbox.waiting(database, livemode=False)] == ["evt_1"]
    until(lambda: nudge.number == 1)


def test_a_thin_delivery_is_stored_as_it_came(endpoint: Endpoint, database: Database) -> None:
    body = thin()
    assert endpoint.deliver(body, signed(body, THIN_SECRET), path="/stripe/thin").status == 200
    (row,) = stored(database)
    assert (row.id, row.form, row.body) == ("evt_test_1", "thin", body)


def test_five_deliveries_at_once_are_one_event_and_one_nudge(
    endpoint: Endpoint, database: Database, nudge: Nudge
) -> None:
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(endpoint.deliver, [snapshot()] * 5))
    assert [answer.status for answer in answers] == [200] * 5
    assert sorted(json.loads(answer.body)["status"] for answer in answers) == ["known"] * 4 + ["stored"]
    assert endpoint.deliver(snapshot(type="price.updated")).status == 200
    (row,) = stored(database)
    assert row.type == "customer.subscription.updated"
    until(lambda: nudge.number)
    time.sleep(0.1)
    assert nudge.number == 1


def test_events_that_overtook_each_other_are_both_stored(endpoint: Endpoint, database: Database) -> None:
    for event_id, created in (("evt_2", 200), ("evt_1", 100)):
        assert endpoint.deliver(snapshot(event_id, created=created)).status == 200
    assert [row.id for row in stored(database)] == ["evt_1", "evt_2"]
    assert {one.event.id for one in inbox.waiting(database, livemode=False)} == {"evt_1", "evt_2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"livemode": True}, "a live event, and TICKETS_STRIPE_MODE is test"),
        ({"account": "acct_other"}, "of acct_other, and TICKETS_STRIPE_ACCOUNT is acct_own"),
        ({"account": "acct_own", "context": "acct_other"}, "of acct_other"),
    ),
)
def test_what_is_none_of_ours_is_kept_and_nothing_follows(
    start: Start, database: Database, nudge: Nudge, changes: dict[str, Any], words: str
) -> None:
    answer = start(stripe_account="acct_own").deliver(snapshot(**changes))
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ignored"})
    (row,) = stored(database)
    assert row.state == "ignored"
    assert words in row.error
    assert inbox.waiting(database, livemode=bool(changes.get("livemode"))) == []
    time.sleep(0.1)
    assert nudge.number == 0


def test_our_own_account_and_any_where_none_is_set_are_ours(start: Start, database: Database) -> None:
    assert start(stripe_account="acct_own").deliver(snapshot("evt_1", account="acct_own")).status == 200
    assert start().deliver(snapshot("evt_2", account="acct_any", context=None)).status == 200
    assert [row.state for row in stored(database)] == ["new", "new"]


def test_in_live_mode_test_events_are_the_foreign_ones(start: Start, database: Database) -> None:
    live = start(billing="off", stripe_mode="live")
    assert live.deliver(snapshot("evt_1", livemode=True)).status == 200
    assert live.deliver(snapshot("evt_2")).status == 200
    assert [row.state for row in stored(database)] == ["new", "ignored"]


# --- what is refused ---------------------------------------------------------------------------------------------


def test_only_what_was_signed_for_us_is_let_in(endpoint: Endpoint, database: Database, nudge: Nudge) -> None:
    body = snapshot()
    reordered = json.dumps(json.loads(body))
    for sent, headers in (
        (body, {}),
        (body, {"Stripe-Signature": ""}),
        (body, signed(body, "whsec_wrong")),
        (body, signed(body, THIN_SECRET)),
        (body, signed(body, "")),
        (reordered, signed(body)),
        (body + "\n", signed(body)),
    ):
        assert endpoint.deliver(sent, headers).status == 400
    assert stored(database) == []
    assert nudge.number == 0
    assert endpoint.deliver(body).status == 200


def test_while_a_secret_is_changed_both_are_good_and_then_one(start: Start, database: Database) -> None:
    first, second, third = snapshot("evt_1"), snapshot("evt_2"), snapshot("evt_3")
    both = start(stripe_webhook_secrets="whsec_old, whsec_new")
    assert both.deliver(first, signed(first, "whsec_old")).status == 200
    assert both.deliver(second, signed(second, "whsec_new")).status == 200
    after = start(stripe_webhook_secrets="whsec_new")
    assert after.deliver(third, signed(third, "whsec_old")).status == 400
    assert after.deliver(third, signed(third, "whsec_new")).status == 200
    assert [row.id for row in stored(database)] == ["evt_1", "evt_2", "evt_3"]


@pytest.mark.parametrize("empty", (None, "", " , "))
def test_without_its_secret_there_is_no_path(start: Start, database: Database, empty: str | None) -> None:
    one = start(stripe_webhook_secrets=empty)
    body = snapshot()
    for key in ("", " ", ","):
        assert one.deliver(body, signed(body, key)).status == 404
    assert stored(database) == []
    assert one.deliver(thin(), signed(thin(), THIN_SECRET), path="/stripe/thin").status == 200
    other = start(stripe_thin_secrets=empty)
    assert other.deliver(thin(), signed(thin(), ""), path="/stripe/thin").status == 404


@pytest.mark.parametrize(("seconds", "status"), ((-299, 200), (-301, 400), (299, 200), (302, 400), (86_400, 400)))
def test_a_signature_is_good_for_five_minutes(
    endpoint: Endpoint, database: Database, seconds: int, status: int
) -> None:
    body = snapshot()
    assert endpoint.deliver(body, signed(body, at=fresh_second() + seconds)).status == status
    assert len(stored(database)) == (status == 200)


def test_each_form_has_its_own_path(endpoint: Endpoint, database: Database) -> None:
    assert endpoint.deliver(thin(), signed(thin())).status == 400
    assert endpoint.deliver(snapshot(), signed(snapshot(), THIN_SECRET), path="/stripe/thin").status == 400
    assert stored(database) == []


@pytest.mark.parametrize(
    "body",
    (
        "", "{", "[]", "1", "null", "{}", '"event"', "\ufeff" + snapshot(), "[" * 200_000,
        snapshot(id=""), snapshot(id=7), snapshot(id="evt\x00"), snapshot(id="e" * 300), snapshot(type="a b"),
        snapshot(livemode="false"), snapshot(livemode=None), snapshot(object="charge"), snapshot(account="é"),
    ),
)  # fmt: skip
def test_what_is_no_event_is_refused_though_it_was_signed(endpoint: Endpoint, database: Database, body: str) -> None:
    assert endpoint.deliver(body).status == 400
    assert stored(database) == []


def test_what_is_no_text_is_refused(endpoint: Endpoint, database: Database) -> None:
    assert endpoint.send(b'{"id": "\xff\xfe"}', signed("{}")).status == 400
    assert stored(database) == []


def test_other_methods_and_other_paths_are_refused(endpoint: Endpoint) -> None:
    assert [endpoint.deliver("", {}, method=method).status for method in ("GET", "PUT", "DELETE")] == [405] * 3
    assert endpoint.deliver("", {}, path="/healthz").status == 405
    assert endpoint.deliver("", {}, path="/").status == 404


# --- bodies that are too much ------------------------------------------------------------------------------------


def test_the_largest_body_is_stored_and_one_byte_more_is_refused_before_it_comes(
    endpoint: Endpoint, database: Database
) -> None:
    body = snapshot(data={"object": "x" * 520_000})
    assert endpoint.deliver(body + " " * (webhook.MAX_BODY_BYTES - len(body.encode()))).status == 200
    (row,) = stored(database)
    assert len(row.body) == webhook.MAX_BODY_BYTES
    began = time.monotonic()
    for size in (webhook.MAX_BODY_BYTES + 1, 10**6, 10**18):
        with endpoint.talk(f"POST /stripe HTTP/1.1\nHost: x\nContent-Length: {size}") as connection:
            assert status_of(connection) == 413
    assert time.monotonic() - began < 5


def test_a_body_that_grows_too_large_is_refused_on_the_way(endpoint: Endpoint, database: Database) -> None:
    body = snapshot(data={"object": "x" * 1_000_000}).encode()
    signature = signed(body.decode())["Stripe-Signature"]
    head = f"POST /stripe HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nStripe-Signature: {signature}"
    with endpoint.talk(head) as connection:
        # The endpoint hangs up on the way, and what was sent after that comes back as an error.
        with suppress(BrokenPipeError, ConnectionResetError):
            for place in range(0, len(body), 50_000):
                chunk = body[place : place + 50_000]
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        assert status_of(connection) == 413
    assert stored(database) == []
    assert endpoint.deliver(snapshot()).status == 200


def test_a_body_that_trickles_is_refused_and_others_do_not_wait(
    endpoint: Endpoint, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "READ_SECONDS", 1.0)
    began = time.monotonic()
    with endpoint.talk("POST /stripe HTTP/1.1\nHost: x\nContent-Length: 1000") as connection:
        connection.settimeout(0.1)
        told = b""
        while not told and time.monotonic() - began < 10:
            connection.sendall(b" ")
            assert endpoint.deliver(snapshot()).status == 200
            with suppress(TimeoutError):
                told = connection.recv(1000)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert 0.9 < time.monotonic() - began < 5
    assert len(stored(database)) == 1


def test_a_sender_that_hangs_up_half_way_does_no_harm(
    endpoint: Endpoint, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    with endpoint.talk("POST /stripe HTTP/1.1\nHost: x\nContent-Length: 1000") as connection:
        connection.sendall(b"{")
    said = ""

    def is_told() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "the sender hung up" in said

    until(is_told)
    assert "Traceback" not in said
    assert endpoint.deliver(snapshot()).status == 200


# --- when something is away --------------------------------------------------------------------------------------


@contextmanager
def away(database: Database) -> Iterator[None]:
    """No event can be stored: the server lets nobody in, or the file has no such table."""
    if database.dialect == "sqlite":
        with database.write() as connection:
            connection.execute(sa.text("ALTER TABLE stripe_events RENAME TO elsewhere"))
        yield
        with database.write() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO stripe_events"))
        return
    name = database.url.database
    server = database.url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield
        administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


def test_a_database_that_is_away_has_it_sent_again_and_then_stored(
    endpoint: Endpoint, database: Database, nudge: Nudge, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    with away(database):
        answer = endpoint.deliver(snapshot())
        assert (answer.status, json.loads(answer.body)) == (503, {"error": "not stored; try again"})
        # What was not signed for us is no reason to touch the database.
        assert endpoint.deliver(snapshot(), {}).status == 400
        if database.dialect == "postgresql":
            health = endpoint.deliver("", {}, path="/healthz", method="GET")
            assert (health.status, json.loads(health.body)) == (503, {"status": "unavailable"})
    assert nudge.number == 0
    assert endpoint.deliver(snapshot()).status == 200
    assert [row.id for row in stored(database)] == ["evt_1"]
    said = capsys.readouterr().err
    assert "event.not_stored" in said
    assert "unspeakable" not in said
    assert "Traceback" not in said


def test_a_table_that_is_not_ours_to_write_is_a_503_too(
    endpoint: Endpoint, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    with database.write() as connection:
        connection.execute(sa.text("DROP TABLE stripe_events"))
    assert endpoint.deliver(snapshot()).status == 503
    said = capsys.readouterr().err
    assert "stripe_events" in said
    assert "unspeakable" not in said


def test_a_nudge_that_fails_is_a_line_in_the_log(
    start: Start, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")

    def broken() -> None:
        raise OSError("the broker is on fire")

    endpoint = start(nudge=broken)
    assert [endpoint.deliver(snapshot(event_id)).status for event_id in ("evt_1", "evt_2")] == [200, 200]
    assert len(stored(database)) == 2
    said = ""

    def is_told() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return said.count("the broker is on fire") == 2

    until(is_told)


def test_a_nudge_that_hangs_keeps_nobody_waiting(start: Start, database: Database) -> None:
    calls: list[float] = []

    def slow() -> None:
        calls.append(time.monotonic())
        time.sleep(1)

    endpoint = start(nudge=slow)
    began = time.monotonic()
    assert [endpoint.deliver(snapshot(f"evt_{number}")).status for number in range(20)] == [200] * 20
    assert time.monotonic() - began < 10
    until(lambda: len(calls) >= 2)
    # Those that came meanwhile are one.
    assert len(calls) < 2 + (time.monotonic() - began)
    assert len(stored(database)) == 20


def test_without_a_broker_events_are_stored(database_url: str, database: Database) -> None:
    settings = settings_of(database_url, redis_url="redis://127.0.0.1:1/0")
    with serving(create_web_app(settings), settings) as endpoint:
        assert endpoint.deliver(snapshot()).status == 200
    assert len(stored(database)) == 1


# --- health, logs, mounting --------------------------------------------------------------------------------------


def test_health_is_asked_of_the_database(endpoint: Endpoint) -> None:
    answer = endpoint.deliver("", {}, path="/healthz", method="GET")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


def test_neither_secrets_nor_bodies_are_in_the_log(
    start: Start, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    endpoint = start(stripe_account="acct_own")
    body = snapshot()
    for sent, headers in (
        (body, signed(body)),
        (body, signed(body)),
        (snapshot("evt_2", account="acct_other"), signed(snapshot("evt_2", account="acct_other"))),
        (body, signed(body, "whsec_wrong")),
        (body, signed(body, at=1)),
        ("unspeakable", signed("unspeakable")),
        (snapshot(type="unspeakable words"), signed(snapshot(type="unspeakable words"))),
    ):
        endpoint.deliver(sent, headers)
    said = capsys.readouterr().err
    lines = [json.loads(line) for line in said.splitlines()]
    told = [line["event"] for line in lines if line["logger"] == webhook.__name__]
    assert told == ["event.received", "event.repeated", "event.ignored", *["delivery.refused"] * 4]
    assert lines[-1]["reason"] == "this is not an event: type"
    for hidden in (SNAPSHOT_SECRET, THIN_SECRET, "whsec_wrong", "unspeakable", "cus_", "v1="):
        assert hidden not in said


def test_not_even_at_debug_is_a_body_in_the_log(
    start: Start, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug", "json")
    endpoint = start()
    assert endpoint.deliver(snapshot()).status == 200
    with away(database):
        assert endpoint.deliver(snapshot("evt_2")).status == 503
    said = capsys.readouterr().err
    assert '"level": "debug"' in said
    assert "event.received" in said
    for hidden in (SNAPSHOT_SECRET, "unspeakable", "cus_", "v1="):
        assert hidden not in said


def test_another_service_mounts_it_and_need_not_start_it(database_url: str, database: Database, nudge: Nudge) -> None:
    settings = settings_of(database_url)
    inner = create_web_app(settings, nudge=nudge)
    with serving(Starlette(routes=[Mount("/billing", inner)]), settings) as endpoint:
        assert endpoint.deliver(snapshot(), path="/billing/stripe").status == 200
        assert endpoint.deliver(thin(), signed(thin(), THIN_SECRET), path="/billing/stripe/thin").status == 200
        assert endpoint.deliver("", {}, path="/billing/healthz", method="GET").status == 200
        assert endpoint.deliver(snapshot()).status == 404

    async def stop() -> None:
        async with inner.router.lifespan_context(inner):
            pass

    asyncio.run(stop())
    assert [row.id for row in stored(database)] == ["evt_1", "evt_test_1"]


def test_the_environment_describes_it(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", database_url)
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    with pytest.raises(SettingsError, match="none of them is set"):
        app_from_environment()
    monkeypatch.setenv("TICKETS_STRIPE_WEBHOOK_SECRETS", SNAPSHOT_SECRET)
    with serving(app_from_environment(), read_settings()) as endpoint:
        assert endpoint.deliver(snapshot()).status == 200
    assert [row.id for row in stored(database)] == ["evt_1"]
