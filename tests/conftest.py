"""Real servers for the whole run, and a fresh database for each test."""

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.postgres import ServerUnavailable, create_database, drop_database, running_postgres
from tests.support.smtp import PostOffice, running_post_office
from tests.support.valkey import forget_everything, running_valkey
from ticket_system import TicketSystem
from ticket_system.storage.database import Database


def pytest_configure() -> None:
    """A runner that is told to stop ends its servers first, as it does after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=128 + signal.SIGTERM))


def _unavailable(reason: object) -> NoReturn:
    """At home a service that does not start costs its own tests; in CI it costs the run."""
    if os.environ.get("CI"):
        pytest.fail(str(reason))
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server in which databases may be made: TICKETS_TEST_DATABASE_URL, or one of our own."""
    if url := os.environ.get("TICKETS_TEST_DATABASE_URL"):
        yield url
        return
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_postgres())
        except ServerUnavailable as error:
            _unavailable(error)
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database that was migrated once and is copied for each test."""
    name = f"tickets_template_{secrets.token_hex(4)}"
    with Database(create_database(postgres_server, name)) as database:
        database.upgrade()
    yield name
    drop_database(postgres_server, name)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database of this test alone, empty, with the current schema."""
    name = f"tickets_test_{secrets.token_hex(4)}"
    yield create_database(postgres_server, name, template=postgres_template)
    drop_database(postgres_server, name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A Redis-protocol server that may be emptied: TICKETS_TEST_REDIS_URL, or one of our own."""
    if url := os.environ.get("TICKETS_TEST_REDIS_URL"):
        yield url
        return
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_valkey())
        except ServerUnavailable as error:
            _unavailable(error)
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """An empty Redis-protocol server."""
    forget_everything(redis_server)
    yield redis_server
    forget_everything(redis_server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that was migrated once and is copied for each test."""
    path = tmp_path_factory.mktemp("template") / "tickets.db"
    with Database(path) as database:
        database.upgrade()
    return path


@pytest.fixture(params=("sqlite-memory", "sqlite-file", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an engine may keep its tickets: each kind of place in turn."""
    match request.param:
        case "sqlite-memory":
            return ":memory:"
        case "sqlite-file":
            template: Path = request.getfixturevalue("sqlite_template")
            return str(shutil.copy(template, tmp_path / "tickets.db"))
        case _:
            url: str = request.getfixturevalue("postgres_url")
            return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database with the current schema, of each kind in turn."""
    with Database(database_url) as database:
        database.upgrade()
        yield database


@pytest.fixture
def system(database: Database) -> TicketSystem:
    """The engine over that database."""
    return TicketSystem(database)


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    """A mail server that accepts everything until told otherwise."""
    with running_post_office() as office:
        yield office
