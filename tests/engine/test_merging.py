"""A ticket that is another one in other words ends, points there, and its clocks count nowhere (rule 20)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.desk import due_in, known
from ticket_system import InvalidTicket, InvalidTransition, TicketSystem
from ticket_system.audit import audit_clocks


@pytest.mark.parametrize("status", ("open", "in_progress", "review", "on_hold"))
def test_a_ticket_is_merged_wherever_it_stands(system: TicketSystem, status: str) -> None:
    """Rule 20; and the history tells it, so that an audit comes to the same."""
    double, first = due_in(system, 600, status=status), due_in(system, 600)
    assert system.merge_ticket(double, first, "grace") is True
    merged = known(system, double)
    assert merged.status == "cancelled"
    assert merged.clock is not None
    assert merged.clock.state == "cancelled"
    assert [note.body for note in system.get_comments(double)] == [f"Merged into {first}."]
    assert [note.body for note in system.get_comments(first)] == [f"Ticket {double} was merged into this one."]
    assert audit_clocks(system.database, everything=True).differences == []
    assert system.generate_report(days=7)["currently_open"] == 1


def test_what_is_done_is_not_merged(system: TicketSystem) -> None:
    done, first = due_in(system, 600, status="in_progress"), due_in(system, 600)
    system.update_status(done, "resolved")
    with pytest.raises(InvalidTransition):
        system.merge_ticket(done, first)
    assert system.get_comments(first) == []


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_two_merges_in_opposite_directions_do_not_wait_for_each_other(system: TicketSystem) -> None:
    """One ends; the other finds it done."""
    for _ in range(10):
        pair = (due_in(system, 600), due_in(system, 600))

        def merged(way: tuple[str, str]) -> bool:
            try:
                return system.merge_ticket(*way)
            except InvalidTicket:
                return False

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(merged, (pair, pair[::-1])))
        assert sorted(done) == [False, True]
        assert sorted(known(system, one).status for one in pair) == ["cancelled", "open"]
