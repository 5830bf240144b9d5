import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from tests.support.mailers import KeepingMailer, KeepingNotifier
from ticket_system import StorageUnavailable, TicketSystem
from ticket_tasks.toolbox import Toolbox
from ticket_worker import rounds as module
from ticket_worker.rounds import one_round, rounds


@pytest.fixture
def toolbox(tmp_path: Path) -> Iterator[Toolbox]:
    with TicketSystem(tmp_path / "tickets.db") as system:
        yield Toolbox(system=system, mailer=KeepingMailer(), notifier=KeepingNotifier())


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_one_round_goes_all_the_way(toolbox: Toolbox) -> None:
    toolbox.system.create_ticket(a_ticket_due_in(-5))
    outcome = one_round(toolbox)
    assert (outcome.scan.breaches, outcome.scan.alarms, outcome.deliver.sent) == (1, 1, 1)


def test_it_goes_round_until_it_is_told_to_stop(toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    def turn(_: Toolbox) -> None:
        turns.append(1)
        if len(turns) == 2:
            raise StorageUnavailable("away for a moment")
        if len(turns) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(module, "one_round", turn)
    with capture_logs() as lines:
        rounds(toolbox, 0.01)
    assert len(turns) == 3
    told = [line["event"] for line in lines]
    assert [one for one in told if one.startswith("round")] == ["rounds.started", "round.skipped", "rounds.stopped"]
    assert told.count("reports.made") == 1, "what nobody waits for is done now and then, not every time"
