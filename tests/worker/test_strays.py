from typing import Any

import pytest
from celery.worker.consumer import Consumer

from ticket_worker.strays import StrayConsumer


def test_a_broker_that_was_away_for_long_is_looked_for_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Line:
        def ensure_connection(self, *_: object, **how: Any) -> None:
            asked.update(how)

    def ensure_connected(_self: object, conn: Any) -> Any:
        return conn.ensure_connection(None, None, callback=None)

    monkeypatch.setattr(Consumer, "ensure_connected", ensure_connected)
    StrayConsumer.ensure_connected(object.__new__(StrayConsumer), Line())
    assert asked["interval_max"] <= 5
