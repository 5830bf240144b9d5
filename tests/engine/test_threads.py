"""Several threads share one system, on every database, and nothing is lost."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from ticket_system import DuplicateTicket, InvalidTransition, TicketSystem
from ticket_system.storage import tables

THREADS = 8
EACH = 6


def test_eight_threads_create_and_change_at_once(system: TicketSystem) -> None:
    system.create_ticket(a_ticket(id="shared", priority=4, sla_hours=1000))
    ready = threading.Barrier(THREADS)

    def work(thread: int) -> bool:
        ready.wait()
        for number in range(EACH):
            name = f"{thread}-{number}"
            system.create_ticket(a_ticket(id=name))
            assert system.assign_ticket(name, f"agent {thread}")
            assert system.update_status(name, "review", note="look")
            system.add_comment(a_comment("shared", id=name, author=f"agent {thread}"))
            assert len(system.get_queue(f"agent {thread}")) == number + 1
            assert system.check_sla_breach(name)["is_breached"] is False
        return system.assign_ticket("shared", f"agent {thread}")

    with ThreadPoolExecutor(THREADS) as pool:
        won = list(pool.map(work, range(THREADS)))
    assert won.count(True) == 1, "a ticket is given away once"
    shared = system.get_ticket("shared")
    assert shared is not None
    assert shared.assignee == f"agent {won.index(True)}"
    names = sorted(f"{thread}-{number}" for thread in range(THREADS) for number in range(EACH))
    assert sorted(ticket.id for ticket in system.get_queue(status="review")) == names
    assert sorted(comment.id for comment in system.get_comments("shared")) == names
    kinds = Counter(row["kind"] for row in rows_of(system.database, tables.events))
    every = len(names)
    assert kinds == {"created": every + 1, "assigned": every + 1, "status": 2 * every + 1, "commented": every}
    assert len(rows_of(system.database, tables.clocks)) == every + 1


def test_of_many_who_want_one_move_one_makes_it(system: TicketSystem) -> None:
    system.create_ticket(a_ticket(id="t", status="in_progress"))
    ready = threading.Barrier(THREADS)

    def resolve(_: int) -> bool:
        ready.wait()
        try:
            return system.update_status("t", "resolved")
        except InvalidTransition:
            return False

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(resolve, range(THREADS))).count(True) == 1
    assert [event.new for event in system.get_history("t") if event.kind == "status"] == ["resolved"]


def test_of_many_who_use_one_id_one_gets_it(system: TicketSystem) -> None:
    ready = threading.Barrier(THREADS)

    def create(thread: int) -> int | None:
        ready.wait()
        try:
            system.create_ticket(a_ticket(id="t", title=f"by {thread}"))
        except DuplicateTicket:
            return None
        return thread

    with ThreadPoolExecutor(THREADS) as pool:
        [winner] = [thread for thread in pool.map(create, range(THREADS)) if thread is not None]
    [ticket] = system.get_queue()
    assert ticket.title == f"by {winner}"
    assert len(rows_of(system.database, tables.clocks)) == len(system.get_history("t")) == 1


def test_changes_of_one_ticket_come_one_after_another(system: TicketSystem) -> None:
    """Each sees what the one before it left: no step is taken from a priority that is not there any more."""
    system.create_ticket(a_ticket(id="t", priority=4, sla_hours=1000))

    def escalate(_: int) -> bool:
        return system.escalate("t")

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(escalate, range(5)))
    steps = [(event.old, event.new) for event in system.get_history("t") if event.kind == "escalated"]
    assert steps == [("4", "3"), ("3", "2"), ("2", "1"), ("1", "1"), ("1", "1")]
    moments = [event.at for event in system.get_history("t")]
    assert moments == sorted(moments)
