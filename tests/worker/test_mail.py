import socket
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.smtp import HANG_UP, LOSE_REPLY, PostOffice, Reply, Verb
from ticket_tasks.errors import JobError, Rejected, Transient, Uncertain
from ticket_tasks.toolbox import Letter
from ticket_worker.mail import ConsoleMailer, SmtpMailer, as_bytes

LETTER = Letter(
    key="t-1/resolution/1/breached/0/0/mail",
    to="grace@example.com",
    subject="[critical] Overdue: Kasse fällt aus",
    text="Grüße\n.\n.. dots\nend\n",
    at=datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
)


def mailer(office: PostOffice, **changes: Any) -> SmtpMailer:
    plain = SmtpMailer("tickets@example.com", office.host, office.port, timeout_seconds=0.5)
    return replace(plain, **changes)


def send(office: PostOffice, letter: Letter = LETTER) -> bool:
    """Send the letter; whether the intent was announced."""
    announced: list[bool] = []
    try:
        mailer(office).send(letter, before_data=lambda: announced.append(True))
    finally:
        office.commands.append(f"announced {len(announced)}")
    return bool(announced)


def test_a_letter_arrives_as_it_was_written(post_office: PostOffice) -> None:
    assert send(post_office)
    (delivered,) = post_office.delivered
    message = delivered.message
    assert (delivered.sender, delivered.recipients) == ("tickets@example.com", ("grace@example.com",))
    assert message["Subject"] == LETTER.subject
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == LETTER.at
    assert message.get_content().replace("\r\n", "\n") == LETTER.text
    assert "Bcc" not in message


def test_the_intent_is_announced_after_the_envelope_and_before_the_letter(post_office: PostOffice) -> None:
    seen: list[list[str]] = []
    mailer(post_office).send(LETTER, before_data=lambda: seen.append(list(post_office.commands)))
    assert seen == [["MAIL tickets@example.com", "RCPT grace@example.com"]]


def test_every_attempt_sends_the_same_bytes() -> None:
    assert as_bytes(LETTER, "a@example.com") == as_bytes(LETTER, "a@example.com")
    assert b"<" + b"=?" not in as_bytes(LETTER, "a@example.com")


def test_no_structured_header_is_folded_into_encoded_words() -> None:
    content = as_bytes(LETTER, f"tickets@{'sub.' * 30}example.com")
    (line,) = [line for line in content.split(b"\r\n") if line.startswith(b"Message-ID:")]
    assert b"=?" not in line
    assert line.endswith(b"example.com>")
    content.decode("ascii")


REFUSALS: tuple[tuple[Verb, str, type[JobError]], ...] = (
    ("MAIL", "451 try later", Transient),
    ("MAIL", "550 who are you", Rejected),
    ("RCPT", "450 greylisted", Transient),
    ("RCPT", "550 no such user", Rejected),
    ("DATA", "452 disk full", Transient),
    ("DATA", "554 spam", Rejected),
)


@pytest.mark.parametrize(("verb", "answer", "error"), REFUSALS)
def test_a_refusal_is_weather_or_final(post_office: PostOffice, verb: Verb, answer: str, error: type[JobError]) -> None:
    post_office.answer(verb, answer)
    with pytest.raises(error, match=answer):
        send(post_office)
    assert post_office.delivered == []
    assert post_office.commands[-1] == ("announced 1" if verb == "DATA" else "announced 0")


@pytest.mark.parametrize("verb", ("MAIL", "RCPT"))
@pytest.mark.parametrize("trouble", (HANG_UP, Reply(after_seconds=2)), ids=("hangs up", "says nothing"))
def test_a_line_that_breaks_before_the_letter_is_weather(post_office: PostOffice, verb: Verb, trouble: Reply) -> None:
    post_office.answer(verb, trouble)
    with pytest.raises(Transient):
        send(post_office)
    assert post_office.commands[-1] == "announced 0"


@pytest.mark.parametrize("trouble", (HANG_UP, LOSE_REPLY, Reply(after_seconds=2)), ids=("lost", "taken", "silent"))
def test_a_line_that_breaks_after_the_letter_leaves_doubt(post_office: PostOffice, trouble: Reply) -> None:
    post_office.answer("DATA", trouble)
    with pytest.raises(Uncertain):
        send(post_office)


def test_a_server_that_is_not_there_is_weather() -> None:
    with pytest.raises(Transient, match="connect"):
        send(PostOffice(port=1))


@pytest.mark.parametrize("greeting", (b"554 closed today\r\n", b"421 too busy\r\n", b""))
def test_a_server_that_turns_everybody_away_does_not_park_letters(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                connection.sendall(greeting)

        Thread(target=greet, daemon=True).start()
        with pytest.raises(Transient):
            send(PostOffice(port=listener.getsockname()[1]))


def test_a_server_that_cannot_encrypt_gets_nothing_when_that_is_asked_for(post_office: PostOffice) -> None:
    with pytest.raises(Transient, match="STARTTLS"):
        mailer(post_office, starttls=True).send(LETTER, before_data=lambda: None)
    assert post_office.commands == []


def test_a_login_that_fails_does_not_park_letters(post_office: PostOffice) -> None:
    with pytest.raises(Transient) as raised:
        mailer(post_office, user="robot", password="hush").send(LETTER, before_data=lambda: None)
    assert "hush" not in str(raised.value)


def test_what_the_announcement_raises_stops_the_letter_and_comes_out(post_office: PostOffice) -> None:
    def lost() -> None:
        raise LookupError("the lease was lost")

    with pytest.raises(LookupError):
        mailer(post_office).send(LETTER, before_data=lost)
    assert post_office.delivered == []


def test_a_letter_to_nobody_is_refused(post_office: PostOffice) -> None:
    with pytest.raises(Rejected, match="nobody"):
        mailer(post_office).send(Letter("k", None, "s", "t", LETTER.at), before_data=lambda: None)


def test_the_password_is_not_in_the_repr(post_office: PostOffice) -> None:
    assert "hush" not in repr(mailer(post_office, user="robot", password="hush"))


def test_the_console_twin_shows_the_letter() -> None:
    announced: list[bool] = []
    with capture_logs() as lines:
        ConsoleMailer("tickets@example.com").send(
            Letter("k", None, "Overdue", "text", LETTER.at), before_data=lambda: announced.append(True)
        )
    assert announced
    assert (lines[0]["to"], lines[0]["subject"]) == ("(nobody configured)", "Overdue")
