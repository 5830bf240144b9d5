"""`tickets ack` and `tickets alarms`, as a person and as a script use them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from ticket_system.__main__ import main

Run: TypeAlias = Callable[..., tuple[int, str, str]]

RULES = """
recipients = ["boss", "pager"]
[policies.all]
ack_expires = "2h"
[policies.all.targets.resolution]
within = { critical = "4h", high = "4h", medium = "4h", low = "4h" }
[[policies.all.warnings]]
at = "75%"
[[policies.all.chain]]
after = "0m"
notify = ["desk"]
[[policies.all.chain]]
after = "30m"
notify = ["boss"]
webhook = "pager"
repeat_every = "10m"
max_repeats = 1
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICKETS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TICKETS_AUTHOR", "grace")

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        return int(left.value.code or 0), *capsys.readouterr()

    (tmp_path / "sla.toml").write_text(RULES)
    assert run_it("policy", "apply", "sla.toml")[0] == 0
    return run_it


def opened(run: Run) -> str:
    ticket_id: str = json.loads(run("create", "It is slow", "--requester", "ada", "--json")[1])["id"]
    return ticket_id


def test_what_is_ahead_is_shown_in_its_order(run: Run) -> None:
    ticket_id = opened(run)
    status, out, _ = run("alarms", ticket_id, "--timezone", "UTC")
    assert status == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["at", "target", "alarm", "tells"]
    assert [row[2:] for row in rows[1:]] == [
        ["warning 1", "assignee-or-desk"],
        ["level 1", "desk"],
        ["level 2", "boss, pager"],
        ["level 2, repeat 1", "boss, pager"],
    ]
    told = json.loads(run("alarms", ticket_id, "--json")[1])
    assert [(one["kind"], one["number"], one["repeat"]) for one in told] == [
        ("warning", 1, 0),
        ("level", 1, 0),
        ("level", 2, 0),
        ("level", 2, 1),
    ]
    run("status", ticket_id, "on_hold")
    assert "when it goes on\tresolution" in run("alarms", ticket_id)[1]


def test_an_acknowledgement_is_taken_and_taken_back(run: Run) -> None:
    ticket_id = opened(run)
    status, out, _ = run("ack", ticket_id, "--for", "5h", "--note", "on it", "--timezone", "UTC")
    assert status == 0
    assert out.startswith(f"{ticket_id}: acknowledged by grace; the next call is at ")
    assert "on it" in run("show", ticket_id)[1]
    status, out, _ = run("ack", ticket_id, "--revoke", "--json")
    assert (status, json.loads(out)["acknowledged"]) == (0, False)
    status, _, err = run("ack", ticket_id, "--revoke")
    assert (status, err) == (4, f"tickets: {ticket_id} has no acknowledgement to take back\n")


def test_what_calls_nobody_is_not_acknowledged(run: Run) -> None:
    ticket_id = opened(run)
    run("status", ticket_id, "cancelled")
    status, _, err = run("ack", ticket_id)
    assert status == 4
    assert "is cancelled; only a ticket that is worked on calls anybody" in err
    assert run("alarms", ticket_id)[1] == "No alarm is to come for this ticket.\n"


@pytest.mark.parametrize("length", ("soon", "0m", "-2h", "1d", ""))
def test_a_length_of_time_that_is_none_is_named(run: Run, length: str) -> None:
    ticket_id = opened(run)
    status, _, err = run("ack", ticket_id, f"--for={length}")
    assert (status, "--for takes a length of time" in err) == ((2, True) if length else (0, False))


def test_unknown_tickets_are_not_found(run: Run) -> None:
    assert [run(verb, "nobody")[0] for verb in ("ack", "alarms")] == [3, 3]
    assert run("ack", "nobody", "--revoke", "--note", "x")[0] == 2
