"""`tickets jobs`, as a person and as a script use it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from ticket_system import runs
from ticket_system.__main__ import main
from ticket_system.commands.jobs import _short
from ticket_system.storage.database import Database

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=("sqlite", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a command finds its jobs: not in memory."""
    return str(tmp_path / "tickets.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns its status, output and errors."""
    with Database(database_url) as database:
        database.upgrade()
    monkeypatch.setenv("TICKETS_DATABASE_URL", database_url)
    monkeypatch.setenv("TZ", "UTC")

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


def ticks(database_url: str, job: str, every: timedelta, number: int, ago: timedelta) -> datetime:
    """So many ticks that were done, the last one so long ago; returns its slot."""
    with Database(database_url) as database:
        last = database.now().replace(microsecond=0) - ago
        for back in range(number):
            slot = last - back * every
            lease = timedelta(seconds=60)
            assert runs.claim(database, job, slot, by="a", lease=lease, now=slot)
            assert runs.done(database, job, slot, by="a", now=slot)
    return last


def test_a_fleet_that_is_on_time_is_all_right(run: Run, database_url: str) -> None:
    last = ticks(database_url, "tickets.scan_breaches", timedelta(seconds=1), 3, timedelta(seconds=1))
    status, output, _ = run("jobs", "--json")
    [state] = json.loads(output)
    assert (status, state["job"], state["last_done"]) == (0, "tickets.scan_breaches", last.isoformat())
    assert (state["interval_seconds"], state["is_overdue"], state["failed"], state["error"]) == (1.0, False, 0, None)
    assert 1 <= state["age_seconds"] < 60


def test_an_overdue_job_is_named_and_the_status_is_1(run: Run, database_url: str) -> None:
    ticks(database_url, "tickets.make_reports", timedelta(minutes=1), 3, timedelta(hours=2))
    ticks(database_url, "tickets.audit_clocks", timedelta(minutes=10), 3, timedelta(minutes=9))
    status, output, _ = run("jobs", "--timezone", "UTC")
    heading, audit, reports = output.splitlines()
    assert status == 1
    assert heading.split("\t") == ["job", "last done", "ago", "every", "failed", "killed", "last failure", ""]
    assert audit.split("\t")[2:] == [audit.split("\t")[2], "10 min", "", "", "", ""]
    assert reports.split("\t")[2:] == ["2 h 0 min", "1 min", "", "", "", "overdue"]


def test_failures_are_shown_with_their_reason(run: Run, database_url: str) -> None:
    last = ticks(database_url, "tickets.scan_breaches", timedelta(seconds=1), 3, timedelta(seconds=1))
    with Database(database_url) as database:
        failed = last - timedelta(hours=1)
        lease = timedelta(seconds=60)
        assert runs.claim(database, "tickets.scan_breaches", failed, by="b", lease=lease, now=failed)
        assert runs.failed(database, "tickets.scan_breaches", failed, by="b", error="ValueError", now=failed)
    status, output, _ = run("jobs", "--timezone", "UTC")
    cells = output.splitlines()[1].split("\t")
    assert (status, cells[4]) == (0, "1")
    assert cells[6] == f"{failed:%Y-%m-%d %H:%M UTC}: ValueError"


def test_a_database_that_no_fleet_has_seen_is_nothing_to_be_alarmed_about(run: Run) -> None:
    status, output, _ = run("jobs")
    assert (status, output[:23]) == (0, "No job has run yet. A f")
    assert json.loads(run("jobs", "--json")[1]) == []


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, run: Run) -> None:
    status, _, error = run("jobs", "--database", str(tmp_path / "nowhere.db"))
    assert status == 1
    assert "there is no such file" in error
    assert not (tmp_path / "nowhere.db").exists()


def test_lengths_are_written_for_people() -> None:
    lengths = {
        0.25: "0.25 s",
        1: "1 s",
        59: "59 s",
        60: "1 min",
        90: "1 min 30 s",
        3600: "1 h 0 min",
        90_000: "25 h 0 min",
    }
    assert {seconds: _short(timedelta(seconds=seconds)) for seconds in lengths} == lengths
