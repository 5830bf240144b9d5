"""What is written out is read back exactly, and runs in no spreadsheet."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import a_ticket
from ticket_system import Ticket, TicketSystem, cells
from ticket_system.exports import export_csv, export_json_lines
from ticket_system.imports import import_csv

NOW = datetime.now(UTC)
LONG_AGO = datetime.fromisoformat("2000-01-01")

# Everything a ticket may hold: no controls in names, no NUL and no halves of characters anywhere.
names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
risky = st.sampled_from(
    ["=1+1", "'=1", "''@x", "+1", "-1", "@cmd", "'quoted'", '"', "a,b;c", "[x]", "=", "'", "\u202eabc"]
)
moments = st.datetimes(LONG_AGO, NOW.replace(tzinfo=None) - timedelta(days=400), timezones=st.just(UTC))


@st.composite
def tickets(draw: st.DrawFn) -> Ticket:
    status = draw(st.sampled_from(["open", "in_progress", "review", "on_hold", "resolved", "closed", "cancelled"]))
    created_at = draw(moments)
    later = created_at + draw(st.timedeltas(timedelta(0), timedelta(days=300)))
    done = status in {"resolved", "closed"} and draw(st.booleans())
    return Ticket(
        title=draw(names | risky),
        description=draw(texts | risky),
        requester=draw(names | risky),
        id=draw(names | risky),
        priority=draw(st.integers(1, 4)),
        status=status,
        assignee=draw(st.none() | names | risky),
        sla_hours=draw(st.integers(1, 87_600)),
        created_at=created_at,
        updated_at=later,
        resolved_at=later if done else None,
        tags=draw(st.lists(names | risky, max_size=3)),
        customer=draw(st.none() | names | risky),
        plan=draw(st.none() | names | risky),
        group=draw(st.none() | names | risky),
    )


def exported(system: TicketSystem) -> str:
    file = io.StringIO(newline="")
    export_csv(system, file)
    return file.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.lists(tickets(), max_size=4, unique_by=lambda ticket: ticket.id))
def test_what_is_exported_comes_back_exactly(tmp_path: Path, made: list[Ticket]) -> None:
    with TicketSystem() as first, TicketSystem() as second:
        first.create_tickets(made)
        text = exported(first)
        path = tmp_path / "tickets.csv"
        path.write_text(text, encoding="utf-8", newline="")
        summary = import_csv(second, path)
        assert (summary.added, summary.problems) == (len(made), [])
        for ticket in made:
            assert second.get_ticket(ticket.id) == ticket
        assert exported(second) == text


@given(texts | risky)
def test_a_guarded_cell_is_no_formula_and_comes_back(text: str) -> None:
    guarded = cells.guard(text)
    assert not guarded.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cells.unguard(guarded) == text


def test_cells_that_a_spreadsheet_would_run_are_guarded(system: TicketSystem) -> None:
    system.create_ticket(a_ticket(title='=HYPERLINK("http://x")', requester="@ada", description="-1"))
    _, row = csv.reader(io.StringIO(exported(system)))
    assert [row[1], row[2], row[3]] == ['\'=HYPERLINK("http://x")', "'-1", "'@ada"]


def test_every_ticket_once_however_many_pages(system: TicketSystem) -> None:
    system.create_tickets([a_ticket() for _ in range(2001)])
    seen: list[int] = []
    file = io.StringIO(newline="")
    assert export_csv(system, file, progress=seen.append) == 2001
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert len({row["id"] for row in rows}) == len(rows) == 2001
    assert seen == [1000, 2000, 2001]


def test_json_lines_hold_the_ticket_and_its_clock(system: TicketSystem) -> None:
    ticket = system.create_ticket(a_ticket(tags=["a"]))
    system.update_status(ticket.id, "on_hold")
    file = io.StringIO()
    assert export_json_lines(system, file) == 1
    told = json.loads(file.getvalue())
    assert (told["id"], told["tags"], told["status"]) == (ticket.id, ["a"], "on_hold")
    assert told["created_at"] == ticket.created_at.isoformat()
    assert told["clock"]["state"] == "paused"
    assert told["clock"]["remaining_seconds"] == pytest.approx(72 * 3600, abs=60)


def test_an_empty_desk_is_a_header(system: TicketSystem) -> None:
    assert exported(system).splitlines() == [",".join(cells.COLUMNS)]
