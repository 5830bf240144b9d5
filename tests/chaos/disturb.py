"""Has disturbances happen, and mends each: one context for each kind, entered when it begins, left when it is over."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from random import Random

import redis

from tests.chaos.plan import Disturbance
from tests.chaos.post import MOOD
from tests.chaos.stage import Stage
from ticket_tasks import names
from ticket_worker.demo.stripe_double import Fault, FaultKind, Request

#: What Stripe may do; a refused key would keep all of them from everybody for a minute.
_FAULTS = [kind for kind in FaultKind if kind is not FaultKind.UNAUTHORIZED]
#: For the faults that take time: shorter, and longer, than the fleet waits.
_FAULT_SECONDS = 2.5
#: So many messages at most are sent again at once.
_COPIES = 60


class Disturber:
    """Does it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        #: How many messages were sent again.
        self.doubled = 0

    def happen(self, one: Disturbance, calm: threading.Event) -> None:
        """Disturb, wait, mend; at once when all is to be calm."""
        how: Callable[[Disturbance], AbstractContextManager[None]] = getattr(self, f"_{one.kind}")
        with how(one):
            calm.wait(one.for_seconds)

    @contextmanager
    def _kill_worker(self, one: Disturbance) -> Iterator[None]:
        member, part = self._stage.members[one.target], one.detail.get("part", "all")
        member.kill(part)
        yield
        if part != "child":
            member.start()

    _kill_beat = _kill_webhook = _kill_mail = _kill_worker

    @contextmanager
    def _kill_broker(self, _: Disturbance) -> Iterator[None]:
        self._stage.broker.kill()
        yield
        self._stage.broker.start()

    @contextmanager
    def _kill_database(self, _: Disturbance) -> Iterator[None]:
        self._stage.database.kill()
        yield
        self._stage.database.start()

    @contextmanager
    def _stop_worker(self, one: Disturbance) -> Iterator[None]:
        self._stage.members[one.target].freeze()
        yield
        self._stage.members[one.target].thaw()

    _stop_beat = _stop_worker

    @contextmanager
    def _cut_wire(self, one: Disturbance) -> Iterator[None]:
        self._stage.wires[one.target].break_off()
        yield

    @contextmanager
    def _silent_wire(self, one: Disturbance) -> Iterator[None]:
        self._stage.wires[one.target].cut()
        yield
        self._stage.wires[one.target].mend()

    @contextmanager
    def _wrong_clock(self, one: Disturbance) -> Iterator[None]:
        member = self._stage.members[one.target]
        member.end()
        member.start(one.detail["offset_seconds"])
        yield
        member.end()
        member.start()

    @contextmanager
    def _full_disk(self, _: Disturbance) -> Iterator[None]:
        self._stage.broker.fill_disk()
        yield
        self._stage.broker.empty_disk()

    @contextmanager
    def _stripe_faults(self, one: Disturbance) -> Iterator[None]:
        lot, share = Random(one.detail["lot"]), one.detail["share"]

        def choose(_: Request) -> Fault | None:
            return (
                Fault(lot.choice(_FAULTS), seconds=lot.uniform(0.1, _FAULT_SECONDS)) if lot.random() < share else None
            )

        self._stage.double.faults.chooser = choose
        yield
        self._stage.double.faults.clear()

    @contextmanager
    def _mail_faults(self, one: Disturbance) -> Iterator[None]:
        mood = self._stage.folder / MOOD
        part = mood.with_suffix(".part")
        part.write_text(json.dumps(one.detail), "utf-8")
        part.rename(mood)
        yield
        mood.unlink()

    @contextmanager
    def _doubled_messages(self, _: Disturbance) -> Iterator[None]:
        ends = threading.Event()
        thread = threading.Thread(target=self._double, args=(ends,), name="doubles")
        thread.start()
        yield
        ends.set()
        thread.join()

    def _double(self, ends: threading.Event) -> None:
        """Send copies of what waits in a queue, or is with a worker: ticks and wishes alike."""
        seen: set[str] = set()
        with redis.Redis.from_url(self._stage.broker.url, decode_responses=True, socket_timeout=2) as client:
            while not ends.wait(0.02) and len(seen) < _COPIES:
                with suppress(redis.RedisError):
                    for queue, message in _under_way(client):
                        tag = json.loads(message)["properties"]["delivery_tag"]
                        if tag not in seen:
                            seen.add(tag)
                            client.lpush(names.KEY_PREFIX + queue, message)
                            self.doubled += 1


def _under_way(client: redis.Redis) -> Iterator[tuple[str, str]]:
    """A message at the head of each queue, and all that are held by workers, each with its queue."""
    for queue in names.QUEUES:
        for waiting in client.lrange(names.KEY_PREFIX + queue.name, 0, 0):
            yield queue.name, str(waiting)
    for held in client.hvals(f"{names.KEY_PREFIX}unacked"):
        message, _exchange, its_queue = json.loads(held)
        yield its_queue, json.dumps(message)


def wait_until(second: float, began: float, calm: threading.Event) -> bool:
    """Wait for a moment of the run; False: it was called off."""
    return not calm.wait(max(began + second - time.monotonic(), 0))
