"""A report says what a slow count over every ticket says, on every database."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import a_ticket
from ticket_system import PRIORITY_LABELS, Ticket, TicketSystem
from ticket_system.changes import Changes
from ticket_system.reports.summary import Figures, report
from ticket_system.sla.clocks import ClockState
from ticket_system.storage import reports, tables
from ticket_system.storage.database import Database

SINCE = datetime(2020, 2, 24, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=7)
ACTIVE = {"open", "in_progress", "review", "on_hold"}

# Hours around the period, its very ends more often than chance has it.
hours = st.sampled_from((-200, -1, 0, 24, 167, 168, 169)) | st.integers(-300, 300)


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    """How a ticket is opened, and when it moves where."""
    opened = draw(hours)
    first = {
        "created_at": SINCE + timedelta(hours=opened),
        "priority": draw(st.integers(1, 4)),
        "sla_hours": draw(st.integers(1, 200)),
        "assignee": draw(st.sampled_from((None, "ada", "grace", "unassigned"))),
        "status": "in_progress",
    }
    path = draw(
        st.sampled_from(
            ((), ("on_hold",), ("on_hold", "cancelled"), ("resolved",), ("resolved", "closed"), ("resolved", "open"),
             ("resolved", "open", "in_progress", "resolved"), ("scan",), ("scan", "resolved"), ("review", "resolved"))
        )
    )  # fmt: skip
    moves, now = [], float(opened)
    for status in path:
        now += draw(st.sampled_from((0, 1, 1.5)) | st.integers(1, 100))
        moves.append((now, status))
    return first, moves


def play(database: Database, number: int, first: dict[str, Any], moves: list[tuple[float, str]]) -> None:
    with database.write() as connection:
        changes = Changes(connection)
        changes.create(a_ticket(id=str(number), **first))
        for hour, status in moves:
            now = SINCE + timedelta(hours=hour)
            if status == "scan":
                changes.settle(str(number), now=now)
            else:
                changes.set_status(str(number), status, now=now)


def counted(tickets: list[Ticket]) -> dict[str, Any]:
    """The report, one ticket at a time."""

    def inside(moment: datetime | None) -> bool:
        return moment is not None and SINCE <= moment <= UNTIL

    told: dict[str, Any] = {"opened": Counter(), "resolved": Counter(), "open_by_assignee": Counter()}
    took, met, breached = [], 0, 0
    for ticket in tickets:
        label = PRIORITY_LABELS[ticket.priority]
        if inside(ticket.created_at):
            told["opened"][label] += 1
        if inside(ticket.resolved_at):
            assert ticket.resolved_at
            told["resolved"][label] += 1
            took.append((ticket.resolved_at - ticket.created_at) / timedelta(hours=1))
        if ticket.status in ACTIVE:
            told["open_by_assignee"][ticket.assignee or "unassigned"] += 1
        clock = ticket.clock
        assert clock
        if clock.state is ClockState.MET and inside(clock.stopped_at):
            met += 1
        if clock.state is ClockState.BREACHED and inside(clock.breached_at):
            breached += 1
        if clock.state is ClockState.RUNNING and inside(clock.due_at) and clock.is_breached(UNTIL):
            breached += 1
    return told | {
        "average": sum(took) / len(took) if took else None,
        "rate": round(100 * breached / (met + breached), 1) if met + breached else 0.0,
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tickets=st.lists(lives(), max_size=12))
def test_a_report_says_what_a_slow_count_says(
    system: TicketSystem, tickets: list[tuple[dict[str, Any], list[tuple[float, str]]]]
) -> None:
    """(24)"""
    with system.database.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
    for number, life in enumerate(tickets):
        play(system.database, number, *life)
    with system.database.read() as connection:
        told = report(reports.figures(connection, SINCE, UNTIL), days=7, now=UNTIL)
    stored = [ticket for number in range(len(tickets)) if (ticket := system.get_ticket(str(number)))]
    expected = counted(stored)
    assert told["total_opened"] == expected["opened"].total()
    assert told["total_resolved"] == expected["resolved"].total()
    assert told["by_priority"] == {
        label: {"opened": expected["opened"][label], "resolved": expected["resolved"][label]}
        for label in PRIORITY_LABELS.values()
    }
    assert told["sla_breach_rate_pct"] == expected["rate"]
    assert told["open_by_assignee"] == expected["open_by_assignee"]
    assert told["currently_open"] == sum(ticket.status in ACTIVE for ticket in stored)
    if expected["average"] is None:
        assert told["avg_resolution_hours"] is None
    else:
        assert abs(told["avg_resolution_hours"] - expected["average"]) <= 0.05 + 1e-6


FIGURES = Figures(
    opened={1: 3, 4: 2},
    resolved={1: 2, 2: 1},
    resolution_seconds=3 * 3600 * 1.26,
    met=2,
    breached=1,
    active={"ada": 2, None: 5, "grace": 2, "bob": 7},
)


def test_the_arithmetic_of_a_report() -> None:
    told = report(FIGURES, days=3, now=UNTIL)
    assert told == {
        "report_days": 3,
        "generated_at": "2020-03-02T00:00:00+00:00",
        "total_opened": 5,
        "total_resolved": 3,
        "avg_resolution_hours": 1.3,
        "sla_breach_rate_pct": 33.3,
        "by_priority": {
            "critical": {"opened": 3, "resolved": 2},
            "high": {"opened": 0, "resolved": 1},
            "medium": {"opened": 0, "resolved": 0},
            "low": {"opened": 2, "resolved": 0},
        },
        "open_by_assignee": {"bob": 7, "unassigned": 5, "ada": 2, "grace": 2},
        "currently_open": 16,
    }
    assert list(told["open_by_assignee"]) == ["bob", "unassigned", "ada", "grace"], "the busiest first, then by name"


@pytest.mark.parametrize(
    ("met", "breached", "rate"), ((0, 0, 0.0), (4, 1, 20.0), (0, 3, 100.0), (5, 0, 0.0), (2, 1, 33.3))
)
def test_the_rate_is_breached_over_decided(met: int, breached: int, rate: float) -> None:
    """(24)"""
    figures = Figures({}, {}, 0.0, met, breached, {})
    assert report(figures, days=7, now=UNTIL)["sla_breach_rate_pct"] == rate


def test_what_happened_before_the_days_asked_for_is_not_counted(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    for days in (1, 6.99, 7.01, 40):
        created_at = now - timedelta(days=days)
        resolved_at = created_at + timedelta(hours=1)
        system.create_ticket(a_ticket(id=f"{days}", status="resolved", created_at=created_at, resolved_at=resolved_at))
    assert [system.generate_report(days)["total_opened"] for days in (1, 2, 7, 8, 41)] == [0, 1, 2, 3, 4]
    assert system.generate_report(41)["avg_resolution_hours"] == 1.0
