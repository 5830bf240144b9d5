"""The jobs that make reports and mail them: each thing once, and whatever goes wrong is on record."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.support.factories import a_ticket
from tests.support.mailers import KeepingMailer, KeepingNotifier
from tests.support.readers import MONDAY, SUNDAY, an_organisation
from ticket_system import TicketSystem, digests, figures, mailings, recipients
from ticket_system.storage.database import Database
from ticket_system.storage.report_tables import report_runs
from ticket_tasks import reports
from ticket_tasks.digest import letter
from ticket_tasks.errors import Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.reports import Mailed, make_reports, send_reports
from ticket_tasks.toolbox import Letter, Stationery, Toolbox

HOUR = timedelta(hours=1)


class Clock:
    """The time by the database, which a test turns."""

    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def toolbox(database_url: str, clock: Clock, mailer: KeepingMailer, notifier: KeepingNotifier) -> Iterator[Toolbox]:
    """A desk on Monday at nine, with two readers and something to tell, over a database of each kind in turn."""
    with Database(database_url, clock=clock) as database:
        database.upgrade()
        an_organisation(database, "ada@example.org", "bob@example.org")
        system = TicketSystem(database)
        for hours in (30, 60, 90):
            system.create_ticket(a_ticket(created_at=MONDAY - hours * HOUR, priority=1, sla_hours=4))
        paper = Stationery(unsubscribe_url=lambda who, kind, at: f"https://desk.example.com/{who}/{kind}/{at:%Y%m%d}")
        yield Toolbox(system=system, mailer=mailer, notifier=notifier, stationery=paper)


def states(toolbox: Toolbox) -> dict[str, str]:
    return {one.key: one.state for one, _, _ in mailings.listed(toolbox.database, None)}


def test_a_report_is_made_and_mailed_once(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    clock.now = MONDAY - timedelta(seconds=1)
    assert (make_reports(toolbox).found, send_reports(toolbox).found) == (0, 0)
    clock.now = MONDAY
    made = make_reports(toolbox)
    assert (made.planned, made.made, made.missed, made.failed) == (1, 1, 0, 0)
    assert send_reports(toolbox) == Mailed(sent=2)
    for hours in range(1, 160):
        clock.now = MONDAY + hours * HOUR
        assert (make_reports(toolbox).found, send_reports(toolbox).found) == (0, 0)
    assert [one.to for one in mailer.letters] == ["ada@example.org", "bob@example.org"]
    first = mailer.letters[0]
    assert first.subject == "acme, 16–22 Nov 2026: 0% of promises kept, 3 broken"
    assert (first.at, first.key) == (MONDAY, "report/acme/weekly/2026-11-23/ada@example.org")
    assert first.mailing is not None
    assert first.mailing.unsubscribe_url == "https://desk.example.com/1/weekly/20261123"
    assert len(first.pictures) == 1
    assert first.pictures == mailer.letters[1].pictures, "drawn once"


def test_after_an_outage_it_comes_late_once(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    clock.now = MONDAY + 11 * HOUR
    assert make_reports(toolbox).made == 1
    assert send_reports(toolbox).sent == 2
    assert mailer.letters[0].at == MONDAY, "its date is that of the report"


def test_what_is_too_late_is_missed_loudly_and_not_sent(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    clock.now = MONDAY + 40 * HOUR
    with capture_logs() as logs:
        made = make_reports(toolbox)
    assert (made.planned, made.missed, made.found) == (0, 1, 0)
    assert ("reports.missed", "error") in [(one["event"], one["log_level"]) for one in logs]
    assert send_reports(toolbox).found == 0
    assert mailer.letters == []


def test_an_attempt_that_failed_before_it_left_is_made_again_with_the_same_bytes(
    toolbox: Toolbox, mailer: KeepingMailer, clock: Clock
) -> None:
    make_reports(toolbox)
    mailer.before.extend([Transient("451 later"), Transient("451 later")])
    assert send_reports(toolbox) == Mailed(postponed=2)
    toolbox.system.create_ticket(a_ticket(created_at=MONDAY - 50 * HOUR))
    clock.now = MONDAY + HOUR
    assert send_reports(toolbox) == Mailed(sent=2)
    assert "New: 3" in mailer.letters[0].text, "the numbers of Monday, not of now"


def test_a_mail_server_that_is_away_is_asked_once(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    make_reports(toolbox)
    mailer.before.append(Unreachable("connection refused"))
    assert send_reports(toolbox) == Mailed(postponed=1)
    assert mailer.letters == []
    assert states(toolbox) == {"ada@example.org": "pending", "bob@example.org": "pending"}
    clock.now = MONDAY + HOUR
    assert send_reports(toolbox) == Mailed(sent=2)


def test_what_nobody_can_know_waits_for_a_person(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    make_reports(toolbox)
    mailer.after.append(Uncertain("the line broke"))
    with capture_logs() as logs:
        assert send_reports(toolbox) == Mailed(sent=1, uncertain=1)
    assert "letter.uncertain" in [one["event"] for one in logs]
    clock.now = MONDAY + 24 * HOUR
    assert send_reports(toolbox).found == 0
    [(stuck, _, _)] = mailings.listed(toolbox.database)
    mailings.resend(toolbox.database, stuck.id)
    assert send_reports(toolbox) == Mailed(sent=1)
    assert mailer.letters[0] == mailer.letters[-1], "the same, to the last byte"


@pytest.mark.parametrize(
    ("said", "suppressed"),
    (
        ("RCPT TO: the server said 550 5.1.1 no such user", True),
        ("RCPT TO: the server said 550 5.1.10 null MX", True),
        ("RCPT TO: the server said 550 5.7.1 blocked", False),
        ("MAIL FROM: the server said 550 5.1.8 bad sender", False),
        ("RCPT TO: the server said 550 5.1.8 bad sender", False),
        ("DATA: the server said 554 5.1.1 odd", False),
    ),
)
def test_only_an_address_at_which_nobody_is_gets_nothing_more(
    toolbox: Toolbox, mailer: KeepingMailer, said: str, suppressed: bool
) -> None:
    make_reports(toolbox)
    mailer.before.append(Rejected(said))
    assert send_reports(toolbox) == Mailed(sent=1, failed=1)
    reasons = {one.key: reason for one, reason in recipients.listed(toolbox.database)}
    assert reasons == {"ada@example.org": said if suppressed else None, "bob@example.org": None}


def test_whoever_left_meanwhile_is_skipped(toolbox: Toolbox, mailer: KeepingMailer) -> None:
    make_reports(toolbox)
    recipients.subscribe(toolbox.database, 1, "weekly", wanted=False, actor="link")
    assert send_reports(toolbox) == Mailed(sent=1, skipped=1)
    assert [one.to for one in mailer.letters] == ["bob@example.org"]


def test_a_mistake_in_writing_one_letter_is_loud_and_stops_no_other(
    toolbox: Toolbox, mailer: KeepingMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_reports(toolbox)
    real = letter.write

    def write(content: object, reader: object, *rest: object, **more: object) -> object:
        if getattr(reader, "address", "") == "ada@example.org":
            raise ZeroDivisionError("a mistake of ours")
        return real(content, reader, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(letter, "write", write)
    with capture_logs() as logs:
        assert send_reports(toolbox) == Mailed(sent=1, failed=1)
    assert [one["log_level"] for one in logs if one["event"] == "letter.broken"] == ["error"]
    assert states(toolbox) == {"ada@example.org": "failed", "bob@example.org": "sent"}


def test_a_report_that_cannot_be_read_any_more_stops_no_other(
    toolbox: Toolbox, mailer: KeepingMailer, clock: Clock
) -> None:
    make_reports(toolbox)
    with toolbox.database.write() as connection:
        connection.execute(sa.update(report_runs).values(content='{"version": 7}'))
    an_organisation(toolbox.database, "cy@example.org", name="beta", now=SUNDAY)
    assert make_reports(toolbox).made == 1
    with capture_logs() as logs:
        assert send_reports(toolbox) == Mailed(sent=1, failed=2)
    assert [one["log_level"] for one in logs if one["event"] == "letter.broken"] == ["error", "error"]
    assert [one.to for one in mailer.letters] == ["cy@example.org"]


def test_a_mistake_in_counting_is_loud_stops_no_other_report_and_is_made_good(
    toolbox: Toolbox, mailer: KeepingMailer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_organisation(toolbox.database, "cy@example.org", name="beta", now=SUNDAY)
    real = figures.weekly

    def weekly(*words: object, **more: object) -> object:
        if more["organisation"] == "acme":
            raise ZeroDivisionError("a mistake of ours")
        return real(*words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(figures, "weekly", weekly)
        made = make_reports(toolbox)
    assert (made.made, made.failed) == (1, 1)
    [failed] = [one for one in logs if one["event"] == "report.failed"]
    assert failed["organisation"] == "acme"
    assert {run.organisation: run.state for run, _ in digests.runs(toolbox.database)} == {
        "acme": "planned", "beta": "ready",
    }  # fmt: skip
    clock.now = MONDAY + HOUR
    assert make_reports(toolbox).made == 1
    assert send_reports(toolbox) == Mailed(sent=3)


def test_no_line_of_the_log_holds_an_address(toolbox: Toolbox, mailer: KeepingMailer) -> None:
    mailer.after.append(Uncertain("the line broke"))
    with capture_logs() as logs:
        make_reports(toolbox)
        send_reports(toolbox)
    assert len(logs) > 3
    assert "@example.org" not in str(logs)


def test_a_worker_that_cannot_write_reports_leaves_them_to_others(
    toolbox: Toolbox, mailer: KeepingMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(reports, "find_spec", lambda name: None if name == "jinja2" else object())
        assert (make_reports(toolbox).planned, send_reports(toolbox).found) == (1, 0)
        assert [run.state for run, _ in digests.runs(toolbox.database)] == ["planned"]
    assert make_reports(toolbox).made == 1


def test_when_the_time_is_up_the_next_tick_carries_on(toolbox: Toolbox, mailer: KeepingMailer) -> None:
    make_reports(toolbox)
    assert send_reports(replace(toolbox, reports_budget_seconds=0)).found == 0
    assert send_reports(toolbox) == Mailed(sent=2)


def test_a_lease_that_was_lost_in_the_last_moment_sends_nothing(
    toolbox: Toolbox, mailer: KeepingMailer, clock: Clock
) -> None:
    make_reports(toolbox)

    class Slow(KeepingMailer):
        def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
            # So long that somebody else takes it up.
            clock.now += HOUR
            taken.extend(mailings.claim(toolbox.database, now=clock.now))
            return super().send(letter, before_data=before_data)

    taken: list[mailings.ReportDelivery] = []
    slow = Slow()
    assert send_reports(replace(toolbox, mailer=slow)).lost >= 1
    assert slow.letters == []
    assert {one.key for one in taken} == {"ada@example.org", "bob@example.org"}


def test_days_come_and_go_and_each_is_told_of_once(toolbox: Toolbox, mailer: KeepingMailer, clock: Clock) -> None:
    first = datetime(2026, 11, 9, 8, tzinfo=UTC)
    an_organisation(toolbox.database, name="days", now=first)
    recipients.add(toolbox.database, "days", "cy@example.org", actor="x", daily=True, weekly=False, now=first + HOUR)
    for hours in range(2, 7 * 24, 3):
        clock.now = first + hours * HOUR
        if hours % 24 == 2:
            toolbox.system.create_ticket(a_ticket(created_at=clock.now, priority=1, sla_hours=4))
        make_reports(toolbox)
        send_reports(toolbox)
    assert [one.key for one in mailer.letters] == [
        f"report/days/daily/2026-11-{day}/cy@example.org" for day in range(10, 16)
    ]
    assert all("1 promise broken" in one.subject for one in mailer.letters)
