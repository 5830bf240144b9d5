import asyncio
import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from ticket_tasks import Answer, AsyncTicketClient, BrokerUnreachable, TicketClient, names
from ticket_tasks.answers import Answers
from ticket_tasks.payloads import WISHES

ALONE = """
import sys
for name in ("ticket_system", "sqlalchemy", "structlog", "pydantic_settings"):
    sys.modules[name] = None
from ticket_tasks import TicketClient
TicketClient("redis://127.0.0.1:1/0")
"""


def waiting(redis_url: str, queue: str) -> list[dict[str, Any]]:
    with Redis.from_url(redis_url) as redis:
        return [json.loads(message) for message in redis.lrange(names.KEY_PREFIX + queue, 0, -1)]


def test_needs_neither_the_engine_nor_a_database() -> None:
    subprocess.run([sys.executable, "-c", ALONE], check=True)


def test_a_wish_waits_in_the_queue_of_its_own(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        ticket_id = client.open_ticket("Printer", "Stars again", "ada", priority=2, tags=["hardware"])
    (message,) = waiting(redis_url, names.INTAKE)
    assert message["headers"]["task"] == names.OPEN_TICKET
    assert ticket_id in message["headers"]["id"]
    assert message["content-type"] == "application/json"


def test_what_a_requester_wrote_is_not_in_the_headers(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        client.open_ticket("Printer", "my password is hunter2", "ada")
    (message,) = waiting(redis_url, names.INTAKE)
    assert "hunter2" not in json.dumps(message["headers"])


def test_the_sender_may_choose_the_id(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        assert client.open_ticket("Printer", "", "ada", ticket_id="t-1") == "t-1"


def test_a_field_that_makes_no_sense_is_not_sent(redis_url: str) -> None:
    with TicketClient(redis_url) as client, pytest.raises(ValueError, match="priority"):
        client.open_ticket("Printer", "", "ada", priority=9)
    assert waiting(redis_url, names.INTAKE) == []


def test_a_broker_that_is_not_there_is_reported_within_seconds() -> None:
    started = time.monotonic()
    with TicketClient("redis://:hush@127.0.0.1:1/0") as client, pytest.raises(BrokerUnreachable) as raised:
        client.open_ticket("Printer", "", "ada")
    assert time.monotonic() - started < 5
    assert "hush" not in str(raised.value)


def test_a_broker_that_never_answers_is_reported_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with (
            TicketClient(f"redis://127.0.0.1:{port}/0", timeout_seconds=0.5) as client,
            pytest.raises(BrokerUnreachable),
        ):
            client.open_ticket("Printer", "", "ada")
        assert time.monotonic() - started < 10


def test_a_tick_waits_in_its_queue_and_not_for_ever(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        client.tick(names.SYNC_SUBSCRIPTIONS, names.MONEY, expires_seconds=10)
    (message,) = waiting(redis_url, names.MONEY)
    assert message["headers"]["task"] == names.SYNC_SUBSCRIPTIONS
    assert message["headers"]["expires"] is not None
    assert json.loads(base64.b64decode(message["body"]))[1] == {}


def payloads(redis_url: str) -> list[dict[str, Any]]:
    return [json.loads(base64.b64decode(one["body"]))[1]["payload"] for one in waiting(redis_url, names.INTAKE)][::-1]


def test_every_wish_has_its_name_and_a_key_that_is_returned(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        keys = [
            client.open_ticket("Printer", "", "ada"),
            client.add_comment("t-1", "bob", "On it."),
            client.assign_ticket("t-1", "bob"),
            client.set_status("t-1", "resolved", note="Paper."),
            client.escalate_ticket("t-1", "The chief called."),
            client.acknowledge_ticket("t-1", "bob"),
            client.report(30),
        ]
    sent = waiting(redis_url, names.INTAKE)[::-1]
    assert [one["headers"]["task"] for one in sent] == list(WISHES)
    assert [one["key"] for one in payloads(redis_url)] == keys
    assert [one["headers"]["correlation"] for one in sent] == keys
    assert all(abs(one["headers"]["sent_at"] - time.time()) < 30 for one in sent)
    assert all(payload["answer"] and payload["version"] == 1 for payload in payloads(redis_url))
    for one, payload in zip(sent, payloads(redis_url), strict=True):
        WISHES[one["headers"]["task"]].model_validate(payload)


def test_the_same_fact_told_twice_has_one_key_and_two_calls_are_two_wishes(redis_url: str) -> None:
    at = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
    with TicketClient(redis_url) as client:
        told = {client.add_comment("t-1", "bob", "Ping.", at=at) for _ in range(3)}
        other = client.add_comment("t-1", "bob", "Pong.", at=at)
        opened = {client.open_ticket("Printer", "", "ada", created_at=at) for _ in range(3)}
        fresh = {client.add_comment("t-1", "bob", "Ping.") for _ in range(100)}
    assert (len(told), len(opened), len(fresh)) == (1, 1, 100)
    assert other not in told
    assert payloads(redis_url)[0]["asked_at"] == at.isoformat().replace("+00:00", "Z")


def test_a_key_of_the_callers_own_is_kept_and_makes_the_tickets_id(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        first = client.open_ticket("Printer", "", "ada", key="crm-17")
        second = client.open_ticket("Printer, changed", "", "ada", key="crm-17")
        assert client.escalate_ticket("t-1", key="crm-18") == "crm-18"
    assert first == second
    assert [one["key"] for one in payloads(redis_url)] == ["crm-17", "crm-17", "crm-18"]


@pytest.mark.parametrize(
    "call",
    (
        lambda client: client.add_comment("t-1", "bob", ""),
        lambda client: client.add_comment("", "bob", "?"),
        lambda client: client.set_status("t-1", "done"),
        lambda client: client.assign_ticket("t-1", " "),
        lambda client: client.escalate_ticket("t-1", "\0"),
        lambda client: client.acknowledge_ticket("t-1", "bob", until="soon"),
        lambda client: client.report(0),
        lambda client: client.open_ticket("two\nlines", "", "ada"),
        lambda client: client.open_ticket("x", "y" * 1_000_001, "ada"),
        lambda client: client.report(7, key="k" * 201),
    ),
    ids=range(10),
)
def test_nonsense_is_refused_before_it_is_sent(redis_url: str, call: Callable[[TicketClient], object]) -> None:
    with TicketClient(redis_url) as client, pytest.raises(ValueError, match="validation error"):
        call(client)
    assert waiting(redis_url, names.INTAKE) == []


def test_the_error_says_with_which_key_to_repeat_the_call() -> None:
    with TicketClient("redis://127.0.0.1:1/0", timeout_seconds=0.5) as client:
        with pytest.raises(BrokerUnreachable) as raised:
            client.add_comment("t-1", "bob", "On it.")
        with pytest.raises(BrokerUnreachable) as again:
            client.add_comment("t-1", "bob", "On it.", key=raised.value.key)
    assert raised.value.key == again.value.key
    assert raised.value.key


def test_a_silent_broker_is_given_up_within_three_timeouts() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        TicketClient(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout_seconds=1.0) as client,
    ):
        started = time.monotonic()
        with pytest.raises(BrokerUnreachable):
            client.report()
        waited = time.monotonic() - started
    # A second for a machine that is busy with other things.
    assert waited < 3 * 1.0 + 1


def test_an_answer_is_waited_for_and_stays_for_others(redis_url: str) -> None:
    with TicketClient(redis_url) as client, closing(Answers(redis_url)) as answers:
        assert client.wait("k", 0.0) is None
        started = time.monotonic()
        assert client.wait("k", 0.3) is None
        assert time.monotonic() - started >= 0.3
        with ThreadPoolExecutor(5) as threads:
            waits = [threads.submit(client.wait, "k", 20.0) for _ in range(5)]
            time.sleep(0.2)
            answers.tell(Answer(key="k", outcome="done"))
            assert {one.result().outcome for one in waits} == {"done"}  # type: ignore[union-attr] # None fails as well
        answers.tell(Answer(key="k", outcome="repeated"))
        assert [one.outcome for one in answers.told(["j", "k"])] == ["repeated"]


def test_an_answer_that_cannot_be_asked_for_is_an_error() -> None:
    with (
        TicketClient("redis://:hush@127.0.0.1:1/0", timeout_seconds=0.5) as client,
        pytest.raises(BrokerUnreachable) as raised,
    ):
        client.wait("k", 1.0)
    assert "hush" not in str(raised.value)


def test_what_awaits_blocks_nothing(redis_url: str) -> None:
    async def awaited() -> None:
        async with AsyncTicketClient(redis_url) as client:
            ids = await asyncio.gather(*(client.open_ticket("Printer", str(n), "ada") for n in range(50)))
            assert len(set(ids)) == 50
            key = await client.add_comment(ids[0], "bob", "On it.")
            waits = asyncio.gather(*(client.wait(key, 20.0) for _ in range(30)))
            turns = 0
            while not waits.done():
                turns += 1
                await asyncio.sleep(0.02)
                if turns == 5:
                    with closing(Answers(redis_url)) as answers:
                        answers.tell(Answer(key=key, outcome="done"))
            assert {one.outcome for one in await waits if one} == {"done"}
            assert turns > 5
            with pytest.raises(ValueError, match="days"):
                await client.report(0)

    asyncio.run(awaited())
    assert len(waiting(redis_url, names.INTAKE)) == 51


def test_it_imports_in_a_blink_what_it_needs_and_nothing_else() -> None:
    """Measured against the bare queue library: what we add is small, and none of it is a room above or below."""
    script = (
        "import time; t = time.process_time(); import celery, redis; celery.Celery; b = time.process_time() - t; "
        "t = time.process_time(); import ticket_tasks; o = time.process_time() - t; import sys; "
        "print(b, o, sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    bare, ours, loaded = shown.split(maxsplit=2)
    print(f"importing celery {float(bare):.2f} s, and ticket_tasks on top of it {float(ours):.2f} s")
    for absent in ("ticket_system", "sqlalchemy", "structlog", "stripe", "starlette", "prometheus_client", "jinja2"):
        assert f"'{absent}'" not in loaded
