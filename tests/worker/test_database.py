"""What a process does at its start about a database that is not ready."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.support.postgres import create_database, drop_database
from ticket_system.errors import DamagedFile, SchemaOutdated, StorageUnavailable
from ticket_system.storage.database import Database
from ticket_worker.database import prepare_database
from ticket_worker.settings import read_settings

NOWHERE = "postgresql://u:hush@127.0.0.1:1/x"


@pytest.fixture
def empty_url(postgres_server: str) -> Iterator[str]:
    yield create_database(postgres_server, "tickets_test_unready")
    drop_database(postgres_server, "tickets_test_unready")


def test_a_server_that_is_away_is_waited_for_and_said_once() -> None:
    began = time.monotonic()
    with capture_logs() as lines, pytest.raises(StorageUnavailable):
        prepare_database(read_settings(database_url=NOWHERE), patience_seconds=3)
    assert 1 < time.monotonic() - began < 15
    assert [line["event"] for line in lines] == ["database.awaited"]
    assert "hush" not in str(lines)


def test_without_patience_it_is_told_at_once() -> None:
    with capture_logs() as lines, pytest.raises(StorageUnavailable):
        prepare_database(read_settings(database_url=NOWHERE))
    assert lines == []


def test_an_upgrade_that_is_on_its_way_is_waited_for(empty_url: str) -> None:
    with Database(empty_url) as database:
        timer = threading.Timer(1, database.upgrade)
        timer.start()
        with capture_logs() as lines:
            prepare_database(read_settings(database_url=empty_url), patience_seconds=60)
        timer.join()
    assert [line["event"] for line in lines] == ["database.awaited", "database.found"]


def test_a_schema_newer_than_the_program_is_not_waited_for(postgres_url: str) -> None:
    with Database(postgres_url) as database, database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    began = time.monotonic()
    with pytest.raises(SchemaOutdated, match="update the program"):
        prepare_database(read_settings(database_url=postgres_url), patience_seconds=60)
    assert time.monotonic() - began < 20


def test_a_damaged_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "tickets.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DamagedFile):
        prepare_database(read_settings(database_url=str(path)), patience_seconds=60)
