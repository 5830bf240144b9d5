"""A small run in which all went well: made by the engine and the jobs themselves, with the journals of a chaos run."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

from ticket_system import TicketSystem, accounts, recipients, runs
from ticket_system.storage.database import Database
from ticket_tasks import names
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.intake import take_wish
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.reports import make_reports, send_reports
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_tasks.toolbox import Letter, Toolbox
from ticket_tasks.usage import report_usage
from ticket_worker.billing.client import Account
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.billing.pace import Pace
from ticket_worker.billing.shop import StripeShop
from ticket_worker.demo.stripe_double import TEST_KEY, StripeDouble, running_double
from ticket_worker.message import Sender, as_bytes
from ticket_worker.notify import ConsoleNotifier

HOUR = timedelta(hours=1)
NAMES = {"open": names.OPEN_TICKET, "comment": names.ADD_COMMENT, "status": names.SET_STATUS}
READERS = ("ada@example.org", "Bob@example.org")


@dataclass
class JournalMailer:
    """A mail server's journal, of letters as they go over the wire."""

    path: Path

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        content = as_bytes(letter, Sender("tickets@example.org"))
        before_data()
        message = message_from_bytes(content)
        line = {
            "at": datetime.now(UTC).isoformat(),
            "message_id": message["Message-ID"],
            "subject": message["Subject"],
            "from": "tickets@example.org",
            "recipients": [letter.to],
            "headers": dict(message.items()),
            "sha256": hashlib.sha256(content).hexdigest(),
            "answered": True,
        }
        append(self.path, line)
        return "250 OK"


@dataclass
class Load:
    """Whoever uses the desk: each call a line before and after it, and a message that the workers take at once."""

    toolbox: Toolbox
    path: Path
    now: datetime
    calls: int = field(default=0)

    def opens(self, ticket_id: str, hours_ago: float, *, hours: int, **more: Any) -> None:
        given = {"title": f"Printer {ticket_id}", "description": "Stars.", "requester": "rea@example.com"}
        promise = {"sla_hours": hours, "created_at": (self.now - hours_ago * HOUR).isoformat()}
        self.call("open", ticket_id, ticket_id, {**given, **promise, **more})

    def call(self, kind: str, ticket_id: str, key: str, given: dict[str, Any]) -> None:
        self.calls += 1
        line = {"n": self.calls, "call": kind, "key": key, "ticket_id": ticket_id, "given": given, "error": None}
        append(self.path, line | {"phase": "begun"})
        take_wish(self.toolbox, NAMES[kind], {"key": key, "ticket_id": ticket_id, **given})
        append(self.path, line | {"phase": "returned"})


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line to a journal."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def healthy_run(folder: Path, database_url: str) -> None:
    """Live through it: deadlines kept and passed, notices, a report for two readers, usage that is billed."""
    now = datetime.now(UTC)
    with Database(database_url) as database, running_double(StripeDouble()) as running:
        double = running.double
        double.add_meter("tickets_opened")
        double.add_meter("critical_tickets")
        double.add_customer("cus_acme")
        gold = double.add_price("gold", double.add_product(metadata={"sla_plan": "gold"}))
        accounts.link(database, "acme", "cus_acme", livemode=False, actor="lead")
        double.subscribe("cus_acme", gold)
        account, pace = Account(TEST_KEY, livemode=False, url=running.url, timeout_seconds=5), Pace(100)
        toolbox = Toolbox(
            system=TicketSystem(database),
            mailer=JournalMailer(folder / "letters.jsonl"),
            notifier=ConsoleNotifier(),
            meter=StripeMeter(account, pace),
            shop=StripeShop(account, pace),
            mail_to="desk@example.org",
        )
        sync_subscriptions(toolbox)
        due_at = _due_a_report(database, now)
        _load(Load(toolbox, folder / "calls.jsonl", now))
        for job in (scan_breaches, deliver_outbox, make_reports, send_reports, report_usage):
            job(toolbox)
        # A minute later somebody was still at work.
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert runs.claim(database, names.SCAN_BREACHES, later, by="x", lease=HOUR, now=later)
        assert runs.done(database, names.SCAN_BREACHES, later, by="x", now=later)
        (folder / "stripe.json").write_text(json.dumps(double.journal.json(), default=str), "utf-8")
    report = {"organisation": "acme", "kind": "weekly", "due_at": due_at.isoformat(), "recipients": READERS}
    orders = {"reports": [report], "customers": [{"name": "acme", "stripe_customer": "cus_acme", "plan": "gold"}]}
    (folder / "orders.json").write_text(json.dumps(orders), "utf-8")


def _due_a_report(database: Database, now: datetime) -> datetime:
    due_at = (now - HOUR).replace(minute=0, second=0, microsecond=0)
    before = due_at - timedelta(minutes=1)
    recipients.set_organisation(
        database, "acme", customer="acme", zone="UTC", weekday=due_at.weekday(), hour=due_at.hour, now=before
    )
    for reader in READERS:
        recipients.add(database, "acme", reader, actor="lead", now=before)
    return due_at


def _load(load: Load) -> None:
    ours = {"customer": "acme", "plan": "as agreed"}
    load.opens("late", 6, hours=5, priority=3, assignee="ada@example.org", **ours)
    load.opens("critical", 6, hours=5, priority=1, **ours)
    load.opens("second", 7, hours=5, priority=2, **ours)
    load.opens("last week", 3 * 24, hours=5, priority=3, **ours)
    load.opens("in time", 5, hours=24, priority=3, **ours)
    load.opens("done late", 6, hours=5, priority=4)
    load.opens("ahead", 4, hours=100, priority=4)
    for _ in range(2):
        load.opens("twice", 4, hours=100, priority=4)
        load.call("comment", "late", "late/comment", {"author": "ada", "body": "It does not stop."})
    for ticket_id in ("in time", "done late"):
        for status in ("in_progress", "resolved"):
            load.call("status", ticket_id, f"{ticket_id}/{status}", {"status": status, "author": "ada"})
