from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from ticket_tasks.intake import open_ticket
from ticket_tasks.toolbox import Toolbox

WISH: dict[str, Any] = {
    "version": 1,
    "ticket_id": "t-1",
    "title": "The printer is broken",
    "description": "Since Monday.",
    "requester": "ada",
}


def test_opens_the_ticket_that_was_asked_for(toolbox: Toolbox) -> None:
    created_at = datetime.now(UTC) - timedelta(minutes=5)
    assert open_ticket(toolbox, WISH | {"tags": ["hw"], "created_at": created_at.isoformat()}) == "t-1"
    ticket = toolbox.system.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.requester, ticket.tags, ticket.created_at) == ("ada", ["hw"], created_at)
    assert (ticket.priority, ticket.sla_hours) == (2, 24), "the word broken decides"


def test_a_given_priority_beats_the_words(toolbox: Toolbox) -> None:
    open_ticket(toolbox, WISH | {"priority": 4})
    ticket = toolbox.system.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.priority, ticket.sla_hours) == (4, 168)


def test_a_message_that_comes_twice_opens_one_ticket(toolbox: Toolbox) -> None:
    assert [open_ticket(toolbox, WISH), open_ticket(toolbox, WISH | {"title": "Changed"})] == ["t-1", "t-1"]
    (ticket,) = toolbox.system.get_queue()
    assert ticket.title == "The printer is broken"


@pytest.mark.parametrize(
    ("payload", "reason"),
    (
        (None, "payload"),
        ("t-1", "payload"),
        (WISH | {"priority": 7}, "priority"),
        (WISH | {"version": 2}, "version"),
        (WISH | {"title": "two\nlines"}, "title"),
        (WISH | {"title": "   "}, "title"),
        (WISH | {"created_at": "9999-01-01T00:00:00+00:00"}, "created_at"),
    ),
)
def test_nonsense_is_refused_aloud_and_stores_nothing(toolbox: Toolbox, payload: object, reason: str) -> None:
    with capture_logs() as lines:
        assert open_ticket(toolbox, payload) is None
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("intake.refused", "error")
    assert reason in line["reasons"][0]
    assert toolbox.system.get_queue() == []


def test_a_refusal_does_not_repeat_what_a_requester_wrote(toolbox: Toolbox) -> None:
    with capture_logs() as lines:
        open_ticket(toolbox, WISH | {"description": "hunter2", "priority": 7})
    assert "hunter2" not in str(lines)
