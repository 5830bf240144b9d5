"""`tickets prune`, as a person and as a script use it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
import sqlalchemy as sa

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from ticket_system import TicketSystem
from ticket_system.__main__ import main
from ticket_system.retention import Keep
from ticket_system.storage import tables

Run: TypeAlias = Callable[..., tuple[int, str, str]]
OLD = datetime.now(UTC) - timedelta(days=200)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


@pytest.fixture
def system(run: Run, tmp_path: Path) -> Iterator[TicketSystem]:
    """The desk in that folder, with a ticket that was closed, and a notice that was sent, long ago."""
    with TicketSystem(tmp_path / "tickets.db") as system:
        system.create_ticket(a_ticket(id="t", status="closed", created_at=OLD, updated_at=OLD))
        notice = {"key": "k", "kind": "escalated", "ticket_id": "t", "state": "sent", "attempts": 1, "created_at": OLD}
        with system.database.write() as connection:
            connection.execute(sa.update(tables.events).values(recorded_at=OLD))
            connection.execute(sa.insert(tables.outbox).values(notice))
        yield system


def test_a_dry_run_only_counts(run: Run, system: TicketSystem) -> None:
    assert run("prune", "--dry-run", "--keep-events", "100") == (
        0, "Would be forgotten: 1 messages, 1 histories.\n", "",
    )  # fmt: skip
    assert len(system.get_history("t")) == 1
    assert len(rows_of(system.database, tables.outbox)) == 1


def test_histories_stay_unless_somebody_says_how_long(run: Run, system: TicketSystem) -> None:
    status, out, _ = run("prune", "--json")
    assert (status, json.loads(out)) == (0, {"dry_run": False, "gone": {"messages": 1}})
    assert len(system.get_history("t")) == 1
    assert run("prune") == (0, "Nothing is older than it is kept.\n", "")


def test_what_was_forgotten_is_said_where_somebody_looks_for_it(
    run: Run, system: TicketSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETS_KEEP_EVENTS_DAYS", "150")
    assert run("prune")[1] == "Forgotten: 1 messages, 1 histories.\n"
    today = datetime.now(UTC).date()
    status, _, problem = run("explain", "t")
    assert (status, problem) == (
        3, f"tickets: the history of ticket t was pruned on {today}; its clocks stand as they are\n",
    )  # fmt: skip
    assert "What happened to it before is forgotten, by policy." in run("show", "t")[1]
    status, out, _ = run("audit", "--all")
    assert (status, out) == (0, "0 tickets checked, 0 differences.\n")


def test_what_is_too_short_is_refused_with_the_shortest(run: Run, system: TicketSystem) -> None:
    status, _, problem = run("prune", "--keep-usage", "30")
    assert (status, problem) == (2, "tickets: usage are kept for 0 (for ever), or 400 to 36500 days\n")
    assert len(rows_of(system.database, tables.outbox)) == 1


def test_the_command_forgets_what_the_fleet_forgets(run: Run) -> None:
    help_text = " ".join(run("prune", "--help")[1].split())
    for name in Keep.__dataclass_fields__:
        assert f"TICKETS_KEEP_{name.upper()}_DAYS; default: {getattr(Keep(), name)}]" in help_text
