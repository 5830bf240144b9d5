import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from ticket_system import TicketSystem, parking
from ticket_tasks import names
from ticket_tasks.errors import BrokerUnreachable, TooEarly
from ticket_tasks.intake import Intake, park, park_message, replay_parked, take_wish
from ticket_tasks.payloads import Answer
from ticket_tasks.toolbox import Toolbox

WISH: dict[str, Any] = {
    "version": 1,
    "ticket_id": "t-1",
    "title": "The printer is broken",
    "description": "Since Monday.",
    "requester": "ada",
}


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def tell(self, answer: Answer) -> None:
        self.answers.append(answer)


class Mute:
    def tell(self, answer: Answer) -> None:
        raise BrokerUnreachable("gone")


def open_ticket(toolbox: Toolbox, payload: object) -> Intake:
    return take_wish(toolbox, names.OPEN_TICKET, payload)


def ask(toolbox: Toolbox, name: str, **payload: object) -> str:
    return take_wish(toolbox, name, {"ticket_id": "t-1", **payload}).outcome


@pytest.fixture
def opened(toolbox: Toolbox) -> TicketSystem:
    open_ticket(toolbox, WISH)
    return toolbox.system


def test_opens_the_ticket_that_was_asked_for(toolbox: Toolbox) -> None:
    created_at = datetime.now(UTC) - timedelta(minutes=5)
    wish = WISH | {"tags": ["hw"], "created_at": created_at.isoformat()}
    assert open_ticket(toolbox, wish) == Intake(names.OPEN_TICKET, "done", "t-1")
    ticket = toolbox.system.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.requester, ticket.tags, ticket.created_at) == ("ada", ["hw"], created_at)
    assert (ticket.priority, ticket.sla_hours) == (2, 24), "the word broken decides"


def test_the_promise_begins_when_it_was_asked_for_unless_it_says_otherwise(toolbox: Toolbox) -> None:
    asked_at = datetime.now(UTC) - timedelta(minutes=9)
    open_ticket(toolbox, WISH | {"asked_at": asked_at.isoformat()})
    ticket = toolbox.system.get_ticket("t-1")
    assert ticket is not None
    assert ticket.created_at == asked_at


def test_a_given_priority_beats_the_words(toolbox: Toolbox) -> None:
    open_ticket(toolbox, WISH | {"priority": 4})
    ticket = toolbox.system.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.priority, ticket.sla_hours) == (4, 168)


@pytest.mark.parametrize("key", (None, "k-1"))
def test_a_message_that_comes_twice_opens_one_ticket(toolbox: Toolbox, key: str | None) -> None:
    wish = WISH | {"key": key}
    outcomes = [open_ticket(toolbox, wish).outcome, open_ticket(toolbox, wish | {"title": "Changed"}).outcome]
    assert outcomes == ["done", "repeated"]
    (ticket,) = toolbox.system.get_queue()
    assert ticket.title == "The printer is broken"


def test_a_ticket_that_is_there_under_its_id_is_not_opened_again_by_another_key(toolbox: Toolbox) -> None:
    assert open_ticket(toolbox, WISH | {"key": "k-1"}).outcome == "done"
    assert open_ticket(toolbox, WISH | {"key": "k-2"}).outcome == "repeated"
    assert len(toolbox.system.get_queue()) == 1


def test_everything_that_can_be_asked_is_done_once(toolbox: Toolbox, opened: TicketSystem) -> None:
    asked_at = datetime.now(UTC) - timedelta(minutes=3)
    wishes: tuple[tuple[str, dict[str, object]], ...] = (
        (names.ADD_COMMENT, {"key": "a", "author": "bob", "body": "On it.", "asked_at": asked_at.isoformat()}),
        (names.ASSIGN_TICKET, {"key": "b", "assignee": "bob"}),
        (names.ESCALATE_TICKET, {"key": "c", "reason": "The chief called."}),
        (names.ACKNOWLEDGE_TICKET, {"key": "d", "author": "bob", "note": "Mine."}),
        (names.SET_STATUS, {"key": "e", "status": "resolved", "author": "bob", "note": "Paper was out."}),
    )
    for name, payload in wishes:
        assert [ask(toolbox, name, **payload) for _ in range(3)] == ["done", "repeated", "repeated"], name
    ticket = opened.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.status, ticket.assignee, ticket.priority) == ("resolved", "bob", 1)
    comments = opened.get_comments("t-1")
    assert sorted(comment.body for comment in comments) == ["Escalated: The chief called.", "On it.", "Paper was out."]
    assert next(comment for comment in comments if comment.body == "On it.").created_at == asked_at
    kinds = [event.kind for event in opened.get_history("t-1")]
    assert (kinds.count("escalated"), kinds.count("acknowledged"), kinds.count("commented")) == (1, 1, 1)


def test_who_asked_stands_in_the_history(toolbox: Toolbox, opened: TicketSystem) -> None:
    ask(toolbox, names.ASSIGN_TICKET, key="b", assignee="bob", author="crm")
    assert {event.actor for event in opened.get_history("t-1") if event.kind == "assigned"} == {"crm"}


def test_somebody_else_takes_a_ticket_that_is_worked_on(toolbox: Toolbox, opened: TicketSystem) -> None:
    assert ask(toolbox, names.ASSIGN_TICKET, key="1", assignee="bob") == "done"
    assert ask(toolbox, names.ASSIGN_TICKET, key="2", assignee="bob") == "unchanged"
    assert ask(toolbox, names.ASSIGN_TICKET, key="3", assignee="eve") == "done"
    ticket = opened.get_ticket("t-1")
    assert ticket is not None
    assert (ticket.assignee, ticket.status) == ("eve", "in_progress")


def test_what_is_so_already_is_unchanged_and_remembered(toolbox: Toolbox, opened: TicketSystem) -> None:
    assert ask(toolbox, names.SET_STATUS, key="1", status="open") == "unchanged"
    assert ask(toolbox, names.SET_STATUS, key="1", status="open") == "repeated"
    opened.update_status("t-1", "cancelled")
    assert ask(toolbox, names.ACKNOWLEDGE_TICKET, key="2", author="bob") == "unchanged"
    assert ask(toolbox, names.ASSIGN_TICKET, key="3", assignee="bob") == "unchanged"


@pytest.mark.parametrize(
    ("name", "payload"),
    (
        (names.ADD_COMMENT, {"author": "bob", "body": "?"}),
        (names.SET_STATUS, {"status": "resolved"}),
        (names.ESCALATE_TICKET, {}),
        (names.ASSIGN_TICKET, {"assignee": "bob"}),
        (names.ACKNOWLEDGE_TICKET, {"author": "bob"}),
    ),
)
def test_a_message_that_overtook_the_one_it_builds_on_is_too_early_and_leaves_no_key(
    toolbox: Toolbox, name: str, payload: dict[str, object]
) -> None:
    with pytest.raises(TooEarly):
        ask(toolbox, name, key="k", **payload)
    open_ticket(toolbox, WISH)
    toolbox.system.assign_ticket("t-1", "ada")
    assert ask(toolbox, name, key="k", **payload) == "done"


def test_a_comment_whose_key_was_forgotten_is_not_added_again(toolbox: Toolbox, opened: TicketSystem) -> None:
    from sqlalchemy import delete  # noqa: PLC0415

    from ticket_system.storage.fleet_tables import wishes  # noqa: PLC0415

    wish = {"key": "k", "author": "bob", "body": "Once."}
    assert ask(toolbox, names.ADD_COMMENT, **wish) == "done"
    with toolbox.database.write() as connection:
        connection.execute(delete(wishes))
    assert ask(toolbox, names.ADD_COMMENT, **wish) == "repeated"
    assert len(opened.get_comments("t-1")) == 1


def test_figures_come_with_the_answer(toolbox: Toolbox, opened: TicketSystem) -> None:
    told = Told()
    box = replace(toolbox, answers=told)
    assert take_wish(box, names.REPORT, {"key": "r", "days": 3, "answer": True}).outcome == "done"
    (answer,) = told.answers
    assert answer.value is not None
    assert (answer.key, answer.value["total_opened"], answer.value["report_days"]) == ("r", 1, 3)


def test_who_asks_for_an_answer_is_told_whatever_became_of_it(toolbox: Toolbox) -> None:
    told = Told()
    box = replace(toolbox, answers=told)
    open_ticket(box, WISH)
    assert told.answers == [], "nobody asked"
    open_ticket(box, WISH | {"answer": True})
    open_ticket(box, WISH | {"answer": True, "ticket_id": "t-2"})
    open_ticket(box, WISH | {"answer": True, "ticket_id": "t-3", "priority": 7})
    assert [(one.key, one.outcome) for one in told.answers] == [("t-1", "repeated"), ("t-2", "done"), ("t-3", "parked")]
    assert "priority" in told.answers[-1].reason


def test_an_answer_that_cannot_be_told_changes_nothing(toolbox: Toolbox) -> None:
    with capture_logs() as lines:
        outcome = open_ticket(replace(toolbox, answers=Mute()), WISH | {"answer": True}).outcome
    assert outcome == "done"
    assert [line["event"] for line in lines].count("answer.lost") == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    (
        (None, "payload"),
        ("t-1", "payload"),
        ([1, {"a": None}], "payload"),
        (WISH | {"priority": 7}, "priority"),
        (WISH | {"version": 2}, "version"),
        (WISH | {"title": "two\nlines"}, "title"),
        (WISH | {"title": "   "}, "title"),
        (WISH | {"description": "\0"}, "description"),
        (WISH | {"created_at": "9999-01-01T00:00:00+00:00"}, "created_at"),
        (WISH | {"colour": "red"}, "colour"),
    ),
)
def test_nonsense_is_parked_aloud_as_it_came_and_opens_nothing(toolbox: Toolbox, payload: object, reason: str) -> None:
    with capture_logs() as lines:
        assert open_ticket(toolbox, payload).outcome == "parked"
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("message.parked", "error")
    assert reason in line["reason"]
    assert toolbox.system.get_queue() == []
    (one,) = parking.listed(toolbox.database)
    assert (one.name, one.state, one.times) == (names.OPEN_TICKET, "waiting", 1)
    # What no database can hold is marked, all else is as it came.
    assert json.loads(one.body) == json.loads(json.dumps(payload))


def test_a_parked_message_is_not_repeated_in_the_log(toolbox: Toolbox) -> None:
    with capture_logs() as lines:
        open_ticket(toolbox, WISH | {"description": "hunter2", "priority": 7})
    assert "hunter2" not in str(lines)


def test_the_same_nonsense_twice_is_one_row(toolbox: Toolbox) -> None:
    open_ticket(toolbox, WISH | {"priority": 7})
    open_ticket(toolbox, WISH | {"priority": 7})
    (one,) = parking.listed(toolbox.database)
    assert one.times == 2


def test_a_message_from_the_future_is_taken_when_this_program_knows_it(toolbox: Toolbox) -> None:
    """Parked because a newer client sent what this worker did not know; replayed, it is understood."""
    park_message(toolbox, name=names.OPEN_TICKET, body=json.dumps(WISH), reason="this worker knows no such task")
    (one,) = parking.listed(toolbox.database)
    parking.replay(toolbox.database, one.id, by="ada")
    assert replay_parked(toolbox) == 1
    assert [ticket.id for ticket in toolbox.system.get_queue()] == ["t-1"]
    assert parking.listed(toolbox.database) == []
    assert (parking.get(toolbox.database, one.id).state, parking.get(toolbox.database, one.id).settled_by) == (
        "replayed",
        "ada",
    )
    assert replay_parked(toolbox) == 0


def test_a_mended_message_is_taken(toolbox: Toolbox) -> None:
    open_ticket(toolbox, WISH | {"priority": 7})
    (one,) = parking.listed(toolbox.database)
    parking.replay(toolbox.database, one.id, body=json.dumps(WISH | {"priority": 1}))
    assert replay_parked(toolbox) == 1
    (ticket,) = toolbox.system.get_queue()
    assert ticket.priority == 1


@pytest.mark.parametrize(
    ("name", "payload"),
    (
        ("tickets.nonsense", {}),
        (names.OPEN_TICKET, WISH | {"priority": 7}),
        (names.ESCALATE_TICKET, {"key": "k", "ticket_id": "nobody's"}),
    ),
)
def test_what_is_not_understood_the_second_time_waits_again(toolbox: Toolbox, name: str, payload: object) -> None:
    park(toolbox, name, payload, "whatever")
    (one,) = parking.listed(toolbox.database)
    parking.replay(toolbox.database, one.id)
    assert replay_parked(toolbox) == 0
    (again,) = parking.listed(toolbox.database)
    assert (again.id, again.state, again.times) == (one.id, "waiting", 2)
    assert again.reason != "whatever"
