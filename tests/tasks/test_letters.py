from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.factories import a_ticket
from ticket_system import Ticket
from ticket_system.outbox import OutboxRow
from ticket_system.sla.clocks import settle, start
from ticket_system.tickets import is_address
from ticket_tasks.errors import Rejected
from ticket_tasks.letters import LINES, alarm_letter, bundle_letter, duration, one_line, place, recipient

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DUE = START + timedelta(hours=4)


def a_breached_ticket(**changes: object) -> Ticket:
    ticket = a_ticket(id="t-1", priority=1, sla_hours=4, **changes)
    clock = start("t-1", START, timedelta(hours=4))
    return replace(ticket, clock=settle(clock, DUE + timedelta(seconds=75)))


def a_row(kind: str = "escalated", number: int = 1, repeat: int = 0, destination: str = "mail") -> OutboxRow:
    key = f"t-1/resolution/1/{kind}/{number}/{repeat}/{destination}"
    at = DUE + timedelta(seconds=75)
    return OutboxRow(7, key, kind, "t-1", "leased", 1, at, None, "me", None, None, destination)


def test_says_what_whose_and_when_in_utc() -> None:
    letter = alarm_letter(a_row(), a_breached_ticket(title="Tills are down"), "desk@example.com")
    assert letter.subject == "[critical] Overdue: Tills are down"
    for fact in ("Tills are down", "t-1", "critical", "ada", "nobody", "2026-03-02 12:00:00 UTC", "(1 min 15 s later)"):
        assert fact in letter.text
    assert letter.key == "t-1/resolution/1/escalated/1/0/mail"
    assert letter.at == DUE + timedelta(seconds=75)
    assert letter.facts is not None
    told = letter.facts.model_dump(mode="json")
    assert told["type"] == "ticket.escalated"
    assert (told["data"]["number"], told["data"]["breached_at"]) == (1, "2026-03-02T12:00:00Z")
    assert "Tills" not in letter.facts.model_dump_json(), "nothing that a customer wrote leaves the house"


@pytest.mark.parametrize(
    ("row", "is_late", "headline"),
    (
        (a_row("warned"), False, "Due 2026-03-02 12:00:00 UTC"),
        (a_row("escalated"), False, "Due soon"),
        (a_row("escalated", 3), True, "Overdue, level 3"),
        (a_row("escalated", 2, 4), True, "Overdue, level 2, reminder 4"),
    ),
)
def test_the_subject_says_what_it_is_about(row: OutboxRow, is_late: bool, headline: str) -> None:
    ticket = a_breached_ticket(title="Tills")
    if not is_late:
        ticket = replace(ticket, clock=start("t-1", START, timedelta(hours=4)))
    letter = alarm_letter(row, ticket, "desk@example.com")
    assert letter.subject == f"[critical] {headline}: Tills"
    assert ("has passed" in letter.text) == is_late
    assert ("Found" in letter.text) == is_late


@pytest.mark.parametrize(
    ("assignee", "to"),
    (
        ("grace@example.com", "grace@example.com"),
        ("grace", "desk@example.com"),
        (None, "desk@example.com"),
        ("grace@example.com, all@example.com", "desk@example.com"),
        ("Grace <grace@example.com>", "desk@example.com"),
    ),
)
def test_goes_to_the_assignee_where_that_is_an_address(assignee: str | None, to: str) -> None:
    assert alarm_letter(a_row(), a_breached_ticket(assignee=assignee), "desk@example.com").to == to
    assert place("mail", assignee, "desk@example.com") == f"mail:{'desk' if to == 'desk@example.com' else to}"


@pytest.mark.parametrize(
    ("destination", "to"),
    (
        ("mail:assignee", "grace@example.com"),
        ("mail:requester", "ada@example.com"),
        ("mail:desk", "desk@example.com"),
        ("mail:boss@example.com", "boss@example.com"),
        ("slack", None),
        ("group:mail", None),
        ("group:mail:eve@example.com", None),
    ),
)
def test_goes_where_its_destination_says(destination: str, to: str | None) -> None:
    ticket = a_breached_ticket(assignee="grace@example.com")
    ticket.requester = "ada@example.com"
    assert recipient(destination, ticket, "desk@example.com") == to


@pytest.mark.parametrize("destination", ("mail:assignee", "mail:requester", "mail:desk", "mail:a@b, c@example.com"))
def test_who_cannot_be_reached_by_mail_is_named_for_a_person_to_see(destination: str) -> None:
    with pytest.raises(Rejected, match="mail address"):
        recipient(destination, a_breached_ticket(assignee="grace"), None)
    assert place(destination, "grace", None) is None


def test_nothing_in_a_ticket_starts_a_new_header_or_paragraph() -> None:
    nasty = "Hello\r\nBcc: all@example.com\x0b\x00\u2028\x85 World"
    letter = alarm_letter(a_row(), a_breached_ticket(title=nasty), None)
    assert letter.subject == "[critical] Overdue: Hello Bcc: all@example.com World"
    assert "\nBcc" not in letter.text
    many = bundle_letter(a_row("bundle"), [(a_row(), a_breached_ticket(title=nasty))], 1, "desk@example.com")
    assert "\nBcc" not in many.text


def test_a_long_title_keeps_the_subject_short() -> None:
    assert len(alarm_letter(a_row(), a_breached_ticket(title="x" * 400), None).subject) == 150


def test_a_bundle_names_the_first_and_counts_the_rest() -> None:
    """Rule 23."""
    warned = replace(a_breached_ticket(title="Soon"), clock=start("t-1", START, timedelta(hours=4)))
    alarms = [(a_row(), a_breached_ticket(title="Tills"))] * 40 + [(a_row("warned"), warned)] * 20
    letter = bundle_letter(a_row("bundle"), alarms, 60, "desk@example.com")
    assert letter.subject == "60 alarms: 40 overdue, 20 due soon"
    assert letter.text.count("\n  [critical] ") == LINES
    assert "  and 10 more" in letter.text
    assert letter.facts is not None
    told = letter.facts.model_dump()
    assert (told["type"], told["data"]["total"], len(told["data"]["alarms"])) == ("tickets.alarms", 60, 60)


def test_a_message_that_is_about_no_alarm_has_nothing_to_tell() -> None:
    with pytest.raises(Rejected):
        alarm_letter(a_row(), a_ticket(), None)
    with pytest.raises(Rejected):
        alarm_letter(a_row("pigeon"), a_breached_ticket(), None)


@pytest.mark.parametrize(
    "text", ("a@b", "@example.com", "a@example.com\n", "a b@example.com", "ä@example.com", "", None)
)
def test_is_no_address(text: str | None) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    ((-1, "0.0 s"), (0.42, "0.4 s"), (75, "1 min 15 s"), (3600, "1 h 0 min"), (273_600, "3 d 4 h")),
)
def test_spans_are_told_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_one_line_is_one_line() -> None:
    assert one_line("  a \r\n\t b ") == "a b"
