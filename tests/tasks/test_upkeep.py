import sqlalchemy as sa
from structlog.testing import capture_logs

from tests.support.factories import a_ticket
from ticket_system.storage.tables import clocks
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.upkeep import audit_clocks


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
