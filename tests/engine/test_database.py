"""One database: how it is named, what it says when it cannot be had, and that it never tells its password."""

import os
import socket
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.support.contents import everything
from tests.support.factories import a_ticket
from tests.support.postgres import ServerUnavailable, running_postgres
from ticket_system import DamagedFile, StorageError, StorageUnavailable, TicketSystem, TicketSystemError
from ticket_system.storage import database as module
from ticket_system.storage import tables
from ticket_system.storage.database import Database, url_of
from ticket_system.storage.moments import moment

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "hunter2-Zürich"
QUOTED = "hunter2-Z%C3%BCrich"


@pytest.mark.parametrize(
    ("given", "expected"),
    (
        (":memory:", "sqlite:///:memory:"),
        ("tickets.db", "sqlite:///tickets.db"),
        ("/var/lib/a b/100%.db", "sqlite:////var/lib/a b/100%.db"),
        (Path("/tmp/x.db"), "sqlite:////tmp/x.db"),
        ("sqlite:///tickets.db", "sqlite:///tickets.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://u@h/db", "postgresql+psycopg://u@h/db"),
        ("postgres://u@h:5433/db", "postgresql+psycopg://u@h:5433/db"),
        ("postgresql+psycopg://u@h/db?sslmode=require", "postgresql+psycopg://u@h/db?sslmode=require"),
        ("postgresql:///db?host=/run/pg", "postgresql+psycopg:///db?host=/run/pg"),
    ),
)
def test_a_database_is_named_by_a_path_or_a_url(given: str | Path, expected: str) -> None:
    assert url_of(given) == sa.make_url(expected) or url_of(given).database == sa.make_url(expected).database
    assert url_of(given).drivername == sa.make_url(expected).drivername


@pytest.mark.parametrize(
    "url",
    (
        f"mysql://ada:{QUOTED}@h/db",
        f"redis://ada:{QUOTED}@h/0",
        f"ada:{QUOTED}@h://",
        f"://ada:{QUOTED}@h/db",
        f"postgresql://ada:{QUOTED}@h:port/db",
        f"postgresql://ada:not@quoted{SECRET}@h/db",
        f"postgresql+asyncpg://ada:{QUOTED}@h/db",
        f"sqlite+aiosqlite://ada:{QUOTED}@h/db",
    ),
)
def test_a_url_that_is_not_understood_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        Database(url)
    tells_no_secret(caught.value)


def tells_no_secret(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error))
    assert SECRET not in told
    assert QUOTED not in told


@pytest.mark.parametrize(
    "url", (f"postgresql://ada:{QUOTED}@127.0.0.1:1/db", f"postgresql://ada@127.0.0.1:1/db?password={QUOTED}")
)
def test_a_database_never_tells_its_password(url: str) -> None:
    with Database(url) as database:
        assert SECRET not in repr(database)
        assert QUOTED not in repr(database)
        assert "127.0.0.1" in repr(database)
        with pytest.raises(StorageUnavailable, match="nothing listens") as caught:
            database.ping()
    tells_no_secret(caught.value)
    assert isinstance(caught.value, StorageError | TicketSystemError)
    assert caught.value.__cause__ is not None


# --- PostgreSQL that is not there --------------------------------------------------------------------------------


def test_a_server_that_refuses_is_told_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="nothing listens at this address"):
        TicketSystem("postgresql://ada@127.0.0.1:1/db")
    assert time.monotonic() - began < 3


def test_a_server_that_never_answers_is_told_within_seconds() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, Database(
        f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/db"
    ) as database, pytest.raises(StorageUnavailable, match="does not answer"):  # fmt: skip
        database.ping()
    assert time.monotonic() - began < 10


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that asks `ada` for a password, and a way to stop it."""
    stack = running_postgres()
    try:
        url = stack.__enter__()
    except ServerUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    folder = Path(parse_qs(urlsplit(url).query)["host"][0])
    with psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True) as administrator:
        administrator.execute("CREATE ROLE ada LOGIN PASSWORD 'right'")
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("local all ada scram-sha-256\n" + rules.read_text())
        administrator.execute("SELECT pg_reload_conf()")
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            stack.__exit__(None, None, None)

    try:
        yield url, stop
    finally:
        stop()


def test_a_wrong_password_is_told_without_the_password(own_server: tuple[str, object]) -> None:
    url, _ = own_server
    with Database(
        sa.make_url(url).set(username="ada", password="right").render_as_string(hide_password=False)
    ) as right:
        right.ping()
    with Database(sa.make_url(url).set(username="ada", password=SECRET).render_as_string(hide_password=False)) as wrong:
        with pytest.raises(StorageUnavailable, match="refuses this user or password") as caught:
            wrong.ping()
        tells_no_secret(caught.value)


def test_a_database_that_does_not_exist_is_told_by_its_name(own_server: tuple[str, object]) -> None:
    url, _ = own_server
    elsewhere = sa.make_url(url).set(database="nowhere").render_as_string(hide_password=False)
    with Database(elsewhere) as database, pytest.raises(StorageUnavailable, match="nowhere"):
        database.ping()


def test_a_server_that_stops_is_told_within_seconds(own_server: tuple[str, Callable[[], None]]) -> None:
    url, stop = own_server
    with Database(url) as database:
        database.upgrade()
        with TicketSystem(database) as system:
            system.create_ticket(a_ticket(id="t"))
            stop()
            began = time.monotonic()
            for _ in range(2):
                with pytest.raises(StorageUnavailable):
                    system.get_ticket("t")
            assert time.monotonic() - began < 10


# --- what a connection is like -----------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ("Pacific/Kiritimati", "America/St_Johns"))
def test_the_zone_of_a_server_changes_no_moment(postgres_url: str, zone: str) -> None:
    """And the first and the last moments that a ticket may carry can be read back."""
    with Database(postgres_url) as database, database.engine.connect() as connection:
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET timezone = '{zone}'"))
        connection.commit()
    with TicketSystem(postgres_url) as system:
        first = datetime.min.replace(tzinfo=UTC)
        system.create_ticket(a_ticket(id="first", created_at=first))
        system.create_ticket(a_ticket(id="last", updated_at=datetime.max.replace(tzinfo=UTC)))
        found = {ticket.id: ticket for ticket in system.get_queue()}
        assert found["first"].created_at == first
        assert found["first"].created_at.utcoffset() == timedelta(0)
        assert system.check_sla_breach("first")["is_breached"]
        assert {row["ticket_id"] for row in system.get_breached_tickets()} == {"first"}


def test_the_clock_of_a_database_is_near_ours_and_knows_its_zone(database: Database) -> None:
    with database.read() as connection:
        now = moment(connection)
    assert abs(now.timestamp() - time.time()) < 5
    assert now.utcoffset() == timedelta(0)


def test_a_block_that_raises_is_undone_and_one_that_ends_is_kept(database: Database) -> None:
    with TicketSystem(database) as system:
        with pytest.raises(RuntimeError), database.write() as connection:  # noqa: PT012
            connection.execute(sa.insert(tables.tickets), row_of(a_ticket(id="undone")))
            raise RuntimeError
        with database.write() as connection:
            connection.execute(sa.insert(tables.tickets), row_of(a_ticket(id="kept")))
        assert [ticket.id for ticket in system.get_queue()] == ["kept"]


def row_of(ticket: Any) -> dict[str, Any]:
    return {column.name: getattr(ticket, column.name) for column in tables.tickets.c if hasattr(ticket, column.name)}


def test_a_row_that_refers_to_nothing_is_refused_by_the_database_itself(database: Database) -> None:
    orphan = {"id": "c", "ticket_id": "no", "author": "a", "body": "b", "is_internal": False, "created_at": NOW}
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(sa.insert(tables.comments), orphan)


# --- SQLite files that are not what they should be ---------------------------------------------------------------


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "tickets.db", tmp_path):
        with pytest.raises(StorageUnavailable, match="does its folder exist"):
            TicketSystem(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", (b"id,title\n1,Printer\n" * 100, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4080)
)
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tickets.db"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"left as it is"):
        TicketSystem(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["tickets.db"]


def test_a_database_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    content = path.read_bytes()
    with pytest.raises(DamagedFile):
        TicketSystem(path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "tickets.db"
    path.touch()
    with TicketSystem(path) as system:
        system.create_ticket(a_ticket())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM tickets").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_may_only_be_read_can_be_read_and_says_so_when_written(tmp_path: Path) -> None:
    path = tmp_path / "tickets.db"
    with TicketSystem(path) as system:
        ticket = system.create_ticket(a_ticket())
    with TicketSystem(f"sqlite:///file:{path}?mode=ro&uri=true") as system:
        assert system.get_queue() == [ticket]
        with pytest.raises(StorageUnavailable, match="read-only"):
            system.escalate(ticket.id)
        assert system.get_ticket(ticket.id) == ticket


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with Database(tmp_path / "tickets.db") as database, TicketSystem(database) as system:
        system.create_ticket(a_ticket(id="before"))
        database.engine.dispose()

        @event.listens_for(database.engine, "connect")
        def quota(connection: Any, _record: object) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 3}")

        before = everything(database)
        with pytest.raises(StorageUnavailable, match="disk is full"):
            system.create_ticket(a_ticket(id="big", description="x" * 100_000))
        assert everything(database) == before
        system.create_ticket(a_ticket(id="small"))


def test_a_file_that_another_program_keeps_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with TicketSystem(tmp_path / "tickets.db") as system:
        system.create_ticket(a_ticket(id="t"))
        with closing(sqlite3.connect(tmp_path / "tickets.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert system.get_ticket("t") is not None, "readers need not wait"
            with pytest.raises(StorageUnavailable, match="another program keeps the file locked"):
                system.escalate("t")
            other.execute("ROLLBACK")
        assert system.escalate("t")


@pytest.mark.parametrize("url", ("file:memory?mode=memory&cache=shared", "100% legal #1?.db"))
def test_a_path_is_a_path_whatever_its_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    with TicketSystem(url) as system:
        system.create_ticket(a_ticket())
    assert (tmp_path / url).is_file()
