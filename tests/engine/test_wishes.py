import threading
from datetime import UTC, datetime

import pytest

from ticket_system import Ticket, TicketSystem, wishes
from ticket_system.changes import Changes
from ticket_system.errors import InvalidTicket, TicketNotFound
from ticket_system.storage.database import Database
from ticket_system.wishes import Granted


def opening(ticket_id: str) -> Ticket:
    return Ticket("Printer", "", "ada", id=ticket_id)


def test_a_wish_is_granted_once_under_its_key(system: TicketSystem) -> None:
    for expected in (Granted("done", is_new=True), Granted("done", is_new=False)):
        granted = wishes.grant(system, "k", "open", "t-1", lambda changes: changes.create(opening("t-1")))
        assert granted == expected
    assert len(system.get_queue()) == 1
    wish = wishes.granted(system, "k")
    assert wish is not None
    assert (wish.kind, wish.ticket_id, wish.outcome) == ("open", "t-1", "done")


def test_the_same_wish_under_another_key_is_another(system: TicketSystem) -> None:
    wishes.grant(system, "0", "open", "t-1", lambda changes: changes.create(opening("t-1")))
    for key in ("1", "2"):
        assert wishes.grant(system, key, "escalate", "t-1", lambda changes: changes.escalate("t-1")).is_new
    ticket = system.get_ticket("t-1")
    assert ticket is not None
    assert ticket.priority == 1


def test_nothing_to_do_is_an_outcome_and_is_remembered(system: TicketSystem) -> None:
    assert wishes.grant(system, "k", "assign", "t-1", lambda _: False) == Granted("unchanged", is_new=True)
    assert wishes.grant(system, "k", "assign", "t-1", lambda _: True) == Granted("unchanged", is_new=False)


def test_what_fails_leaves_no_key_and_no_trace(system: TicketSystem) -> None:
    def half(changes: Changes) -> None:
        changes.create(opening("t-1"))
        raise TicketNotFound("t-2")

    with pytest.raises(TicketNotFound):
        wishes.grant(system, "k", "open", "t-1", half)
    assert wishes.granted(system, "k") is None
    assert system.get_queue() == []
    assert wishes.grant(system, "k", "open", "t-1", lambda changes: changes.create(opening("t-1"))).is_new


def test_a_wish_is_taken_at_the_moment_that_the_databases_clock_says(system: TicketSystem) -> None:
    before = system.database.now()
    wishes.grant(system, "k", "open", "t-1", lambda _: True)
    taken = wishes.granted(system, "k")
    assert taken is not None
    assert before <= taken.taken_at <= system.database.now()


def test_a_wish_is_taken_by_another_clock_where_one_is_given(database_url: str) -> None:
    now = datetime(2031, 5, 1, 12, 30, tzinfo=UTC)
    with TicketSystem(Database(database_url, clock=lambda: now)) as system:
        system.database.upgrade()
        wishes.grant(system, "k", "open", "t-1", lambda _: True)
        taken = wishes.granted(system, "k")
    assert taken is not None
    assert taken.taken_at == now


@pytest.mark.parametrize("key", ("", "  ", "two\nlines", "x" * 201))
def test_a_key_that_makes_no_sense_is_refused(system: TicketSystem, key: str) -> None:
    with pytest.raises(InvalidTicket, match="key"):
        wishes.grant(system, key, "open", "t-1", lambda _: True)


def test_of_many_at_the_same_moment_one_is_new(system: TicketSystem) -> None:
    start, granted = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        granted.append(wishes.grant(system, "k", "open", "t-1", lambda changes: changes.create(opening("t-1"))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.is_new for one in granted) == [False] * 7 + [True]
    assert len(system.get_queue()) == 1
