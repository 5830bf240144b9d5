"""An audit finds what was tampered with, explains both sides, mends nothing, and is silent about the rest (27)."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.test_histories import Step, drawn, histories, play
from tests.support.contents import everything, rows_of
from tests.support.desk import due_in, stored
from tests.support.factories import a_comment, a_ticket
from ticket_system import TicketSystem, audit, monitor
from ticket_system.audit import AuditReport, audit_clocks
from ticket_system.storage import audits, tables
from ticket_system.storage.tables import clocks, events

HOUR = timedelta(hours=1)


def audited(system: TicketSystem, **more: Any) -> AuditReport:
    return audit_clocks(system.database, **{"budget_seconds": None} | more)


def tamper(system: TicketSystem, statement: sa.Executable) -> None:
    with system.database.write() as connection:
        connection.execute(statement)


def fields(report: AuditReport) -> list[tuple[str, str]]:
    return [(one.ticket_id, one.field) for one in report.differences]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(histories(), min_size=1, max_size=4))
def test_a_healthy_history_has_nothing_to_report(
    system: TicketSystem, lives: list[tuple[dict[str, Any], list[Step]]]
) -> None:
    for life in lives:
        play(system, *life, scans=drawn(life[1]))
    report = audited(system)
    assert report.checked >= len(lives)
    assert (report.found, report.differences, report.drained) == (0, [], True)


def edits() -> dict[str, tuple[sa.Executable, set[str]]]:
    """What somebody may do to a late ticket by SQL, and the fields in which it shows."""
    mine = clocks.c.ticket_id == "late"
    past = datetime(2020, 1, 1, tzinfo=UTC)
    return {
        "a later deadline": (sa.update(clocks).where(mine).values(due_at=datetime.now(UTC)), {"due_at"}),
        "a kinder verdict": (
            sa.update(clocks).where(mine).values(state="met", breached_at=None, detected_at=None, cause=None),
            {"state", "breached_at", "cause", "event"},
        ),
        "another cause": (sa.update(clocks).where(mine).values(cause="retarget"), {"cause"}),
        "a promise": (sa.update(clocks).where(mine).values(target_seconds=7), {"target_seconds"}),
        "a start": (sa.update(clocks).where(mine).values(started_at=past), {"started_at"}),
        "a pause": (sa.update(clocks).where(mine).values(paused_for=HOUR), {"paused_for"}),
        "what it took": (sa.update(clocks).where(mine).values(worked=HOUR), {"worked"}),
        "no detection": (sa.update(clocks).where(mine).values(detected_at=None), {"detected_at"}),
        "no clock": (sa.delete(clocks).where(mine), {"clock"}),
        "no verdict on record": (
            sa.delete(events).where(events.c.kind == "breached"),
            {"state", "breached_at", "cause", "event"},
        ),
        "no opening": (sa.delete(events).where(events.c.kind == "created"), {"clock"}),
    }


@pytest.mark.parametrize("name", edits())
def test_what_was_tampered_with_is_found_explained_and_left_alone(system: TicketSystem, name: str) -> None:
    """(27)"""
    due_in(system, 600)
    system.create_ticket(a_ticket(id="late", created_at=datetime.now(UTC) - 100 * HOUR))
    monitor.scan_breaches(system.database)
    assert audited(system).found == 0
    edit, expected = edits()[name]
    tamper(system, edit)
    before = everything(system.database) | {"audit_runs": []}
    report = audited(system)
    found = [one for one in report.differences if one.ticket_id == "late"]
    assert {one.field for one in found} == expected
    assert all(one.stored != one.computed and one.stored_because and one.computed_because for one in found)
    assert everything(system.database) | {"audit_runs": []} == before


def test_a_clock_that_nobody_would_look_at_in_time_is_found(system: TicketSystem) -> None:
    stored(system)
    for wrong in (None, datetime.now(UTC) + 100 * HOUR):
        tamper(system, sa.update(clocks).values(next_check_at=wrong))
        assert [field for _, field in fields(audited(system))] == ["next_check_at"]


def test_an_event_that_was_taken_out_is_found(system: TicketSystem) -> None:
    """(27)"""
    ticket_id = stored(system)
    for status in ("on_hold", "open", "in_progress"):
        system.update_status(ticket_id, status)
    tamper(system, sa.delete(events).where(events.c.new == "on_hold"))
    report = audited(system)
    assert {"paused_for", "due_at"} == {field for _, field in fields(report)}
    assert "moves it from on_hold, but the events before leave it open" in report.differences[0].computed_because


def test_no_word_that_somebody_wrote_is_in_a_report(system: TicketSystem) -> None:
    ticket_id = stored(system, title="hunter2", requester="hunter2", assignee="hunter2")
    system.escalate(ticket_id, "hunter2")
    system.add_comment(a_comment(ticket_id, body="hunter2", author="hunter2"))
    tamper(system, sa.update(clocks).values(target_seconds=7))
    report = audited(system)
    assert report.found
    assert "hunter2" not in str(report)


# --- which tickets, and how far ----------------------------------------------------------------------------------


@pytest.fixture
def no_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_OVERLAP", -HOUR)


def test_only_what_changed_since_is_looked_at_again(system: TicketSystem, no_overlap: None) -> None:
    ids = [stored(system) for _ in range(5)]
    assert audited(system, sample=0).checked == 5
    assert audited(system, sample=0).checked == 0
    system.update_status(ids[3], "on_hold")
    tamper(system, sa.update(clocks).values(target_seconds=7))
    assert fields(audited(system, sample=0)) == [(ids[3], "target_seconds")]


def test_what_was_committed_late_is_looked_at_all_the_same(system: TicketSystem) -> None:
    """Numbers are given out before the commit; the last minutes are looked at twice."""
    stored(system)
    assert [audited(system, sample=0).checked for _ in range(2)] == [1, 1]
    tamper(system, sa.update(events).values(recorded_at=datetime.now(UTC) - HOUR))
    assert audited(system, sample=0).checked == 0


def test_the_sample_goes_around(system: TicketSystem, no_overlap: None) -> None:
    ids = sorted(stored(system) for _ in range(5))
    audited(system, sample=0)
    tamper(system, sa.update(clocks).values(target_seconds=7))
    seen = [[ticket_id for ticket_id, _ in fields(audited(system, sample=2))] for _ in range(4)]
    assert seen == [ids[:2], ids[2:4], ids[4:], ids[:2]]


def test_small_batches_see_the_same(system: TicketSystem) -> None:
    for _ in range(7):
        stored(system)
    tamper(system, sa.update(clocks).values(target_seconds=7))
    moves: list[tuple[int, int]] = []
    report = audited(system, everything=True, batch_size=2, progress=lambda *move: moves.append(move))
    assert (report.checked, report.clocks, report.found) == (7, 7, 7)
    assert moves[-1] == (7, 7)
    report = audited(system, sample=3, batch_size=2)
    assert len(set(fields(report))) == report.found == 7, "a ticket that is met twice is told once"


def test_when_the_time_is_up_the_next_one_goes_on(system: TicketSystem, no_overlap: None) -> None:
    for _ in range(5):
        stored(system)
    nothing = audited(system, budget_seconds=0)
    assert (nothing.checked, nothing.drained) == (0, False)
    assert audited(system, sample=0).checked == 5


def test_a_report_stays_small(system: TicketSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_KEPT", 3)
    for _ in range(5):
        stored(system)
    tamper(system, sa.update(clocks).values(target_seconds=7))
    report = audited(system, everything=True)
    assert (report.found, len(report.differences)) == (5, 3)


def test_every_run_is_on_record(system: TicketSystem) -> None:
    stored(system)
    audited(system, everything=True)
    [run] = rows_of(system.database, tables.audit_runs)
    assert (run["checked"], run["differences"], run["event_id"], run["ticket_id"]) == (1, 0, 1, "")


def test_what_is_left_of_a_ticket_that_is_gone_is_no_difference(system: TicketSystem) -> None:
    with system.database.write() as connection:
        tables_row = {"ticket_id": "gone", "at": datetime.now(UTC), "recorded_at": datetime.now(UTC)}
        connection.execute(sa.insert(events).values(tables_row | {"kind": "legacy", "actor": "system"}))
    assert (audited(system).checked, audited(system, everything=True).found) == (0, 0)


def test_changes_meanwhile_are_no_differences(system: TicketSystem) -> None:
    """A ticket is seen before a change or after it, never in the middle."""
    ids = [due_in(system, -1 if number % 4 == 0 else 600) for number in range(20)]
    done, failures = threading.Event(), []

    def change() -> None:
        try:
            for _ in range(4):
                for ticket_id in ids:
                    ticket = system.get_ticket(ticket_id)
                    assert ticket
                    system.update_status(ticket_id, "on_hold" if ticket.status == "open" else "open")
                    system.escalate(ticket_id)
                monitor.scan_breaches(system.database)
        except Exception as error:
            failures.append(error)
            raise
        finally:
            done.set()

    thread = threading.Thread(target=change)
    thread.start()
    runs = 0
    while not done.is_set():
        report = audited(system, batch_size=3)
        assert report.differences == []
        runs += 1
    thread.join()
    assert not failures
    assert runs
    assert audited(system, everything=True).found == 0


def test_a_snapshot_does_not_move(system: TicketSystem) -> None:
    if system.database.in_memory:
        pytest.skip("one connection, and readers and writers in turn")
    ticket_id = stored(system)
    with system.database.snapshot() as connection:
        before = audits.of_ticket(connection, ticket_id)
        thread = threading.Thread(target=system.escalate, args=(ticket_id,))
        thread.start()
        thread.join()
        after = audits.of_ticket(connection, ticket_id)
    assert (before.clocks, before.facts) == (after.clocks, after.facts)
