"""A broker that is killed and comes back with what it had: Valkey with its append-only file, on the same port."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.processes import running
from ticket_worker.embedded import prepare_broker


class MortalBroker:
    """A broker as `ticket-worker up` lays it out."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._broker = prepare_broker(folder)
        self.url = self._broker.url
        self._life = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it had."""
        self._process = self._life.enter_context(running(self._broker.child.command))
        self._broker.wait_until_ready(lambda: None)

    def kill(self) -> None:
        """End it between two instructions."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def outage(self, seconds: float) -> None:
        """Kill it, and start it again after a while."""
        self.kill()
        time.sleep(seconds)
        self.start()

    def close(self) -> None:
        """End it."""
        self._life.close()


@contextmanager
def mortal_broker(folder: Path) -> Iterator[MortalBroker]:
    """One for as long as the block runs."""
    broker = MortalBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
