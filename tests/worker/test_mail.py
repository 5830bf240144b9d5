import errno
import os
import shutil
import socket
import ssl
import subprocess
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from structlog.testing import capture_logs

from tests.support.smtp import HANG_UP, LOSE_REPLY, PostOffice, Reply, Verb, running_post_office
from ticket_tasks.errors import JobError, Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.toolbox import Letter
from ticket_worker.checks import _mail
from ticket_worker.mail import ConsoleMailer, DirectoryMailer, SmtpMailer
from ticket_worker.message import Sender, as_bytes
from ticket_worker.settings import read_settings

LETTER = Letter(
    key="t-1/resolution/1/breached/0/0/mail",
    to="grace@example.com",
    subject="[critical] Overdue: Kasse fällt aus",
    text="Grüße\n.\n.. dots\nend\n",
    at=datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
)


def mailer(office: PostOffice, **changes: Any) -> SmtpMailer:
    plain = SmtpMailer(Sender("tickets@example.com"), office.host, office.port, timeout_seconds=0.5)
    return replace(plain, **changes)


def nothing() -> None:
    """What is done before the letter goes out."""


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


def test_what_the_server_answered_is_returned(post_office: PostOffice) -> None:
    post_office.answer("DATA", "250 2.0.0 Ok: queued as 4F2A")
    assert mailer(post_office).send(LETTER, before_data=nothing) == "250 2.0.0 Ok: queued as 4F2A"


def test_the_intent_is_announced_after_the_envelope_and_before_the_letter(post_office: PostOffice) -> None:
    seen: list[list[str]] = []
    mailer(post_office).send(LETTER, before_data=lambda: seen.append(list(post_office.commands)))
    assert seen == [["MAIL tickets@example.com", "RCPT grace@example.com"]]


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
        ConsoleMailer(Sender("tickets@example.com")).send(
            Letter("k", None, "Overdue", "text", LETTER.at), before_data=lambda: announced.append(True)
        )
    assert announced
    assert (lines[0]["to"], lines[0]["subject"]) == ("(nobody configured)", "Overdue")


# --- encrypted ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("the openssl command makes the certificate")
    names = ["-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def keys(certificates: Path) -> ssl.SSLContext:
    """What an encrypting server needs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    return context


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine trusts the authority behind the certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "cert.pem"))


WAYS: tuple[tuple[str, str], ...] = (("tls", "ssl_context"), ("starttls", "tls_context"))
ENCRYPTED = pytest.mark.parametrize(("ours", "theirs"), WAYS, ids=("tls", "starttls"))


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")  # aiosmtpd sees no encryption before its own
@ENCRYPTED
def test_a_letter_goes_out_encrypted_behind_a_login(
    keys: ssl.SSLContext, trusted: None, ours: str, theirs: str
) -> None:
    logins: list[tuple[bytes, bytes]] = []

    def known(_server: object, _session: object, _envelope: object, _mechanism: str, data: LoginPassword) -> AuthResult:
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"hush", handled=False)

    how = {theirs: keys, "authenticator": known, "auth_required": True, "auth_require_tls": theirs == "tls_context"}
    with running_post_office(**how) as office:
        sender = mailer(office, **{ours: True}, user="robot", password="hush", timeout_seconds=5)
        assert sender.send(LETTER, before_data=nothing).startswith("250 ")
        assert [one.content for one in office.delivered] == [as_bytes(LETTER, sender.sender)]
        with pytest.raises(Unreachable, match="535") as raised:
            replace(sender, password="wrong").check()
    assert (logins[0], set(logins[1:])) == ((b"robot", b"hush"), {(b"robot", b"wrong")})
    assert "wrong" not in str(raised.value)


@ENCRYPTED
def test_a_certificate_that_nobody_vouches_for_gets_nothing(keys: ssl.SSLContext, ours: str, theirs: str) -> None:
    with running_post_office(**{theirs: keys}) as office:
        with pytest.raises(Unreachable, match="certificate verify failed"):
            mailer(office, **{ours: True}, timeout_seconds=5).send(LETTER, before_data=pytest.fail)
        assert office.commands == []


@ENCRYPTED
def test_a_certificate_of_another_host_gets_nothing(
    keys: ssl.SSLContext, trusted: None, ours: str, theirs: str
) -> None:
    with running_post_office(**{theirs: keys}) as office:
        other = mailer(office, **{ours: True}, host="localhost", timeout_seconds=5)
        with pytest.raises(Unreachable, match="certificate is not valid for 'localhost'"):
            other.send(LETTER, before_data=pytest.fail)
        assert office.commands == []


# --- the twin that writes files ----------------------------------------------------------------------------------


def test_a_letter_becomes_a_file_and_its_repeat_the_same(tmp_path: Path) -> None:
    twin = DirectoryMailer(Sender("tickets@example.com"), tmp_path / "mail" / "out")
    answers = {twin.send(LETTER, before_data=nothing) for _ in range(2)}
    (path,) = (tmp_path / "mail" / "out").iterdir()
    assert answers == {f"kept as {path.name}"}
    assert path.name.startswith("20260302T120000Z-")
    assert path.suffix == ".eml"
    assert path.read_bytes() == as_bytes(LETTER, twin.sender)


def test_two_letters_of_one_moment_are_two_files(tmp_path: Path) -> None:
    twin = DirectoryMailer(Sender("tickets@example.com"), tmp_path)
    for key in ("one", "another"):
        twin.send(replace(LETTER, key=key), before_data=nothing)
    assert len(list(tmp_path.glob("*.eml"))) == 2


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unreachable, match="No space left"):
        DirectoryMailer(Sender("tickets@example.com"), tmp_path).send(LETTER, before_data=nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_weather(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="file/mail"):
        DirectoryMailer(Sender("tickets@example.com"), tmp_path / "file" / "mail").send(LETTER, before_data=nothing)


def test_a_check_says_where_letters_go() -> None:
    given = {"mail": "directory", "mail_to": "desk@example.com"}
    details = [found.detail for settings in (read_settings(), read_settings(**given)) for found in _mail(settings)]
    assert details == ["to the log (TICKETS_MAIL=console)", "to data/mail (TICKETS_MAIL=directory)"]


def test_the_twin_refuses_what_the_server_would_not_get(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="nobody"):
        DirectoryMailer(Sender("tickets@example.com"), tmp_path).send(replace(LETTER, to=None), before_data=pytest.fail)
    assert list(tmp_path.iterdir()) == []
