"""A spreadsheet comes in row by row: again without doubles, and with a reason for each row that is left out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.factories import a_ticket
from ticket_system import ImportFailed, Ticket, TicketSystem, monitor, outbox
from ticket_system.imports import ImportSummary, import_csv
from ticket_system.sla.clocks import ClockState


def a_file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "tickets.csv"
    path.write_bytes(text.encode(encoding))
    return path


def imported(system: TicketSystem, tmp_path: Path, text: str) -> ImportSummary:
    return import_csv(system, a_file(tmp_path, text))


def only(system: TicketSystem, status: str = "open") -> Ticket:
    (ticket,) = system.get_queue(status=status)
    return ticket


def figures(summary: ImportSummary) -> tuple[int, int, int, int]:
    return summary.read, summary.added, summary.present, summary.failed


def reasons(summary: ImportSummary) -> dict[int | None, str]:
    return {problem.line: problem.reason for problem in summary.problems}


def test_two_columns_are_enough(system: TicketSystem, tmp_path: Path) -> None:
    assert figures(imported(system, tmp_path, "Title,Requester\nThe server is down,ada\n")) == (1, 1, 0, 0)
    ticket = only(system)
    assert (ticket.title, ticket.requester, ticket.description) == ("The server is down", "ada", "")
    assert (ticket.priority, ticket.sla_hours) == (1, 4), "the words decide"
    assert ticket.clock is not None
    assert ticket.clock.state is ClockState.RUNNING


def test_every_column_is_read(system: TicketSystem, tmp_path: Path) -> None:
    text = (
        "id,title,description,requester,priority,status,assignee,sla_hours,created_at,updated_at,resolved_at,tags\n"
        'A-1,t,"d1\nd2",ada,High,Closed,bob,30,2026-01-05T10:00:00,2026-01-07T00:00:00Z,2026-01-05 12:00+01:00,x; y\n'
    )
    assert figures(imported(system, tmp_path, text)) == (1, 1, 0, 0)
    assert only(system, "closed") == Ticket(
        "t",
        "d1\nd2",
        "ada",
        id="A-1",
        priority=2,
        status="closed",
        assignee="bob",
        sla_hours=30,
        created_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
        updated_at=datetime(2026, 1, 7, tzinfo=UTC),
        resolved_at=datetime(2026, 1, 5, 11, tzinfo=UTC),
        tags=["x", "y"],
    )


@pytest.mark.parametrize("delimiter", (",", ";", "\t"))
@pytest.mark.parametrize("encoding", ("utf-8", "utf-8-sig"))
@pytest.mark.parametrize("line_end", ("\n", "\r\n"))
def test_what_spreadsheets_write_is_read(
    sqlite_system: TicketSystem, tmp_path: Path, delimiter: str, encoding: str, line_end: str
) -> None:
    rows = (("ID", " Title ", "REQUESTER"), ("1", "Käse", "ada"), ("2", '"a, b; c"', "bob"))
    text = line_end.join(delimiter.join(row) for row in rows)
    assert figures(import_csv(sqlite_system, a_file(tmp_path, text, encoding))) == (2, 2, 0, 0)
    assert {ticket.title for ticket in sqlite_system.get_queue()} == {"Käse", "a, b; c"}


def test_a_second_time_adds_nothing(system: TicketSystem, tmp_path: Path) -> None:
    text = "id,title,requester\nX,named,ada\n,equal,ada\n,equal,ada\n,other,ada\n"
    assert figures(imported(system, tmp_path, text)) == (4, 4, 0, 0)
    before = {ticket.id for ticket in system.get_queue()}
    assert figures(imported(system, tmp_path, text)) == (4, 0, 4, 0)
    # The same rows from another program: other columns around them, another order of columns.
    assert figures(imported(system, tmp_path, "mood;requester;title\n?;ada;equal\n")) == (1, 0, 1, 0)
    assert {ticket.id for ticket in system.get_queue()} == before


def test_what_is_here_already_is_left_alone(system: TicketSystem, tmp_path: Path) -> None:
    system.create_ticket(a_ticket(id="X", title="mine"))
    imported(system, tmp_path, "id,title,requester\nX,theirs,eve\n")
    assert only(system).title == "mine"


@pytest.mark.parametrize(
    ("row", "reason"),
    (
        (",ada,,,,,,,", "title must not be empty"),
        ("t,,,,,,,,", "requester must not be empty"),
        ("t,ada,0,,,,,,", "priority must be from 1 to 4, not 0"),
        ("t,ada,9,,,,,,", "priority must be from 1 to 4, not 9"),
        ("t,ada,huge,,,,,,", "priority must be a whole number, not 'huge'"),
        ("t,ada,,-4,,,,,", "sla_hours must be from 1 to"),
        ("t,ada,,4.5,,,,,", "sla_hours must be a whole number"),
        ("t,ada,,,waiting,,,,", "status must be one of"),
        ("t,ada,,,,tomorrow,,,", "created_at must be a time like"),
        ("t,ada,,,,9999-01-01,,,", "created_at lies in the future"),
        ("t,ada,,,,,9999-01-01,,", "updated_at lies in the future"),
        ("t,ada,,,,2026-01-02,,2026-01-01,", "resolved_at is given, but the status is open"),
        ("t,ada,,,resolved,2026-01-02,,2026-01-01,", "resolved_at lies before created_at"),
        ('"two\nlines",ada,,,,,,,', "title must be one line of plain text"),
        ("t\x1b[31m,ada,,,,,,,", "title must be one line of plain text"),
        ('t,ada,,,,,,,"{}"'.format("x" * 1_000_001), "description must be at most 1,000,000 characters long"),
        ("t,ada,,,,,,", "has 8 cells where the first line names 9 columns"),
        ("t,ada,,,,,,,,", "has 10 cells where the first line names 9 columns"),
        ('"t"t,ada,,,,,,,', "cannot be read"),
    ),
)
def test_a_bad_row_is_named_and_the_rest_goes_on(
    sqlite_system: TicketSystem, tmp_path: Path, row: str, reason: str
) -> None:
    header = "title,requester,priority,sla_hours,status,created_at,updated_at,resolved_at,description"
    good = '"good","ada",,,,,,,"over\nthree\nlines"'
    summary = imported(sqlite_system, tmp_path, f"{header}\n{good}\n\n{row}\n{good}\n")
    assert figures(summary) == (3, 2, 0, 1)
    assert list(reasons(summary)) == [6], "lines of the file, not rows"
    assert reason in reasons(summary)[6]


def test_a_quotation_mark_that_is_never_closed_is_named(sqlite_system: TicketSystem, tmp_path: Path) -> None:
    summary = imported(sqlite_system, tmp_path, 'title,requester\ngood,ada\n"bad,ada\nlost,ada\n')
    assert reasons(summary) == {3: "a quotation mark that opens in this row is never closed"}


def test_an_id_counts_once(sqlite_system: TicketSystem, tmp_path: Path) -> None:
    summary = imported(sqlite_system, tmp_path, "id,title,requester\nX,one,ada\nY,other,ada\nX,two,ada\n")
    assert (summary.added, reasons(summary)) == (2, {4: "the id 'X' stands in line 2 already"})


@pytest.mark.parametrize(
    ("content", "reason"),
    (
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n1,2\n", "has no column title, requester; its first line names: a, b"),
        (b"title,title,requester\na,b,c\n", "names a column twice: title"),
        (b"title,requester\nfine,ada\nK\xe4se,ada\n", "line 3: the byte 0xe4 is not UTF-8"),
        ("title,requester\n".encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
    ),
)
def test_a_file_that_makes_no_sense_imports_nothing(
    sqlite_system: TicketSystem, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "tickets.csv"
    path.write_bytes(content)
    with pytest.raises(ImportFailed) as caught:
        import_csv(sqlite_system, path)
    assert reason in str(caught.value)
    assert sqlite_system.get_queue() == []


@pytest.mark.parametrize(("name", "reason"), (("missing.csv", "No such file"), (".", "Is a directory")))
def test_no_file_is_an_error(sqlite_system: TicketSystem, tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImportFailed, match=reason):
        import_csv(sqlite_system, tmp_path / name)


class TestThePast:
    HEADER = "id,title,requester,priority,status,created_at,updated_at,resolved_at\n"

    def test_what_was_solved_counts_with_its_verdict(self, system: TicketSystem, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        begin = now - timedelta(days=3)
        rows = [
            f"in time,t,ada,1,resolved,{begin.isoformat()},,{(begin + timedelta(hours=4)).isoformat()}",
            f"late,t,ada,1,closed,{begin.isoformat()},{now.isoformat()},{(begin + timedelta(hours=5)).isoformat()}",
            f"nobody knows when,t,ada,1,closed,{begin.isoformat()},,",
        ]
        assert figures(imported(system, tmp_path, self.HEADER + "\n".join(rows))) == (3, 3, 0, 0)
        met, late, unknown = (system.get_ticket(row.split(",")[0]) for row in rows)
        assert met is not None
        assert met.clock is not None
        assert met.clock.state is ClockState.MET
        assert late is not None
        assert late.clock is not None
        assert (late.clock.state, late.clock.breached_at) == (ClockState.BREACHED, begin + timedelta(hours=4))
        assert unknown is not None
        assert (unknown.status, unknown.clock) == ("closed", None)
        report = system.generate_report(7)
        assert (report["total_opened"], report["total_resolved"], report["sla_breach_rate_pct"]) == (3, 2, 50.0)
        assert outbox.count(system.database) == {}

    def test_what_is_late_already_wakes_nobody_and_what_comes_due_does(
        self, system: TicketSystem, tmp_path: Path
    ) -> None:
        now = datetime.now(UTC)
        late, coming = now - timedelta(hours=9), now - timedelta(hours=3)
        rows = f"late,t,ada,1,in_progress,{late.isoformat()},,\ncoming,t,ada,1,open,{coming.isoformat()},,\n"
        imported(system, tmp_path, self.HEADER + rows)
        assert [one["ticket_id"] for one in system.get_breached_tickets()] == ["late"]
        assert monitor.scan_breaches(system.database).found == 0
        sweep = monitor.scan_breaches(system.database, now=now + timedelta(hours=2))
        assert (sweep.breaches, sweep.alarms) == (1, 1)

    def test_a_pause_begins_when_it_began(self, system: TicketSystem, tmp_path: Path) -> None:
        begin = datetime.now(UTC) - timedelta(hours=9)
        held = begin + timedelta(hours=3)
        imported(system, tmp_path, self.HEADER + f"x,t,ada,1,on_hold,{begin.isoformat()},{held.isoformat()},\n")
        clock = only(system, "on_hold").clock
        assert clock is not None
        assert (clock.state, clock.remaining) == (ClockState.PAUSED, timedelta(hours=1))


def test_progress_ends_at_the_whole(sqlite_system: TicketSystem, tmp_path: Path) -> None:
    path = a_file(tmp_path, "title,requester\n" + "".join(f"t{number},ada\n" for number in range(1200)))
    seen: list[tuple[int, int]] = []
    import_csv(sqlite_system, path, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) == 3
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


@pytest.fixture
def sqlite_system() -> TicketSystem:
    """For what no database has a say in."""
    return TicketSystem()
