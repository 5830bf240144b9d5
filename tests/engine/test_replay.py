"""A replay comes to the clocks that the changes stored, from the events alone, and stumbles over nothing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.test_histories import Step, drawn, histories, play, without_detection
from tests.support.desk import stored
from tests.support.earlier import ago, old_event, old_file, old_ticket
from ticket_system import TicketSystem
from ticket_system.imports import import_csv, import_legacy
from ticket_system.sla.clocks import ClockState
from ticket_system.sla.comparison import differences
from ticket_system.sla.replay import Replayed, replay
from ticket_system.sla.terms import Fact
from ticket_system.storage import audits

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
KEY = ("resolution", 1)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def told(*events: tuple[Any, ...]) -> Replayed:
    """A replay of events given as hours, kind, old, new, and perhaps more by name."""
    facts = []
    for number, (hours, kind, old, new, *more) in enumerate(events, start=1):
        fact = Fact(number, at(hours), kind, "ada", old, new, None, None, None)
        facts.append(fact._replace(**(more[0] if more else {})))
    return replay("t", facts)


def opened(status: str = "open", hours: int = 4) -> tuple[Any, ...]:
    return 0, "created", None, json.dumps({"status": status, "priority": 1, "sla_hours": hours})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_a_replay_comes_to_the_stored_clocks(system: TicketSystem, history: tuple[dict[str, Any], list[Step]]) -> None:
    """(27)"""
    ticket = play(system, *history, scans=drawn(history[1]))
    with system.database.read() as connection:
        known = audits.of_ticket(connection, ticket.id)
    replayed = replay(ticket.id, known.facts)
    assert replayed.gaps == []
    assert ticket.clock
    assert without_detection(replayed.clocks[KEY]) == without_detection(ticket.clock)
    assert replayed.clocks[KEY].detected_at == ticket.clock.detected_at
    assert differences(known.clocks, replayed) == []


@pytest.mark.parametrize("status", ("open", "in_progress", "on_hold", "resolved", "closed", "cancelled"))
def test_what_a_spreadsheet_brought_is_replayed(system: TicketSystem, tmp_path: Path, status: str) -> None:
    done = f"{at(9).isoformat()}" if status in {"resolved", "closed"} else ""
    file = tmp_path / "tickets.csv"
    head = "id,title,requester,priority,status,created_at,updated_at,resolved_at\n"
    rows = [
        f"moved,x,ada,1,{status},{START.isoformat()},{at(10).isoformat()},{done}",
        f"as it is,x,ada,1,{status},{START.isoformat()},{START.isoformat()},",
    ]
    file.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    assert import_csv(system, file).failed == 0
    assert_explained(system, "moved", "as it is")


@pytest.mark.parametrize("status", ("open", "in_progress", "on_hold", "review", "resolved", "closed", "cancelled"))
@pytest.mark.parametrize("hours", (1, 72))
def test_what_the_earlier_library_left_is_replayed(
    system: TicketSystem, tmp_path: Path, status: str, hours: int
) -> None:
    past = [old_event("e1", "T1", "created", ago(9)), old_event("e2", "T1", f"status→{status}", ago(5))]
    row = old_ticket(status=status, sla_hours=hours, created_at=ago(9), updated_at=ago(2))
    assert import_legacy(system, old_file(tmp_path / "old.db", [row], history=past)).failed == 0
    assert_explained(system, "T1")


def assert_explained(system: TicketSystem, *ids: str) -> None:
    with system.database.read() as connection:
        known = audits.told(connection, ids)
    assert set(known) == set(ids)
    for ticket_id, one in known.items():
        assert differences(one.clocks, replay(ticket_id, one.facts)) == []


def test_an_escalation_from_before_hours_were_kept_takes_them_from_the_policy() -> None:
    replayed = told(opened(hours=24), (1, "escalated", "2", "1"))
    assert replayed.clocks[KEY].target_seconds == 4 * 3600


def test_a_priority_from_before_hours_were_kept_has_them_in_its_note() -> None:
    replayed = told(opened(hours=24), (1, "priority", "2", "1", {"note": "30 hours"}))
    assert replayed.clocks[KEY].target_seconds == 30 * 3600
    replayed = told(opened(hours=24), (1, "priority", "2", "1", {"note": "x", "detail": '{"sla_hours":7}'}))
    assert replayed.clocks[KEY].target_seconds == 7 * 3600


def test_an_escalation_by_itself_moves_no_clock() -> None:
    """(11)"""
    key = "a/b/c/resolution/1/escalated/1/0"
    replayed = told(opened(), (5, "escalated", "1", "1", {"key": key}))
    assert [step.before == step.after for step in replayed.steps] == [False, True]


def test_created_done_has_no_clock() -> None:
    """(13)"""
    replayed = told(opened("closed"), (1, "status", "closed", "open"))
    assert (replayed.clocks, replayed.gaps) == ({}, [])


def test_a_verdict_of_a_scan_stands_before_a_change_that_was_stamped_earlier() -> None:
    """A change takes its moment, waits for the clock that a scan holds, and finds it breached."""
    breach = {"key": "t/resolution/1/breached/0/0", "recorded_at": at(4.002)}
    replayed = told(opened(), (4, "breached", "running", "breached", breach), (3.999, "status", "open", "on_hold"))
    assert replayed.clocks[KEY].state is ClockState.BREACHED
    assert replayed.clocks[KEY].detected_at == at(4.002)


def test_a_verdict_that_no_deadline_bears_out_is_not_believed() -> None:
    for hours, recorded in ((3, 5), (4, 4)):
        breach = {"key": "t/resolution/1/breached/0/0", "recorded_at": at(recorded)}
        replayed = told(opened(), (hours, "breached", "running", "breached", breach))
        assert replayed.clocks[KEY].state is ClockState.RUNNING
        [difference] = differences(replayed.clocks.values(), replayed)
        assert (difference.field, difference.stored, difference.computed) == ("event", "no breach", "a breach")


NONSENSE: tuple[tuple[tuple[Any, ...], ...], ...] = (
    (),
    ((1, "status", "open", "on_hold"),),
    ((0, "created", None, None),),
    ((0, "created", None, "[]"),),
    ((0, "created", None, '{"status":"open"}'),),
    ((0, "created", None, '{"status":"open","sla_hours":1e99}'),),
    (opened(), (1, "status", "review", "closed")),
    (opened(), (1, "priority", "1", "nine", {"note": "soon"})),
    (opened(), (1, "priority", "1", "2", {"detail": '{"sla_hours":99999999999}'})),
    (opened(), (1, "breached", None, None)),
    (opened(), (1, "breached", None, None, {"key": "t/resolution/x/breached/0/0"})),
)


@pytest.mark.parametrize("events", NONSENSE)
def test_what_makes_no_sense_is_a_gap_and_stops_nothing(events: tuple[tuple[Any, ...], ...]) -> None:
    assert told(*events).gaps


_words = st.none() | st.sampled_from(
    ("open", "resolved", "closed", "cancelled", "on_hold", "1", "", '{"status":"open"}')
)
_kinds = st.sampled_from(("created", "status", "priority", "escalated", "breached", "commented", "legacy", "?"))
_keys = st.none() | st.sampled_from(("", "x/y", "t/resolution/1/breached/0/0"))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), _kinds, _words, _words, st.fixed_dictionaries({"key": _keys})), max_size=8)
)
def test_no_history_is_too_strange(events: list[tuple[Any, ...]]) -> None:
    differences([], told(opened(), *events))


def test_deleted_and_doubled_events_are_noticed(system: TicketSystem) -> None:
    ticket_id = stored(system)
    for status in ("on_hold", "open"):
        system.update_status(ticket_id, status)
    with system.database.read() as connection:
        known = audits.of_ticket(connection, ticket_id)
    for wrong in (known.facts[:1] + known.facts[2:], [*known.facts, known.facts[1]], known.facts[1:]):
        found = differences(known.clocks, replay(ticket_id, wrong))
        assert found
        assert found[0].computed_because
