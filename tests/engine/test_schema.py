"""The schema: one truth in two writings, upgraded once by many, refused when it does not fit, shipped in the wheel."""

import secrets
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.support.contents import Sabotage, failing_at
from tests.support.factories import a_ticket
from tests.support.postgres import create_database, drop_database
from ticket_system import SchemaOutdated, StorageError, TicketSystem
from ticket_system.storage import schema, tables
from ticket_system.storage.database import Database

ROOT = Path(__file__).parents[2]
FOUR = 4


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database without any schema."""
    name = f"tickets_empty_{secrets.token_hex(4)}"
    yield create_database(postgres_server, name)
    drop_database(postgres_server, name)


@pytest.fixture(params=("sqlite", "postgresql"))
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that lasts, of each kind, without any schema."""
    if request.param == "sqlite":
        return str(tmp_path / "tickets.db")
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


# --- one truth in two writings -----------------------------------------------------------------------------------


def test_migrations_and_tables_agree(empty_url: str) -> None:
    with Database(empty_url) as database:
        database.upgrade()
        with database.read() as connection:
            # On SQLite it takes an identity for a changed default; the catalogues are compared below.
            options = {"compare_type": True, "compare_server_default": database.dialect != "sqlite"}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, tables.metadata) == []


def catalogue(database: Database) -> set[tuple[Any, ...]]:
    """Everything that a database knows about our tables, partial indexes and checks included."""
    if database.dialect == "sqlite":
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"
    else:
        query = """
            SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
                FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT 'column', table_name, column_name,
                concat_ws(' ', data_type, is_nullable, column_default, is_identity, identity_generation)
                FROM information_schema.columns WHERE table_schema = 'public'
        """
    with database.read() as connection:
        rows = connection.execute(sa.text(query))
        return {
            tuple(" ".join(part.split()) if isinstance(part, str) else part for part in row)
            for row in rows
            if not any("alembic" in str(part) for part in row)
        }


def test_a_migrated_database_is_the_one_that_the_tables_describe(empty_url: str, tmp_path: Path) -> None:
    """A database in memory is made from the tables, a lasting one by the migrations."""
    with Database(empty_url) as database:
        database.upgrade()
        migrated = catalogue(database)
        if database.dialect == "sqlite":
            with Database(":memory:") as other:
                other.upgrade()
                described = catalogue(other)
        else:
            with database.write() as connection:
                tables.metadata.drop_all(connection)
                tables.metadata.create_all(connection)
            described = catalogue(database)
    assert len(migrated) > 15
    assert normal(migrated) == normal(described)


def normal(found: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """SQLite keeps the words of CREATE TABLE; the order of constraints at its end says nothing."""
    return {
        (*row[:3], frozenset(part.strip(" ()") for part in row[3].split(", "))) if row[0] == "table" else row
        for row in found
    }


def test_the_program_wants_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_migrations_templates_and_fonts_lie_in_the_wheel(tmp_path: Path) -> None:
    folder = files("ticket_system").joinpath("storage", "migrations")
    assert folder.joinpath("env.py").is_file()
    own = {
        f"ticket_system/storage/migrations/versions/{path.name}" for path in schema._MIGRATIONS.glob("versions/*.py")
    }
    assert own
    digest = ROOT / "tasks" / "ticket_tasks" / "digest"
    shown = {
        f"ticket_tasks/digest/{one.parent.name}/{one.name}"
        for one in (*digest.glob("templates/*"), *digest.glob("fonts/*"))
    }
    assert len(shown) > 6
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", ".*_cache", "build", "__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert own | shown | {"ticket_system/storage/migrations/env.py", "ticket_system/py.typed"} <= names
    assert not [name for name in names if name.startswith("tests")]


# --- refused -----------------------------------------------------------------------------------------------------


def test_postgresql_is_not_upgraded_by_a_program_that_only_wants_to_use_it(empty_postgres_url: str) -> None:
    with pytest.raises(SchemaOutdated, match="tickets db upgrade") as caught:
        TicketSystem(empty_postgres_url)
    assert isinstance(caught.value, StorageError)
    with Database(empty_postgres_url) as database:
        assert database.schema_version() is None
        with pytest.raises(SchemaOutdated, match="holds no tickets schema yet"):
            database.require_current_schema()
        database.upgrade()
        assert database.schema_version() == schema.HEAD
    with TicketSystem(empty_postgres_url) as system:
        system.create_ticket(a_ticket())


def put_at(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_an_older_postgresql_schema_says_what_to_do(postgres_url: str) -> None:
    with Database(postgres_url) as database:
        put_at(database, "0000")
    with pytest.raises(SchemaOutdated, match=r"is at schema 0000.*tickets db upgrade"):
        TicketSystem(postgres_url)


def test_a_newer_schema_is_refused_and_left_alone(empty_url: str) -> None:
    with Database(empty_url) as database:
        database.upgrade()
        put_at(database, "9999")
        for refuse in (database.upgrade, database.require_current_schema, lambda: TicketSystem(database)):
            with pytest.raises(SchemaOutdated, match=r"9999, newer than this program's .*update the program"):
                refuse()
        assert database.schema_version() == "9999"


def test_a_newer_file_is_left_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "tickets.db"
    with TicketSystem(path) as system:
        put_at(system.database, "9999")
    content = path.read_bytes()
    with pytest.raises(SchemaOutdated, match="update the program"):
        TicketSystem(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["tickets.db"]


# --- many at once ------------------------------------------------------------------------------------------------

UPGRADE = """
import sys, time
from ticket_system.storage.database import Database
with Database(sys.argv[1]) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    database.upgrade()
    database.require_current_schema()
    database.upgrade()
"""


def test_several_processes_upgrade_one_empty_database_at_once(empty_url: str) -> None:
    command = [sys.executable, "-c", UPGRADE, empty_url]
    pipe = subprocess.PIPE
    programs = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(FOUR)]
    try:
        for program in programs:
            assert program.stdout
            assert program.stdout.readline() == "ready\n"
        for program in programs:
            assert program.stdin
            program.stdin.write("go\n")
            program.stdin.flush()
        ends = [program.communicate(timeout=30) for program in programs]
    finally:
        for program in programs:
            program.kill()
            program.wait()
    assert [(program.returncode, end[1]) for program, end in zip(programs, ends, strict=True)] == [(0, "")] * FOUR
    usable_and_upgraded_once(empty_url)


@pytest.mark.parametrize("turn", range(3))
def test_ten_threads_open_one_empty_database_at_once(empty_url: str, turn: int) -> None:
    ready = Barrier(10)

    def upgrade(_: int) -> None:
        with Database(empty_url) as database:
            ready.wait()
            database.upgrade()
            database.require_current_schema()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(upgrade, range(10)))
    usable_and_upgraded_once(empty_url)


def usable_and_upgraded_once(url: str) -> None:
    with Database(url) as database, database.read() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).all() == [(schema.HEAD,)]
    with TicketSystem(url) as system:
        ticket = system.create_ticket(a_ticket())
        assert system.get_ticket(ticket.id) == ticket


@pytest.mark.parametrize("number", (3, 10, 20))
def test_an_upgrade_that_fails_half_way_leaves_nothing_behind(empty_url: str, number: int) -> None:
    with Database(empty_url) as database:
        with failing_at(database, number), pytest.raises(Sabotage):
            database.upgrade()
        assert database.schema_version() is None
        assert catalogue(database) == set()
        database.upgrade()
    usable_and_upgraded_once(empty_url)


def test_a_second_upgrade_changes_nothing(empty_url: str) -> None:
    with Database(empty_url) as database:
        database.upgrade()
        before = catalogue(database)
        with TicketSystem(database) as system:
            system.create_ticket(a_ticket(id="t"))
            database.upgrade()
            assert catalogue(database) == before
            assert system.get_ticket("t") is not None


def test_a_current_file_is_opened_while_somebody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "tickets.db"
    with TicketSystem(path) as system:
        system.create_ticket(a_ticket(id="t"))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with TicketSystem(path) as system:
            assert system.get_ticket("t") is not None
        writer.execute("ROLLBACK")
