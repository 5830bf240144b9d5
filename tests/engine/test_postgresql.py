"""A database that is slow, frozen or gone: an error within seconds, and the next call works when it is back."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from tests.support.postgres import Postgres, ServerUnavailable, mortal_postgres
from tests.support.proxy import wire_to_database
from ticket_system.errors import StorageUnavailable
from ticket_system.storage.database import Database

SLEEP = sa.text("SELECT pg_sleep(30)")
ONE = sa.text("SELECT 1")


@pytest.fixture
def server() -> Iterator[Postgres]:
    try:
        with mortal_postgres() as server:
            yield server
    except ServerUnavailable as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


def answer(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(ONE).scalar_one())


def pause(database: Database, meanwhile: Callable[[], None]) -> None:
    """Have something happen in the middle of a transaction."""
    with database.write() as connection:
        connection.execute(ONE)
        meanwhile()
        connection.execute(ONE)


def test_a_statement_that_takes_too_long_is_undone_and_said_so(postgres_url: str) -> None:
    with Database(postgres_url, statement_seconds=0.3) as database:
        with pytest.raises(StorageUnavailable, match="took longer than it may"), database.write() as connection:
            connection.execute(SLEEP)
        assert answer(database) == 1


def test_without_a_limit_a_statement_may_take_its_time(postgres_url: str) -> None:
    with Database(postgres_url) as database, database.read() as connection:
        limits = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in LIMITS]
    assert limits == ["0", "0", "0"]


LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def test_what_somebody_else_keeps_locked_is_not_waited_for_without_end(postgres_url: str) -> None:
    lock = sa.text("LOCK TABLE tickets IN ACCESS EXCLUSIVE MODE")
    with Database(postgres_url) as other, other.write() as holder, Database(
        postgres_url, statement_seconds=0.6
    ) as database:  # fmt: skip
        holder.execute(lock)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="somebody else's transaction"), database.write() as connection:
            connection.execute(lock)
        assert time.monotonic() - began < 5


def test_a_transaction_that_does_nothing_is_ended_by_the_server(postgres_url: str) -> None:
    with Database(postgres_url, statement_seconds=0.1) as database:
        with pytest.raises(StorageUnavailable, match="transaction open for too long"):
            pause(database, lambda: time.sleep(1))
        assert answer(database) == 1


def test_a_server_that_is_frozen_is_given_up(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticket_system.storage.postgresql.MARGIN_SECONDS", 0.5)
    with Database(server.url, statement_seconds=0.5) as database:
        assert answer(database) == 1
        everybody = [server.process, *server.process.children(recursive=True)]
        for process in everybody:
            process.suspend()
        try:
            began = time.monotonic()
            with pytest.raises(StorageUnavailable, match="does not answer"):
                answer(database)
            assert time.monotonic() - began < 15
        finally:
            for process in everybody:
                process.resume()
        assert answer(database) == 1


def test_a_line_that_goes_silent_is_given_up_and_replaced(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticket_system.storage.postgresql.MARGIN_SECONDS", 0.5)
    with wire_to_database(postgres_url) as (wire, url), Database(url, statement_seconds=0.5) as database:
        assert answer(database) == 1
        wire.cut()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="does not answer"):
            answer(database)
        assert time.monotonic() - began < 15
        wire.mend()
        assert answer(database) == 1


def test_a_line_is_tried_while_nothing_is_on_its_way(postgres_url: str) -> None:
    """Whoever vanished without a goodbye is noticed by the kernel, within fifteen seconds."""
    with wire_to_database(postgres_url) as (_, url), Database(url) as database, database.read() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        with socket.socket(fileno=os.dup(raw.fileno())) as line:
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, every, times = (
                line.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle + every * times <= 15
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 15_000


class TimeIsUp(Exception):
    """What a job's time limit raises, wherever the job is."""


def test_a_time_limit_that_cuts_in_leaves_no_answer_to_somebody_else(postgres_url: str) -> None:
    def cut_in(*_: object) -> None:
        raise TimeIsUp

    with Database(postgres_url, pool_size=1, statement_seconds=20) as database:
        before = signal.signal(signal.SIGUSR2, cut_in)
        try:
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2))
            timer.start()
            with pytest.raises(TimeIsUp), database.write() as connection:
                connection.execute(sa.text("SELECT pg_sleep(2), 7"))
            timer.join()
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert answer(database) == 1


def test_a_server_that_was_killed_is_an_error_until_it_is_back(server: Postgres) -> None:
    with Database(server.url, statement_seconds=10) as database:
        database.upgrade()
        with pytest.raises(StorageUnavailable):
            pause(database, server.kill)
        with pytest.raises(StorageUnavailable):
            answer(database)
        server.start()
        assert answer(database) == 1


def test_a_server_that_is_still_starting_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=say_starting, args=(door,))
        thread.start()
        url = f"postgresql://ada@127.0.0.1:{door.getsockname()[1]}/db"
        with Database(url) as database, pytest.raises(StorageUnavailable, match="the server is starting"):
            answer(database)
        thread.join(10)


def say_starting(door: socket.socket) -> None:
    """Be a server in its recovery, to one caller: it turns encryption down, and then the caller away."""
    line, _ = door.accept()
    with line:
        while (size := int.from_bytes(line.recv(4))) == 8:
            line.recv(4)
            line.sendall(b"N")
        line.recv(size)
        fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
        line.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)


def test_a_server_without_a_connection_left_says_so() -> None:
    with ExitStack() as stack:
        try:
            small = stack.enter_context(mortal_postgres(max_connections="4", superuser_reserved_connections="0"))
        except ServerUnavailable as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
        database = stack.enter_context(Database(small.url, pool_size=4))
        with pytest.raises(StorageUnavailable, match="no connection left"):
            take_all(stack, database)


def take_all(stack: ExitStack, database: Database) -> None:
    for _ in range(6):
        stack.enter_context(database.read()).execute(ONE)
