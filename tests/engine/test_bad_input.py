"""What makes no sense is refused by the name of its field, nothing is stored, and every database agrees."""

import json
import time
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.contents import everything
from tests.support.factories import a_comment, a_ticket
from ticket_system import InvalidTicket, TicketSystem
from ticket_system.tickets import MAX_AHEAD, MAX_NAME, MAX_TEXT, as_utc

NOT_ONE_LINE = {
    "empty": "",
    "blank": " \t ",
    "newline": "two\nlines",
    "carriage return": "two\rlines",
    "tab": "a\tb",
    "nul": "a\x00b",
    "escape": "\x1b[31mred",
    "delete": "a\x7f",
    "c1 control": "a\x85b",
    "line separator": "a\u2028b",
    "lone surrogate": "a\ud800b",
    "other half": "\udfff",
    "too long": "x" * (MAX_NAME + 1),
    "ten megabytes": "x" * 10_000_000,
    "none": None,
    "number": 7,
    "bytes": b"text",
    "list": ["text"],
}
NO_TEXT = {
    "ten megabytes": "x" * 10_000_000,
    "one too long": "x" * (MAX_TEXT + 1),
    "nul": "a\x00b",
    "lone surrogate": "\ud83d",
    "none": None,
    "number": 7,
    "bytes": b"text",
}
NO_WHOLE_NUMBER = {
    "zero": 0,
    "negative": -1,
    "huge": 10**30,
    "too huge to be printed": 10**5000,
    "ten megabytes": "3" * 10_000_000,
    "true": True,
    "false": False,
    "text": "3",
    "float": 3.0,
    "nan": float("nan"),
    "none": None,
    "list": [3],
}
EAST, WEST = timezone(timedelta(hours=23, minutes=59)), timezone(-timedelta(hours=23, minutes=59))
NO_MOMENT = {
    "none": None,
    "text": "2026-03-04T12:00:00Z",
    "date": date(2026, 3, 4),
    "number": 1_700_000_000,
    "before the year 1": datetime.min.replace(tzinfo=EAST),
    "after the year 9999": datetime.max.replace(tzinfo=WEST),
}
TOO_LATE = {
    "the year 9999": datetime.max.replace(tzinfo=UTC),
    "the year 9999 without a zone": datetime(9999, 12, 31, 23),  # noqa: DTZ001
    "the year 9999 in the east": datetime.max.replace(tzinfo=EAST),
    "in two days": datetime.now(UTC) + 2 * MAX_AHEAD,
}
NO_STATUS = {
    "unknown": "bogus",
    "upper case": "OPEN",
    "empty": "",
    "none": None,
    "list": ["open"],
    "number": 1,
    "ten megabytes": "x" * 10_000_000,
}
NO_TAGS = {
    "text": "vip",
    "none": None,
    "mapping": {"a": 1},
    "number": 3,
    "a number inside": ["a", 3],
    "an empty one inside": ["a", ""],
    "a newline inside": ["a\nb"],
    "a surrogate inside": ["\ud800"],
}

CASES = [
    *[(field, name, value) for field in ("title", "requester", "id") for name, value in NOT_ONE_LINE.items()],
    *[("assignee", name, value) for name, value in NOT_ONE_LINE.items() if value is not None],
    *[("description", name, value) for name, value in NO_TEXT.items()],
    *[("priority", name, value) for name, value in (NO_WHOLE_NUMBER | {"five": 5, "nine": 9}).items()],
    *[("sla_hours", name, value) for name, value in (NO_WHOLE_NUMBER | {"a decade and more": 87_601}).items()],
    *[("status", name, value) for name, value in NO_STATUS.items()],
    *[("tags", name, value) for name, value in NO_TAGS.items()],
    *[("created_at", name, value) for name, value in (NO_MOMENT | TOO_LATE).items()],
    *[("updated_at", name, value) for name, value in NO_MOMENT.items()],
    *[("resolved_at", name, value) for name, value in (NO_MOMENT | TOO_LATE).items() if value is not None],
]
#: What the message calls a field, where it is not its name.
CALLED = {"tags": r"tags?\b"}


def refused(field: str, value: Any, system: TicketSystem) -> None:
    before = everything(system.database)
    began = time.monotonic()
    with pytest.raises(InvalidTicket, match=rf"\b{CALLED.get(field, field)}\b") as caught:
        system.create_ticket(a_ticket(**{field: value}))
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300, "the message does not repeat what it refuses at length"
    assert str(caught.value).isprintable(), "nor does it carry it into a terminal"
    assert time.monotonic() - began < 2
    assert everything(system.database) == before


@pytest.fixture(scope="module")
def memory() -> Any:
    with TicketSystem() as system:
        system.create_ticket(a_ticket(id="t"))
        yield system


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def test_a_field_that_makes_no_sense_is_named(memory: TicketSystem, case: tuple[str, str, Any]) -> None:
    refused(case[0], case[2], memory)


def test_every_database_refuses_the_same(system: TicketSystem) -> None:
    for field, _, value in CASES:
        refused(field, value, system)


def test_a_ticket_is_a_ticket(memory: TicketSystem) -> None:
    for nonsense in (None, "ticket", {"title": "x"}, 3):
        with pytest.raises((InvalidTicket, AttributeError, TypeError)):
            memory.create_ticket(nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NOT_ONE_LINE)
def test_names_are_one_line_in_every_verb(memory: TicketSystem, name: str) -> None:
    value: Any = NOT_ONE_LINE[name]
    before = everything(memory.database)
    with pytest.raises(InvalidTicket, match="assignee"):
        memory.assign_ticket("t", value)
    with pytest.raises(InvalidTicket, match="author"):
        memory.update_status("t", "in_progress", author=value)
    with pytest.raises(InvalidTicket, match="author"):
        memory.add_comment(a_comment("t", author=value))
    with pytest.raises(InvalidTicket, match="id"):
        memory.add_comment(a_comment("t", id=value))
    assert everything(memory.database) == before


@pytest.mark.parametrize("name", NO_TEXT)
def test_texts_are_storable_in_every_verb(memory: TicketSystem, name: str) -> None:
    value: Any = NO_TEXT[name]
    before = everything(memory.database)
    with pytest.raises(InvalidTicket, match="note"):
        memory.update_status("t", "in_progress", note=value)
    with pytest.raises(InvalidTicket, match="reason"):
        memory.escalate("t", value)
    with pytest.raises(InvalidTicket, match="body"):
        memory.add_comment(a_comment("t", body=value))
    assert everything(memory.database) == before


@pytest.mark.parametrize("name", NO_MOMENT)
def test_the_time_of_a_comment_is_a_time(memory: TicketSystem, name: str) -> None:
    with pytest.raises(InvalidTicket, match="created_at"):
        memory.add_comment(a_comment("t", created_at=NO_MOMENT[name]))


# --- what looks bad and is not -----------------------------------------------------------------------------------

unlikely = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029")
one_line = st.text(unlikely, min_size=1, max_size=50).filter(str.strip)
text = st.text(unlikely | st.sampled_from("\n\r\t\x1b"), max_size=200)
zones: st.SearchStrategy[Any] = st.none() | st.timezones() | st.sampled_from((EAST, WEST))
moments = st.datetimes(max_value=datetime(2026, 1, 1), timezones=zones)  # noqa: DTZ001
numbers = count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_not_refused_is_read_as_it_was_given(system: TicketSystem, data: st.DataObject) -> None:
    ticket = a_ticket(
        id=f"{next(numbers)} {data.draw(one_line)}",
        title=data.draw(one_line),
        description=data.draw(text),
        requester=data.draw(one_line),
        assignee=data.draw(st.none() | one_line),
        tags=data.draw(st.lists(one_line, max_size=4)),
        priority=data.draw(st.integers(1, 4)),
        sla_hours=data.draw(st.integers(1, 87_600)),
        created_at=data.draw(moments),
        updated_at=data.draw(moments),
    )
    try:
        as_utc(ticket.created_at), as_utc(ticket.updated_at)
    except OverflowError:
        with pytest.raises(InvalidTicket, match="outside the years 1 to 9999"):
            system.create_ticket(ticket)
        return
    system.create_ticket(ticket)
    read = system.get_ticket(ticket.id)
    assert read == ticket
    comment = system.add_comment(a_comment(ticket.id, id=f"c{ticket.id}"[:200], body=data.draw(text)))
    assert [one for one in system.get_comments(ticket.id) if one.author != "system"] == [comment]
    assert system.update_status(ticket.id, "on_hold", author=data.draw(one_line), note=data.draw(text))
    assert system.check_sla_breach(ticket.id)["ticket_id"] == ticket.id
    assert json_safe(system)


def json_safe(system: TicketSystem) -> bool:
    """The lists for people hold together whatever was stored."""
    return bool(json.dumps([system.get_breached_tickets(), system.generate_report()], allow_nan=False))
