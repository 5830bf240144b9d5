from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.factories import a_ticket
from ticket_system import Ticket
from ticket_system.sla.clocks import settle, start
from ticket_tasks.errors import Rejected
from ticket_tasks.letters import breach_letter, duration, is_address, one_line

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DUE = START + timedelta(hours=4)


def a_breached_ticket(**changes: object) -> Ticket:
    ticket = a_ticket(id="t-1", priority=1, sla_hours=4, **changes)
    clock = start("t-1", START, timedelta(hours=4))
    return replace(ticket, clock=settle(clock, DUE + timedelta(seconds=75)))


def test_says_what_whose_and_when_in_utc() -> None:
    letter = breach_letter("the-key", a_breached_ticket(title="Tills are down"), "desk@example.com")
    assert letter.subject == "[critical] Overdue: Tills are down"
    for fact in ("Tills are down", "t-1", "critical", "ada", "nobody", "2026-03-02 12:00:00 UTC", "(1 min 15 s later)"):
        assert fact in letter.text
    assert letter.key == "the-key"
    assert letter.at == DUE + timedelta(seconds=75)


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
    assert breach_letter("key", a_breached_ticket(assignee=assignee), "desk@example.com").to == to


def test_nothing_in_a_ticket_starts_a_new_header_or_paragraph() -> None:
    nasty = "Hello\r\nBcc: all@example.com\x0b\x00\u2028\x85 World"
    letter = breach_letter("key", a_breached_ticket(title=nasty), None)
    assert letter.subject == "[critical] Overdue: Hello Bcc: all@example.com World"
    assert "\nBcc" not in letter.text


def test_a_long_title_keeps_the_subject_short() -> None:
    assert len(breach_letter("key", a_breached_ticket(title="x" * 400), None).subject) == 150


def test_a_ticket_without_a_breach_has_nothing_to_tell() -> None:
    with pytest.raises(Rejected):
        breach_letter("key", a_ticket(), None)


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
