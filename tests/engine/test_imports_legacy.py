"""A file of the earlier library comes into any database as it would open in place; the file is only read."""

import sqlite3
from pathlib import Path

import pytest

from tests.support.earlier import ago, old_comment, old_event, old_file, old_ticket
from ticket_system import DamagedFile, ImportFailed, StorageUnavailable, TicketSystem, outbox
from ticket_system.imports import import_legacy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tickets = [
        old_ticket("open", tags="a,b"),
        old_ticket("late", created_at=ago(100)),
        old_ticket("held", status="on_hold", created_at=ago(9), updated_at=ago(5)),
        old_ticket("done", status="closed", created_at=ago(100), updated_at=ago(1), resolved_at=ago(1)),
    ]
    comments = [old_comment("c1", "open"), old_comment("c2", "gone")]
    history = [old_event("h1", "done", "status→resolved", ago(90)), old_event("h2", "gone", "created", ago(9))]
    return old_file(tmp_path / "old.db", tickets, comments, history)


def test_comes_in_as_it_would_open_in_place(system: TicketSystem, source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    summary = import_legacy(system, source)
    assert (summary.read, summary.added, summary.present, summary.failed) == (4, 4, 0, 0)
    assert summary.events == 3, "two rows of history and a comment without its ticket"
    assert source.read_bytes() == before
    assert outbox.count(system.database) == {}

    beside = tmp_path / "beside.db"
    beside.write_bytes(before)
    with TicketSystem(beside) as in_place:
        for ticket_id in ("open", "late", "held", "done"):
            here, there = system.get_ticket(ticket_id), in_place.get_ticket(ticket_id)
            assert here is not None
            assert there is not None
            assert here == there
            assert here.clock is not None
            assert there.clock is not None
            assert here.clock.state is there.clock.state
            assert here.clock.deadline(here.created_at) == there.clock.deadline(here.created_at)
            assert system.get_comments(ticket_id) == in_place.get_comments(ticket_id)
        for ticket_id in ("open", "late", "held", "done", "gone"):
            assert system.get_history(ticket_id) == in_place.get_history(ticket_id)


def test_a_second_time_adds_nothing(system: TicketSystem, source: Path) -> None:
    import_legacy(system, source)
    history = system.get_history("gone")
    summary = import_legacy(system, source)
    assert (summary.read, summary.added, summary.present, summary.events) == (4, 0, 4, 0)
    assert system.get_history("gone") == history


def test_a_bad_ticket_is_named_and_the_rest_goes_on(system: TicketSystem, tmp_path: Path) -> None:
    tickets = [
        old_ticket("fine"),
        old_ticket("odd", status="waiting"),
        old_ticket("nul", title="a\x00b"),
        old_ticket("taken"),
    ]
    comments = [old_comment("c", "fine"), old_comment("mine", "taken")]
    path = old_file(tmp_path / "old.db", tickets, comments)
    import_legacy(system, old_file(tmp_path / "other.db", [old_ticket("x")], [old_comment("mine", "x")]))
    summary = import_legacy(system, path)
    assert (summary.read, summary.added, summary.failed) == (4, 1, 3)
    told = sorted(problem.reason for problem in summary.problems)
    assert told[0] == "ticket 'nul': its text holds a NUL character, which no database stores"
    assert told[1].startswith("ticket 'odd': status must be one of")
    assert told[2] == "ticket 'taken': one of its comments has an id that is taken here"
    assert [comment.id for comment in system.get_comments("fine")] == ["c"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    system = TicketSystem()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 40)
    with pytest.raises(DamagedFile, match="not a SQLite file"):
        import_legacy(system, text)
    with pytest.raises(StorageUnavailable, match="no such file"):
        import_legacy(system, tmp_path / "missing.db")
    foreign = tmp_path / "foreign.db"
    sqlite3.connect(foreign).execute("CREATE TABLE bookmarks (url)").connection.close()
    with pytest.raises(ImportFailed, match="not written by the earlier library"):
        import_legacy(system, foreign)
