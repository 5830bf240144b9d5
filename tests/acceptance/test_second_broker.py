"""One database, two brokers: what deploy/CAPACITY.md does where one is too small, or too far from who enqueues."""

import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

from tests.support.fleet import count, wait_until
from tests.support.processes import running
from tests.support.valkey import running_valkey
from ticket_system import TicketSystem
from ticket_tasks import TicketClient


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_requests_come_in_by_either_broker_and_one_that_comes_by_both_is_done_once(
    postgres_url: str, redis_url: str, tmp_path: Path, log: IO[bytes]
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")}
    environ |= {"TICKETS_DATABASE_URL": postgres_url, "TICKETS_STOP_SECONDS": "5"}
    environ |= {"TICKETS_MAIL": "console", "TICKETS_MAIL_TO": "desk@example.org"}
    with ExitStack() as stack, TicketSystem(postgres_url) as system:
        second = stack.enter_context(running_valkey())
        for number, (queues, broker) in enumerate((("clock,desk,intake", redis_url), ("intake", second))):
            (folder := tmp_path / str(number)).mkdir()
            own = {"TICKETS_REDIS_URL": broker, "TICKETS_DATA_DIR": str(folder)}
            command = [sys.executable, "-m", "ticket_worker", "worker", "--queues", queues]
            stack.enter_context(running(command, env=environ | own, log=log))
        # One beat, at the first broker: the scan and the notices are for both.
        beat = {"TICKETS_REDIS_URL": redis_url, "TICKETS_DATA_DIR": str(tmp_path)}
        stack.enter_context(running([sys.executable, "-m", "ticket_worker", "beat"], env=environ | beat, log=log))

        clients = [stack.enter_context(TicketClient(url)) for url in (redis_url, second)]
        for number, client in enumerate(clients):
            for turn in range(20):
                client.open_ticket("Export fails", "", "crm", ticket_id=f"mine-{number}-{turn}")
            client.open_ticket("Export fails", "", "crm", ticket_id="everybodys", key="everybodys")
        answers = [client.wait("everybodys", timeout_seconds=60) for client in clients]
        assert sorted(answer.outcome for answer in answers if answer) == ["done", "repeated"]
        wait_until(lambda: count(system.database, "SELECT count(*) FROM tickets") == 41)
        assert count(system.database, "SELECT count(*) FROM events WHERE kind = 'created'") == 41

        # What came in by the second is found late, and told, by those at the first.
        long_ago = datetime.now(UTC) - timedelta(days=30)
        clients[1].open_ticket("Nobody looked", "", "crm", ticket_id="late", created_at=long_ago)
        wait_until(lambda: count(system.database, "SELECT count(*) FROM outbox WHERE state = 'sent'") == 1)
        assert count(system.database, "SELECT count(*) FROM events WHERE ticket_id = 'late' AND kind = 'breached'") == 1
