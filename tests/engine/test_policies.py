"""What is promised when nobody says otherwise."""

import pytest

from ticket_system import DEFAULT_SLA
from ticket_system.sla.policies import DEFAULT_POLICY, Policy, step_up


def test_the_default_policy_is_the_table_of_the_contract_and_pauses_on_hold() -> None:
    assert dict(DEFAULT_POLICY.hours) == DEFAULT_SLA
    assert DEFAULT_POLICY.pausing == {"on_hold"}


def test_nobody_changes_the_default_promises_by_accident() -> None:
    with pytest.raises(TypeError):
        DEFAULT_POLICY.hours[1] = 8  # type: ignore[index]
    with pytest.raises(AttributeError):
        DEFAULT_POLICY.name = "other"  # type: ignore[misc]
    assert Policy() == DEFAULT_POLICY


@pytest.mark.parametrize(("before", "after"), ((4, 3), (3, 2), (2, 1), (1, 1)))
def test_a_step_up_is_one_step_and_ends_at_critical(before: int, after: int) -> None:
    assert step_up(before) == after
