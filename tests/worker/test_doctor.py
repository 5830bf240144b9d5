import json
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket_due_in
from ticket_system import TicketSystem, outbox, state
from ticket_system.__main__ import main
from ticket_system.sla import policy_file
from ticket_system.sla.days_off import DaysOff
from ticket_system.storage import fleet_tables, tables
from ticket_system.storage.outbox import add
from ticket_tasks import TicketClient, names
from ticket_worker import broker

pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.fixture
def system(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> TicketSystem:
    monkeypatch.setenv("TICKETS_DATABASE_URL", "tickets.db")
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    return TicketSystem(tmp_path / "tickets.db")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return int(str(ended.value.code)), capsys.readouterr().out


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    status, said = call(capsys, "--json", *arguments)
    return status, {one["what"]: one for one in json.loads(said)}


def test_a_fleet_that_is_well_needs_no_advice(system: TicketSystem, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = findings(capsys)
    assert status == 0
    assert list(found) == [
        "settings", "database", "schema", "clock", "rules", "outbox", "usage", "reports", "parked", "beat", "audit",
        "broker", "queues", "mail", "billing",
    ]  # fmt: skip
    assert [what for what, one in found.items() if one["advice"]] == ["reports"]
    assert found["rules"]["detail"] == "those built in"


def test_with_the_engine_alone_it_looks_at_what_the_engine_knows(
    system: TicketSystem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    status, found = findings(capsys, "--database", "tickets.db")
    assert (status, next(iter(found)), list(found)[-1]) == (0, "database", "audit")


def test_an_extra_that_is_missing_leaves_the_engine_to_look(
    system: TicketSystem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ticket_worker.checks", None)
    _, found = findings(capsys)
    assert "broker" not in found
    assert "audit" in found


def test_settings_that_make_no_sense_are_a_finding(
    system: TicketSystem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETS_SMTP_PORT", "x")
    status, found = findings(capsys)
    assert status == 1
    assert found["settings"]["detail"].startswith("TICKETS_SMTP_PORT: ")


def test_what_is_stuck_is_looked_at_by_a_person_and_the_fleet_is_fit(
    system: TicketSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    with system.database.write() as connection:
        add(connection, cause="k", kind="escalated", ticket_id="t", now=datetime.now(UTC))
        connection.execute(sa.update(tables.outbox).values(state="uncertain"))
        row = {"fingerprint": "f", "name": "n", "body": "{}", "reason": "r", "times": 1, "state": "waiting"}
        connection.execute(sa.insert(fleet_tables.parked), row | {"parked_at": datetime.now(UTC) - timedelta(hours=3)})
    outbox.rest(system.database, "mail", "connection refused", seconds=60)
    status, found = findings(capsys)
    assert status == 0
    assert "1 uncertain, mail does not answer: connection refused" in found["outbox"]["detail"]
    assert "`tickets outbox list`" in found["outbox"]["advice"]
    assert "1 messages that nobody understood, the oldest 3.0 h old" in found["parked"]["detail"]
    _, said = call(capsys)
    assert "look  outbox" in said
    assert "→ `tickets parked list` says why" in said


def ended(system: TicketSystem, seconds_ago: float) -> None:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    row = {"job": names.SCAN_BREACHES, "slot": at, "state": "done", "taken_by": "w", "taken_at": at,
           "lease_until": at, "attempts": 1, "finished_at": at}  # fmt: skip
    with system.database.write() as connection:
        connection.execute(sa.insert(fleet_tables.job_runs), row)


def test_a_beat_that_is_silent_is_not_well(system: TicketSystem, capsys: pytest.CaptureFixture[str]) -> None:
    ended(system, 300)
    status, found = findings(capsys)
    assert (status, found["beat"]["is_ok"]) == (1, False)
    assert "nothing ticks: tickets.scan_breaches ended 30" in found["beat"]["detail"]
    assert "`ticket-worker beat`" in found["beat"]["advice"]
    ended(system, 1)
    assert findings(capsys)[0] == 0


def test_a_clock_that_is_off_is_not_well(
    system: TicketSystem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "clock_skew", lambda _: -7.25)
    _, found = findings(capsys)
    assert found["clock"] == {
        "what": "clock",
        "is_ok": False,
        "detail": "this machine's clock is 7.2 s behind the database's",
        "advice": "have both set by NTP",
    }


def test_rules_that_this_program_cannot_read_are_not_well(
    system: TicketSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    _put_in_force(system)
    with system.database.write() as connection:
        connection.execute(sa.text("UPDATE rules SET text = '{\"nonsense\": 1}'"))
    status, found = findings(capsys)
    assert (status, found["rules"]["is_ok"]) == (1, False)
    assert "tickets policy apply" in found["rules"]["advice"]


def test_a_calendar_whose_holidays_nobody_knows_wants_a_look(
    system: TicketSystem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_in_force(system)
    _, found = findings(capsys)
    assert (found["rules"]["detail"], found["rules"]["advice"]) == ("version 1, 1 policies", "")
    monkeypatch.setattr(DaysOff, "__call__", lambda _self, year: {} if year > datetime.now(UTC).year else {1: 1})
    _, found = findings(capsys)
    assert f"no holidays known: office {datetime.now(UTC).year + 1}" in found["rules"]["detail"]
    assert "holidays" in found["rules"]["advice"]


def _put_in_force(system: TicketSystem) -> None:
    text = """
        [calendars.office]
        zone = "Europe/Berlin"
        hours = { mon-fri = "09:00-17:00" }
        holidays = { country = "DE" }
        [policies.everybody.targets.resolution]
        within = { critical = "4h", high = "1bd", medium = "3bd", low = "10bd" }
        calendar = "office"
    """
    system.put_in_force(policy_file.parse(text, now=datetime.now(UTC)))


def test_a_queue_that_nobody_works_off_is_not_well(
    system: TicketSystem, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with TicketClient(redis_url) as client:
        client.tick(names.DELIVER_OUTBOX, names.DESK, expires_seconds=60)
    monkeypatch.setattr(broker, "_age", lambda message, _now: 90.0 if message else 0.0)
    status, found = findings(capsys)
    assert status == 1
    assert "desk 1" in found["queues"]["detail"]
    assert "the oldest of desk waits 90 s" in found["queues"]["detail"]
    assert "does a worker run for desk" in found["queues"]["advice"]


def test_a_schema_of_another_time_says_what_to_run(system: TicketSystem, capsys: pytest.CaptureFixture[str]) -> None:
    with system.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    status, found = findings(capsys)
    assert (status, found["schema"]["is_ok"]) == (1, False)
    assert "tickets db upgrade" in found["schema"]["advice"]
    assert "outbox" not in found, "of what lies in it nothing can be said"


def test_it_changes_nothing(system: TicketSystem, capsys: pytest.CaptureFixture[str]) -> None:
    system.create_ticket(a_ticket_due_in(-10))
    call(capsys)
    assert state.clocks_due(system.database).count == 1
