"""The play: tickets run out, workers find them, escalate them, send the notices.

Everything is real, processes and broker included, and lives in a folder that is gone afterwards. At the end the
database is asked what became of each ticket: exit status 0 only when nothing is missing and nothing happened twice.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from ticket_system import Ticket, TicketSystem, outbox
from ticket_system.tickets import DEFAULT_SLA
from ticket_tasks import TicketClient, names
from ticket_worker import embedded
from ticket_worker.app import create_app
from ticket_worker.demo import stage
from ticket_worker.demo.cast import CAST, Role, Verdict
from ticket_worker.demo.replay import replay
from ticket_worker.demo.report import write_report
from ticket_worker.demo.till import Bill, Till, a_till
from ticket_worker.fleet import start_fleet
from ticket_worker.logging import configure_logging
from ticket_worker.settings import PREFIX, Settings, read_settings
from ticket_worker.supervisor import Supervisor

_READY_SECONDS = 45.0
_PATIENCE_SECONDS = 25.0
_FIRST_DEADLINE_SECONDS = 4.0
_LAST_DEADLINE_SECONDS = 16.0
_BILLED_WITHIN_SECONDS = 15.0
_OPENED_PER_TURN = 3
#: How long before its deadline a ticket is solved, or put on hold.
_RESCUE_SECONDS = 2.5
#: On a machine that is very busy a rescue may come too late to be sure of.
_TOO_LATE_SECONDS = 0.5


def play(console: Console, *, log_file: Path | None = None, keep: bool = False, report: Path | None = None) -> int:
    """Run the demo and return its exit status; `report` is the folder that the report of the run is written to."""
    started = time.monotonic()
    log_file = log_file.resolve() if log_file else None
    report = report.resolve() if report else Path(tempfile.mkdtemp(prefix="tickets-report-"))
    with _folder(keep=keep) as folder:
        if log_file is not None:
            replay(console, log_file, folder / "history.db")
        with ExitStack() as stack:
            till = stack.enter_context(a_till())
            settings = _settings(folder, till.variables())
            output = stack.enter_context((folder / "fleet.log").open("wb"))
            supervisor = Supervisor(grace_seconds=8.0, output=output, folder=folder)
            stack.callback(supervisor.stop)
            stack.enter_context(embedded.hold(settings.data_dir))
            console.print(
                f"{len(CAST)} tickets are about to run out. A broker, a ticker and four workers keep an eye on them, "
                "and report them to a Stripe of our own.",
                soft_wrap=True,
            )
            with console.status("starting the fleet"):
                start_fleet(supervisor, settings, 1)
                is_ready = _wait_until_ready(settings, supervisor)
            if not is_ready:
                stage.show_failure(console, "the fleet did not start in time", folder / "fleet.log")
                return 1
            system = stack.enter_context(TicketSystem(settings.database))
            client = stack.enter_context(TicketClient(settings.broker))
            till.open(settings, system)
            roles = _cast_roles()
            _run(console, system, client, supervisor, roles)
            with console.status("reporting what is left"):
                bill = _settle(till, system, roles)
            with console.status("stopping the fleet"):
                supervisor.stop()
            verdict = judge(system, roles)
            page = write_report(system, settings, report)
        seconds = time.monotonic() - started
        stage.show_summary(console, roles, verdict, seconds, folder if keep else None, bill=bill, page=page)
        is_right = verdict.is_right and bill.is_right
        if not is_right:
            stage.show_failure(console, "not everything happened exactly once", folder / "fleet.log")
    return 0 if is_right else 1


def judge(system: TicketSystem, roles: list[Role]) -> Verdict:
    """Count what happened to each ticket, and compare it with what should have."""
    verdict = Verdict()
    notices = Counter(row.ticket_id for row in outbox.rows(system.database, outbox.STATES, limit=10_000))
    for role in roles:
        ticket = system.get_ticket(role.ticket_id)
        if ticket is None:
            verdict.missing += 1
            continue
        role.ticket = ticket
        kinds = Counter(event.kind for event in system.get_history(ticket.id))
        remarks = [one for one in system.get_comments(ticket.id) if one.body.startswith("Escalated: ")]
        counts = (kinds["breached"], kinds["escalated"], len(remarks), notices[ticket.id])
        verdict.breaches += counts[0]
        verdict.escalations += counts[1]
        verdict.comments += counts[2]
        verdict.notices += counts[3]
        if role.fate == "breach":
            verdict.missing += counts.count(0)
            verdict.doubled += sum(count - 1 for count in counts if count > 1)
            verdict.latencies += [role.latency_seconds] if role.latency_seconds is not None else []
        else:
            verdict.undeserved += sum(counts)
    verdict.latencies.sort()
    return verdict


def _run(
    console: Console, system: TicketSystem, client: TicketClient, supervisor: Supervisor, roles: list[Role]
) -> None:
    """Open the tickets, let time pass, and show what becomes of them."""
    deadline = time.monotonic() + _LAST_DEADLINE_SECONDS + _PATIENCE_SECONDS
    waiting = list(roles)
    with stage.curtain(console) as show:
        while time.monotonic() < deadline:
            for role in waiting[:_OPENED_PER_TURN]:
                _open(system, client, role)
            del waiting[:_OPENED_PER_TURN]
            supervisor.poll()
            _look(system, roles)
            _rescue(system, roles)
            show(roles, supervisor.pids())
            if all(role.is_over for role in roles):
                break
            time.sleep(0.15)


def _settle(till: Till, system: TicketSystem, roles: list[Role]) -> Bill:
    """Wait until everything that can be billed is, and compare."""
    deadline, ids = time.monotonic() + _BILLED_WITHIN_SECONDS, [role.ticket_id for role in roles if role.ticket_id]
    while True:
        bill = till.bill(system, ids)
        if bill.is_right or time.monotonic() > deadline:
            return bill
        till.hurry(system)
        time.sleep(1)


def _open(system: TicketSystem, client: TicketClient, role: Role) -> None:
    part = role.part
    hours = DEFAULT_SLA[part.priority]
    created_at = role.due_at - timedelta(hours=hours)
    if part.is_enqueued:
        role.ticket_id = client.open_ticket(
            part.title,
            part.text,
            part.requester,
            priority=part.priority,
            created_at=created_at,
            customer=part.customer,
        )
        return
    ticket = Ticket(part.title, part.text, part.requester, priority=part.priority, sla_hours=hours)
    ticket.created_at, ticket.customer = created_at, part.customer
    role.ticket_id = system.create_ticket(ticket).id


def _look(system: TicketSystem, roles: list[Role]) -> None:
    """See how the tickets stand."""
    stored = {ticket.id: ticket for ticket in system.get_queue()}
    notices = {row.ticket_id: row.state for row in outbox.rows(system.database, outbox.STATES, limit=10_000)}
    for role in roles:
        role.ticket = stored.get(role.ticket_id, role.ticket)
        role.notice = notices.get(role.ticket_id, "")


def _rescue(system: TicketSystem, roles: list[Role]) -> None:
    """Solve some tickets in the nick of time, and put some on hold."""
    for role in roles:
        left = (role.due_at - datetime.now(UTC)).total_seconds()
        if role.ticket is None or role.fate == "breach" or role.is_over or left > _RESCUE_SECONDS:
            continue
        if left < _TOO_LATE_SECONDS:
            role.is_lost = True
        elif role.fate == "solve":
            system.assign_ticket(role.ticket_id, "grace")
            system.update_status(role.ticket_id, "resolved", author="grace", note="Solved just in time.")
        else:
            system.update_status(role.ticket_id, "on_hold", author="grace", note="Waiting for the supplier.")
        role.ticket = system.get_ticket(role.ticket_id)


def _cast_roles() -> list[Role]:
    """Give every ticket its deadline, seconds from now, one after the other."""
    now = datetime.now(UTC)
    step = (_LAST_DEADLINE_SECONDS - _FIRST_DEADLINE_SECONDS) / (len(CAST) - 1)
    return [
        Role(part, now + timedelta(seconds=_FIRST_DEADLINE_SECONDS + number * step)) for number, part in enumerate(CAST)
    ]


def _wait_until_ready(settings: Settings, supervisor: Supervisor) -> bool:
    control = create_app(settings).control
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and supervisor.status is None:
        supervisor.poll()
        if len(control.ping(timeout=0.5, limit=len(names.QUEUES)) or ()) == len(names.QUEUES):
            return True
    return False


def _settings(folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Return settings of our own: a demo never touches the database, the broker or the mail server of anybody."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.chdir(folder)
    # Children read the same variables.
    os.environ |= {f"{PREFIX}LOG_FORMAT": "json", f"{PREFIX}STOP_SECONDS": "2", **more}
    configure_logging("error", "auto")
    return read_settings(data_dir=folder / "data")


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder, before = Path(tempfile.mkdtemp(prefix="tickets-demo-")), Path.cwd()
    try:
        yield folder
    finally:
        os.chdir(before)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
