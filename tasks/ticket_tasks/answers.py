"""Word of what became of a wish: left in the broker for ten minutes, for whoever waits for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError

from ticket_tasks import names
from ticket_tasks.errors import BrokerUnreachable
from ticket_tasks.payloads import Answer

#: No single wait is longer: a connection that died without a goodbye is noticed.
_LONGEST_WAIT_SECONDS = 2.0


class Answers:
    """Tells answers and waits for them; safe to share between threads. Connects when it is first used."""

    def __init__(self, broker_url: str, *, timeout_seconds: float = 3.0, client_name: str = "ticket-answers") -> None:
        self._redis = Redis.from_url(
            broker_url,
            socket_connect_timeout=timeout_seconds,
            socket_timeout=timeout_seconds + _LONGEST_WAIT_SECONDS,
            client_name=client_name,
        )

    def tell(self, answer: Answer) -> None:
        """Leave word. Raises BrokerUnreachable."""
        place = names.ANSWER_PREFIX + answer.key
        with _translated(), self._redis.pipeline() as steps:
            steps.delete(place)
            # A list of one: whoever waits for it can sleep in the broker.
            steps.rpush(place, answer.model_dump_json())
            steps.expire(place, names.ANSWER_KEPT_SECONDS)
            steps.execute()

    def wait(self, key: str, seconds: float) -> Answer | None:
        """Return the answer, or None when there is none within so many seconds. Raises BrokerUnreachable."""
        place = names.ANSWER_PREFIX + key
        with _translated():
            # Out at one end, in at the other: it stays, and others that wait see it too.
            found = self._redis.lmove(place, place)
            while found is None and seconds > 0:
                wait = min(seconds, _LONGEST_WAIT_SECONDS)
                found = self._redis.blmove(place, place, wait)  # type: ignore[arg-type] # the stubs know whole seconds only
                seconds -= _LONGEST_WAIT_SECONDS
        return None if found is None else Answer.model_validate_json(found)

    def told(self, keys: Iterable[str]) -> list[Answer]:
        """Return the answers that are there, of many wishes at once. Raises BrokerUnreachable."""
        with _translated(), self._redis.pipeline(transaction=False) as steps:
            for key in keys:
                steps.lindex(names.ANSWER_PREFIX + key, 0)
            return [Answer.model_validate_json(found) for found in steps.execute() if found is not None]

    def queued_since(self, queue: str) -> float | None:
        """Return when the oldest message of a queue was sent; None: none waits, or nobody knows.

        Raises BrokerUnreachable.
        """
        with _translated():
            found = self._redis.lindex(names.KEY_PREFIX + queue, -1)
        return sent_at(found)

    def close(self) -> None:
        """Give back the connections."""
        self._redis.close()


def sent_at(message: bytes | str | None) -> float | None:
    """Return when a message that lies in a queue was sent, as its header says; None: it does not."""
    try:
        found = json.loads(message or b"")["headers"][names.SENT_AT]
    except (ValueError, TypeError, KeyError):
        return None
    return float(found) if isinstance(found, int | float) else None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        # Without the cause's own words: they may name the address.
        raise BrokerUnreachable("the broker cannot be reached; whether there is an answer is not known") from error
