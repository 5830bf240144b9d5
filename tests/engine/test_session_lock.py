"""One holder at a time, whoever dies, hangs or comes back; on PostgreSQL only, as the lock itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.proxy import wire_to_database
from ticket_system.storage import session_lock
from ticket_system.storage.session_lock import SessionLock


@pytest.fixture
def lock(postgres_url: str) -> Iterator[Callable[[], SessionLock]]:
    """Makes locks, and takes them back in the end."""
    with ExitStack() as made:

        def make() -> SessionLock:
            one = SessionLock(postgres_url)
            made.callback(one.release)
            return one

        yield make


@pytest.fixture
def administrator(postgres_url: str) -> Iterator[psycopg.Connection]:
    """Somebody who sees who is connected."""
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def beats(administrator: psycopg.Connection) -> dict[str, int]:
    """The connections of beats: what they say of themselves, and their process."""
    query = b"SELECT application_name, pid FROM pg_stat_activity WHERE application_name LIKE 'ticket_beat%'"
    return dict(administrator.execute(query).fetchall())


def within(seconds: float, reached: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (so := reached()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return so


def test_one_holds_it_and_gives_it_to_the_next(lock: Callable[[], SessionLock]) -> None:
    first, second = lock(), lock()
    assert first.take()
    assert not second.take()
    assert second.error is None, "that somebody else has it is no trouble"
    assert first.keep()
    first.release()
    assert within(10, second.take)
    assert second.keep()


def test_whoever_loses_the_connection_loses_the_lock(
    lock: Callable[[], SessionLock], administrator: psycopg.Connection
) -> None:
    first, second = lock(), lock()
    assert first.take()
    assert first.keep()
    administrator.execute("SELECT pg_terminate_backend(%s)", [beats(administrator)["ticket_beat leads"]])
    assert within(10, second.take)
    assert not first.keep()
    assert first.error is not None
    assert "\n" not in first.error
    assert not first.take(), "it competes again, and somebody else has it"
    assert first.error is None


def test_who_leads_and_who_stands_by_is_seen_in_the_database(
    lock: Callable[[], SessionLock], administrator: psycopg.Connection
) -> None:
    first, second = lock(), lock()
    assert first.take()
    assert first.keep()
    assert not second.take()
    assert set(beats(administrator)) == {"ticket_beat leads", "ticket_beat stands by"}
    assert first.keep(fit=False)
    assert set(beats(administrator)) == {"ticket_beat cut off", "ticket_beat stands by"}


def test_a_holder_that_lives_is_not_evicted(lock: Callable[[], SessionLock]) -> None:
    first, second = lock(), lock()
    assert first.take()
    assert first.keep()
    assert not second.is_stuck()
    assert not second.evict()
    assert first.keep()


def test_a_holder_that_is_silent_is_evicted_and_finds_out_at_once(
    lock: Callable[[], SessionLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    for question in ("_IS_STUCK", "_EVICT"):
        quick = getattr(session_lock, question).replace("interval '5 s'", "interval '0.3 s'")
        monkeypatch.setattr(session_lock, question, quick)
    first, second = lock(), lock()
    assert first.take()
    assert within(10, second.is_stuck)
    assert second.evict()
    assert within(10, second.take)
    assert not first.keep()


def test_a_holder_that_is_not_fit_makes_room_at_once(lock: Callable[[], SessionLock]) -> None:
    first, second = lock(), lock()
    assert first.take()
    assert first.keep(fit=False)
    assert second.is_stuck()
    assert second.evict()
    assert within(10, second.take)
    assert not second.is_stuck()


def test_a_lock_that_went_away_under_its_connection_is_lost(lock: Callable[[], SessionLock]) -> None:
    first = lock()
    assert first.take()
    assert first._connection is not None
    first._connection.execute("SELECT pg_advisory_unlock_all()")  # as behind a pooler
    assert not first.keep()
    assert first.error is not None
    assert "pooled" in first.error


def test_a_database_that_is_away_is_a_line_and_no_error(tmp_path: object) -> None:
    lock = SessionLock(f"postgresql://beat:hush@/tickets?host={tmp_path}")
    assert not lock.take()
    assert not lock.keep()
    assert lock.error is not None
    assert "hush" not in lock.error
    assert "\n" not in lock.error
    lock.release()


def test_a_proxy_that_hangs_is_not_waited_for_without_end(
    postgres_url: str, lock: Callable[[], SessionLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_lock._Impatient, "longest_wait_seconds", 0.5)
    with wire_to_database(postgres_url) as (wire, url):
        behind, beside = SessionLock(url), lock()
        try:
            assert within(20, behind.take)
            assert not beside.take()
            wire.cut()
            began = time.monotonic()
            assert not behind.keep()
            assert time.monotonic() - began < 10
            assert behind.error == "timeout: no answer within 0.5 s"
        finally:
            behind.release()


def test_the_connection_notices_a_host_that_went_away(lock: Callable[[], SessionLock]) -> None:
    one = lock()
    assert one.take()
    assert one._connection is not None
    options = {option.keyword.decode(): option.val for option in one._connection.pgconn.info}
    assert (options["keepalives_idle"], options["tcp_user_timeout"]) == (b"5", b"5000")
