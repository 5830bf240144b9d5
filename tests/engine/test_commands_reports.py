"""`tickets organisations`, `tickets recipients` and `tickets digest`, as a person and as a script use them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.factories import a_ticket
from ticket_system import TicketSystem, digests, mailings, recipients
from ticket_system.__main__ import main
from ticket_system.mailings import ReportDelivery

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKETS_AUTHOR", "boss")
    monkeypatch.setenv("TZ", "UTC")

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


@pytest.fixture
def system(run: Run, tmp_path: Path) -> Iterator[TicketSystem]:
    """The desk in that folder, with one organisation and one reader."""
    assert run("organisations", "set", "acme", "--timezone", "Europe/Berlin")[0] == 0
    assert run("recipients", "add", "ada@example.org", "--org", "acme")[0] == 0
    with TicketSystem(tmp_path / "tickets.db") as system:
        yield system


def a_letter(system: TicketSystem) -> ReportDelivery:
    """One that is on its way."""
    now = datetime.now(UTC)
    before = now - timedelta(days=7)
    recipients.set_organisation(system.database, "beta", weekday=now.weekday(), hour=now.hour, now=before)
    recipients.add(system.database, "beta", "bob@example.org", actor="boss", now=before)
    system.create_ticket(a_ticket(created_at=now - timedelta(hours=40)))
    digests.plan(system.database)
    made = digests.claim_run(system.database)
    assert made is not None
    digests.freeze(system.database, made, digests.make(system.database, system.rules, made), None)
    [letter] = mailings.claim(system.database)
    assert mailings.begin(system.database, letter, lease_seconds=60)
    return letter


def test_where_nobody_gets_reports_it_is_said_what_to_do(run: Run, tmp_path: Path) -> None:
    with TicketSystem(tmp_path / "tickets.db"):
        pass
    assert "`tickets organisations set NAME` makes one" in run("organisations", "list")[1]
    assert "`tickets recipients add ADDRESS --org NAME` changes that" in run("recipients", "list")[1]
    assert run("digest", "list") == (0, "No letter is stuck.\n", "")
    assert "No report was due yet" in run("digest", "list", "--reports")[1]
    for words in (("organisations", "list"), ("recipients", "list"), ("digest", "list", "--reports")):
        assert json.loads(run(*words, "--json")[1]) == []


def test_an_organisation_is_made_and_changed(run: Run) -> None:
    status, out, _ = run("organisations", "set", "acme", "--timezone", "Asia/Tokyo", "--weekday", "fri", "--hour", "7")
    assert status == 0
    assert out.startswith("acme gets its report of all tickets on Friday 07:00 Asia/Tokyo: weekly 20")
    told = json.loads(run("organisations", "set", "acme", "--customer", "initech", "--group", "net", "--json")[1])
    assert (told["customer"], told["group"], told["weekday"], told["hour"]) == ("initech", "net", "friday", 7)
    assert datetime.fromisoformat(told["next"]["weekly"]["at"]) > datetime.now(UTC)
    assert json.loads(run("organisations", "set", "acme", "--customer", "", "--json")[1])["customer"] is None
    assert "group net" in run("organisations", "list")[1]
    [one] = json.loads(run("organisations", "list", "--json")[1])
    assert (one["name"], one["locale"]) == ("acme", "en_GB")


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (("organisations", "set", "acme", "--timezone", "Mars"), "no time zone is called 'Mars'"),
        (("organisations", "set", "acme", "--weekday", "t"), "no day is called 't'"),
        (("organisations", "set", "acme", "--hour", "24"), "less than or equal to 23"),
        (("organisations", "set", "acme", "--locale", "german"), "'german' is no locale"),
        (("recipients", "add", "ada", "--org", "acme"), "'ada' is not a plain mail address"),
        (("recipients", "add", "ada@example.org", "--org", "acne"), "there is no organisation 'acne'"),
        (("recipients", "add", "ada@example.org", "--org", "acme", "--role", "boss"), "there is no role 'boss'"),
        (("recipients", "remove", "eve@example.org", "--org", "acme"), "'eve@example.org' gets no reports of acme"),
        (("recipients", "release", "eve@example.org"), "'eve@example.org' is not suppressed"),
        (("recipients", "list", "--org", "acne"), "there is no organisation 'acne'"),
        (("digest", "list", "--state", "lost"), "there is no state 'lost'"),
        (("digest", "resolve", "1"), "give either --sent or --not-sent"),
        (("digest", "resolve", "1", "--sent"), "there is no delivery 1"),
        (("digest", "resend", "7"), "there is no delivery 7"),
    ),
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_makes_no_sense_is_refused_in_one_line(
    run: Run, system: TicketSystem, words: tuple[str, ...], said: str
) -> None:
    before = (recipients.all_organisations(system.database), recipients.listed(system.database))
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("tickets: ")
    assert err.count("\n") == 1
    assert (recipients.all_organisations(system.database), recipients.listed(system.database)) == before


def test_people_are_added_listed_and_removed(run: Run, system: TicketSystem) -> None:
    words = (
        "--role",
        "agent",
        "--role",
        "billing",
        "--daily",
        "--no-weekly",
        "--timezone",
        "Asia/Tokyo",
        "--hour",
        "8",
    )
    assert run("recipients", "add", "Bob@example.org", "--org", "acme", "--name", "Bob", *words)[1] == (
        "Bob@example.org gets daily reports of acme, as agent and billing.\n"
    )
    ada, bob = json.loads(run("recipients", "list", "--json")[1])
    assert (ada["roles"], ada["weekly"], ada["daily"], ada["changed_by"]) == (["manager"], True, False, "boss")
    assert (bob["roles"], bob["weekly"], bob["daily"], bob["zone"]) == (["agent", "billing"], False, True, "Asia/Tokyo")
    out = run("recipients", "list", "--org", "acme")[1]
    assert "acme\tBob@example.org\tBob\tagent billing\tdaily\tAsia/Tokyo, 08:00\tboss\t" in out
    assert run("recipients", "remove", "bob@example.org", "--org", "acme")[0] == 0
    assert len(recipients.listed(system.database)) == 1


def test_a_letter_that_nobody_knows_about_is_shown_and_settled(run: Run, system: TicketSystem) -> None:
    letter = a_letter(system)
    mailings.uncertain(system.database, letter, "the line broke\r\nafter the letter went out")
    out = run("digest", "list")[1]
    assert f"{letter.id}\tuncertain\tbeta\tweekly\t{letter.run_id}\tbob@example.org\t1\t" in out
    assert "in all: 1 uncertain" in out
    [told] = json.loads(run("digest", "list", "--json")[1])["letters"]
    assert (told["state"], told["address"], told["organisation"]) == ("uncertain", "bob@example.org", "beta")
    assert "lease" not in told
    status, out, err = run("digest", "resolve", str(letter.id), "999", "--sent")
    assert (status, out) == (2, "1 letter is resolved.\n")
    assert "there is no delivery 999" in err
    assert "says boss" in run("digest", "list", "--report", str(letter.run_id))[1]
    reports = run("digest", "list", "--reports")[1]
    assert "\tready\t1 sent\t" in reports
    assert json.loads(run("digest", "list", "--org", "acme", "--json")[1]) == []


def test_a_letter_is_sent_again(run: Run, system: TicketSystem) -> None:
    letter = a_letter(system)
    mailings.failed(system.database, letter, "550 5.1.1 nobody", suppress=True)
    assert "suppressed: 550 5.1.1 nobody" in run("recipients", "list")[1]
    assert run("recipients", "release", "Bob@example.org")[0] == 0
    assert json.loads(run("digest", "resend", str(letter.id), "--json")[1]) == {"changed": 1, "refused": []}
    assert "in all: 1 pending" in run("digest", "list")[1]
    assert [one.id for one in mailings.claim(system.database)] == [letter.id]


def test_an_organisation_is_removed_once_somebody_means_it(run: Run, system: TicketSystem) -> None:
    status, out, err = run("organisations", "remove", "acme")
    assert (status, out) == (4, "")
    assert err == "tickets: acme and 1 person who may get its reports would be forgotten; say --yes to do it\n"
    status, out, _ = run("organisations", "remove", "acme", "--yes", "--json")
    assert (status, json.loads(out)) == (0, {"removed": "acme", "people": 1})
    assert recipients.all_organisations(system.database) == []
    assert run("organisations", "remove", "acme", "--yes")[0] == 2
