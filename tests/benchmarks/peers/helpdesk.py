"""django-helpdesk's `escalate_tickets` and our scan, on the same PostgreSQL server, in turns, each on tickets of its own.

As kind to it as is honest: one process that is warm, one connection, no debugging, its letters rendered and thrown away,
and a server on which a commit waits for no disk: it commits several times for each ticket. Both are given the same
numbers of tickets stored and due, and every round counts in the database what was escalated.

`python -m tests.benchmarks.peers.helpdesk [--stored 100000] [--due 1000]`.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import sqlalchemy as sa
import structlog
from rich.console import Console

from tests.benchmarks import stock
from tests.benchmarks.peers.environment import PeersUnavailable, python_of_peers
from tests.benchmarks.results import Results
from tests.support.mailers import KeepingNotifier
from tests.support.postgres import create_database, running_postgres
from ticket_system import TicketSystem, monitor
from ticket_system.storage.database import Database
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.toolbox import Letter, Toolbox

OVER = "django-helpdesk"
ROUNDS = 3
SITE = Path(__file__).parent / "helpdesk_site"
TARGET = Path("build/peers.json")

# As in stock.py: one in five is open. Those that are not due were opened today; the others are a month old, and solved.
_FILL = """
INSERT INTO helpdesk_queue (title, slug, allow_public_submission, allow_email_submission, escalate_days,
    enable_notifications_on_email_events, email_address, email_box_ssl, permission_name)
SELECT 'Desk', 'desk', false, false, 3, false, 'desk@example.org', false, 'helpdesk.queue_access_desk';
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT '', false, 'agent' || n, 'Agent', n, 'agent' || n || '@example.org', true, true, now() FROM generate_series(0, 199) AS g(n);
INSERT INTO helpdesk_ticket (title, queue_id, created, modified, status, on_hold, description, priority, secret_key)
SELECT 'Ticket ' || n, (SELECT min(id) FROM helpdesk_queue), CASE WHEN n %% 5 = 0 THEN now() ELSE now() - interval '30 days' END,
    now(), CASE WHEN n %% 5 = 0 THEN 1 ELSE 4 END, false, 'Something is wrong with number ' || n, 1 + n %% 4, md5(n::text)
FROM generate_series(1, %(stored)s) AS g(n);
"""
_DUE = """
INSERT INTO helpdesk_ticket (title, queue_id, created, modified, status, on_hold, description, priority, secret_key, assigned_to_id)
SELECT 'Late ' || n, (SELECT min(id) FROM helpdesk_queue), now() - interval '10 days', now(), 1, false,
    'Nobody has looked at this one', 3, md5(n::text), CASE WHEN %(told)s THEN (SELECT min(id) FROM auth_user) + n %% 200 END
FROM generate_series(1, %(due)s) AS g(n)
"""


class Theirs:
    """A process of django-helpdesk, and a look past it into its database."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self._url = process, url.replace("postgresql+psycopg:", "postgresql:")
        self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"django-helpdesk ended with {self._process.wait()}")
        return line

    def run(self, *statements: str, **given: object) -> None:
        """Have its database do something."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode(), given if "%(" in statement else None)

    def escalated(self) -> int:
        """How many escalations are on record."""
        with psycopg.connect(self._url) as connection:
            query = b"SELECT count(*) FROM helpdesk_ticketchange WHERE field = 'Priority'"
            ((number,),) = connection.execute(query).fetchall()
        return int(number)

    def escalate(self) -> float:
        """Have it escalate what is due; seconds, by its own clock."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._heard())


@contextmanager
def theirs(server_url: str, python: Path) -> Iterator[Theirs]:
    """A process of django-helpdesk with a database of its own on that server."""
    url = create_database(server_url, "helpdesk")
    parts = sa.make_url(url)
    # Nothing of our environment: neither a path nor a setting.
    own = {"PATH": os.environ.get("PATH", ""), "DJANGO_SETTINGS_MODULE": "site_settings"}
    own |= {"HELPDESK_HOST": str(parts.query["host"]), "HELPDESK_NAME": str(parts.database)}
    command = [str(python), str(SITE / "escalate.py")]
    with subprocess.Popen(
        command, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Theirs(process, url)
        finally:
            process.kill()


class _Drop:
    """Takes every letter and throws it away, as Django's dummy does."""

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        before_data()
        return "250 dropped"


@contextmanager
def _without_words() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.reset_defaults()


def helpdesk(results: Results, server_url: str, *, stored: int, due: int) -> None:
    """Measure both, per ticket escalated, or say in one line why not."""
    try:
        python = python_of_peers()
    except PeersUnavailable as why:
        print(f"  django-helpdesk is not measured, it cannot be installed here: {why}", file=sys.stderr)
        return
    with (
        theirs(server_url, python) as they,
        Database(create_database(server_url, "beside_helpdesk")) as database,
        _without_words(),
    ):
        print(f"  postgresql: storing {stored:,} tickets twice, ours and django-helpdesk's", file=sys.stderr)
        database.upgrade()
        stock.fill(database, 1, stored, datetime.now(UTC))
        they.run(*_FILL.strip().split(";\n"), stored=stored)
        _idle(results, database, they, stored)
        for told in (False, True):
            _escalating(results, database, they, due, told=told)


def _idle(results: Results, database: Database, they: Theirs, stored: int) -> None:
    looks: tuple[list[float], list[float]] = ([], [])
    stock.settle_down(database)
    they.run("VACUUM ANALYZE")
    for turn in range(11):
        ours, their = _timed(lambda: monitor.scan_breaches(database)), they.escalate()
        if turn:  # the first warms up
            looks[0].append(ours * 1000)
            looks[1].append(their * 1000)
    results.add(f"a look when nothing is due, {stored:,} stored", looks[0], "ms", looks[1], over=OVER)


def _escalating(results: Results, database: Database, they: Theirs, due: int, *, told: bool) -> None:
    """Escalate so many, in turns; `told`: a letter each, to its assignee."""
    toolbox = Toolbox(TicketSystem(database), _Drop(), KeepingNotifier(), mail_to=None, deliver_budget_seconds=3600)
    took: tuple[list[float], list[float]] = ([], [])

    def ours(turn: int) -> None:
        name = f"{'told' if told else 'quiet'}-{turn}"
        stock.add_due(database, name, due, datetime.now(UTC))
        # Each has an assignee of its own, or none who has an address.
        _do(database, "UPDATE tickets SET assignee = id || '@example.org' WHERE id LIKE :these", these=f"{name}-%")
        stock.settle_down(database)
        began = time.perf_counter()
        alarms = monitor.scan_breaches(database, budget_seconds=3600).alarms
        sent = deliver_outbox(toolbox).sent if told else due
        took[0].append((time.perf_counter() - began) * 1000 / due)
        if alarms != due or sent != due:
            raise RuntimeError(f"of {due} tickets {alarms} were escalated here, and {sent} letters sent")
        # Those of the quiet rounds would be sent with the others.
        _do(database, "DELETE FROM outbox")

    def their(turn: int) -> None:
        they.run(_DUE, due=due, told=told)
        they.run("VACUUM ANALYZE", "CHECKPOINT")
        before = they.escalated()
        took[1].append(they.escalate() * 1000 / due)
        if they.escalated() - before != due:
            raise RuntimeError(f"of {due} tickets django-helpdesk escalated {they.escalated() - before}")

    for turn in range(ROUNDS + 1):
        for act in (ours, their) if turn % 2 else (their, ours):
            act(turn)
    name = "a ticket escalated, and its letter" if told else "a ticket escalated, nobody mailed"
    results.add(name, took[0][1:], "ms", took[1][1:], over=OVER)


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _do(database: Database, statement: str, **given: object) -> None:
    with database.write() as connection:
        connection.execute(sa.text(statement), given)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=10_000, help="tickets that are stored and not due, on each side")
    parser.add_argument("--due", type=int, default=1000, help="tickets that are escalated in each round")
    options = parser.parse_args()
    results = Results()
    with running_postgres(place=Path(tempfile.gettempdir())) as server:
        helpdesk(results, server, stored=options.stored, due=options.due)
    results.write(TARGET, stored=options.stored, due=options.due)
    Console().print(results.table())
    return 0 if results.figures else 1


if __name__ == "__main__":
    sys.exit(main())
