import base64
import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from redis import Redis

from ticket_tasks import BrokerUnreachable, TicketClient, names

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


def test_a_wish_waits_in_the_desk_queue(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        ticket_id = client.open_ticket("Printer", "Stars again", "ada", priority=2, tags=["hardware"])
    (message,) = waiting(redis_url, names.DESK)
    assert message["headers"]["task"] == names.OPEN_TICKET
    assert ticket_id in message["headers"]["id"]
    assert message["content-type"] == "application/json"


def test_what_a_requester_wrote_is_not_in_the_headers(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        client.open_ticket("Printer", "my password is hunter2", "ada")
    (message,) = waiting(redis_url, names.DESK)
    assert "hunter2" not in json.dumps(message["headers"])


def test_the_sender_may_choose_the_id(redis_url: str) -> None:
    with TicketClient(redis_url) as client:
        assert client.open_ticket("Printer", "", "ada", ticket_id="t-1") == "t-1"


def test_a_field_that_makes_no_sense_is_not_sent(redis_url: str) -> None:
    with TicketClient(redis_url) as client, pytest.raises(ValueError, match="priority"):
        client.open_ticket("Printer", "", "ada", priority=9)
    assert waiting(redis_url, names.DESK) == []


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
