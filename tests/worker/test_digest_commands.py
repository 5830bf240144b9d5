"""`tickets digest preview` and `send-test`: what a person looks at before anybody gets it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.factories import a_ticket
from tests.support.smtp import PostOffice, running_post_office
from ticket_system import TicketSystem, digests, mailings, recipients
from ticket_system.__main__ import main

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder of its own; returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run_it(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["digest", *words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run_it


@pytest.fixture
def system(run: Run, tmp_path: Path) -> Iterator[TicketSystem]:
    """A desk in that folder, with a manager and an agent."""
    with TicketSystem(tmp_path / "tickets.db") as system:
        recipients.set_organisation(system.database, "acme", weekday=datetime.now(UTC).weekday(), hour=0)
        recipients.add(system.database, "acme", "ada@example.org", actor="x", name="Ada")
        recipients.add(system.database, "acme", "bob@example.org", actor="x", roles=["agent"])
        system.create_ticket(
            a_ticket(title="The printer", created_at=datetime.now(UTC) - timedelta(hours=60), priority=1)
        )
        yield system


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with running_post_office() as office:
        yield office


@pytest.mark.parametrize("name", ("full", "empty", "hostile", "daily"))
def test_a_sample_is_written_as_page_text_picture_and_mail(run: Run, tmp_path: Path, name: str) -> None:
    status, out, err = run("preview", "--sample", name, "--out", "look")
    assert (status, err) == (0, "")
    page = (tmp_path / "look" / "report.html").read_text("utf-8")
    mail = message_from_bytes(
        (tmp_path / "look" / "report.eml").read_bytes(), _class=EmailMessage, policy=policy.default
    )
    assert mail["subject"] in out
    assert "cid:" not in page
    drawn = name != "daily"
    assert (tmp_path / "look" / "backlog.png").exists() == drawn
    assert ('src="backlog.png"' in page) == drawn
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == (tmp_path / "look" / "report.txt").read_text("utf-8").splitlines()


def test_what_an_organisation_would_get_now_is_shown_and_nothing_is_stored(
    run: Run, system: TicketSystem, tmp_path: Path
) -> None:
    told = json.loads(run("preview", "--org", "acme", "--out", "look", "--json")[1])
    assert told["subject"].startswith("acme, ")
    assert [Path(name).name for name in told["files"]] == ["report.html", "report.txt", "backlog.png", "report.eml"]
    text = (tmp_path / "look" / "report.txt").read_text("utf-8")
    assert "New: 1 (n/a)" in text
    assert "The printer" in text
    assert "BY AGENT" in text
    assert digests.runs(system.database) == []
    assert mailings.listed(system.database, None) == []


def test_a_reader_sees_what_they_may_see(run: Run, system: TicketSystem, tmp_path: Path) -> None:
    assert run("preview", "--org", "acme", "--reader", "BOB@example.org")[0] == 0
    assert "BY AGENT" not in (tmp_path / "report-preview" / "report.txt").read_text("utf-8")
    assert run("preview", "--org", "acme", "--daily")[0] == 0
    assert "Daily report: acme" in (tmp_path / "report-preview" / "report.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (("preview",), "give either --org or --sample"),
        (("preview", "--org", "acme", "--sample", "full"), "give either --org or --sample"),
        (("preview", "--sample", "huge"), "there is no sample 'huge'"),
        (("preview", "--org", "acne"), "there is no organisation 'acne'"),
        (("preview", "--org", "acme", "--reader", "eve@example.org"), "gets no reports of acme"),
        (("send-test", "--to", "ada", "--sample", "full"), "'ada' is not a plain mail address"),
        (("send-test", "--to", "a@example.org\nBcc: b@example.org", "--sample", "full"), "is not a plain mail address"),
    ),
    ids=lambda words: " ".join(words).replace("\n", " ") if isinstance(words, tuple) else "",
)
def test_what_makes_no_sense_is_refused(run: Run, system: TicketSystem, words: tuple[str, ...], said: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert said in err


def test_a_setting_that_makes_no_sense_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_MAIL", "pigeon")
    status, _, err = run("preview", "--sample", "full")
    assert status == 2
    assert "TICKETS_MAIL" in err


def test_a_report_is_mailed_to_one_address_and_is_on_no_record(
    run: Run, system: TicketSystem, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MAIL": "smtp", "MAIL_TO": "desk@example.org", "MAIL_FROM": "tickets@example.org", "MAIL_NAME": "The desk",
        "SMTP_HOST": office.host, "SMTP_PORT": str(office.port), "PUBLIC_URL": "https://desk.example.org",
        "LINK_SECRETS": "x" * 40,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"TICKETS_{name}", value)
    status, out, err = run("send-test", "--org", "acme", "--reader", "ada@example.org", "--to", "me@example.org")
    assert (status, err) == (0, "")
    assert "Mailed to me@example.org: 250" in out
    [delivered] = office.delivered
    assert delivered.recipients == ("me@example.org",)
    assert delivered.message["subject"].startswith("[Test] acme, ")
    assert delivered.message["from"] == "The desk <tickets@example.org>"
    assert mailings.listed(system.database, None) == []
    office.answer("RCPT", "550 5.1.1 nobody")
    status, out, err = run("send-test", "--sample", "full", "--to", "me@example.org")
    assert (status, out) == (1, "")
    assert "550 5.1.1 nobody" in err
