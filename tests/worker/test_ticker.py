from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError
from celery.schedules import schedule
from structlog.testing import capture_logs

from ticket_worker.ticker import Ticker


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
