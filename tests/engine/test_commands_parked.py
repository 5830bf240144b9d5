"""`tickets parked`, as a person and as a script use it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from ticket_system import TicketSystem, parking
from ticket_system.__main__ import main

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKETS_AUTHOR", "boss")

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


@pytest.fixture
def system(run: Run, tmp_path: Path) -> Iterator[TicketSystem]:
    with TicketSystem(tmp_path / "tickets.db") as system:
        yield system


@pytest.fixture
def number(system: TicketSystem) -> str:
    return str(parking.park(system.database, "tickets.open_ticket", '{"title": "\x1b[31mRed"}', "requester: missing"))


def test_where_nothing_is_parked_it_says_so(run: Run, system: TicketSystem) -> None:
    assert run("parked", "list") == (0, "No message is parked.\n", "")
    assert run("parked", "list", "--json") == (0, "[]\n", "")


def test_the_list_says_why_and_not_what(run: Run, number: str) -> None:
    status, shown, _ = run("parked", "list")
    assert status == 0
    assert "requester: missing" in shown
    assert "Red" not in shown


def test_a_message_is_shown_as_it_came_and_steers_no_terminal(run: Run, number: str) -> None:
    status, shown, _ = run("parked", "show", number)
    assert status == 0
    assert '{"title": "\\x1b[31mRed"}' in shown
    one = json.loads(run("parked", "show", number, "--json")[1])
    assert (one["body"], one["state"], one["times"]) == ('{"title": "\x1b[31mRed"}', "waiting", 1)


def test_a_message_is_tried_again(run: Run, number: str, system: TicketSystem) -> None:
    # A control character is none of JSON's.
    assert run("parked", "replay", number)[0] == 2
    Path("mended.json").write_text('{"title": "Red"}', "utf-8")
    assert run("parked", "replay", number, "--body", "mended.json") == (0, "1 message is tried again.\n", "")
    (one,) = parking.due(system.database)
    assert (one.body, one.settled_by) == ('{"title": "Red"}', "boss")


def test_messages_are_dropped_and_stay_on_record(run: Run, number: str, system: TicketSystem) -> None:
    status, shown, errors = run("parked", "drop", number, "99", "--json")
    assert status == 2
    assert json.loads(shown)["changed"] == 1
    assert "99" in errors
    assert json.loads(run("parked", "list", "--state", "dropped", "--json")[1])[0]["settled_by"] == "boss"


@pytest.mark.parametrize(
    ("words", "expected"),
    (
        (("parked", "list", "--state", "lost"), "waiting, due, replayed, dropped"),
        (("parked", "show", "7"), "tickets parked list"),
        (("parked", "replay", "1", "2", "--body", "b.json"), "one number"),
    ),
)
def test_what_makes_no_sense_is_refused_in_one_line(
    run: Run, system: TicketSystem, words: tuple[str, ...], expected: str
) -> None:
    Path("b.json").write_text("{}", "utf-8")
    status, shown, errors = run(*words)
    assert (status, shown, errors.count("\n")) == (2, "", 1)
    assert expected in errors
