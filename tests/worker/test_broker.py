import socket
import time
from urllib.parse import urlsplit

import pytest

from ticket_worker.broker import broker_name, broker_problem


def test_a_broker_that_answers_is_no_problem(redis_url: str) -> None:
    assert broker_problem(redis_url) is None


def test_a_wrong_password_is_named_and_not_shown(redis_url: str) -> None:
    problem = broker_problem(redis_url.replace(urlsplit(redis_url).password or "", "hush"))
    assert problem is not None
    assert "refuses this user or password" in problem
    assert "hush" not in problem


def test_nobody_there_is_said_at_once() -> None:
    started = time.monotonic()
    problem = broker_problem("redis://:hush@127.0.0.1:1/0")
    assert problem == "the broker at 127.0.0.1:1 cannot be reached: nothing listens there"
    assert time.monotonic() - started < 1


def test_somebody_who_never_answers_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        problem = broker_problem(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout_seconds=0.3)
        assert time.monotonic() - started < 2
    assert problem is not None
    assert "does not answer within 0.3 s" in problem


@pytest.mark.parametrize("url", ("redis://host:none/0", "redis://", "nonsense"))
def test_nonsense_is_a_problem_and_not_a_traceback(url: str) -> None:
    assert broker_problem(url, timeout_seconds=0.2)


def test_the_name_has_no_password() -> None:
    assert broker_name("rediss://u:hush@broker.example.com:6380/1") == "broker.example.com:6380"
