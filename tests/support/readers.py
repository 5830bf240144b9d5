"""An organisation with people, and a report of theirs that is ready to be mailed."""

from datetime import UTC, datetime, timedelta

from tests.support.factories import a_ticket
from ticket_system import TicketSystem, digests, mailings, recipients
from ticket_system.digests import Run
from ticket_system.mailings import ReportDelivery
from ticket_system.reports.contents import Weekly, read_weekly
from ticket_system.storage import report_runs
from ticket_system.storage.database import Database

#: Monday, nine o'clock in Berlin; the report of the week before is due.
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)
SUNDAY = MONDAY - timedelta(days=1)


def an_organisation(database: Database, *addresses: str, name: str = "acme", now: datetime = SUNDAY) -> None:
    """Readers in Berlin, one week before their first report."""
    recipients.set_organisation(database, name, zone="Europe/Berlin", now=now)
    for address in addresses:
        recipients.add(database, name, address, actor="ada", now=now)


def a_busy_week(system: TicketSystem) -> None:
    """Something to tell."""
    for hours in (30, 60, 90):
        system.create_ticket(a_ticket(created_at=MONDAY - timedelta(hours=hours), priority=1, sla_hours=4))


def made(system: TicketSystem, *, now: datetime = MONDAY) -> Run:
    """The report that is due is planned, made and frozen."""
    digests.plan(system.database, now=now)
    run = digests.claim_run(system.database, now=now)
    assert run is not None
    content = digests.make(system.database, system.rules, run, now=now)
    assert digests.freeze(system.database, run, content, b"a picture", now=now) is not None
    return run


def claimed(database: Database, *, now: datetime = MONDAY) -> ReportDelivery:
    """The one delivery that is due."""
    [delivery] = mailings.claim(database, now=now)
    return delivery


def newest(database: Database) -> Weekly:
    """What the newest report says, as it was frozen."""
    [(run, _)] = digests.runs(database, limit=1)
    with database.read() as connection:
        frozen = report_runs.frozen(connection, run.id)
    assert frozen is not None
    return read_weekly(frozen[0])
