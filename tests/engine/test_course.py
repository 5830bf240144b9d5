"""The course of clocks without any database: the same story, told to a book of policies alone."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.support.factories import a_ticket
from tests.support.promises import MONDAY, OFFICE, Desk, a_policy, at, promise
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.course import Changed, Course
from ticket_system.sla.policies import Match
from ticket_system.sla.terms import OneBook

POLICIES = (
    a_policy(name="urgent", rank=1, match=Match(priorities=frozenset({1, 2})), reopen="restart"),
    a_policy(name="rest", targets={RESOLUTION: promise(20)}),
)
STORY: tuple[tuple[float, str, Any], ...] = (
    (0.5, "says", "ada"),
    (1, "set_priority", 2),
    (1.5, "set_status", "in_progress"),
    (2.5, "says", "grace"),
    (3, "says", "ada"),
    (4, "set_status", "on_hold"),
    (6, "says", "grace"),
    (25, "set_status", "in_progress"),
    (26, "set_priority", 4),
    (26.5, "set_priority", 1),
    (49, "set_status", "resolved"),
    (50, "set_status", "open"),
    (99, "settle", None),
)


def simulated(steps: Sequence[tuple[float, str, Any]]) -> dict[tuple[str, int], Clock]:
    course, ticket = Course(OneBook(PolicyBook(POLICIES, {"office": OFFICE}))), a_ticket(id="t", created_at=MONDAY)
    clocks: dict[tuple[str, int], Clock] = {}
    newest: dict[str, Clock] = {}

    def keep(changes: list[Changed]) -> None:
        for before, after, terms in changes:
            assert after != before
            assert terms.policy.name == after.policy
            newest[after.target] = clocks[after.target, after.cycle] = after

    keep(course.opened(ticket))
    for hours, verb, value in steps:
        now = at(hours)
        match verb:
            case "says":
                keep(course.answered(newest, ticket, value, now, internal=False))
            case "set_priority":
                keep(course.repriced(newest, ticket, value, now, was_answered=partial(bool, hours > 2.5)).changes)
                ticket.priority = value
            case "set_status":
                keep(course.moved(newest, ticket, value, now))
                ticket.status = value
            case _:
                keep(course.settled(newest, now))
    return clocks


@pytest.mark.parametrize("length", range(len(STORY) + 1))
def test_a_book_of_policies_alone_comes_to_the_clocks_that_a_system_stores(desk: Desk, length: int) -> None:
    """Rule 28: otherwise a simulation would answer another question."""
    version = desk.promises(*POLICIES)
    desk.opens()
    for hours, verb, value in STORY[:length]:
        if verb == "says":
            desk.says(value, hours=hours)
        else:
            desk.does(verb, "t", *([] if value is None else [value]), hours=hours)
    told = {key: replace(clock, rules=version) for key, clock in simulated(STORY[:length]).items()}
    assert told == desk.clocks()


def test_the_story_goes_through_more_than_one_cycle() -> None:
    assert {key for key in simulated(STORY) if key[1] > 1} == {(RESOLUTION, 2)}
    assert simulated(STORY)[FIRST_RESPONSE, 1].breached_at == at(2)
