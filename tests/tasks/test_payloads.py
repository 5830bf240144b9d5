from typing import Any

import pytest
from pydantic import ValidationError

from ticket_tasks.payloads import OpenTicket

WISH: dict[str, Any] = {"ticket_id": "t-1", "title": "Printer", "description": "", "requester": "ada"}


def test_three_texts_and_an_id_are_enough() -> None:
    wish = OpenTicket(**WISH)
    assert wish.version == 1
    assert OpenTicket.model_validate(wish.model_dump(mode="json")) == wish


@pytest.mark.parametrize(
    "wrong",
    (
        {"title": ""},
        {"title": "x" * 501},
        {"description": "x" * 1_000_001},
        {"requester": None},
        {"priority": 0},
        {"priority": 9},
        {"priority": True},
        {"sla_hours": -1},
        {"ticket_id": ""},
        {"version": 2},
        {"colour": "red"},
        {"created_at": "yesterday"},
    ),
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpenTicket(**WISH | wrong)
