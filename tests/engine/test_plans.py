"""What a question costs follows what is due or asked for, not what is stored: no plan reads a whole table."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.support.contents import rows_of
from tests.support.factories import a_ticket_due_in
from tests.support.ledger_rows import fill_ledger
from tests.support.plans import read_as_a_whole
from ticket_system import TicketSystem, figures, monitor, outbox
from ticket_system.changes import Changes
from ticket_system.reports.contents import Period, Scope
from ticket_system.simulation import simulate
from ticket_system.sla.books import DEFAULT_BOOK
from ticket_system.sla.clocks import settle, start, stop
from ticket_system.storage import tables
from ticket_system.storage.database import Database
from ticket_system.storage.tables import as_row

STORED = 6000
EVERY = 300  # one in so many is active
HOUR = timedelta(hours=1)


def count_a_week(system: TicketSystem, scope: Scope) -> object:
    """A week as short beside this past as a week is beside years."""
    end = datetime.now(UTC)
    week = Period(zone="UTC", starts_on=end.date(), ends_on=end.date(), starts_at=end - HOUR / 4, ends_at=end)
    return figures.weekly(
        system.database, system.rules, organisation="house", scope=scope, period=week, week_ends=(), before=None
    )


#: What is asked, and the indexes that must answer it.
QUESTIONS: dict[str, tuple[Callable[[TicketSystem], object], set[str]]] = {
    "scan": (lambda system: monitor.scan_breaches(system.database), {"clocks_to_check"}),
    "breach list": (lambda system: system.get_breached_tickets(), {"clocks_overdue", "clocks_to_check"}),
    "queue": (lambda system: system.get_queue(), {"tickets_queue"}),
    "queue of a priority": (lambda system: system.get_queue(priority=1), {"tickets_queue"}),
    "queue of an agent": (lambda system: system.get_queue("ada"), {"tickets_of_assignee"}),
    "outbox": (lambda system: outbox.claim(system.database), {"outbox_to_send", "outbox_sending"}),
    "stuck messages": (lambda system: outbox.rows(system.database), {"outbox_stuck"}),
    "comments": (lambda system: system.get_comments("7"), {"comments_of_ticket"}),
    "history": (lambda system: system.get_history("7"), {"events_of_ticket"}),
    "report": (
        lambda system: system.generate_report(1),
        {"tickets_opened", "tickets_resolved", "clocks_stopped", "clocks_breached"},
    ),
    "weekly report": (
        lambda system: count_a_week(system, Scope()),
        {"tickets_opened", "tickets_resolved", "clocks_stopped", "clocks_breached", "events_crossing"},
    ),
    "weekly report of a customer": (lambda system: count_a_week(system, Scope(customer="acme")), {"clocks_to_check"}),
    "simulation": (
        lambda system: simulate(system.database, DEFAULT_BOOK, since=datetime.now(UTC) - 12 * HOUR),
        {"tickets_opened", "events_of_ticket"},
    ),
    "ticket": (lambda system: system.get_ticket("7"), set()),
    "change": (lambda system: system.escalate("300", "why"), set()),
}


def fill(database: Database) -> None:
    """A desk with a long past: nearly everything is done, a little is active, a little of that is late."""
    now = datetime.now(UTC)
    tickets, clocks, comments, events, messages, alarms = [], [], [], [], [], []
    for number in range(STORED):
        name, active, created_at = str(number), number % EVERY == 0, now - timedelta(minutes=number)
        clock = start(name, created_at, 50 * HOUR)
        if active:
            clock = settle(clock, now) if number % (4 * EVERY) == 0 else clock
        else:
            clock = stop(clock, created_at + HOUR * (number % 80))
        tickets.append(
            {
                "id": name, "title": "t", "description": "d" * 200, "requester": "r", "priority": number % 4 + 1,
                "status": "open" if active else "closed", "assignee": "ada" if number % 600 == 0 else f"a{number % 97}",
                "sla_hours": 50, "created_at": created_at, "updated_at": created_at,
                "resolved_at": None if active else created_at + HOUR * (number % 80), "tags": [],
            }
        )  # fmt: skip
        clocks.append(as_row(clock))
        alarms.append(
            {"ticket_id": name, "target": "resolution", "cycle": 1, "step_id": 1, "repeat": 0, "at": clock.due_at}
        )
        comments.append(
            {"id": name, "ticket_id": name, "author": "a", "body": "b", "is_internal": False, "created_at": now}
        )
        made = {"ticket_id": name, "at": created_at, "recorded_at": now, "actor": "a", "old": None, "new": None}
        events.append(made | {"kind": "created"})
        if not active:
            events.append(made | {"kind": "status", "old": "in_progress", "new": "resolved"})
        messages.append(
            {
                "key": name, "kind": "escalated", "ticket_id": name, "attempts": 1, "created_at": now,
                "next_attempt_at": now, "state": {0: "pending", 1: "parked"}.get(number % (5 * EVERY), "sent"),
            }
        )  # fmt: skip
    with database.write() as connection:
        for table, rows in (
            (tables.tickets, tickets), (tables.clocks, clocks), (tables.comments, comments), (tables.events, events),
            (tables.outbox, messages), (tables.alarms, alarms),
        ):  # fmt: skip
            connection.execute(sa.insert(table), rows)
    fill_ledger(database)


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_no_question_reads_a_whole_table(system: TicketSystem) -> None:
    fill(system.database)
    assert read_as_a_whole(system, QUESTIONS) == ""


def test_what_was_looked_at_is_not_looked_at_again(system: TicketSystem) -> None:
    """The index of clocks to check holds what is running or waits for its escalation, and nothing that is over."""
    system.create_tickets([a_ticket_due_in(-60 if number < 4 else 60, id=str(number)) for number in range(8)])
    monitor.scan_breaches(system.database)
    with system.database.write() as connection:
        for name in ("3", "7"):
            Changes(connection).set_status(name, "cancelled")
        Changes(connection).set_status("6", "on_hold")
    left = rows_of(system.database, tables.clocks, tables.clocks.c.next_check_at.is_not(None))
    assert [row["ticket_id"] for row in left] == ["4", "5"]
