from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError
from celery.schedules import schedule
from structlog.testing import capture_logs

from tests.support.valkey import forget_everything
from ticket_tasks import names
from ticket_worker.app import celery_settings
from ticket_worker.settings import read_settings
from ticket_worker.ticker import _UNREAD, Ticker, queue_length


def test_a_broker_that_is_away_costs_one_line_and_its_return_another(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    ticker = Ticker(app, lazy=True)
    entry = ScheduleEntry(name="tick", task="tick", schedule=schedule(1), app=app)
    is_away = True

    def apply_async(*_: object, **__: object) -> None:
        if is_away:
            raise SchedulingError("nothing listens there")

    monkeypatch.setattr(ticker, "apply_async", apply_async)
    with capture_logs() as lines:
        for _ in range(3):
            ticker.apply_entry(entry)
        is_away = False
        for _ in range(3):
            ticker.apply_entry(entry)
    told: list[Any] = [line["event"] for line in lines]
    assert told == ["tick.lost", "tick.resumed"]


def test_ticks_that_nobody_takes_are_not_piled_up(redis_url: str) -> None:
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings(read_settings(redis_url=redis_url)))
    ticker = Ticker(app, lazy=True)
    entry = ScheduleEntry(name="tick", task="tick", schedule=schedule(1), app=app, options={"queue": names.CLOCK})
    with capture_logs() as lines:
        for _ in range(_UNREAD + 20):
            ticker.apply_entry(entry, producer=ticker.producer)
        assert queue_length(ticker.producer, names.CLOCK) == _UNREAD
        forget_everything(redis_url)
        ticker.apply_entry(entry, producer=ticker.producer)
    assert queue_length(ticker.producer, names.CLOCK) == 1
    assert [line["event"] for line in lines] == ["ticks.withheld", "ticks.sent_again"]
    app.close()
