"""A file of the earlier library opens with nothing lost, or is left exactly as it was."""

import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.earlier import BARE_SCHEMA, SCHEMA, ago, old_comment, old_event, old_file, old_ticket
from ticket_system import DamagedFile, SchemaOutdated, StorageUnavailable, Ticket, TicketSystem, monitor, outbox
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.storage import legacy_upgrade
from ticket_system.storage.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk.db"


def opened(path: Path, ticket_id: str = "T1") -> Ticket:
    with TicketSystem(path) as system:
        ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    return ticket


def clock_of(path: Path, ticket_id: str = "T1") -> Clock:
    clock = opened(path, ticket_id).clock
    assert clock is not None
    return clock


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def copies(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.glob(f"{path.name}.*") if "before-upgrade" in one.name)


def everything_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_every_field_comment_and_history_row_is_there(path: Path) -> None:
    row = old_ticket(tags="printer,floor 2", assignee="bob", status="in_progress", created_at="2026-01-05T10:00:00")
    row |= {"updated_at": "2026-01-05T11:30:00.123456"}
    said = [old_comment("c1"), old_comment("c2", is_internal=1, body="one\ntwo", created_at=ago(0.4))]
    old_file(path, [row], said, [old_event("h1", "T1", "created", "2026-01-05T10:00:00", was_breached=1)])
    with TicketSystem(path) as system:
        ticket = system.get_ticket("T1")
        assert ticket == Ticket(
            "Printer prints stars",
            "Since Monday.",
            "ada",
            id="T1",
            priority=3,
            status="in_progress",
            assignee="bob",
            sla_hours=72,
            created_at=datetime(2026, 1, 5, 10, tzinfo=UTC),
            updated_at=datetime(2026, 1, 5, 11, 30, 0, 123456, tzinfo=UTC),
            tags=["printer", "floor 2"],
        )
        comments = [(one.id, one.author, one.body, one.is_internal) for one in system.get_comments("T1")]
        assert comments == [("c1", "grace", "Another tray?", False), ("c2", "grace", "one\ntwo", True)]
        (kept,) = [event for event in system.get_history("T1") if event.kind == "legacy"]
        assert (kept.at, kept.new) == (datetime(2026, 1, 5, 10, tzinfo=UTC), "created")
        assert kept.note == "row h1, sla_hours 72, was_breached 1"
        assert next(iter(system.get_history("T1"))).kind == "created"


@pytest.mark.parametrize(
    ("text", "instant"),
    (
        ("2026-01-05T10:00:00", "2026-01-05T10:00:00+00:00"),
        ("2026-01-05 10:00:00.5", "2026-01-05T10:00:00.500000+00:00"),
        ("2026-01-05T10:00:00Z", "2026-01-05T10:00:00+00:00"),
        ("2026-01-05T10:00:00+02:00", "2026-01-05T08:00:00+00:00"),
    ),
)
def test_times_mean_utc_unless_they_say_otherwise(path: Path, text: str, instant: str) -> None:
    old_file(path, [old_ticket(created_at=text)])
    assert opened(path).created_at.isoformat() == instant


@pytest.mark.parametrize("schema", (SCHEMA, BARE_SCHEMA))
def test_ids_may_be_numbers(path: Path, schema: str) -> None:
    old_file(path, [old_ticket(7)], [old_comment(1, 7)], [old_event(1, 7, "created", ago(1))], schema)
    with TicketSystem(path) as system:
        assert [one.id for one in system.get_comments("7")] == ["1"]
        assert [event.kind for event in system.get_history("7")].count("legacy") == 1


def test_what_is_null_is_filled_in(path: Path) -> None:
    empty = dict.fromkeys(("title", "description", "requester", "sla_hours", "tags", "updated_at"))
    old_file(path, [old_ticket(priority=1) | empty], schema=BARE_SCHEMA)
    ticket = opened(path)
    assert (ticket.title, ticket.description, ticket.requester, ticket.sla_hours, ticket.tags) == ("", "", "", 4, [])
    assert ticket.updated_at == ticket.created_at


class TestClocks:
    def test_a_future_deadline_runs_on_and_is_found(self, path: Path) -> None:
        old_file(path, [old_ticket(sla_hours=2)])
        clock = clock_of(path)
        assert clock.state is ClockState.RUNNING
        assert clock.next_check_at == clock.due_at == clock.started_at + timedelta(hours=2)
        with TicketSystem(path) as system:
            assert monitor.scan_breaches(system.database, now=datetime.now(UTC) + timedelta(hours=3)).found == 1

    def test_what_is_overdue_already_is_recorded_and_wakes_nobody(self, path: Path) -> None:
        before = datetime.now(UTC)
        old_file(path, [old_ticket(created_at=ago(100), status="in_progress")])
        clock = clock_of(path)
        assert (clock.state, clock.breached_at) == (ClockState.BREACHED, clock.started_at + timedelta(hours=72))
        assert clock.detected_at is not None
        assert before <= clock.detected_at <= datetime.now(UTC)
        with TicketSystem(path) as system:
            database = system.database
            assert monitor.scan_breaches(database).found == 0
            assert outbox.count(database) == {}
            assert [event.key for event in system.get_history("T1") if event.kind == "breached"] == [
                "T1/resolution/1/breached/0/0"
            ]
            assert [late["ticket_id"] for late in system.get_breached_tickets()] == ["T1"]

    @pytest.mark.parametrize(
        ("solved", "state"), ((90, ClockState.MET), (28, ClockState.MET), (27, ClockState.BREACHED))
    )
    def test_closing_moved_resolved_at_and_the_history_knows_better(
        self, path: Path, solved: int, state: ClockState
    ) -> None:
        opened_at, closed_at = ago(100), ago(1)
        solved_at = (datetime.fromisoformat(opened_at) + timedelta(hours=100 - solved)).isoformat()
        history = [
            old_event("h1", "T1", "status→in_progress", ago(99)),
            old_event("h2", "T1", "status→resolved", solved_at),
            old_event("h3", "T1", "status→closed", closed_at, was_breached=1),
        ]
        row = old_ticket(status="closed", created_at=opened_at, updated_at=closed_at, resolved_at=closed_at)
        old_file(path, [row], history=history)
        ticket, clock = opened(path), clock_of(path)
        assert (clock.state, clock.stopped_at, clock.next_check_at) == (state, utc(solved_at), None)
        assert ticket.resolved_at == utc(solved_at)
        assert ticket.updated_at == utc(closed_at)
        if state is ClockState.BREACHED:
            assert (clock.breached_at, clock.detected_at) == (clock.due_at, utc(solved_at))
        with TicketSystem(path) as system:
            moves = [(event.at, event.new) for event in system.get_history("T1") if event.kind == "status"]
            assert moves == [(utc(solved_at), "resolved"), (utc(closed_at), "closed")]
            assert system.generate_report(30)["sla_breach_rate_pct"] == (100 if state is ClockState.BREACHED else 0)

    def test_solved_twice_counts_the_last_time(self, path: Path) -> None:
        last = ago(5)
        history = [
            old_event("z", "T1", "status→resolved", ago(50)),
            old_event("y", "T1", "status→open", ago(40)),
            old_event("x", "T1", "status→resolved", last),
        ]
        row = old_ticket(status="resolved", created_at=ago(60), updated_at=last, resolved_at=last)
        old_file(path, [row], history=history)
        assert clock_of(path).stopped_at == utc(last)

    def test_without_history_resolved_at_is_believed_and_kept(self, path: Path) -> None:
        row = old_ticket(status="resolved", created_at=ago(100), updated_at=ago(1), resolved_at=ago(50))
        old_file(path, [row])
        assert opened(path).resolved_at == clock_of(path).stopped_at == utc(str(row["resolved_at"]))

    def test_on_hold_is_paused_since_the_history_says_so(self, path: Path) -> None:
        held = ago(6)
        row = old_ticket(status="on_hold", sla_hours=4, created_at=ago(9), updated_at=ago(1))
        old_file(path, [row], history=[old_event("h", "T1", "status→on_hold", held)])
        clock = clock_of(path)
        assert (clock.state, clock.paused_at, clock.due_at) == (ClockState.PAUSED, utc(held), None)
        assert clock.remaining is not None
        assert abs(clock.remaining - timedelta(hours=1)) < timedelta(seconds=1)

    def test_on_hold_since_the_last_change_if_nothing_says_more(self, path: Path) -> None:
        row = old_ticket(status="on_hold", sla_hours=4, created_at=ago(9), updated_at=ago(8))
        old_file(path, [row])
        assert clock_of(path).paused_at == utc(str(row["updated_at"]))

    def test_put_on_hold_too_late_is_late(self, path: Path) -> None:
        old_file(path, [old_ticket(status="on_hold", sla_hours=4, created_at=ago(9), updated_at=ago(1))])
        clock = clock_of(path)
        assert (clock.state, clock.next_check_at) == (ClockState.BREACHED, None)

    def test_cancelled_counts_nowhere(self, path: Path) -> None:
        old_file(path, [old_ticket(status="cancelled", created_at=ago(100), updated_at=ago(90))])
        clock = clock_of(path)
        assert (clock.state, clock.next_check_at) == (ClockState.CANCELLED, None)
        with TicketSystem(path) as system:
            assert system.generate_report(30)["sla_breach_rate_pct"] == 0


def test_what_belongs_to_a_ticket_that_is_gone_is_kept_and_counted(path: Path) -> None:
    old_file(path, [old_ticket()], [old_comment("c", "gone")], [old_event("h", "gone", "created", ago(3))])
    with Database(path) as database:
        done = database.upgrade()
        assert done is not None
        assert (done.tickets, done.comments, done.strays) == (1, 0, 2)
    with TicketSystem(path) as system:
        told = {event.kind: event for event in system.get_history("gone")}
        assert (told["legacy_comment"].actor, told["legacy_comment"].note) == ("grace", "Another tray?")
        assert told["legacy"].new == "created"


class TestTheCopy:
    def test_holds_the_file_as_it_was(self, path: Path) -> None:
        old_file(path, [old_ticket()])
        before = everything_in(path)
        opened(path)
        assert copies(path) == ["desk.db.before-upgrade"]
        assert everything_in(path.with_name("desk.db.before-upgrade")) == before
        opened(path)
        assert copies(path) == ["desk.db.before-upgrade"], "nothing is left to upgrade"

    def test_never_replaces_an_earlier_one(self, path: Path) -> None:
        earlier = path.with_name("desk.db.before-upgrade")
        earlier.write_text("precious")
        old_file(path, [old_ticket()])
        opened(path)
        assert earlier.read_text() == "precious"
        assert copies(path) == ["desk.db.before-upgrade", "desk.db.before-upgrade.1"]

    def test_holds_what_is_still_in_the_write_ahead_log(self, path: Path) -> None:
        old_file(path)
        with closing(sqlite3.connect(path)) as busy:
            busy.execute("PRAGMA journal_mode = WAL")
            busy.execute(
                "INSERT INTO tickets (id, title, priority, status, created_at) VALUES ('W', 'w', 3, 'open', ?)",
                (ago(1),),
            )
            busy.commit()
            assert opened(path, "W").title == "w"
        with closing(sqlite3.connect(path.with_name("desk.db.before-upgrade"))) as copy:
            assert copy.execute("SELECT id FROM tickets").fetchall() == [("W",)]

    def test_needs_room(self, path: Path) -> None:
        old_file(path, [old_ticket(str(number), description="x" * 1000) for number in range(200)])
        before = path.read_bytes()
        script = (
            "import resource, sys; from ticket_system import TicketSystem, StorageUnavailable\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
            "try: TicketSystem(sys.argv[1])\n"
            "except StorageUnavailable as error: print(error)\n"
        )
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        assert "no copy of it could be made" in done.stdout
        assert path.read_bytes() == before
        assert copies(path) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    (
        ({"status": "waiting"}, "status must be one of"),
        ({"status": None}, "status must be one of"),
        ({"priority": 0}, "priority must be from 1 to 4"),
        ({"priority": 9}, "priority must be from 1 to 4"),
        ({"priority": "high"}, "priority must be a whole number"),
        ({"sla_hours": "soon"}, "sla_hours must be a whole number"),
        ({"sla_hours": 10**12}, ""),
        ({"created_at": None}, "created_at must be an ISO 8601 time"),
        ({"created_at": "yesterday"}, "created_at must be an ISO 8601 time"),
        ({"resolved_at": "never", "status": "resolved"}, "resolved_at must be an ISO 8601 time"),
        ({"title": b"\xff\xfe"}, "title in tickets is not text"),
    ),
)
def test_a_row_that_would_lose_something_stops_everything(path: Path, changes: dict[str, object], reason: str) -> None:
    old_file(path, [old_ticket("fine"), old_ticket("odd", **changes)], schema=BARE_SCHEMA)
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match="'odd'") as caught:
        TicketSystem(path)
    assert reason in str(caught.value)
    assert "Nothing was changed" in str(caught.value)
    assert path.read_bytes() == before
    assert copies(path) == []


def test_two_tickets_or_comments_of_one_id_stop_everything(path: Path) -> None:
    rows = [old_ticket("T1"), old_ticket("T1")]
    old_file(path, rows, [old_comment("c"), old_comment("c")], schema=BARE_SCHEMA)
    with pytest.raises(DamagedFile, match=r"several tickets .*; several comments have the id 'c'"):
        TicketSystem(path)


def test_trouble_on_the_way_leaves_the_file_and_no_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(path, [old_ticket()])
    before = path.read_bytes()
    monkeypatch.setattr(legacy_upgrade, "store", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TicketSystem(path)
    assert path.read_bytes() == before
    assert copies(path) == []
    monkeypatch.undo()
    assert opened(path).title == "Printer prints stars"


def test_a_process_that_is_killed_on_the_way_leaves_the_file_as_it_was(path: Path) -> None:
    old_file(path, [old_ticket(str(number), description="x" * 500) for number in range(3000)])
    before = everything_in(path)
    script = (
        "import os, signal, sys; from ticket_system import TicketSystem\n"
        "from ticket_system.storage import legacy_upgrade\n"
        "store, batches = legacy_upgrade.store, []\n"
        "def killed(*arguments):\n"
        "    batches.append(store(*arguments))\n"
        "    if len(batches) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "legacy_upgrade.store = killed\n"
        "TicketSystem(sys.argv[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -signal.SIGKILL
    assert everything_in(path) == before
    with TicketSystem(path) as system:
        assert len(system.get_queue()) == 3000
    assert copies(path) == ["desk.db.before-upgrade", "desk.db.before-upgrade.1"]


def test_views_keep_working(path: Path) -> None:
    old_file(path, [old_ticket()], schema=SCHEMA + "CREATE VIEW titles AS SELECT title FROM tickets;")
    opened(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM titles").fetchall() == [("Printer prints stars",)]


def test_tables_of_another_program_beside_ours_stay(path: Path) -> None:
    old_file(path, [old_ticket()], schema=SCHEMA + "CREATE TABLE notes (a); INSERT INTO notes VALUES (1);")
    opened(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT a FROM notes").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("extra", "reason"),
    (
        ("CREATE TABLE clocks (a);", "tables of its own called clocks"),
        ("CREATE TABLE notes (t REFERENCES tickets(id));", "refers to the tickets"),
    ),
)
def test_tables_that_are_in_the_way_are_named(path: Path, extra: str, reason: str) -> None:
    old_file(path, [old_ticket()], schema=SCHEMA + extra)
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match=reason):
        TicketSystem(path)
    assert path.read_bytes() == before


class TestFilesThatAreNotOurs:
    def check(self, path: Path, reason: str) -> None:
        before = path.read_bytes()
        with pytest.raises(DamagedFile, match=reason) as caught:
            TicketSystem(path)
        assert "left as it" in str(caught.value)
        assert path.read_bytes() == before
        assert copies(path) == []

    def test_a_text_file(self, path: Path) -> None:
        path.write_text("These are my tickets:\n" * 100)
        self.check(path, "not a SQLite file")

    def test_another_programs_tables(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE bookmarks (url)")
        self.check(path, "belongs to another program")

    def test_tickets_of_another_shape(self, path: Path) -> None:
        old_file(path, schema=SCHEMA + "ALTER TABLE tickets ADD COLUMN mood TEXT;")
        self.check(path, "belongs to another program")

    def test_a_damaged_page(self, path: Path) -> None:
        old_file(path, [old_ticket(str(number), description="x" * 1000) for number in range(100)])
        content = bytearray(path.read_bytes())
        content[4096 * 10 : 4096 * 11] = b"\xa5" * 4096
        path.write_bytes(content)
        self.check(path, "damaged")

    def test_a_file_that_was_cut_off(self, path: Path) -> None:
        old_file(path, [old_ticket(str(number), description="x" * 1000) for number in range(100)])
        path.write_bytes(path.read_bytes()[: 4096 * 10])
        self.check(path, "damaged")

    def test_an_empty_file_is_a_new_database(self, path: Path) -> None:
        path.touch()
        with TicketSystem(path) as system:
            assert system.get_queue() == []
        assert copies(path) == []


def test_a_file_of_a_newer_program_is_refused(path: Path) -> None:
    TicketSystem(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutdated, match="update the program"):
        TicketSystem(path)


def test_a_file_that_cannot_be_written_says_so(path: Path) -> None:
    old_file(path, [old_ticket()])
    before = path.read_bytes()
    with pytest.raises(StorageUnavailable, match="read-only"):
        TicketSystem(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert path.read_bytes() == before
    assert copies(path) == []


def test_of_two_processes_one_converts_and_the_other_waits(path: Path) -> None:
    old_file(path, [old_ticket(str(number)) for number in range(2000)])
    script = "import sys; from ticket_system import TicketSystem; print(len(TicketSystem(sys.argv[1]).get_queue()))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [one.communicate(timeout=50) for one in both]
    assert [out.strip() for out, _ in told] == ["2000", "2000"], told
    assert copies(path) == ["desk.db.before-upgrade"]
