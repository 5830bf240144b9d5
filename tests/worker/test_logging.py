import json
import logging
import re
import time
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from ticket_tasks import names
from ticket_worker.lifecycle import bind_task, clear_task, label_message
from ticket_worker.logging import configure_logging

pytestmark = pytest.mark.usefixtures("own_logging")


def make_url(url: str) -> None:
    raise ValueError(f"{url} is wrong")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_our_lines_and_everybody_elses_have_one_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    structlog.stdlib.get_logger("ours").info("breaches.scanned", found=3)
    logging.getLogger("celery.worker").warning("missed %s", "heartbeat")
    ours, theirs = lines(capsys)
    assert list(ours)[:3] == list(theirs)[:3] == ["timestamp", "level", "event"]
    assert ours["found"] == 3
    assert (theirs["event"], theirs["level"]) == ("missed heartbeat", "warning")
    assert ours["timestamp"].endswith("Z")


def test_a_terminal_gets_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(style="console")
    structlog.stdlib.get_logger().info("breaches.scanned", found=3)
    assert "found=3" in capsys.readouterr().err


def test_what_is_said_per_tick_is_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("celery.worker.strategy").info("Task received")
    logging.getLogger("celery.app.trace").error("Task failed")
    assert [line["event"] for line in lines(capsys)] == ["Task failed"]


@pytest.mark.parametrize("style", ("json", "console"))
def test_no_password_is_logged(capsys: pytest.CaptureFixture[str], style: str) -> None:
    configure_logging(style=style)
    log = structlog.stdlib.get_logger()
    log.info("at redis://:hush@broker/0", url="postgresql://u:hush@db/x", smtp_password="hush", more={"token": "hush"})
    log.info("listed", urls=["amqp://u:hush@x"], api_key="hush")
    logging.getLogger("kombu").error("cannot connect to %s", "redis://u:hush@broker")
    try:
        make_url("postgresql://u:hush@db/x")
    except ValueError:
        log.exception("failed")
    out = capsys.readouterr().err
    assert "hush" not in out
    assert "postgresql://u:***@db/x" in out
    assert "ValueError" in out


def test_what_celery_adds_to_a_failure_stays_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("celery.app.trace").error("Task failed", extra={"data": {"kwargs": "private"}})
    assert "private" not in capsys.readouterr().err


def test_a_warning_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    (line,) = lines(capsys)
    assert "careful" in line["event"]


def test_every_line_of_a_task_carries_it_and_no_line_after(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    log = structlog.stdlib.get_logger()
    structlog.contextvars.bind_contextvars(tenant="of the task before")
    bind_task("id-1", SimpleNamespace(name=names.SCAN_BREACHES, request=SimpleNamespace(retries=2)))  # type: ignore[arg-type]
    log.info("inside")
    logging.getLogger("celery").info("inside too")
    clear_task()
    log.info("outside")
    inside, too, outside = lines(capsys)
    assert {"task_id", "task", "attempt", "correlation"} == set(inside) - set(outside) - {"tenant"}
    for line in (inside, too):
        assert (line["task_id"], line["task"], line["attempt"]) == ("id-1", names.SCAN_BREACHES, 3)
        assert "tenant" not in line
    assert "task_id" not in outside


def bound(correlation: object) -> str:
    """What lines of a task carry whose message said this."""
    request = SimpleNamespace(retries=0, correlation=correlation)
    bind_task("id-1", SimpleNamespace(name=names.SCAN_BREACHES, request=request))  # type: ignore[arg-type]
    found: str = structlog.contextvars.get_contextvars()["correlation"]
    return found


def test_what_a_message_belongs_to_is_taken_from_it_if_it_can_be_a_name() -> None:
    assert bound("order-7.42:a_B") == "order-7.42:a_B"
    for strange in ("", "two words", "line\nbreak", "x" * 101, "ada@example.org", 7, None, ["x"], {"x": 1}):
        made = bound(strange)
        assert made != strange
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_what_a_task_sends_belongs_to_the_same_and_what_nobody_caused_to_itself() -> None:
    bound("order-7")
    caused: dict[str, Any] = {}
    label_message(headers=caused)
    assert caused["correlation"] == "order-7"
    clear_task()
    first: dict[str, Any] = {"correlation": None}
    second: dict[str, Any] = {}
    label_message(headers=first)
    label_message(headers=second)
    assert len({first["correlation"], second["correlation"], "order-7"}) == 3


def test_a_message_says_when_it_was_sent_and_what_it_says_itself_stays() -> None:
    made: dict[str, Any] = {}
    label_message(headers=made)
    assert abs(made["sent_at"] - time.time()) < 60
    own = {"sent_at": 1.0, "correlation": "mine"}
    label_message(headers=own)
    assert (own["sent_at"], own["correlation"]) == (1.0, "mine")
