"""Nobody makes up for a tick that was missed, and nothing is lost: the next does what all would have done.

Reports have tests of their own: after an outage each that is owed comes late, and once.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery
from celery.app.task import Task

from tests.support.billing import Till
from tests.support.factories import a_ticket_due_in
from tests.support.mailers import KeepingMailer, KeepingNotifier
from tests.support.promises import at
from ticket_system import outbox, runs
from ticket_tasks import names, registry
from ticket_tasks.toolbox import Toolbox
from ticket_worker.billing.console import ConsoleMeter


def tick(toolbox: Toolbox, name: str, slot: datetime) -> None:
    """One tick arrives."""
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    app.send_task = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    registry.register(app, lambda: toolbox)
    task: Task[..., Any] = app.tasks[name]
    task.push_request(headers={names.SLOT_HEADER: slot.isoformat()})
    try:
        task.run()
    finally:
        task.pop_request()


def test_one_scan_finds_what_half_a_minute_of_scans_would_have_found(toolbox: Toolbox) -> None:
    slot = datetime.now(UTC).replace(microsecond=0)
    tick(toolbox, names.SCAN_BREACHES, slot - timedelta(seconds=30))
    toolbox.system.create_tickets([a_ticket_due_in(-seconds) for seconds in range(1, 30)])
    tick(toolbox, names.SCAN_BREACHES, slot)
    assert outbox.count(toolbox.database) == {"pending": 29}
    assert [run.slot for run in runs.newest(toolbox.database, names.SCAN_BREACHES, 99)] == [
        slot,
        slot - timedelta(seconds=30),
    ]


def test_one_report_of_usage_sends_what_hours_of_them_would_have_sent(database_url: str) -> None:
    till = Till(database_url)
    with till.database:
        till.links()
        for hour in range(4):
            till.opens(str(hour), hours=hour)
        till.now = at(5)
        toolbox = Toolbox(
            system=till.system, mailer=KeepingMailer(), notifier=KeepingNotifier(), meter=ConsoleMeter(looks=False)
        )
        tick(toolbox, names.REPORT_USAGE, at(5))
        assert [(row.batch.window_start, row.delivery.state) for row in till.rows()] == [
            (at(hour), "accepted") for hour in range(4)
        ]
        tick(toolbox, names.REPORT_USAGE, at(5) + timedelta(seconds=30))
        assert len(till.rows()) == 4
        assert [run.found for run in runs.newest(till.database, names.REPORT_USAGE, 9)] == [False, True]
