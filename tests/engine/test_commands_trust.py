"""`tickets explain` and `tickets audit`, as a person and as a script use them."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa

from tests.support.factories import a_ticket
from ticket_system import TicketSystem
from ticket_system.__main__ import main
from ticket_system.changes import Changes
from ticket_system.storage.tables import clocks

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[TicketSystem]:
    with TicketSystem(tmp_path / "tickets.db") as system:
        yield system


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command in a folder with that database; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICKETS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        return int(left.value.code or 0), *capsys.readouterr()

    yield run_it
    monkeypatch.undo()
    time.tzset()


def lived(system: TicketSystem, **changes: Any) -> None:
    """A ticket of eight hours that was on hold for one and solved after five."""
    ticket = a_ticket(**{"id": "t", "priority": 1, "sla_hours": 8, "created_at": START, "updated_at": START} | changes)
    with system.database.write() as connection:
        verbs = Changes(connection)
        verbs.create(ticket)
        for hours, status in ((1, "on_hold"), (2, "in_progress"), (5, "resolved")):
            verbs.set_status("t", status, now=START + timedelta(hours=hours))


TIMELINE = """\
resolution: met, due 2026-03-02 17:00 UTC
8 h promised by the policy default, around the clock, 1 h paused

at\twhat\twhy\tlength\tcounted\trules
2026-03-02 08:00 UTC\tstarted\t8 h promised\t\t\trule 2
2026-03-02 08:00 UTC\topen\tcounts around the clock\t1 h\t1 h\trule 2
2026-03-02 09:00 UTC\tpaused\topen → on_hold\t\t\trule 12
2026-03-02 09:00 UTC\tpaused\tpaused while on_hold\t1 h\t1 h\trule 12
2026-03-02 10:00 UTC\tresumed\ton_hold → in_progress\t\t\trule 12
2026-03-02 10:00 UTC\topen\tcounts around the clock\t3 h\t4 h\trule 2
2026-03-02 13:00 UTC\tmet\tin_progress → resolved\t\t\trule 5
2026-03-02 17:00 UTC\tdue\tthe deadline\t\t\trule 2
"""


def test_a_story_of_a_due_instant(system: TicketSystem, run: Run) -> None:
    lived(system)
    assert run("explain", "t") == (0, TIMELINE, "")
    assert "2026-03-02 17:00 JST\tstarted" in run("explain", "t", "--timezone", "Asia/Tokyo")[1]


def test_on_a_terminal_it_is_drawn(system: TicketSystem, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(system)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    status, out, _ = run("explain", "t")
    assert (status, "\t" in out) == (0, False)
    assert [sign for sign in ("● started", "│ paused", "● due") if sign not in out] == []


def test_a_program_gets_every_interval(system: TicketSystem, run: Run) -> None:
    lived(system)
    [one] = json.loads(run("explain", "t", "--json")[1])
    assert (one["target"], one["state"], one["due_at"]) == ("resolution", "met", "2026-03-02T17:00:00+00:00")
    assert [(part["kind"], part["open_seconds"], part["rules"]) for part in one["intervals"]] == [
        ("open", 3600, [2]), ("paused", 3600, [12]), ("open", 4 * 3600, [2]),
    ]  # fmt: skip
    assert one["differs"] == []
    assert one["marks"][0] == {"at": START.isoformat(), "what": "started", "text": "8 h promised", "rules": [2]}


def test_nothing_to_explain_is_said_and_why(system: TicketSystem, run: Run) -> None:
    system.create_ticket(a_ticket(id="done", status="closed"))
    status, out, _ = run("explain", "done")
    assert (status, out) == (
        0,
        "This ticket has no clock: it was closed when it was stored, and nothing was left to promise (rule 13).\n",
    )
    assert run("explain", "done", "--json")[1] == "[]\n"
    lived(system)
    assert run("explain", "t", "--target", "next_response")[1] == (
        "This ticket has no clock for next_response; it has one for resolution.\n"
    )
    assert run("explain", "no") == (3, "", "tickets: no ticket has the id 'no'\n")
    assert run("explain", "\x00")[0] == 3


def test_what_is_ahead_and_what_is_late(system: TicketSystem, run: Run) -> None:
    now = datetime.now(UTC)
    system.create_ticket(a_ticket(id="ahead", created_at=now - timedelta(hours=1)))
    system.create_ticket(a_ticket(id="late", created_at=now - timedelta(hours=100)))
    system.create_ticket(a_ticket(id="held", status="on_hold"))
    assert "\tnow\t" in run("explain", "ahead")[1]
    late = run("explain", "late")[1]
    assert "resolution: breached, due" in late
    assert "not done by the deadline; no scan has found it yet" in late
    assert "resolution: paused, no deadline, 72 h left" in run("explain", "held")[1]


def test_an_audit_that_finds_nothing(system: TicketSystem, run: Run) -> None:
    lived(system)
    assert run("audit", "--all") == (0, "1 ticket checked, 0 differences.\n", "")
    status, out, _ = run("audit", "--json")
    assert (status, json.loads(out)["differences"]) == (0, [])


def test_an_audit_that_finds_something_shows_both_sides(system: TicketSystem, run: Run) -> None:
    lived(system)
    with system.database.write() as connection:
        connection.execute(sa.update(clocks).values(due_at=START))
    status, out, _ = run("audit", "--all")
    assert status == 1
    assert out.splitlines() == [
        "t, resolution 1: due_at is 2026-03-02T08:00:00+00:00, the history says 2026-03-02T17:00:00+00:00",
        (
            "  stored:  met: 8:00:00 promised from 2026-03-02T08:00:00+00:00, 1:00:00 paused,"
            " due 2026-03-02T08:00:00+00:00, stopped 2026-03-02T13:00:00+00:00"
        ),
        (
            "  history: 2026-03-02T08:00:00+00:00 event 1 (created): running, due 2026-03-02T16:00:00+00:00;"
            " 2026-03-02T09:00:00+00:00 event 2 (status open → on_hold): paused;"
            " 2026-03-02T10:00:00+00:00 event 3 (status on_hold → in_progress): running, due 2026-03-02T17:00:00+00:00;"
            " 2026-03-02T13:00:00+00:00 event 4 (status in_progress → resolved): met, due 2026-03-02T17:00:00+00:00"
        ),
        "1 ticket checked, 1 difference.",
    ]
    [difference] = json.loads(run("audit", "--json")[1])["differences"]
    assert (difference["ticket_id"], difference["field"]) == ("t", "due_at")
    assert "The stored clock says otherwise (due_at)" in run("explain", "t")[1]
