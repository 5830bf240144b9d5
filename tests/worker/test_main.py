import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.factories import a_ticket_due_in
from tests.support.readers import an_organisation
from ticket_system import TicketSystem, digests
from ticket_system.audit import audit_clocks
from ticket_system.storage import tables
from ticket_worker import checks
from ticket_worker.__main__ import app
from ticket_worker.embedded import hold

pytestmark = pytest.mark.usefixtures("own_logging")

VERBS = ("worker", "beat", "webhook", "up", "scan", "check", "health", "metrics", "demo")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_help_names_every_verb_and_every_exit_status() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in VERBS)
    assert "Exit status" in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    assert call(verb, "--help").exit_code == 0


def test_the_version_is_told() -> None:
    assert call("--version").stdout.startswith("ticket-worker ")


def test_a_setting_that_makes_no_sense_is_one_line_and_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_SMTP_PORT", "x")
    monkeypatch.setenv("TICKETS_SMPT_HOST", "x")
    result = call("check")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("ticket-worker: TICKETS_SMTP_PORT: ")
    assert "did you mean TICKETS_SMTP_HOST?" in second


def test_an_unknown_queue_is_status_2() -> None:
    result = call("worker", "--queues", "clock,typo")
    assert result.exit_code == 2
    assert "there is no queue 'typo'; there are clock, desk, intake" in result.stderr


@pytest.mark.parametrize("verb", ("worker", "beat"))
def test_without_a_broker_the_verb_says_what_to_set(verb: str) -> None:
    result = call(verb)
    assert result.exit_code == 2
    assert "TICKETS_REDIS_URL: not set" in result.stderr


def test_one_scan_needs_no_broker(tmp_path: Path) -> None:
    with TicketSystem(tmp_path / "tickets.db") as system:
        system.create_tickets([a_ticket_due_in(-5), a_ticket_due_in(600)])
    (tmp_path / ".env").write_text("TICKETS_DATABASE_URL=tickets.db\n")
    outcome = json.loads(call("scan", "--json").stdout)
    assert (outcome["scan"]["breaches"], outcome["scan"]["alarms"], outcome["deliver"]["sent"]) == (1, 1, 1)
    assert call("scan").stdout == "0 breaches found, 0 alarms raised, 0 notices sent\n"


def test_a_scan_of_a_database_that_is_not_there_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", "/nowhere/tickets.db")
    result = call("scan")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "cannot be opened" in line


def test_check_finds_everything_in_place(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TicketSystem(tmp_path / "tickets.db").close()
    monkeypatch.setenv("TICKETS_DATABASE_URL", "tickets.db")
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    result = call("check", "--json")
    findings = json.loads(result.stdout)
    assert [finding["what"] for finding in findings] == [
        "settings", "database", "schema", "clock", "rules", "outbox", "usage", "reports", "parked", "beat", "audit",
        "broker", "queues", "mail", "billing",
    ]  # fmt: skip
    assert all(finding["is_ok"] for finding in findings), findings
    assert result.exit_code == 0


def test_check_says_when_the_next_report_is_due_and_which_are_stuck(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", "tickets.db")
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    now = datetime.now(UTC)
    with TicketSystem(tmp_path / "tickets.db") as system:
        assert found_of("reports") == ("nobody gets any", "`tickets organisations set` says who does")
        an_organisation(system.database, "ada@example.org", now=now - timedelta(days=30))
        digests.plan(system.database)
        detail, advice = found_of("reports")
        assert "of the newest 20 missed" in detail
        assert "the next is acme's, 20" in detail
        assert "`tickets digest list --reports`" in advice
        monkeypatch.setattr(checks, "can_write", lambda: False)
        assert "pip install 'blackroad-ticket-system[charts]'" in found_of("letters")[1]


def found_of(what: str) -> tuple[str, str]:
    """What a check says of something, and what to do about it."""
    found = json.loads(call("check", "--json").stdout)
    return next((one["detail"], one["advice"]) for one in found if one["what"] == what)


def test_check_names_destinations_and_never_their_addresses(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TicketSystem(tmp_path / "tickets.db").close()
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    places = tmp_path / "destinations.toml"
    places.write_text(
        'ops = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"\n'
        'bad = "pigeon://Hu5hHu5h"\n'
        f'crm = {{ webhook = "http://127.0.0.1:1/Hu5hHu5h", secret = "{secret}" }}\n'
    )
    places.chmod(0o600)
    monkeypatch.setenv("TICKETS_DATABASE_URL", "tickets.db")
    monkeypatch.setenv("TICKETS_REDIS_URL", redis_url)
    monkeypatch.setenv("TICKETS_DESTINATIONS_FILE", str(places))
    result = call("check", "--json")
    found = {one["what"]: (one["is_ok"], one["detail"]) for one in json.loads(result.stdout)}
    assert found["destination ops"] == (True, "apprise, Slack, not called")
    assert found["destination bad"] == (False, "its address is none that apprise knows")
    assert found["destination crm"][0] is False
    assert found["settings"][0] is True
    assert result.exit_code == 1
    for hidden in ("Hu5hHu5h", "T1JJ3T3L2", secret):
        assert hidden not in result.output
    places.chmod(0o644)
    result = call("check", "--json")
    assert "has mode 0644 and holds secrets" in json.loads(result.stdout)[0]["detail"]
    assert "setting.exposed" in result.stderr
    monkeypatch.setenv("TICKETS_NOTIFY", "console")
    assert "to the log (TICKETS_NOTIFY=console)" in call("check", "--json").stdout


def test_check_names_what_is_missing_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/x")
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    monkeypatch.setenv("TICKETS_MAIL", "smtp")
    monkeypatch.setenv("TICKETS_MAIL_TO", "desk@example.com")
    monkeypatch.setenv("TICKETS_SMTP_PORT", "1")
    monkeypatch.setenv("TICKETS_MIAL", "smtp")
    started = time.monotonic()
    result = call("check", "--json")
    assert time.monotonic() - started < 10
    assert result.exit_code == 1
    wrong = [finding["what"] for finding in json.loads(result.stdout) if not finding["is_ok"]]
    assert wrong == ["settings", "database", "broker", "mail"]
    assert "hush" not in result.output


def test_check_prints_a_table() -> None:
    result = call("check")
    assert result.exit_code == 1
    assert "made at the first start" in result.stdout


def test_two_fleets_do_not_share_a_folder(tmp_path: Path) -> None:
    with hold(tmp_path / "data"):
        result = call("up")
    assert result.exit_code == 1
    assert "a fleet runs in data already" in result.stderr


def test_a_clock_that_differs_from_its_history_is_a_finding(tmp_path: Path) -> None:
    with TicketSystem(tmp_path / "tickets.db") as system:
        system.create_ticket(a_ticket_due_in(600))
        with system.database.write() as connection:
            connection.execute(tables.clocks.update().values(target_seconds=7))
        audit_clocks(system.database)
    (tmp_path / ".env").write_text("TICKETS_DATABASE_URL=tickets.db\n")
    findings = {one["what"]: one for one in json.loads(call("check", "--json").stdout)}
    assert findings["audit"]["is_ok"] is False
    assert "1 differences" in findings["audit"]["detail"]
    assert "tickets audit --all" in findings["audit"]["advice"]
