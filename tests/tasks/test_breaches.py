from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.toolbox import Toolbox


def test_a_scan_records_what_is_late_and_says_so_once(toolbox: Toolbox) -> None:
    toolbox.system.create_tickets([a_ticket_due_in(-5), a_ticket_due_in(-3), a_ticket_due_in(600)])
    with capture_logs() as lines:
        assert scan_breaches(toolbox).found == 2
        assert scan_breaches(toolbox).found == 0
    told = [line for line in lines if line["log_level"] == "info"]
    assert [(line["event"], line["found"], line["drained"]) for line in told] == [("breaches.scanned", 2, True)]


def test_a_scan_escalates_what_is_late_once(toolbox: Toolbox) -> None:
    ticket = toolbox.system.create_ticket(a_ticket_due_in(-5, priority=2, sla_hours=4))
    assert [scan_breaches(toolbox).alarms, scan_breaches(toolbox).alarms] == [1, 0]
    stored = toolbox.system.get_ticket(ticket.id)
    assert stored is not None
    assert stored.priority == 1
