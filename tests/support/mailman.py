"""A worker that mails reports once and dies at a point that it is told: `python -m tests.support.mailman [POINT]`."""

import os
import signal
import smtplib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from ticket_system import mailings
from ticket_tasks import reports
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.mail import SmtpMailer
from ticket_worker.settings import read_settings

POINTS = (
    "before it connects",
    "after MAIL",
    "just before DATA",
    "in the middle of the letter",
    "while the server holds the letter",
    "after it was taken, before that is committed",
)


def die(*_: object, **__: object) -> NoReturn:
    """End as a process ends whose power is cut."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("this is never reached")


def arm(point: str) -> None:
    """Make this process die at a point."""
    match POINTS.index(point):
        case 0:
            SmtpMailer._connected = die  # type: ignore[method-assign]
        case 1:
            smtplib.SMTP.rcpt = die  # type: ignore[method-assign]
        case 2:
            smtplib.SMTP.docmd = die  # type: ignore[method-assign]
        case 3:
            smtplib.SMTP.send = _send(smtplib.SMTP.send, lambda letter: letter[: len(letter) // 2])  # type: ignore[method-assign]
        case 4:
            smtplib.SMTP.send = _send(smtplib.SMTP.send, lambda letter: letter)  # type: ignore[method-assign]
        case _:
            mailings.sent = die


def _send(real: Callable[..., Any], part: Callable[[bytes], bytes]) -> Callable[..., None]:
    """Send commands as they are, of the letter a part, and die."""

    def send(self: smtplib.SMTP, content: str | bytes) -> None:
        if isinstance(content, bytes) and content.endswith(b"\r\n.\r\n"):
            real(self, part(content))
            die()
        real(self, content)

    return send


def main() -> None:
    """Mail what is due once, or until dead."""
    if len(sys.argv) > 1:
        arm(sys.argv[1])
    toolbox = replace(build_toolbox(read_settings()), lease_seconds=30)
    with toolbox.database:
        reports.send_reports(toolbox)


if __name__ == "__main__":
    main()
