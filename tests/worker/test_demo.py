from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.factories import a_ticket, a_ticket_due_in
from ticket_system import TicketSystem, monitor
from ticket_worker.demo import stage
from ticket_worker.demo.cast import CAST, Fate, Part, Role
from ticket_worker.demo.play import _settings, judge
from ticket_worker.demo.replay import attainment, count_verdicts


@pytest.fixture
def system(tmp_path: Path) -> TicketSystem:
    return TicketSystem(tmp_path / "tickets.db")


def a_role(system: TicketSystem, seconds: float, fate: Fate = "breach") -> Role:
    ticket = system.create_ticket(a_ticket_due_in(seconds, priority=2))
    return Role(Part("Printer", "ada", 2, fate), datetime.now(UTC) + timedelta(seconds=seconds), ticket.id)


def test_the_cast_is_mixed() -> None:
    assert len(CAST) == len({part.title for part in CAST}) == 40
    assert {part.fate for part in CAST} == {"breach", "solve", "hold"}
    assert sum(part.is_enqueued for part in CAST) == 20
    assert {part.priority for part in CAST} == {1, 2, 3, 4}


def test_everything_once_is_right(system: TicketSystem) -> None:
    roles = [a_role(system, -5), a_role(system, 600, "solve")]
    monitor.scan_breaches(system.database)
    verdict = judge(system, roles)
    assert verdict.is_right
    assert (verdict.breaches, verdict.escalations, verdict.comments, verdict.notices) == (1, 1, 1, 1)
    assert verdict.latencies[0] >= 5


def test_what_did_not_happen_is_missing(system: TicketSystem) -> None:
    verdict = judge(system, [a_role(system, -5), replace(a_role(system, -5), ticket_id="never stored")])
    assert (verdict.missing, verdict.is_right) == (5, False)


def test_what_should_not_have_happened_is_undeserved(system: TicketSystem) -> None:
    roles = [a_role(system, -5, "solve")]
    monitor.scan_breaches(system.database)
    verdict = judge(system, roles)
    assert (verdict.undeserved, verdict.is_right) == (4, False)


@pytest.mark.parametrize(("terminal", "width"), ((True, 80), (True, 120), (False, 80)))
def test_the_stage_fits_any_house(system: TicketSystem, terminal: bool, width: int) -> None:
    console = Console(force_terminal=terminal, width=width, height=24, record=True, file=StringIO())
    roles = [a_role(system, -5), a_role(system, 3), a_role(system, 600, "hold")]
    for role in roles:
        role.ticket = system.get_ticket(role.ticket_id)
    with stage.curtain(console) as show:
        show(roles, {"clock": 1})
    stage.show_summary(console, roles, judge(system, roles), 1.0, None)
    text = console.export_text()
    assert "something went wrong" in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_share_is_a_value_that_was_measured() -> None:
    assert [stage.share([1.0, 2.0, 3.0, 4.0], part) for part in (0.5, 0.99)] == [2.0, 4.0]


@pytest.mark.usefixtures("own_logging")
def test_a_demo_is_deaf_to_the_settings_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", "postgresql://production/tickets")
    monkeypatch.setenv("TICKETS_MAIL", "smtp")
    for name in ("TICKETS_LOG_FORMAT", "TICKETS_STOP_SECONDS"):
        monkeypatch.setenv(name, "to be put back as it was: unset")
    (tmp_path / "elsewhere").mkdir()
    (Path.cwd() / ".env").write_text("TICKETS_MAIL=smtp\n")
    settings = _settings(tmp_path / "elsewhere")
    assert (settings.database_url, settings.mail) == (None, "console")


def test_verdicts_of_a_replayed_log_are_counted_by_priority(system: TicketSystem) -> None:
    system.create_ticket(a_ticket_due_in(-5))
    system.create_ticket(a_ticket(priority=3))
    done = system.create_ticket(a_ticket(priority=3))
    system.assign_ticket(done.id, "grace")
    system.update_status(done.id, "resolved")
    verdicts = count_verdicts(system)
    assert verdicts[1] == Counter(breached=1)
    assert verdicts[3] == Counter(met=1, undecided=1)
    assert (attainment(verdicts[3]), attainment(verdicts[4])) == ("100.0%", "none due")
