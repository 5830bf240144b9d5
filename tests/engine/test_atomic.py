"""Every call is one transaction: a failure anywhere leaves nothing half-written."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.support.contents import Sabotage, everything, failing_at
from tests.support.desk import due_in, known
from tests.support.factories import a_comment, a_ticket, a_ticket_due_in
from ticket_system import (
    StorageUnavailable,
    TicketSystem,
    monitor,
)
from ticket_system.changes import Changes
from ticket_system.storage import horizon

HOUR = timedelta(hours=1)


def settle(system: TicketSystem, ticket_id: str) -> None:
    with system.database.write() as connection:
        Changes(connection).settle(ticket_id)


VERBS: dict[str, Callable[[TicketSystem], object]] = {
    "create": lambda system: system.create_ticket(a_ticket(id="new")),
    "assign": lambda system: system.assign_ticket("late", "grace"),
    "hold, late": lambda system: system.update_status("late", "on_hold", note="waiting"),
    "resolve, late": lambda system: system.update_status("begun", "resolved", note="done"),
    "escalate into the past": lambda system: system.escalate("old", "why"),
    "comment": lambda system: system.add_comment(a_comment("late")),
    "scan": lambda system: monitor.scan_breaches(system.database),
    "settle, late": lambda system: settle(system, "late"),
    "raise, by itself": lambda system: settle(system, "moved"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_failure_at_any_statement_leaves_nothing_half_written(
    system: TicketSystem, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(25): what is told outside is written with its cause, or neither is."""
    # A scan whose look took long asks once more: on a loaded machine each run would have statements of its own number.
    monkeypatch.setattr(horizon, "DEAR_SECONDS", math.inf)
    old = datetime.now(UTC) - 30 * HOUR
    system.create_ticket(a_ticket(id="old", priority=3, created_at=old))
    system.create_ticket(a_ticket_due_in(-10, id="found"))
    monitor.scan_breaches(system.database)
    system.create_ticket(a_ticket_due_in(-5, id="late"))
    system.create_ticket(a_ticket_due_in(-5, id="begun", status="in_progress"))
    # Breached by its new promise; what is raised because of it comes later.
    system.create_ticket(a_ticket(id="moved", priority=3, created_at=old))
    system.escalate("moved")
    before = everything(system.database)
    failed = 0
    while True:
        with failing_at(system.database, failed + 1) as statements:
            try:
                VERBS[verb](system)
            except Sabotage:
                assert everything(system.database) == before, statements
            else:
                break
        failed += 1
    assert failed == len(statements) > 0, "each statement was made to fail once, and then all ran"
    assert everything(system.database) != before


def test_trouble_with_the_database_is_one_kind_of_error(system: TicketSystem) -> None:
    with system.database.write() as connection:
        connection.execute(sa.text("DROP TABLE outbox"))
    ticket_id = due_in(system, -5, status="in_progress")
    with pytest.raises((StorageUnavailable, sa.exc.ProgrammingError)):
        system.update_status(ticket_id, "resolved")
    assert known(system, ticket_id).status == "in_progress"
