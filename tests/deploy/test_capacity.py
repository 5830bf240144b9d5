"""The page of capacity names what is there: settings, metrics, alerts, commands; and a replica does what it says."""

import re
import shlex
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.deploy.monitoring import RUNBOOK, alerts, metrics
from tests.deploy.programs import ROOT
from ticket_system import Ticket, TicketSystem, monitor, recipients
from ticket_system.__main__ import main
from ticket_worker.settings import FILE_SUFFIX, Settings, variable

PAGE = (ROOT / "deploy/CAPACITY.md").read_text()
RUNBOOK_TEXT = (ROOT / RUNBOOK).read_text()


def anchors(text: str) -> set[str]:
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in re.findall(r"(?m)^#+ (.+)$", text)}


def test_every_setting_metric_and_alert_exists() -> None:
    settings = {variable(name) + suffix for name in Settings.model_fields for suffix in ("", FILE_SUFFIX)}
    assert set(re.findall(r"\bTICKETS_[A-Z_]+\b", PAGE)) <= settings
    asked = set(re.findall(r"\btickets_[a-z_]+\b", PAGE))
    assert asked
    assert asked <= {metric.name for metric in metrics(ROOT).values()}
    named = set(re.findall(r"\[([A-Z][a-z]+[A-Z]\w+)\]\(RUNBOOK\.md#", PAGE))
    assert named
    assert named <= {str(alert["alert"]) for alert in alerts(ROOT)}


def test_every_link_leads_somewhere_and_the_runbook_leads_back() -> None:
    assert set(re.findall(r"\]\(RUNBOOK\.md#([^)]+)\)", PAGE)) <= anchors(RUNBOOK_TEXT)
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors(PAGE)
    assert "](CAPACITY.md" in RUNBOOK_TEXT
    assert set(re.findall(r"\]\(CAPACITY\.md#([^)]+)\)", RUNBOOK_TEXT)) <= anchors(PAGE)


def test_every_program_that_it_says_was_run_is_there() -> None:
    modules = set(re.findall(r"python -m (tests[\w.]+)", PAGE))
    assert modules
    assert [name for name in modules if find_spec(name) is None] == []


def test_what_is_said_to_read_from_a_replica_writes_nothing(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A standby refuses whatever writes; so does a database that only reads, in the same words."""
    with TicketSystem(postgres_url) as system:
        long_ago = datetime.now(UTC) - timedelta(days=30)
        system.create_ticket(Ticket("Nobody looked", "", "ada", created_at=long_ago, id="ID"))
        monitor.scan_breaches(system.database)
        recipients.set_organisation(system.database, "initech", zone="Europe/Lisbon")
    _only_reads(postgres_url)
    (tmp_path / "NEW.toml").write_text(
        '[policies.all.targets.resolution]\nwithin = { critical = "8h", high = "8h", medium = "8h", low = "8h" }\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKETS_DATABASE_URL", postgres_url)
    commands = _commands_after("## Read replicas")
    assert len(commands) > 5

    def status(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    assert {" ".join(words): told for words in commands if (told := status(*words))[0] != 0} == {}
    # And it is a database that refuses.
    code, said = status("create", "One more", "--requester", "ada")
    assert code == 1
    assert "read-only transaction" in said


def _only_reads(url: str) -> None:
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())


def _commands_after(heading: str) -> list[list[str]]:
    """The commands in the first block after a heading, without what is said about them."""
    block = PAGE.split(heading, 1)[1].split("```console\n", 1)[1].split("```", 1)[0]
    return [shlex.split(line.split("    #")[0])[2:] for line in block.splitlines()]
