"""A ticket and a comment: what they start with, what they tell about themselves, which moves are allowed."""

import time
import uuid
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from tests.support.factories import a_comment, a_ticket
from ticket_system import DEFAULT_SLA, PRIORITY_LABELS, STATUS_FLOW, Comment, InvalidTicket, Priority, Status, Ticket
from ticket_system.tickets import (
    ACTIVE_STATUSES,
    MAX_AHEAD,
    MAX_HOURS,
    MAX_NAME,
    MAX_TEXT,
    as_utc,
    check_comment,
    check_ticket,
)

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_three_fields_make_a_ticket() -> None:
    before = datetime.now(UTC)
    ticket = Ticket("Printer prints stars", "On every page.", "ada")
    assert uuid.UUID(ticket.id).version == 4
    assert (ticket.priority, ticket.status, ticket.assignee, ticket.sla_hours) == (3, "open", None, 72)
    assert (ticket.resolved_at, ticket.tags) == (None, [])
    assert before <= ticket.created_at <= ticket.updated_at <= datetime.now(UTC)
    assert ticket.created_at.tzinfo is UTC


def test_the_fields_of_a_ticket_stand_in_the_order_of_the_contract() -> None:
    names = [field.name for field in fields(Ticket)]
    assert names[:12] == [
        "title", "description", "requester", "id", "priority", "status", "assignee", "sla_hours",
        "created_at", "updated_at", "resolved_at", "tags",
    ]  # fmt: skip
    assert [field.name for field in fields(Comment)][:6] == [
        "ticket_id", "author", "body", "id", "created_at", "is_internal",
    ]  # fmt: skip


def test_two_tickets_share_neither_id_nor_tags() -> None:
    one, two = a_ticket(), a_ticket()
    assert one.id != Ticket("a", "b", "c").id
    Ticket("a", "b", "c").tags.append("x")
    assert two.tags == Ticket("a", "b", "c").tags == []


def test_a_comment_is_public_and_made_now_unless_said_otherwise() -> None:
    comment = Comment("some ticket", "grace", "Try another tray.")
    assert uuid.UUID(comment.id).version == 4
    assert comment.is_internal is False
    assert timedelta(0) <= datetime.now(UTC) - comment.created_at < timedelta(seconds=5)


def test_the_tables_are_those_of_the_contract() -> None:
    assert DEFAULT_SLA == {1: 4, 2: 24, 3: 72, 4: 168}
    assert PRIORITY_LABELS == {1: "critical", 2: "high", 3: "medium", 4: "low"}
    assert [(priority.value, priority.name.lower()) for priority in Priority] == list(PRIORITY_LABELS.items())
    assert {old: set(new) for old, new in STATUS_FLOW.items()} == {
        "open": {"in_progress", "on_hold", "cancelled"},
        "in_progress": {"review", "on_hold", "resolved"},
        "review": {"resolved", "in_progress"},
        "on_hold": {"open", "in_progress", "cancelled"},
        "resolved": {"closed", "open"},
        "closed": set(),
        "cancelled": set(),
    }
    assert {status.value for status in Status} == set(STATUS_FLOW)
    assert set(STATUS_FLOW) - set(ACTIVE_STATUSES) == {"resolved", "closed", "cancelled"}


def test_a_ticket_that_was_never_stored_is_due_its_hours_after_creation() -> None:
    ticket = a_ticket(created_at=NOW, sla_hours=24)
    assert ticket.sla_deadline() == NOW + timedelta(hours=24)
    assert ticket.time_to_sla() < timedelta(0)
    assert ticket.is_breached()
    assert not a_ticket().is_breached()
    assert timedelta(hours=71.9) < a_ticket(created_at=datetime.now(UTC)).time_to_sla() <= timedelta(hours=72)


@pytest.mark.parametrize(("late", "breached"), ((-1, False), (0, False), (1, True)))
def test_done_at_the_deadline_is_in_time(late: int, breached: bool) -> None:
    resolved_at = NOW + timedelta(hours=4, microseconds=late)
    ticket = a_ticket(created_at=NOW, sla_hours=4, status="resolved", resolved_at=resolved_at)
    assert ticket.is_breached() is breached


def test_age_is_counted_in_hours() -> None:
    age = a_ticket(created_at=datetime.now(UTC) - timedelta(hours=2, minutes=30)).age_hours()
    assert 2.5 <= age < 2.51


def test_naive_times_are_utc_even_before_a_ticket_is_stored() -> None:
    naive = (datetime.now(UTC) - timedelta(hours=5)).replace(tzinfo=None)
    ticket = a_ticket(created_at=naive, sla_hours=4)
    assert ticket.sla_deadline() == naive.replace(tzinfo=UTC) + timedelta(hours=4)
    assert ticket.is_breached()
    assert 5 <= ticket.age_hours() < 5.01


class NoOffset(tzinfo):
    """A zone that does not know: Python calls such a datetime naive."""

    def utcoffset(self, _dt: datetime | None) -> None:
        return None

    def dst(self, _dt: datetime | None) -> None:
        return None

    def tzname(self, _dt: datetime | None) -> str:
        return "?"


@pytest.mark.parametrize("zone", ("UTC0", "XYZ-9"))
def test_a_naive_time_is_utc_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        wall = datetime(2026, 3, 4, 12, 0)  # noqa: DTZ001
        assert as_utc(wall) == NOW
        assert as_utc(wall.replace(tzinfo=NoOffset())) == NOW
        assert as_utc(datetime(2026, 3, 4, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))) == NOW
        assert as_utc(NOW).tzinfo is UTC
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_ticket_is_brought_into_its_stored_form() -> None:
    ticket = a_ticket(
        priority=Priority.HIGH,
        status=Status.IN_PROGRESS,
        tags=("vip", "paper"),
        created_at=datetime(2026, 3, 4, 21, 0, tzinfo=timezone(timedelta(hours=9))),
        updated_at=datetime(2026, 3, 4, 12, 0),  # noqa: DTZ001
    )
    check_ticket(ticket, NOW)
    assert (ticket.priority, type(ticket.priority)) == (2, int)
    assert (ticket.status, type(ticket.status)) == ("in_progress", str)
    assert ticket.tags == ["vip", "paper"]
    assert (ticket.created_at, ticket.updated_at) == (NOW, NOW)
    assert ticket.created_at.tzinfo is ticket.updated_at.tzinfo is UTC


def test_a_refused_ticket_is_left_alone() -> None:
    tags: Any = ("vip",)
    ticket = a_ticket(priority=Priority.HIGH, tags=tags, created_at=NOW, resolved_at=NOW - timedelta(seconds=1))
    with pytest.raises(InvalidTicket, match="resolved_at lies before created_at"):
        check_ticket(ticket, NOW)
    assert isinstance(ticket.priority, Priority)
    assert ticket.tags is tags


@pytest.mark.parametrize(
    "changes",
    (
        {"title": "x" * MAX_NAME},
        {"title": "😀 Überlauf, טקסט"},
        {"description": ""},
        {"description": "line\nline\ttab\r\n" + "x" * (MAX_TEXT - 15)},
        {"sla_hours": 1},
        {"sla_hours": MAX_HOURS},
        {"priority": 1},
        {"priority": 4},
        {"id": "x" * 200},
        {"created_at": NOW + MAX_AHEAD},
        {"created_at": datetime.min.replace(tzinfo=UTC)},
        {"created_at": NOW - timedelta(days=1), "resolved_at": NOW - timedelta(days=1)},
        {"tags": {"one"}},
        {"assignee": None},
    ),
    ids=repr,
)
def test_the_last_thing_that_is_allowed_is_allowed(changes: dict[str, Any]) -> None:
    check_ticket(a_ticket(**{"created_at": NOW} | changes), NOW)


def test_a_comment_is_brought_into_its_stored_form_or_refused() -> None:
    comment = a_comment("t", created_at=datetime(2026, 3, 4, 12, 0), is_internal=1)  # noqa: DTZ001
    check_comment(comment)
    assert (comment.created_at, comment.is_internal) == (NOW, True)
    for what, changes in {
        "author": {"author": " "},
        "body": {"body": "\x00"},
        "comment id": {"id": ""},
        "created_at": {"created_at": "today"},
    }.items():
        with pytest.raises(InvalidTicket, match=what):
            check_comment(a_comment("t", **changes))


def test_a_ticket_that_came_here_done_is_not_late_however_long_ago() -> None:
    """Rule 13: created closed, it has no clock and no verdict."""
    long_ago = datetime.now(UTC) - timedelta(days=400)
    assert not Ticket("t", "", "r", status="closed", created_at=long_ago).is_breached()
    assert Ticket("t", "", "r", created_at=long_ago).is_breached()
