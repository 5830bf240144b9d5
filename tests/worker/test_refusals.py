from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection
from kombu.transport.redis import Channel
from redis.exceptions import ResponseError

from tests.support.fleet import wait_until
from tests.support.valkey import Valkey, mortal_valkey
from ticket_worker.refusals import wait_for_refusals


@pytest.fixture
def full() -> Iterator[Valkey]:
    """A broker whose disk is full, and that has found out."""
    with mortal_valkey(fsync="everysec") as broker, Connection(broker.url) as connection:
        broker.fill_disk()
        client: Any = connection.channel().client  # type: ignore[attr-defined] # no stubs

        def is_refused() -> bool:
            try:
                client.set("x", "y" * 100)
            except connection.channel_errors + connection.connection_errors as error:
                return "MISCONF" in str(error)
            return False

        wait_until(is_refused)
        yield broker


@pytest.fixture
def channel_class() -> type[Any]:
    """One of its own, so that no other test is touched."""

    class Mine(Channel):
        pass

    return Mine


def client_of(channel_class: type[Any], connection: Connection) -> Any:
    connection.transport.Channel = channel_class  # type: ignore[attr-defined] # no stubs
    channel: Any = connection.channel()
    return channel.client


def test_a_broker_that_refuses_everything_is_away(full: Valkey, channel_class: type[Any]) -> None:
    wait_for_refusals(channel_class)
    with Connection(full.url) as connection:
        with pytest.raises(connection.connection_errors, match="refuses everything: MISCONF"):
            client_of(channel_class, connection).lpush("queue", "message")
        full.empty_disk()
        wait_until(lambda: is_taken(client_of(channel_class, connection), connection))


def is_taken(client: Any, connection: Connection) -> bool:
    try:
        client.lpush("queue", "message")
    except connection.connection_errors:
        return False
    return True


def test_a_mistake_of_ours_stays_one(redis_url: str, channel_class: type[Any]) -> None:
    wait_for_refusals(channel_class)
    with Connection(redis_url) as connection:
        client = client_of(channel_class, connection)
        client.set("word", "x")
        with pytest.raises(ResponseError, match="WRONGTYPE") as caught:
            client.lpush("word", "message")
        assert not isinstance(caught.value, connection.connection_errors)
