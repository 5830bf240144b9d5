"""The `tickets` command, as a person and as a script use it."""

import io
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.earlier import old_comment, old_file, old_ticket
from tests.support.factories import a_ticket, a_ticket_due_in
from ticket_system import TicketSystem, imports, monitor, outbox
from ticket_system.__main__ import main
from ticket_system.storage import database as database_module
from ticket_system.storage import schema


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run: TypeAlias = Callable[..., Done]

ENVIRONMENT = os.environ | {"PYTHONPATH": ""}
PROGRAM = [sys.executable, "-m", "ticket_system"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("TICKETS_DATABASE_URL", "TICKETS_DATABASE_URL_FILE", "TICKETS_AUTHOR", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run_it(*words: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(list(words))
        told = capsys.readouterr()
        return Done(int(left.value.code or 0), told.out, told.err)

    yield run_it
    monkeypatch.undo()
    time.tzset()


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text.rstrip()


class TestADayAtTheDesk:
    def test_from_opening_to_closing(self, run: Run) -> None:
        opened = run("create", "The server is down", "--requester", "ada", "--tag", "web", "--tag", "eu")
        assert opened.status == 0
        ticket_id = one_line(opened.out)
        assert run("assign", ticket_id, "bob").out == f"{ticket_id} is in_progress, assigned to bob.\n"
        assert run("assign", ticket_id, "eve").out == f"{ticket_id} is in_progress, assigned to eve.\n"
        assert run("comment", ticket_id, "-", "--author", "eve", stdin="Looking\ninto it\n").status == 0
        assert run("comment", ticket_id, "psst", "--internal", "--author", "eve").status == 0
        assert run("escalate", ticket_id, "--reason", "the boss calls").out == f"{ticket_id} is critical now.\n"
        assert run("status", ticket_id, "resolved", "--author", "eve", "--note", "rebooted").status == 0
        shown = run("show", ticket_id).out
        for line in (
            "The server is down",
            "status     resolved",
            "priority   critical, 4 hours",
            "assignee   eve",
            "tags       web, eu",
            "opened it: critical, 4 hours",
            "assigned it to eve (before: bob)",
            "eve  said: Looking\n    into it\n",
            "eve  noted: psst",
            "escalated it: critical → critical: the boss calls",
            "moved it: in_progress → resolved",
            "eve  noted: rebooted",
            "(in time)",
        ):
            assert line in shown
        told = run("show", ticket_id, "--json").json
        assert (told["status"], told["clock"]["state"], len(told["comments"])) == ("resolved", "met", 4)
        assert datetime.fromisoformat(told["created_at"]).tzinfo is UTC
        assert run("list").out == "The queue is empty.\n"
        assert [one["id"] for one in run("list", "--status", "resolved", "--json").json] == [ticket_id]

    def test_what_a_policy_is_chosen_by_can_be_set_afterwards(self, run: Run) -> None:
        run("create", "Slow", "--id", "A", "--priority", "low", "--requester", "ada", "--tag", "web")
        done = run("set", "A", "--priority", "high", "--plan", "gold", "--tag", "eu", "--tag", "vip", "--author", "bo")
        assert done.out == "A has plan gold, priority high, tags eu + vip.\n"
        told = run("set", "A", "--priority", "2", "--plan", "", "--customer", "acme", "--no-tags", "--json").json
        assert (told["priority"], told["plan"], told["customer"], told["tags"]) == (2, None, "acme", [])
        shown = run("show", "A").out
        for line in (
            "priority   high, 24 hours",
            "customer   acme",
            "bo  changed plan none → gold, tags web → eu + vip\n",
            "bo  changed the priority: low → high",
            "changed customer none → acme, plan gold → none, tags eu + vip → none\n",
        ):
            assert line in shown
        assert shown.count("changed the priority") == 1

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        (
            (("A",), 2, "give what to set: --priority, --customer, --plan, --group, --tag or --no-tags"),
            (("A", "--tag", "x", "--no-tags"), 2, "give either --tag or --no-tags"),
            (("A", "--priority", "huge"), 2, "huge"),
            (("A", "--group", "two\nlines"), 2, "group must be one line"),
            (("B", "--group", "emea"), 3, "B"),
        ),
    )
    def test_what_cannot_be_set_is_told(self, run: Run, words: tuple[str, ...], status: int, message: str) -> None:
        run("create", "Slow", "--id", "A", "--requester", "ada")
        refused = run("set", *words)
        assert (refused.status, refused.out) == (status, "")
        assert message in one_line(refused.err)

    def test_the_queue_is_a_table_that_scripts_can_cut(self, run: Run) -> None:
        run("create", "Slow\tly", "--priority", "low", "--requester", "ada")
        assert run("list").out == "The queue is empty.\n", "a title with a tab is refused"
        run("create", "First things", "--id", "A", "--priority", "critical", "--requester", "ada")
        run("create", "Later", "--id", "B", "--priority", "4", "--assignee", "bob", "--requester", "ada")
        header, *rows = (line.split("\t") for line in run("list").out.splitlines())
        assert header == ["id", "priority", "status", "due", "assignee", "title"]
        assert rows == [
            ["A", "critical", "open", "3 h 59 min left", "", "First things"],
            ["B", "low", "open", "6 d 23 h left", "bob", "Later"],
        ]
        assert [one["id"] for one in run("list", "--assignee", "bob", "--json").json] == ["B"]
        assert [one["id"] for one in run("list", "--priority", "critical", "--json").json] == ["A"]
        cut = run("list", "--limit", "1")
        assert (len(cut.out.splitlines()), cut.err) == (2, "There are more; --limit 2 shows more.\n")

    def test_what_is_late(self, run: Run) -> None:
        run("create", "fine")
        assert run("breaches").out == "No ticket is late.\n"
        assert run("breaches", "--json").json == []
        with TicketSystem("tickets.db") as system:
            system.create_ticket(a_ticket_due_in(-3600, id="L", assignee="bob"))
        assert run("breaches").out.splitlines()[1].split("\t") == [
            "L", "critical", "1.0 h", "bob", "Printer prints stars",
        ]  # fmt: skip
        assert "late" in run("show", "L").out

    def test_the_report(self, run: Run) -> None:
        run("create", "fine", "--assignee", "bob")
        told = run("report", "--days", "3")
        assert "The last 3 days" in told.out
        assert "average time to resolution  none yet" in told.out
        assert "bob\t1" in told.out
        assert run("report", "--json").json["total_opened"] == 1

    def test_times_are_shown_in_a_zone_that_is_named(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        with TicketSystem("tickets.db") as system:
            system.create_ticket(a_ticket(id="A", created_at=datetime(2026, 7, 1, 8, tzinfo=UTC)))
        assert "opened     2026-07-01 08:00 UTC" in run("show", "A").out
        assert "opened     2026-07-01 09:00 WEST" in run("show", "A", "--timezone", "Europe/Lisbon").out
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        assert "opened     2026-07-01 13:30 IST" in run("show", "A").out
        assert run("show", "A", "--json").json["created_at"] == "2026-07-01T08:00:00+00:00"
        assert run("show", "A", "--timezone", "Mars/Olympus").status == 2


class TestRefusals:
    @pytest.mark.parametrize(
        "words",
        (
            ("show", "nope"),
            ("assign", "nope", "bob"),
            ("status", "nope", "resolved"),
            ("comment", "nope", "hello"),
            ("escalate", "nope"),
        ),
    )
    def test_an_unknown_id_is_3(self, run: Run, words: tuple[str, ...]) -> None:
        run("create", "something")
        done = run(*words)
        assert (done.status, done.out) == (3, "")
        assert one_line(done.err) == "tickets: no ticket has the id 'nope'"

    def test_an_illegal_move_is_4(self, run: Run) -> None:
        run("create", "something", "--id", "A")
        done = run("status", "A", "closed")
        assert done.status == 4
        assert one_line(done.err) == (
            "tickets: Invalid transition: open → closed (ticket A; allowed: in_progress, on_hold, cancelled)"
        )
        run("status", "A", "cancelled")
        done = run("assign", "A", "bob")
        assert done.status == 4
        assert "only active tickets are assigned" in one_line(done.err)

    @pytest.mark.parametrize(
        ("words", "reason"),
        (
            (("create", "t", "--priority", "0"), "priority must be from 1 to 4, not 0"),
            (("create", "t", "--priority", "9"), "priority must be from 1 to 4, not 9"),
            (("create", "t", "--priority", "huge"), "priority must be 1 to 4, or critical, high, medium, low"),
            (("create", "t", "--hours", "-4"), "sla_hours must be from 1 to"),
            (("create", "t", "--hours", "soon"), "Invalid value for '--hours'"),
            (("create", ""), "title must not be empty"),
            (("create", "two\nlines"), "title must be one line of plain text; it holds '\\n'"),
            (
                ("create", "t", "--requester", "a\x1b[31mda"),
                "requester must be one line of plain text; it holds '\\x1b'",
            ),
            (("create", "t", "--assignee", "b\x00b"), "assignee must be one line of plain text; it holds '\\x00'"),
            (("create", "t", "--description", "x" * 10_000_000), "at most 1,000,000 characters long, not 10,000,000"),
            (("create", "t", "--id", "A"), "a ticket with the id 'A' exists already"),
            (("status", "A", "waiting"), "status must be one of open, in_progress"),
            (("assign", "A"), "give either the name of an assignee or --nobody"),
            (("comment", "A", " "), "a comment must not be empty"),
            (("list", "--priority", "0"), "priority must be from 1 to 4, not 0"),
            (("list", "--status", "waiting"), "status must be one of"),
            (("list", "--limit", "0"), "Invalid value for '--limit'"),
            (("report", "--days", "0"), "days must be from 1 to"),
            (("import", "csv", "missing.csv"), "missing.csv cannot be read: No such file or directory"),
            (("export", "--format", "xml"), "the format must be csv or jsonl, not 'xml'"),
            (("outbox", "retry"), "give either the numbers of messages or --all"),
            (("outbox", "list", "--state", "lost"), "there is no state 'lost'"),
            (("frobnicate",), "No such command 'frobnicate'"),
            (("create",), "Missing argument"),
        ),
    )
    def test_what_makes_no_sense_is_2(self, run: Run, words: tuple[str, ...], reason: str) -> None:
        run("create", "something", "--id", "A")
        done = run(*words)
        assert (done.status, done.out) == (2, "")
        assert reason in one_line(done.err)
        assert len(run("list", "--json").json) == 1

    def test_a_program_gets_its_error_as_json(self, run: Run) -> None:
        run("create", "something")
        done = run("show", "nope", "--json")
        assert json.loads(one_line(done.err)) == {"error": "no ticket has the id 'nope'", "status": 3}

    def test_reading_makes_no_database(self, run: Run, tmp_path: Path) -> None:
        done = run("list")
        assert done.status == 1
        assert one_line(done.err).startswith("tickets: tickets.db: there is no such file; `tickets create`")
        assert list(tmp_path.iterdir()) == []

    def test_help_names_the_statuses_and_loads_nothing_it_does_not_need(self) -> None:
        script = (
            "import sys\nfrom ticket_system.__main__ import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "print(*({'sqlalchemy', 'rich', 'alembic'} & set(sys.modules)), sep='', end='.')"
        )
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert "3 not found; 4 refused" in " ".join(told.split())
        assert told.endswith("\n.")


class TestTerminals:
    @pytest.fixture
    def terminal(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "200")

        def run_it(*words: str) -> Done:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            return run(*words)

        return run_it

    def test_markup_in_a_title_is_shown_as_it_is(self, terminal: Run) -> None:
        terminal("create", "[red]alarm[/red] [/] :boom:", "--priority", "1", "--id", "A")
        shown = terminal("list").out
        assert "[red]alarm[/red] [/] :boom:" in shown
        assert "\x1b[" in shown

    def test_no_color_means_no_color(self, terminal: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        terminal("create", "plain", "--priority", "1")
        assert "\x1b[31" not in terminal("list").out
        assert "\x1b[1;31" not in terminal("list").out

    def test_what_steers_a_terminal_is_shown_not_sent(self, terminal: Run) -> None:
        nasty = "a\x1b]0;owned\x07b\x9b31mc\u202edcba\r!"
        with TicketSystem("tickets.db") as system:
            # An engine of before may have stored anything.
            ticket = a_ticket(id="A", description=nasty)
            system.create_ticket(ticket)
            system.update_status("A", "on_hold", "eve", nasty)
            with system.database.write() as connection:
                connection.exec_driver_sql("UPDATE tickets SET title = ?, assignee = ?", (nasty, nasty))
        for words in (("show", "A"), ("show", "A", "--json"), ("list",), ("list", "--json"), ("report",)):
            shown = terminal(*words).out
            assert not set("\x07\x9b\u202e\r") & set(shown), words
            assert "\x1b]" not in shown
        assert "\\x1b]0;owned\\x07b" in terminal("show", "A").out

    def test_whoever_stops_reading_is_not_told_about_it(self, run: Run, tmp_path: Path) -> None:
        with TicketSystem("tickets.db") as system:
            system.create_tickets([a_ticket() for _ in range(3000)])
        command = [*PROGRAM, "export"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141

    def test_an_interruption_is_one_line(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(imports, "import_csv", interrupted)
        done = run("import", "csv", "any.csv")
        assert done.status == 130
        assert one_line(done.err).startswith("tickets: interrupted")


class TestTroubleWithTheDatabase:
    def test_a_file_that_cannot_be_written_can_be_read(self, run: Run, tmp_path: Path) -> None:
        run("create", "something", "--id", "A")
        url = f"sqlite:///file:{tmp_path / 'tickets.db'}?mode=ro&uri=true"
        assert "something" in run("list", "--database", url).out
        done = run("create", "more", "--database", url)
        assert done.status == 1
        assert "read-only" in one_line(done.err)

    def test_a_full_disk_stops_an_import_whole_rows_only(self, run: Run, tmp_path: Path) -> None:
        run("create", "something", "--id", "A")
        rows = "".join(f"row {number},ada,{'x' * 500}\n" for number in range(3000))
        (tmp_path / "rows.csv").write_text(f"title,requester,description\n{rows}", encoding="utf-8")
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        done = subprocess.run(
            [*PROGRAM, "import", "csv", "rows.csv"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            # A stand-in for a full disk: no file of this process may grow beyond.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY)),
        )
        assert done.returncode == 1
        assert "is it full" in one_line(done.stderr)
        with closing(sqlite3.connect("tickets.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (kept,) = connection.execute("SELECT count(*) FROM tickets").fetchone()
        told = run("import", "csv", "rows.csv", "--json").json
        assert (told["added"], told["present"]) == (3001 - kept, kept - 1)

    def test_a_lock_that_is_not_released_is_named(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        run("create", "something", "--id", "A")
        monkeypatch.setattr(database_module, "_PATIENCE", 0.2)
        with closing(sqlite3.connect("tickets.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert run("list").status == 0
            done = run("escalate", "A")
        assert done.status == 1
        assert "another program keeps the file locked" in one_line(done.err)

    @pytest.mark.parametrize(
        ("url", "reason"),
        (
            ("postgresql://nobody@127.0.0.1:1/none", "nothing listens at this address"),
            ("mysql://nobody@127.0.0.1/none", "mysql"),
            ("no/such/folder/tickets.db", "does its folder exist"),
        ),
    )
    def test_a_database_that_cannot_be_had(self, run: Run, url: str, reason: str) -> None:
        done = run("create", "something", "--database", url)
        assert done.status == 1
        assert reason in one_line(done.err)

    def test_a_file_that_is_none(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "tickets.db").write_text("my tickets\n" * 500)
        done = run("list")
        assert done.status == 1
        assert "not a SQLite file" in one_line(done.err)


class TestComingAndGoing:
    def test_there_and_back(self, run: Run, tmp_path: Path) -> None:
        run("create", "=1+1", "--requester", "ada", "--id", "A")
        assert run("export", "out.csv").out == "1 ticket written to out.csv.\n"
        assert run("export", "out.csv").status == 2
        assert run("export", "out.csv", "--force").status == 0
        assert run("export").out.splitlines()[1].startswith("A,'=1+1,")
        assert json.loads(run("export", "--format", "jsonl").out)["title"] == "=1+1"
        done = run("import", "csv", "out.csv", "--database", "other.db")
        assert (done.status, done.out) == (0, "1 rows read: 1 tickets added, 0 present before, 0 rows left out.\n")
        assert run("list", "--json", "--database", "other.db").json[0]["title"] == "=1+1"
        assert sorted(one.name for one in tmp_path.glob("out*")) == ["out.csv"]

    def test_rows_that_are_left_out_are_named_and_are_1(self, run: Run, tmp_path: Path) -> None:
        rows = "".join(f",nobody {number}\n" for number in range(25))
        (tmp_path / "rows.csv").write_text(f"title,requester,mood\nt,ada,\x1bx\n{rows.replace(chr(10), ',' + chr(10))}")
        done = run("import", "csv", "rows.csv")
        assert done.status == 1
        assert done.out == "26 rows read: 1 tickets added, 0 present before, 25 rows left out.\n"
        told = done.err.splitlines()
        assert told[0] == "line 3: title must not be empty"
        assert told[20:] == ["… and 5 more; --json lists up to a thousand", "columns that mean nothing here: mood"]
        again = run("import", "csv", "rows.csv", "--json")
        assert (again.status, again.json["present"], len(again.json["problems"])) == (1, 1, 25)

    def test_a_log_and_a_legacy_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "log.csv").write_text(
            "number,incident_state,opened_at,sys_updated_at,priority,caller_id\n"
            "INC1,New,01-07-2016 08:00,01-07-2016 09:00,4 - Low,Caller 1\n"
        )
        done = run("import", "servicenow", "log.csv", "--timezone", "Europe/Lisbon")
        assert done.out == "1 rows read: 1 tickets added, 0 present before, 0 rows left out, 1 events applied.\n"
        assert "opened     2016-07-01 07:00 UTC" in run("show", "INC1").out
        old_file(tmp_path / "old.db", [old_ticket("T")], [old_comment("c", "gone")])
        assert run("import", "legacy", "old.db").status == 0
        assert len(run("list", "--json").json) == 2

    def test_a_legacy_file_is_upgraded_in_place(self, run: Run, tmp_path: Path) -> None:
        old_file(tmp_path / "tickets.db", [old_ticket("T")], [old_comment("c", "gone")])
        before = run("db", "version")
        assert (before.status, before.out) == (1, f"database none\nprogram  {schema.HEAD}\n")
        done = run("db", "upgrade")
        assert done.out.startswith("1 tickets of the earlier library are converted; the file as it was: ")
        assert "tickets.db.before-upgrade\n1 comments and history rows belong to no ticket" in done.out
        assert run("db", "upgrade").out == f"The database is at schema {schema.HEAD} already.\n"
        assert run("db", "version", "--json").json == {"database": schema.HEAD, "program": schema.HEAD}


def test_what_is_stuck_is_shown_sent_again_or_dropped(run: Run) -> None:
    with TicketSystem("tickets.db") as system:
        assert run("outbox", "list").out == "No message is stuck.\n"
        system.create_tickets([a_ticket_due_in(-60) for _ in range(3)])
        monitor.scan_breaches(system.database)
        for message in outbox.claim(system.database):
            outbox.park(system.database, message, "no such mailbox")
        header, *rows = (line.split("\t") for line in run("outbox", "list").out.splitlines()[:4])
        assert (header[0], rows[0][1], rows[0][-1]) == ("number", "parked", "no such mailbox")
        assert run("outbox", "list", "--json").json["count"] == {"parked": 3}
        first = rows[0][0]
        assert run("outbox", "retry", first).out == "1 message is to be sent again.\n"
        assert run("outbox", "retry", first).status == 3
        assert run("outbox", "drop", "--all").out == "2 messages are dropped.\n"
        assert outbox.count(system.database) == {"pending": 1, "dropped": 2}


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_the_database_is_named_by_the_environment_on_any_server(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETS_DATABASE_URL", database_url)
    ticket_id = run("create", "The server is down").out.strip()
    assert [one["id"] for one in run("list", "--json").json] == [ticket_id]
    assert run("assign", ticket_id, "bob").status == 0
    assert run("report", "--json").json["open_by_assignee"] == {"bob": 1}
    assert run("db", "version").status == 0


class TestTheDatabaseInAFile:
    def test_it_is_named_by_what_a_container_was_given(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "url").write_text(f"{tmp_path / 'named.db'}\n")
        monkeypatch.setenv("TICKETS_DATABASE_URL_FILE", str(tmp_path / "url"))
        assert run("create", "The server is down").status == 0
        assert (tmp_path / "named.db").exists()
        monkeypatch.setenv("TICKETS_DATABASE_URL", str(tmp_path / "nearer.db"))
        assert run("create", "The server is down").status == 0
        assert (tmp_path / "nearer.db").exists()

    def test_a_file_that_is_not_there_is_named(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TICKETS_DATABASE_URL_FILE", "absent")
        refused = run("list")
        assert refused.status == 2
        assert "TICKETS_DATABASE_URL_FILE: absent cannot be read" in one_line(refused.err)
