"""The mailers: SMTP, and its twins: one writes to the log, one to a folder."""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import structlog

from ticket_tasks.errors import JobError, Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.toolbox import Letter
from ticket_worker.message import Sender, as_bytes, digest, recipient

log = structlog.stdlib.get_logger(__name__)

_OK = 250
_WILL_FORWARD = 251
_GO_AHEAD = 354
_PERMANENT = 500


@dataclass(frozen=True, slots=True)
class ConsoleMailer:
    """Writes letters to the log instead of sending them."""

    sender: Sender

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        """Log the letter as it would have gone out, without page and pictures."""
        before_data()
        log.info(
            "letter.written",
            sender=self.sender.address,
            to=letter.to or "(nobody configured)",
            subject=letter.subject,
            text=letter.text,
            key=letter.key,
        )
        return "written to the log"


@dataclass(frozen=True, slots=True)
class DirectoryMailer:
    """Keeps each letter as a file of its own that mail programs open; a repeat becomes the same file."""

    sender: Sender
    folder: Path

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        """Write the letter, whole or not at all, or raise `Transient` or `Rejected`."""
        content = as_bytes(letter, self.sender)
        before_data()
        path = self.folder / f"{letter.at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest(letter)}.eml"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_whole(path, content)
        except OSError as error:
            raise Unreachable(f"{self.folder}: {_reason(error)}") from error
        return f"kept as {path.name}"


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Hands letters to a mail server, one connection each, and knows in which phase a failure happened."""

    sender: Sender
    host: str
    port: int = 25
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    #: Encrypted from the first byte, or from the command STARTTLS on; either way the certificate is checked.
    tls: bool = False
    starttls: bool = False
    #: For any one answer.
    timeout_seconds: float = 10.0

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        """Deliver one letter and return what the server said, or raise `Transient`, `Rejected` or `Uncertain`."""
        content = _stuffed(as_bytes(letter, self.sender))
        with self._connected() as server:
            with _unsent("envelope"):
                _expect((_OK,), "MAIL FROM", server.mail(self.sender.address))
                _expect((_OK, _WILL_FORWARD), "RCPT TO", server.rcpt(recipient(letter)))
            before_data()
            with _unsent("DATA"):
                _expect((_GO_AHEAD,), "DATA", server.docmd("DATA"))
            try:
                server.send(content)
                answer = server.getreply()
            except (OSError, smtplib.SMTPException) as error:
                raise Uncertain(f"the line broke after the letter went out: {_reason(error)}") from error
            _expect((_OK,), "the letter", answer)
        return _said(*answer)

    def check(self) -> None:
        """Say hello to the server, log in and leave, or raise `Transient` or `Rejected`."""
        with self._connected():
            pass

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        # A refusal up to here is about us, not about the letter: a wrong password must not park the whole outbox.
        with _unsent("connect", otherwise=Unreachable):
            server = self._greeted()
        try:
            with _unsent("connect", otherwise=Unreachable):
                server.ehlo_or_helo_if_needed()
                if self.starttls:
                    server.starttls(context=ssl.create_default_context())
                    server.ehlo()
                if self.user and self.password:
                    server.login(self.user, self.password)
            yield server
        finally:
            _leave(server)

    def _greeted(self) -> smtplib.SMTP:
        # Connected where it is made: only so does it remember the name that the certificate must be for.
        if self.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_seconds, context=context)
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)


@contextmanager
def _unsent(phase: str, otherwise: type[Transient] | None = None) -> Iterator[None]:
    """Translate what goes wrong while nothing has left the house; `otherwise` replaces what it would be."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        refusal = _refusal(phase, error.smtp_code, error.smtp_error)
        raise (otherwise(str(refusal)) if otherwise else refusal) from error
    except JobError as error:
        raise (otherwise(str(error)) if otherwise else error) from error
    except (OSError, smtplib.SMTPException) as error:
        raise (otherwise or Transient)(f"{phase}: {_reason(error)}") from error


def _expect(codes: tuple[int, ...], phase: str, answer: tuple[int, bytes]) -> None:
    if answer[0] not in codes:
        raise _refusal(phase, *answer)


def _refusal(phase: str, code: int, text: bytes | str) -> JobError:
    sentence = f"{phase}: the server said {_said(code, text)}"
    return Rejected(sentence) if code >= _PERMANENT else Transient(sentence)


def _said(code: int, text: bytes | str) -> str:
    """Return an answer as one line."""
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())[:200]}"


def _stuffed(content: bytes) -> bytes:
    """Return the bytes that follow DATA: dots at the start of a line doubled, a lone dot at the end."""
    return re.sub(rb"(?m)^\.", b"..", content).removesuffix(b"\r\n") + b"\r\n.\r\n"


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file of which nobody ever sees a half."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye where anybody listens; whatever goes wrong now changes nothing."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
