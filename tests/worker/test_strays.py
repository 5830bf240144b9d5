import json
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from kombu import Connection, Queue
from kombu.transport import redis

from ticket_worker.strays import StrayConsumer, read_envelope


@pytest.mark.parametrize("body", ('{"task": "x"}', "no JSON at all"), ids=("a message", "a stray"))
def test_what_a_worker_held_is_given_back(redis_url: str, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """The transport reads what lies in a queue, and what a worker holds, by one and the same way."""
    monkeypatch.setattr(redis, "loads", read_envelope)
    with Connection(redis_url) as connection:
        channel: Any = connection.channel()
        Queue("desk")(channel).declare()
        if body.startswith("{"):
            connection.Producer(channel).publish({"task": "x"}, routing_key="desk", exchange="")
        else:
            channel.client.lpush("desk", body)
        message = channel.basic_get("desk")
        assert (channel.client.llen("desk"), channel.client.hlen("unacked")) == (0, 1)
        channel.basic_reject(message.delivery_tag, requeue=True)
        assert channel.client.hlen("unacked") == 0
        again = json.loads(channel.client.rpop(message.delivery_info["routing_key"]))
        assert again["properties"]["delivery_tag"] == message.delivery_tag


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
