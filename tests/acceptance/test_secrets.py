"""Every setting that is a secret holds one that would be found: nothing that a fleet says, sends or stores has it."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import psycopg
import pytest
import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from tests.acceptance.test_fleet import wait_until
from tests.support.brokers import mortal_broker
from tests.support.factories import a_ticket_due_in
from tests.support.processes import running
from tests.support.smtp import PostOffice
from ticket_system import TicketSystem
from ticket_system.sla import policy_file
from ticket_system.storage.database import Database
from ticket_system.tickets import utc_now
from ticket_tasks import TicketClient
from ticket_worker.settings import Settings, variable

POLICY = """
recipients = ["pager", "hook"]

[policies.everybody.targets.resolution]
within = { critical = "4h", high = "4h", medium = "4h", low = "4h" }

[[policies.everybody.chain]]
after = "0m"
notify = ["desk", "pager", "hook"]
"""
#: What a debugger, or an error's details, would show of whatever holds a secret.
SHOWN = """
from ticket_tasks.answers import Answers
from ticket_worker.app import create_app
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.settings import read_settings
settings = read_settings()
app, box = create_app(settings), build_toolbox(settings)
answers = Answers(settings.broker)
parts = (settings, box, box.database, box.mailer, box.notifier, box.meter, box.shop, box.stationery, answers)
for one in (*parts, app, app.conf.humanize()):
    print(repr(one), one)
"""
HOOK_SECRET = "whsec_" + base64.b64encode(b"PLANTED" + b"w" * 29).decode()
TOOLS = (
    ("ticket_worker", "check"),
    ("ticket_worker", "check", "--json"),
    ("ticket_worker", "health", "ready", "--json"),
    ("ticket_system", "doctor"),
    ("ticket_system", "outbox", "list", "--json"),
    ("ticket_system", "parked", "list", "--json"),
    ("ticket_system", "jobs"),
)
#: One for each; nothing else in the world holds these letters.
PLANTED = {
    name: f"PLANTED{number}x{name.replace('_', '')}x{'q' * 20}"
    for number, name in enumerate(
        (
            "database",
            "beat",
            "smtp",
            "link",
            "stripe",
            "snapshot",
            "thin",
            "trace",
            "pager_user",
            "pager",
            "hook",
            "customer",
        )
    )
}


def planted_settings(database_url: str, broker_url: str, office: PostOffice) -> dict[str, str]:
    """Every secret that can be set, by the name of its setting; places that refuse, so that errors are told of."""
    url = sa.make_url(database_url)
    return {
        "database_url": url.set(password=PLANTED["database"]).render_as_string(hide_password=False),
        "beat_database_url": url.set(password=PLANTED["beat"]).render_as_string(hide_password=False),
        "redis_url": broker_url,
        "smtp_password": PLANTED["smtp"],
        "link_secrets": PLANTED["link"],
        "stripe_api_key": f"sk_test_{PLANTED['stripe']}",
        "stripe_webhook_secrets": f"whsec_{PLANTED['snapshot']}",
        "stripe_thin_secrets": f"whsec_{PLANTED['thin']}",
        "trace_url": f"http://127.0.0.1:1/{PLANTED['trace']}/v1/traces",
        "destinations": (
            f'pager = "json://{PLANTED["pager_user"]}:{PLANTED["pager"]}@127.0.0.1:1/"\n'
            f'hook = {{ webhook = "http://127.0.0.1:1/{PLANTED["hook"]}", secret = "{HOOK_SECRET}" }}\n'
        ),
    }


def settings_of_a_fleet(folder: Path, office: PostOffice, port: int) -> dict[str, str]:
    """The settings that are no secrets: everything is switched on."""
    return {
        "data_dir": str(folder),
        "log_level": "debug",
        "log_format": "json",
        "stop_seconds": "3",
        "mail": "smtp",
        "mail_to": "desk@example.org",
        "smtp_host": office.host,
        "smtp_port": str(office.port),
        "smtp_user": "mailer",
        "billing": "stripe",
        "stripe_mode": "test",
        "stripe_api_url": "http://127.0.0.1:1",
        "public_url": "https://desk.example.org",
        "notify": "live",
        "metrics_port": str(port),
        "concurrency": "1",
    }


def settings_as_environment(given: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")}
    return kept | {variable(name): value for name, value in given.items()}


class Tap(threading.Thread):
    """Everything that anybody says to the broker, as the broker hears it; passwords it leaves out by itself."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._redis, self.heard = Redis.from_url(url), []
        self.start()

    heard: list[str]

    def run(self) -> None:
        with suppress(RedisError, OSError, ValueError, AttributeError), self._redis.monitor() as monitor:  # type: ignore[no-untyped-call] # not annotated
            for command in monitor.listen():
                self.heard.append(str(command["command"]))

    def close(self) -> None:
        self._redis.connection_pool.disconnect()


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    tap = Tap(url)
    yield tap
    tap.close()


def test_every_secret_that_can_be_set_is_planted() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret == set(planted_settings("postgresql://h/d", "redis://h", PostOffice()))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_planted_secret_is_found_again(postgres_url: str, post_office: PostOffice, tmp_path: Path) -> None:
    said: dict[str, str] = {}
    log = tmp_path / "fleet.log"
    with ExitStack() as stack:
        broker = stack.enter_context(mortal_broker(tmp_path / "broker"))
        password = urlsplit(broker.url).password
        assert password
        planted = planted_settings(postgres_url, broker.url, post_office)
        ports = free_ports(3)
        given = planted | settings_of_a_fleet(tmp_path, post_office, ports[0])
        environ = settings_as_environment(given)
        system = stack.enter_context(TicketSystem(postgres_url))
        system.put_in_force(policy_file.parse(POLICY, now=utc_now()))
        tap = stack.enter_context(tapped(broker.url))
        output = stack.enter_context(log.open("ab"))

        def start(*words: str, **other: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "ticket_worker", *words]
            return stack.enter_context(running(command, env=environ | other, log=output))

        worker = start("worker", "--queues", "clock,desk,intake,money,reports")
        beat = start("beat", TICKETS_METRICS_PORT="0")
        start("webhook", "--port", str(ports[1]), TICKETS_METRICS_PORT="0")
        start("metrics", "--port", str(ports[2]))

        live(system, broker.url, log)
        knock(ports[1])
        said["metrics of a worker"], said["metrics of the fleet"] = fetched(ports[0]), fetched(ports[2])
        assert "tickets_task_seconds" in said["metrics of a worker"]
        assert "tickets_clocks_due" in said["metrics of the fleet"]
        said |= {" ".join(words): run(environ, tmp_path, *words)[1] for words in TOOLS}
        assert all(said.values()), "each has something to say"
        # Whoever looks at the list of processes, or into one, as far as others may.
        said["command lines"] = " ".join(Path(f"/proc/{one.pid}/cmdline").read_text() for one in (worker, beat))
        # The broker and the database vanish: errors of drivers are fond of addresses.
        broker.kill()
        nowhere = sa.make_url(planted["database_url"]).set(host="127.0.0.1", port=1, query={})
        there = environ | {"TICKETS_DATABASE_URL": nowhere.render_as_string(hide_password=False)}
        for words in (("ticket_worker", "check"), ("ticket_system", "jobs"), ("ticket_system", "doctor")):
            status, said[f"{' '.join(words)} without servers"] = run(there, tmp_path, *words)
            assert status
        time.sleep(2)  # for the processes to notice

        status, said["repr"] = run(environ, tmp_path, "-c", SHOWN)
        assert status == 0, said["repr"]
        said["the broker"] = "\n".join(tap.heard)
        said["the database"] = everything_stored(system.database)
    said["the log"] = log.read_text("utf-8", errors="replace")

    assert "tickets.open_ticket" in said["the broker"]
    assert len(said["the log"].splitlines()) > 50
    secrets = {name: value for name, value in PLANTED.items() if name != "customer"} | {
        "broker": password,
        "hook_secret": HOOK_SECRET[6:],
    }
    leaks = [
        (where, name)
        for where, text in said.items()
        for name, secret in secrets.items()
        if secret in text or quote(secret, safe="") in text
    ]
    assert leaks == []
    # What customers wrote lies in the database, and travels; it is nobody's business anywhere else.
    elsewhere = said.keys() - {"the broker", "the database"}
    assert [where for where in elsewhere if PLANTED["customer"] in said[where]] == []


def live(system: TicketSystem, broker_url: str, log: Path) -> None:
    """A breach whose notices fail everywhere, a message that is understood, one that is not, and one for nobody."""
    system.create_ticket(a_ticket_due_in(-5, title=PLANTED["customer"]))
    with TicketClient(broker_url) as client:
        ticket_id = client.open_ticket(PLANTED["customer"], PLANTED["customer"], "ada", customer="acme")
        assert client.wait(ticket_id, 90) is not None
        client.add_comment("nobody's", "bob", PLANTED["customer"])
    with Redis.from_url(broker_url) as redis:
        redis.lpush("tickets:intake", f"{{{PLANTED['customer']}")
    wait_until(lambda: len([one for one in errors_stored(system.database) if one]) >= 3)
    wait_until(lambda: "message.parked" in log.read_text("utf-8", errors="replace"))


def knock(port: int) -> None:
    """Links that were tampered with, events that nobody signed."""
    for path in ("/unsubscribe/nonsense", "/stripe"):
        with suppress(OSError):
            urlopen(f"http://127.0.0.1:{port}{path}", data=b"{}", timeout=10)


def fetched(port: int) -> str:
    """The metrics that are served there."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def run(environ: dict[str, str], folder: Path, *words: str) -> tuple[int, str]:
    """A command as a person runs it: its status, and all it says."""
    command = [sys.executable, *([] if words[0] == "-c" else ["-m"]), *words]
    found = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=90)
    return found.returncode, found.stdout + found.stderr


def free_ports(many: int) -> list[int]:
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(many)]
        return [door.getsockname()[1] for door in doors]


def errors_stored(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.text("SELECT error FROM outbox")).scalars())


def everything_stored(database: Database) -> str:
    """Every row of every table, without any of our code."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f'SELECT to_jsonb(t) FROM "{name}" t'.encode()).fetchall() for (name,) in tables]
    return json.dumps(rows)
