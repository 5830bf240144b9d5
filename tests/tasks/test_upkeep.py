from dataclasses import replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.support.factories import a_ticket
from ticket_system.retention import Keep
from ticket_system.storage.tables import clocks, outbox
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.upkeep import audit_clocks, prune


def test_an_audit_says_in_one_line_what_it_did(toolbox: Toolbox) -> None:
    toolbox.system.create_tickets([a_ticket(id="one"), a_ticket(id="two")])
    with capture_logs() as lines:
        audit_clocks(toolbox)
    [line] = lines
    assert (line["event"], line["log_level"], line["differences"]) == ("clocks.audited", "info", 0)
    assert line["clocks"] >= 2


def test_every_difference_is_an_error_without_a_word_of_the_requester(toolbox: Toolbox) -> None:
    toolbox.system.create_ticket(a_ticket(id="one", title="hunter2", requester="hunter2"))
    toolbox.system.escalate("one", "hunter2")
    with toolbox.database.write() as connection:
        connection.execute(sa.update(clocks).values(target_seconds=1))
    with capture_logs() as lines:
        audit_clocks(toolbox)
    [line] = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["ticket_id"], line["field"]) == ("clock.differs", "one", "target_seconds")
    assert (line["stored"], line["computed"]) == ("1", "86400")
    assert "hunter2" not in str(lines)


def a_message(toolbox: Toolbox, key: str, days: float) -> None:
    then = datetime.now(UTC) - timedelta(days=days)
    row = {"key": key, "kind": "escalated", "ticket_id": "t", "state": "sent", "attempts": 1, "created_at": then}
    with toolbox.database.write() as connection:
        connection.execute(sa.insert(outbox).values(row))


def test_what_is_older_than_it_is_kept_is_forgotten_and_counted_by_kind(toolbox: Toolbox) -> None:
    a_message(toolbox, "old", 31)
    a_message(toolbox, "young", 29)
    with capture_logs() as lines:
        assert prune(replace(toolbox, keep=Keep(messages=30))).found == 1
    [line] = lines
    assert (line["event"], line["log_level"], line["messages"]) == ("records.pruned", "info", 1)
    with toolbox.database.read() as connection:
        assert connection.scalars(sa.select(outbox.c.key)).all() == ["young"]


def test_a_run_that_finds_nothing_says_so_quietly(toolbox: Toolbox) -> None:
    with capture_logs() as lines:
        assert prune(toolbox).found == 0
    assert [(line["log_level"], line["drained"]) for line in lines] == [("debug", True)]
