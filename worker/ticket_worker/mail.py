"""The mailers: SMTP, and its console twin."""

from __future__ import annotations

import hashlib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

import structlog

from ticket_tasks.errors import JobError, Rejected, Transient, Uncertain, Unreachable
from ticket_tasks.toolbox import Letter

log = structlog.stdlib.get_logger(__name__)

_READY = 220
_OK = 250
_WILL_FORWARD = 251
_GO_AHEAD = 354
_PERMANENT = 500

# Seven bits pass through every server.
_AS_BUILT = SMTP.clone(cte_type="7bit")
# Written as wide as it was built, a long Message-ID would be folded into encoded words, which no program reads.
_AS_WRITTEN = _AS_BUILT.clone(max_line_length=998)


@dataclass(frozen=True, slots=True)
class ConsoleMailer:
    """Writes letters to the log instead of sending them."""

    sender: str

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Log the letter as it would have gone out."""
        before_data()
        log.info(
            "letter.written",
            sender=self.sender,
            to=letter.to or "(nobody configured)",
            subject=letter.subject,
            text=letter.text,
            key=letter.key,
        )


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Hands letters to a mail server, one connection each, and knows in which phase a failure happened."""

    sender: str
    host: str
    port: int = 25
    user: str | None = None
    password: str | None = None
    starttls: bool = False
    timeout_seconds: float = 10.0

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"SmtpMailer(host={self.host!r}, port={self.port}, sender={self.sender!r})"

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter, or raise `Transient`, `Rejected` or `Uncertain`."""
        if letter.to is None:
            raise Rejected("nobody to send it to")
        content = _stuffed(as_bytes(letter, self.sender))
        with self._connected() as server:
            with _unsent("envelope"):
                _expect((_OK,), "MAIL FROM", server.mail(self.sender))
                _expect((_OK, _WILL_FORWARD), "RCPT TO", server.rcpt(letter.to))
            before_data()
            with _unsent("DATA"):
                _expect((_GO_AHEAD,), "DATA", server.docmd("DATA"))
            try:
                server.send(content)
                answer = server.getreply()
            except (OSError, smtplib.SMTPException) as error:
                raise Uncertain(f"the line broke after the letter went out: {_reason(error)}") from error
            _expect((_OK,), "the letter", answer)

    def check(self) -> None:
        """Say hello to the server, log in and leave, or raise `Transient` or `Rejected`."""
        with self._connected():
            pass

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server = smtplib.SMTP(timeout=self.timeout_seconds)
        try:
            # A refusal up to here is about us, not about the letter: a wrong password must not park the whole outbox.
            with _unsent("connect", otherwise=Unreachable):
                _expect((_READY,), "connect", server.connect(self.host, self.port))
                server.ehlo_or_helo_if_needed()
                if self.starttls:
                    server.starttls(context=ssl.create_default_context())
                    server.ehlo()
                if self.user and self.password:
                    server.login(self.user, self.password)
            yield server
        finally:
            _leave(server)


def as_bytes(letter: Letter, sender: str) -> bytes:
    """Return the message as it goes over the wire: the same bytes for every attempt."""
    message = EmailMessage(policy=_AS_BUILT)
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = letter.at
    digest = hashlib.sha256(letter.key.encode()).hexdigest()[:40]
    message["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    # Keeps holiday notices from answering a machine.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(letter.text)
    return message.as_bytes(policy=_AS_WRITTEN)


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
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    sentence = f"{phase}: the server said {code} {' '.join(said.split())[:200]}"
    return Rejected(sentence) if code >= _PERMANENT else Transient(sentence)


def _stuffed(content: bytes) -> bytes:
    """Return the bytes that follow DATA: dots at the start of a line doubled, a lone dot at the end."""
    return re.sub(rb"(?m)^\.", b"..", content).removesuffix(b"\r\n") + b"\r\n.\r\n"


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye where anybody listens; whatever goes wrong now changes nothing."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
