"""Where a run takes place: the servers, a wire to each, Stripe's double, and the fleet between them."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.members import Member, left_behind
from tests.chaos.plan import BEATS, WEBHOOK, WORKERS, Options
from tests.support.postgres import Postgres, create_database, mortal_postgres
from tests.support.proxy import Wire, running_wire, wire_to_broker, wire_to_database
from tests.support.valkey import Valkey, mortal_valkey
from ticket_system.storage.database import Database
from ticket_worker.demo.stripe_double import TEST_KEY, Endpoint, StripeDouble, running_double

QUEUES = "clock,desk,intake,money,reports"
_SECRET = "whsec_chaos"
_READY_SECONDS = 120.0


class NotReady(Exception):
    """The fleet did not start."""


@dataclass
class Stage:
    """Everything that can be disturbed, by name."""

    folder: Path
    #: By which the fleet reaches the database, and by which everybody else does.
    url: str
    direct_url: str
    database: Postgres
    broker: Valkey
    broker_url: str
    double: StripeDouble
    wires: dict[str, Wire]
    members: dict[str, Member]
    webhook_port: int
    load: Member
    log: Path

    @property
    def fleet(self) -> list[Member]:
        """The processes of ours."""
        return [member for name, member in self.members.items() if name != "mail"]

    def open(self) -> None:
        """Start the fleet, and wait until all of it works."""
        for member in self.members.values():
            member.start()
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or any(one.ended_by_itself() is not None for one in self.members.values()):
                raise NotReady(f"the fleet did not start; {self.log} says why")
            time.sleep(0.2)

    def close(self) -> int:
        """Ask the fleet to stop, and wait; returns how many processes are left that should not be."""
        for member in self.members.values():
            member.ask()
        for member in self.members.values():
            member.end()
        return len(left_behind(self.folder))

    def _is_ready(self) -> bool:
        said = self.log.read_text("utf-8", errors="replace")
        counts = (said.count('ready."'), said.count('"beat.started"'), said.count('"post.opened"'))
        return counts >= (len(WORKERS), len(BEATS), 1) and self._webhook_answers()

    def _webhook_answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.webhook_port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


class Diary:
    """A file of JSON lines that is complete whenever it is looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, **line: Any) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": datetime.now(UTC).isoformat(), **line}) + "\n")


@contextmanager
def a_stage(folder: Path, options: Options) -> Iterator[Stage]:
    """The servers are there, nobody works yet; all of it is gone in the end."""
    with ExitStack() as stack:
        enter = stack.enter_context
        # Processes are killed, no power is cut: what was handed to the system is kept without fsync.
        database = enter(mortal_postgres(synchronous_commit="on", full_page_writes="on"))
        direct = create_database(database.url, "chaos")
        with Database(direct) as ours:
            ours.upgrade()
        broker = enter(mortal_valkey(fsync="everysec"))
        double = StripeDouble()
        running = enter(running_double(double))
        mail_port, webhook_port = _free_port(), _free_port()
        database_wire, url = enter(wire_to_database(direct))
        broker_wire, broker_url = enter(wire_to_broker(broker.url))
        mail_wire = enter(running_wire(("127.0.0.1", mail_port)))
        stripe_wire = enter(running_wire(("127.0.0.1", int(running.url.rpartition(":")[2]))))
        wires = {"database": database_wire, "broker": broker_wire, "mail": mail_wire, "stripe": stripe_wire}
        double.postman.endpoints.append(Endpoint(f"http://127.0.0.1:{webhook_port}/stripe", _SECRET))
        environ = _environ(options) | {
            "TICKETS_DATABASE_URL": url,
            "TICKETS_REDIS_URL": broker_url,
            "TICKETS_SMTP_PORT": str(mail_wire.port),
            "TICKETS_STRIPE_API_URL": f"http://127.0.0.1:{stripe_wire.port}",
            "TICKETS_STRIPE_WEBHOOK_SECRETS": _SECRET,
            "TICKETS_WEBHOOK_PORT": str(webhook_port),
        }
        log = folder / "fleet.log"
        output = enter(log.open("ab"))

        def member(name: str, *words: str) -> Member:
            one = Member(name, words, environ, folder, output)
            stack.callback(one.end)
            return one

        # One of the three can do one thing at a time only.
        workers = [
            member(one, "worker", "--queues", QUEUES, "--concurrency", "21"[one == WORKERS[-1]]) for one in WORKERS
        ]
        told = (str(options.seed), str(options.minutes), str(options.rate))
        members = [
            member("mail", "-m", "tests.chaos.post", str(folder), str(mail_port)),
            *workers,
            *(member(one, "beat") for one in BEATS),
            member(WEBHOOK, "webhook"),
        ]
        stack.callback(_sweep, folder, members)
        yield Stage(
            folder=folder,
            url=url,
            direct_url=direct,
            database=database,
            broker=broker,
            broker_url=broker_url,
            double=double,
            wires=wires,
            members={one.name: one for one in members},
            webhook_port=webhook_port,
            load=member("load", "-m", "tests.chaos.load", str(folder), broker_url, *told),
            log=log,
        )


def _sweep(folder: Path, members: list[Member]) -> None:
    """Leave nothing that runs, however it ended."""
    for member in members:
        member.ask()
    for member in members:
        member.end()
    for process in left_behind(folder):
        with suppress(psutil.Error):
            process.kill()


def _environ(options: Options) -> dict[str, str]:
    """What everybody in the fleet is told."""
    ours = {
        "LOG_FORMAT": "json",
        "MAIL": "smtp",
        "MAIL_TO": "desk@example.org",
        "MAIL_FROM": "tickets@example.org",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_TIMEOUT_SECONDS": "5",
        "BILLING": "stripe",
        "STRIPE_API_KEY": TEST_KEY,
        "STRIPE_CALLS_PER_SECOND": "100",
        "STRIPE_TIMEOUT_SECONDS": "2",
        # An hour has sixty batches of a customer, one for each report that finds something new in it.
        "REPORT_INTERVAL_SECONDS": f"{max(10.0, options.seconds / 40):g}",
        "STATEMENT_SECONDS": "10",
        "STOP_SECONDS": "5",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")}
    return inherited | {f"TICKETS_{name}": value for name, value in ours.items()} | {"PYTHONUNBUFFERED": "1"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
