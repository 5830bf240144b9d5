"""What a batch reads follows the work that is due: neither the steps of all policies nor the alarms of all tickets.

The statistics of a small table are seldom renewed, and the planner then takes it for one with a row or two.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.support.factories import a_ticket, a_ticket_due_in
from ticket_system import TicketSystem
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.policies import Level, Policy
from ticket_system.storage import sweeps
from ticket_system.storage.database import Database
from ticket_system.storage.horizon import START

pytestmark = pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)

DUE = 100


def plan_of_a_batch(database: Database) -> dict[str, Any]:
    """How the server does the next batch; it is undone."""
    said: list[tuple[str, Any]] = []
    with database.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: said.append((call[2], call[3])))
        with connection.begin() as first:
            assert sweeps.sweep(connection, None, START, 1000).found == DUE
            first.rollback()
        statement, given = said[-1]
        with connection.begin() as second:
            question = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            [told] = connection.exec_driver_sql(question, given).scalar_one()
            second.rollback()
    found: dict[str, Any] = told["Plan"]
    return found


def pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def settled(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("ANALYZE"))


def test_a_batch_reads_no_more_for_a_hundred_steps_that_nothing_is_at(system: TicketSystem) -> None:
    system.create_tickets([a_ticket_due_in(-60 - number) for number in range(DUE)])
    settled(system.database)
    few = pages(plan_of_a_batch(system.database))
    levels = tuple(Level(60 * number, notify=("desk",)) for number in range(1, 100))
    system.put_in_force(PolicyBook((Policy("many levels", chain=levels),)))
    assert pages(plan_of_a_batch(system.database)) < 1.5 * few


def test_a_batch_reads_no_alarms_but_its_own(system: TicketSystem) -> None:
    late = datetime.now(UTC) + timedelta(days=1)
    system.create_tickets([a_ticket(created_at=late - timedelta(hours=2)) for _ in range(1500)])
    system.create_tickets([a_ticket_due_in(-60 - number) for number in range(DUE)])
    settled(system.database)
    read = [node for node in nodes(plan_of_a_batch(system.database)) if node.get("Relation Name") == "alarms"]
    assert read
    assert "Seq Scan" not in {node["Node Type"] for node in read}


def test_alarms_are_taken_off_in_one_go_where_the_planner_expects_one(system: TicketSystem) -> None:
    """Statistics of many clocks say that nothing is due: what is then done for each row may be done for thousands."""
    system.create_tickets([a_ticket(priority=4) for _ in range(1500)])
    settled(system.database)
    system.create_tickets([a_ticket_due_in(-60 - number) for number in range(DUE)])
    [gone] = [node for node in nodes(plan_of_a_batch(system.database)) if node.get("Operation") == "Delete"]
    assert {node["Actual Loops"] for node in nodes(gone)} == {1}
