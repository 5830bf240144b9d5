from collections.abc import Callable

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from ticket_system.errors import StorageUnavailable
from ticket_tasks.attempts import attempt


def test_a_time_limit_before_anything_left_the_house_costs_nothing() -> None:
    def send(_before_data: Callable[[], None]) -> str:
        raise SoftTimeLimitExceeded

    outcome = attempt(send, lambda: True)
    assert (outcome.fate, outcome.is_bug, outcome.is_away) == ("postponed", False, False)
    assert outcome.reason == "the job ran out of time before its turn"


def test_a_time_limit_in_the_middle_of_a_letter_leaves_it_to_a_person() -> None:
    def send(before_data: Callable[[], None]) -> str:
        before_data()
        raise SoftTimeLimitExceeded

    outcome = attempt(send, lambda: True)
    assert (outcome.fate, outcome.is_bug) == ("uncertain", False)
    assert outcome.reason == "the job ran out of time halfway through"


def test_a_time_limit_while_the_intent_was_committed_sends_nothing() -> None:
    def begin() -> bool:
        raise SoftTimeLimitExceeded

    def send(before_data: Callable[[], None]) -> str:
        before_data()
        return "sent"

    assert attempt(send, begin).fate == "postponed"


def test_trouble_with_the_database_is_no_outcome() -> None:
    def send(_before_data: Callable[[], None]) -> str:
        raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable):
        attempt(send, lambda: True)
