"""How fast another service can enqueue, beside Celery's own `send_task` with the same payload on the same broker.

    python -m tests.benchmarks.enqueue [URL]    # without a URL: a Valkey of its own

Runs wherever the extra `tasks` is installed and nothing else, so it imports nothing else.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from celery import Celery
from redis import Redis

from ticket_tasks import TicketClient, names
from ticket_tasks.payloads import OpenTicket

#: Sent in one go. So few, one kind right after the other: what the machine does meanwhile meets both.
BLOCK = 100
MESSAGES = 10_000


class Rates(NamedTuple):
    """Messages a second, one measured right after the other."""

    floor: float
    ours: float


def compare(url: str, *, messages: int = MESSAGES) -> list[Rates]:
    """Return the messages a second of bare Celery and of ours, block by block, for so many messages of each."""
    bare = Celery("bare", broker=url, set_as_current=False)
    bare.conf.update(task_ignore_result=True, broker_transport_options={"global_keyprefix": "bare:"})
    # What the client makes of the same call, to the byte, but for ids and moments.
    payload = OpenTicket(
        ticket_id=str(uuid.uuid4()),
        key=str(uuid.uuid4()),
        title="The printer is broken",
        description="Since Monday. " * 10,
        requester="ada@example.org",
        created_at=datetime.now(UTC),
        asked_at=datetime.now(UTC),
        answer=True,
    ).model_dump(mode="json")

    def floor() -> None:
        with bare.producer_or_acquire() as producer:
            # What the workers' log would show is given: Celery spends as long on it as on all the rest.
            bare.send_task(
                names.OPEN_TICKET,
                kwargs={"payload": payload},
                queue="bare",
                task_id=str(uuid.uuid4()),
                producer=producer,
                argsrepr="()",
                kwargsrepr="{}",
            )

    with TicketClient(url) as client, Redis.from_url(url) as redis:

        def ours() -> None:
            client.open_ticket("The printer is broken", "Since Monday. " * 10, "ada@example.org")

        for warm in (floor, ours):
            _rate(warm, 200)
        rates: list[Rates] = []
        for number in range(-(-messages // BLOCK)):
            # In turns, and each first as often as the other.
            pair = {call: _rate(call, BLOCK) for call in ((floor, ours) if number % 2 else (ours, floor))}
            rates.append(Rates(pair[floor], pair[ours]))
            redis.delete("bare:bare")
    bare.close()
    return rates


def _rate(call: Callable[[], None], messages: int) -> float:
    started = time.perf_counter()
    for _ in range(messages):
        call()
    return messages / (time.perf_counter() - started)


def main() -> None:
    if len(sys.argv) > 1:
        rates = compare(sys.argv[1])
    else:
        from tests.support.valkey import running_valkey  # noqa: PLC0415 - another service has none of it

        with running_valkey() as url:
            rates = compare(url)
    floor, ours = (statistics.median(found) for found in zip(*rates, strict=True))
    ratio = statistics.median(one.ours / one.floor for one in rates)
    print(f"enqueued: {ours:,.0f}/s, bare Celery {floor:,.0f}/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
