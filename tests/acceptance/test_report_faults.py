"""Twelve things that go wrong with a letter, and two more: none makes a second copy, each loss is a visible row.

Real PostgreSQL, a real mail server in a process of its own, workers that are killed with SIGKILL; afterwards four
rounds of redelivery, each long after every lease and every wait.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket
from tests.support.mailman import POINTS
from tests.support.post_house import running_post_house
from ticket_system import TicketSystem, digests, mailings, recipients
from ticket_system.storage.report_tables import report_deliveries
from ticket_tasks import reports
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.settings import Settings, read_settings

PATIENCE_SECONDS = 60.0
ROUNDS = 4


@dataclass(frozen=True)
class Case:
    """What goes wrong, how many copies reach the mailbox, and what the row says in the end."""

    name: str
    copies: int
    state: str
    script: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    point: str | None = None
    workers: int = 1


CASES = (
    Case("nothing", 1, "sent"),
    Case("550 at RCPT", 0, "failed", {"RCPT": [{"text": "550 5.7.1 not here"}] * 9}),
    Case("451 at RCPT, then fine", 1, "sent", {"RCPT": [{"text": "451 4.7.1 later"}]}),
    Case("451 after DATA, then fine", 1, "sent", {"DATA": [{"text": "451 4.3.0 later"}]}),
    Case("the line breaks after DATA, not kept", 0, "uncertain", {"DATA": [{"text": "421 Bye", "hang_up": True}]}),
    Case("the line breaks after DATA, kept", 1, "uncertain", {"DATA": [{"hang_up": True}]}),
    Case("killed before it connects", 1, "sent", point=POINTS[0]),
    Case("killed after MAIL", 1, "sent", point=POINTS[1]),
    Case("killed just before DATA", 0, "uncertain", point=POINTS[2]),
    Case("killed in the middle of the letter", 0, "uncertain", point=POINTS[3]),
    # Servers differ in what they do with a letter whose sender is gone; this one drops it.
    Case("killed while the server holds the letter", 0, "uncertain", {"DATA": [{"after_seconds": 1}]}, POINTS[4]),
    Case("killed after it was taken, before that is committed", 1, "uncertain", point=POINTS[5]),
    Case("two workers at once", 1, "sent", {"MAIL": [{"after_seconds": 0.5}]}, workers=2),
    Case("eight workers at once", 1, "sent", {"MAIL": [{"after_seconds": 0.5}]}, workers=8),
)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_letter_comes_twice_and_none_is_lost_in_silence(case: Case, postgres_url: str, tmp_path: Path) -> None:
    with TicketSystem(postgres_url) as system:
        a_report_is_due(system)
        folder = tmp_path / "mail"
        with running_post_house(folder, case.script) as port:
            settings = a_worker(postgres_url, port)
            with ThreadPoolExecutor(case.workers) as pool:
                ended = list(pool.map(lambda _: mail(settings, case.point), range(case.workers)))
            assert ended == ([-9] if case.point else [0] * case.workers)
            for _ in range(ROUNDS):
                much_later(system)
                with mailing(settings) as toolbox:
                    reports.send_reports(toolbox)
                    # A second one, as a broker that delivers its message twice would start.
                    reports.send_reports(toolbox)
            copies = [message_from_bytes(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
        [(letter, _, _)] = mailings.listed(system.database, None)
        assert (len(copies), letter.state) == (case.copies, case.state)
        stuck = mailings.listed(system.database)
        assert len(stuck) == (case.state in {"failed", "uncertain"}), "whatever did not surely arrive is shown"
        assert letter.answer, "and why"
        if case.state == "uncertain":
            a_person_has_it_sent_again(system, postgres_url, folder, letter.id, copies)


def a_person_has_it_sent_again(system: TicketSystem, url: str, folder: Path, letter_id: int, copies: list[Any]) -> None:
    """It has the same Message-ID and Date, so that a mailbox can drop the second copy."""
    mailings.resend(system.database, letter_id)
    with running_post_house(folder / "again", {}) as port, mailing(a_worker(url, port)) as toolbox:
        assert reports.send_reports(toolbox).sent == 1
        [path] = (folder / "again").glob("*.eml")
        again = message_from_bytes(path.read_bytes())
    assert [(one["Message-ID"], one["Date"]) for one in copies] == [(again["Message-ID"], again["Date"])] * len(copies)
    assert [one.as_bytes() for one in copies] == [again.as_bytes()] * len(copies)


def a_report_is_due(system: TicketSystem) -> None:
    """One reader, one report, frozen a moment ago."""
    now = datetime.now(UTC)
    a_week_ago = now - timedelta(days=7)
    recipients.set_organisation(system.database, "acme", weekday=now.weekday(), hour=now.hour, now=a_week_ago)
    recipients.add(system.database, "acme", "ada@example.org", actor="test", name="Ada", now=a_week_ago)
    for hours in (50, 60, 70):
        system.create_ticket(a_ticket(created_at=now - timedelta(hours=hours)))
    digests.plan(system.database)
    run = digests.claim_run(system.database)
    assert run is not None
    content = digests.make(system.database, system.rules, run)
    assert digests.freeze(system.database, run, content, None) == 1


def a_worker(url: str, port: int) -> Settings:
    """The settings of a worker that mails."""
    return read_settings(
        database_url=url,
        mail="smtp",
        mail_to="desk@example.org",
        mail_from="tickets@example.org",
        smtp_host="127.0.0.1",
        smtp_port=port,
        notify="console",
        billing="off",
    )


def mail(settings: Settings, point: str | None) -> int:
    """Run a worker once; returns its exit status."""
    given = {
        "TICKETS_DATABASE_URL": settings.database,
        "TICKETS_MAIL": "smtp",
        "TICKETS_MAIL_TO": settings.mail_to or "",
        "TICKETS_MAIL_FROM": settings.mail_from,
        "TICKETS_SMTP_HOST": settings.smtp_host,
        "TICKETS_SMTP_PORT": str(settings.smtp_port),
        "TICKETS_NOTIFY": "console",
        "TICKETS_BILLING": "off",
    }
    command = [sys.executable, "-m", "tests.support.mailman", *([point] if point else [])]
    found = subprocess.run(
        command,
        env={name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")} | given,
        check=False,
        timeout=PATIENCE_SECONDS,
        capture_output=True,
    )
    return found.returncode


@contextmanager
def mailing(settings: Settings) -> Iterator[Any]:
    """A worker of this process."""
    toolbox = build_toolbox(settings)
    with toolbox.database:
        yield toolbox


def much_later(system: TicketSystem) -> None:
    """Every lease and every wait is over."""
    over = sa.update(report_deliveries).where(report_deliveries.c.next_attempt_at.is_not(None))
    with system.database.write() as connection:
        connection.execute(over.values(next_attempt_at=datetime.now(UTC) - timedelta(seconds=1)))
