"""Who gives signs of life, and when no longer: a worker whose loop hangs, a beat that does not come round.

A thread touches the file, as long as whoever does the work came round lately. While a worker waits for a broker that is
away it is as alive as it can be: to start it again would help nobody.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from typing_extensions import override

from ticket_worker.health import TOUCH_EVERY_SECONDS, Heartbeat

log = structlog.stdlib.get_logger(__name__)

#: Longer than any one thing that a worker's loop or a beat waits for: the timeouts of its connections.
_PATIENCE_SECONDS = 30.0


class Pulse(threading.Thread):
    """Touches a file while there is progress, or none is to be expected."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._heartbeat = heartbeat
        self._expected_by = math.inf
        self._ended = threading.Event()
        self._was_refused = False

    def expect(self, seconds: float = 0.0) -> None:
        """Say that there is progress, and that the next will come in so many seconds."""
        self._expected_by = time.monotonic() + seconds + _PATIENCE_SECONDS

    def wait_for_others(self) -> None:
        """Say that progress is up to somebody else now, for as long as it takes."""
        self._expected_by = math.inf

    @override
    def run(self) -> None:
        while True:
            if time.monotonic() < self._expected_by:
                self._touch()
            if self._ended.wait(TOUCH_EVERY_SECONDS):
                return

    def end(self) -> None:
        """Stop, and take the file along."""
        self._ended.set()
        if self.is_alive():
            self.join(TOUCH_EVERY_SECONDS)
        self._heartbeat.remove()

    def _touch(self) -> None:
        try:
            self._heartbeat.touch()
        except OSError as error:
            if not self._was_refused:
                log.error("heartbeat.refused", path=str(self._heartbeat.path), error=str(error.strerror))  # noqa: TRY400
            self._was_refused = True
        else:
            self._was_refused = False


def attach(app: Celery, folder: Path) -> None:
    """Have the workers and beats of an application give signs of life in a folder."""
    _attach_worker(app, folder)

    def begin(sender: Any, **_: object) -> None:
        pulse = Pulse(Heartbeat(folder, "beat"))
        pulse.start()
        _listen_to_turns(sender.scheduler, pulse)
        # Of the end of a beat Celery tells nobody.
        atexit.register(pulse.end)

    signals.beat_init.connect(begin, weak=False)


def _attach_worker(app: Celery, folder: Path) -> None:
    pulses: list[Pulse] = []

    class Alive(bootsteps.StartStopStep):
        """Of the worker: from before it looks for its broker until it ends."""

        # Threads do not outlast a fork, so the pool is there first.
        requires = ("celery.worker.components:Pool",)

        @override
        def start(self, parent: Any) -> None:
            role = "-".join(["worker", *sorted(parent.app.amqp.queues.consume_from)])
            pulses.append(Pulse(Heartbeat(folder, role)))
            pulses[-1].start()

        @override
        def stop(self, parent: Any) -> None:
            while pulses:
                pulses.pop().end()

        terminate = stop

    class Looping(bootsteps.StartStopStep):
        """Of its loop: as often as it is connected anew."""

        requires = ("celery.worker.consumer.tasks:Tasks",)
        timer: Any = None

        @override
        def start(self, parent: Any) -> None:
            self._progress()
            self.timer = parent.timer.call_repeatedly(TOUCH_EVERY_SECONDS, self._progress)

        @override
        def stop(self, parent: Any) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            for pulse in pulses:
                pulse.wait_for_others()

        def _progress(self) -> None:
            for pulse in pulses:
                pulse.expect()

    app.steps["worker"].add(Alive)
    app.steps["consumer"].add(Looping)


def _listen_to_turns(scheduler: Any, pulse: Pulse) -> None:
    """Take every turn of a scheduler, whichever it is, for progress; it says itself when the next is due."""
    turn = scheduler.tick

    def tick(*args: Any, **more: Any) -> Any:
        pulse.expect()
        wait = turn(*args, **more)
        pulse.expect(wait or 0.0)
        return wait

    scheduler.tick = tick
