from typing import Any

import celery
import pytest
from kombu import Connection
from kombu.transport.redis import Channel
from redis.exceptions import ConnectionError as ConnectionLost

from ticket_worker.guard import AFFECTED, guard_channels


class Unguarded(Channel):
    """A channel of its own, which no application of this run has touched."""

    _connparams = getattr(Channel._connparams, "unguarded", Channel._connparams)  # type: ignore[attr-defined] # no stubs


class Guarded(Unguarded):
    pass


@pytest.fixture
def closed() -> Any:
    """A connection as 5.7.0 leaves it to its channels after the broker went away."""

    class Remains:
        client = None

    return Remains()


def channel_of(kind: type[Any], connection: Any) -> Any:
    channel: Any = object.__new__(kind)
    channel.connection = connection
    channel.closed = True
    return channel


def test_this_celery_is_the_one_that_the_guard_is_for() -> None:
    """Fails with another Celery: take the guard away, or name the new version in AFFECTED.

    `test_a_worker_that_holds_messages_outlives_its_broker` in tests/acceptance tells which of the two.
    """
    assert {celery.__version__} == AFFECTED


@pytest.mark.parametrize("is_gone", (False, True), ids=("the connection is closed", "the connection is gone"))
def test_a_channel_whose_connection_is_gone_fails_as_nobody_expects(closed: Any, is_gone: bool) -> None:
    """Fails with the first kombu that says so by itself."""
    with pytest.raises(AttributeError):
        channel_of(Unguarded, None if is_gone else closed)._connparams()


@pytest.mark.parametrize("is_gone", (False, True), ids=("the connection is closed", "the connection is gone"))
def test_a_guarded_channel_says_that_the_connection_was_lost(closed: Any, is_gone: bool) -> None:
    assert guard_channels(Guarded, version="5.7.0")
    assert guard_channels(Guarded, version="5.7.0")
    with pytest.raises(ConnectionLost, match="was closed") as caught:
        channel_of(Guarded, None if is_gone else closed)._connparams()
    assert isinstance(caught.value, Connection("redis://").connection_errors)


def test_a_guarded_channel_with_a_connection_works_as_before(redis_url: str) -> None:
    guard_channels(Guarded, version="5.7.0")
    with Connection(redis_url) as connection:
        plain: Any = connection.channel()
        guarded = channel_of(Guarded, connection.transport)
        assert guarded._connparams().keys() == plain._connparams().keys()


def test_another_celery_is_left_alone() -> None:
    class Other(Unguarded):
        pass

    assert not guard_channels(Other, version="5.7.1")
    assert "_connparams" not in vars(Other)
