"""`tickets policy`, as a person and as a script use it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from ticket_system import Ticket, TicketSystem
from ticket_system.__main__ import main
from ticket_system.commands.simulation import since_of

Run: TypeAlias = Callable[..., tuple[int, str, str]]

GOOD = """
[policies.everybody.targets.resolution]
within = { critical = "2h", high = "8h", medium = "24h", low = "48h" }

[[policies.everybody.chain]]
after = "0m"
notify = ["assignee-or-desk"]
raise_priority = true
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICKETS_DATABASE_URL", raising=False)

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(words))
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out, told.err

    return run_it


def test_the_example_is_written_once_and_is_in_order(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("policy", "init")
    assert (status, out) == (0, "sla.toml is written; change it, then: tickets policy check sla.toml\n")
    before = (tmp_path / "sla.toml").read_text()
    status, _, err = run("policy", "init")
    assert (status, err) == (4, "tickets: sla.toml is there already; name another file\n")
    assert (tmp_path / "sla.toml").read_text() == before
    status, out, _ = run("policy", "check", "sla.toml")
    assert status == 0
    assert "gold: first response, next response, resolution" in out


def test_what_is_applied_is_promised_to_new_tickets(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    run("create", "The old one", "--requester", "ada", "--id", "old", "--priority", "high")
    status, out, _ = run("policy", "diff", "mine.toml")
    assert status == 0
    assert "everybody" in out
    assert json.loads(run("policy", "apply", "mine.toml", "--author", "lead", "--json")[1]) == {"version": 1}
    assert run("policy", "diff", "mine.toml")[1] == "Nothing would change.\n"
    run("create", "The new one", "--requester", "ada", "--id", "new", "--priority", "high", "--plan", "gold")
    with TicketSystem(tmp_path / "tickets.db") as system:
        old, new = system.get_ticket("old"), system.get_ticket("new")
    assert old is not None
    assert new is not None
    assert (old.sla_hours, new.sla_hours, new.plan) == (24, 8, "gold")
    told = json.loads(run("show", "new", "--json")[1])
    assert told["clock"]["policy"] == "everybody"


def test_a_program_is_answered_in_json(run: Run) -> None:
    assert json.loads(run("policy", "init", "--json")[1]) == {"file": "sla.toml"}
    run("create", "One", "--requester", "ada", "--id", "one")
    assert run("export", "--json") == run("export", "--format", "jsonl")
    assert json.loads(run("export", "--json")[1])["id"] == "one"


def test_every_mistake_is_named_with_its_line_and_nothing_is_put_in_force(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(GOOD.replace("within", "witin").replace('"0m"', '"soon"'))
    for verb in ("check", "diff", "apply"):
        status, _, err = run("policy", verb, "bad.toml")
        assert status == 2
        assert len(err.splitlines()) >= 2
        assert "bad.toml:3" in err
    with TicketSystem(tmp_path / "tickets.db") as system:
        assert system.in_force()[0] is None


def test_the_example_can_be_put_in_force_as_it_is(run: Run) -> None:
    run("policy", "init")
    status, out, _ = run("policy", "apply", "sla.toml")
    assert (status, out) == (0, "Version 1 is in force for new tickets.\n")


def test_a_file_that_is_not_there_is_one_line(run: Run) -> None:
    status, _, err = run("policy", "check", "no.toml")
    assert status == 2
    assert err == "tickets: no.toml: cannot be read: No such file or directory\n"


STRICT = '[policies.all.targets.resolution]\nwithin = { critical = "1h", high = "2h", medium = "3h", low = "4h" }\n'


def test_rules_are_applied_to_open_tickets_after_they_were_shown(run: Run, tmp_path: Path) -> None:
    """Rule 18: an explicit act that shows beforehand what would move."""
    (tmp_path / "sla.toml").write_text(STRICT)
    _, out, _ = run("create", "It is slow", "--requester", "ada", "--json")
    ticket_id = json.loads(out)["id"]
    status, out, _ = run("policy", "apply", "sla.toml", "--to-open", "--dry-run")
    assert status == 0
    assert out.startswith("1 ticket is open.\n        1 clock would be due earlier\n")
    assert f"{ticket_id}\tresolution\tearlier\t" in out
    status, _, err = run("policy", "apply", "sla.toml", "--to-open")
    assert (status, err) == (2, "tickets: nobody is there to be asked; look with --dry-run, then say --yes\n")
    status, out, _ = run("policy", "apply", "sla.toml", "--to-open", "--yes", "--json")
    told = json.loads(out)
    assert (status, told["version"], told["changed"], told["counted"]) == (0, 1, 1, {"earlier": 1})
    status, out, _ = run("policy", "apply", "sla.toml", "--to-open", "--yes")
    assert out.endswith("Version 1 is in force for new tickets.\n0 open tickets run under it now.\n"), "nothing twice"
    _, out, _ = run("show", ticket_id, "--json")
    assert json.loads(out)["sla_hours"] == 3


def test_a_dry_run_is_for_open_tickets(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sla.toml").write_text(STRICT)
    status, _, err = run("policy", "apply", "sla.toml", "--dry-run")
    assert status == 2
    assert "goes with --to-open" in err


LABELS = ("critical", "medium", "low", "all")
QUICK = """
[policies.everybody.targets.resolution]
within = { critical = "1h", high = "1h", medium = "1h", low = "1h" }
"""


def opened_ago(path: Path, **hours: float) -> None:
    """Tickets of priority 3, by name and by how many hours ago they were opened."""
    now = datetime.now(UTC)
    with TicketSystem(path / "tickets.db") as system:
        for name, ago in hours.items():
            system.create_ticket(Ticket("One", "", "ada", id=name, created_at=now - timedelta(hours=ago)))


def test_a_simulation_shows_what_was_and_what_would_have_been(run: Run, tmp_path: Path) -> None:
    """Rule 28."""
    (tmp_path / "mine.toml").write_text(QUICK)
    opened_ago(tmp_path, fresh=0.5, late=2, later=3, worst=100)
    run("assign", "later", "grace")
    status, out, err = run("policy", "simulate", "mine.toml", "--changes", "1")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("4 tickets opened since ")
    assert lines[2:4] == [
        "target\tpriority\tmet\tbreached\tattainment\t→ met\t→ breached\t→ attainment\tpoints",
        "resolution\tmedium\t0\t1\t0.0 %\t0\t3\t0.0 %\t+0.0",
    ]
    assert lines[5:10] == [
        "not counted\tnow\t→ proposed",
        "waived\t0\t0",
        "cancelled\t0\t0",
        "undecided\t3\t1",
        "tickets without a clock\t0\t0",
    ]
    assert lines[11] == "Verdicts that change: 2 lost, on 2 of them."
    assert lines[13] == "id\tpriority\ttarget\twhat\tnow\t→ proposed"
    assert lines[14].startswith("later\tmedium\tresolution\tlost\tundecided\tbreached ")
    assert lines[15:] == ["… and 1 more; --changes shows more, --json all."]
    run("breaches")
    with TicketSystem(tmp_path / "tickets.db") as system:
        assert system.in_force()[0] is None, "nothing is put in force"


def test_a_simulation_shows_first_what_would_be_lost(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(QUICK + QUICK.replace("resolution", "first_response"))
    opened_ago(tmp_path, worst=100, late=2)
    with TicketSystem(tmp_path / "tickets.db") as system:
        for priority, name in ((1, "urgent"), (4, "patient")):
            system.create_ticket(Ticket("One", "", "ada", id=name, priority=priority))
    lines = run("policy", "simulate", "mine.toml", "--changes", "2")[1].splitlines()
    assert [line.split("\t")[:2] for line in lines[3:11]] == [
        [target, priority] for target in ("first response", "resolution") for priority in LABELS
    ]
    assert "Verdicts that change: 4 newly promised, 1 lost, on 4 of them." in lines
    assert [line.split("\t")[:4] for line in lines[-3:-1]] == [
        ["late", "medium", "resolution", "lost"],
        ["worst", "medium", "first response", "newly promised"],
    ]


def test_a_simulation_tells_a_program_every_change(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(QUICK)
    opened_ago(tmp_path, late=2, later=3)
    told = json.loads(run("policy", "simulate", "mine.toml", "--json", "--changes", "0")[1])
    assert [(one["ticket_id"], one["kind"], one["proposed"]["verdict"]) for one in told["changes"]] == [
        ("later", "lost", "breached"),
        ("late", "lost", "breached"),
    ]
    assert told["changes"][0]["now"] == {"verdict": "undecided", "at": None}
    assert (told["tickets"], told["tickets_changed"], told["changed"]["lost"]) == (2, 2, 2)
    [line] = told["targets"]
    assert (line["target"], line["priority"], line["now"]["attainment"]) == ("resolution", 3, None)
    assert (line["proposed"]["breached"], line["proposed"]["attainment"]) == (2, 0.0)
    nothing = json.loads(run("policy", "simulate", "mine.toml", "--since", "1h", "--json")[1])
    assert (nothing["changes"], nothing["tickets"], nothing["targets"]) == ([], 0, [])


def test_a_simulation_over_nothing_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(QUICK)
    opened_ago(tmp_path, old=24 * 100)
    assert run("policy", "simulate", "mine.toml")[1].startswith("No ticket was opened since ")
    status, out, _ = run("policy", "simulate", "mine.toml", "--since", "15w")
    assert status == 0
    assert out.startswith("1 ticket opened since ")
    assert "No verdict changes." in out, "late by both"


def test_since_is_a_length_a_date_or_an_instant() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert since_of("30d", now) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert since_of(" 2w", now) == datetime(2026, 3, 17, 12, tzinfo=UTC)
    assert since_of("6h", now) == datetime(2026, 3, 31, 6, tzinfo=UTC)
    assert since_of("2026-01-31", now) == datetime(2026, 1, 31, tzinfo=UTC)
    assert since_of("2026-01-31T10:00:00+02:00", now) == datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("since", ("", "soon", "3y", "-3d", "2026-13-01", "9999999w", "0001-01-01T00:00+10:00"))
def test_any_other_since_is_refused(run: Run, tmp_path: Path, since: str) -> None:
    (tmp_path / "mine.toml").write_text(QUICK)
    opened_ago(tmp_path, one=1)
    status, _, err = run("policy", "simulate", "mine.toml", f"--since={since}")
    assert status == 2
    assert "--since takes a length like 90d or 12w" in err
