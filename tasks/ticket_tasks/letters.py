"""What a notice says: facts in, a letter out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ticket_system import PRIORITY_LABELS, Ticket
from ticket_system.outbox import MAIL
from ticket_tasks.errors import Rejected
from ticket_tasks.payloads import BreachFacts, TicketBreached
from ticket_tasks.toolbox import Letter

_BREACH = """\
The deadline of this ticket's {target} has passed.

  Ticket     {title}
  Id         {id}
  Priority   {priority}
  Status     {status}
  Requester  {requester}
  Assignee   {assignee}
  Due        {due_at}
  Found      {detected_at} ({delay} later)

This message was sent once, by the ticket system. Nobody reads answers to it.
"""

# One line stays one line, wherever a title or a name came from: nothing it holds can start another header or paragraph.
_NOT_ONE_LINE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+\.[^\s@<>,;:\"()\[\]\\.]+")
_SUBJECT_LIMIT = 150


def breach_letter(key: str, ticket: Ticket, mail_to: str | None, destination: str = MAIL) -> Letter:
    """Return the letter that tells of a breach.

    By `mail` it goes to the assignee where that is a mail address, else to `mail_to`; by `mail:…` to that address.
    """
    clock = ticket.clock
    if clock is None or clock.breached_at is None or clock.detected_at is None:
        raise Rejected("the ticket has no breach to tell of")
    title, priority = one_line(ticket.title), PRIORITY_LABELS.get(ticket.priority, str(ticket.priority))
    subject = f"[{priority}] Overdue: {title}"
    return Letter(
        key=key,
        to=recipient(destination, ticket, mail_to),
        subject=subject if len(subject) <= _SUBJECT_LIMIT else subject[: _SUBJECT_LIMIT - 1] + "…",
        text=_BREACH.format(
            target=clock.target.replace("_", " "),
            title=title,
            id=one_line(ticket.id),
            priority=priority,
            status=ticket.status,
            requester=one_line(ticket.requester),
            assignee=one_line(ticket.assignee or "nobody"),
            due_at=moment(clock.breached_at),
            detected_at=moment(clock.detected_at),
            delay=duration(clock.detected_at - clock.breached_at),
        ),
        at=clock.detected_at,
        facts=TicketBreached(
            timestamp=clock.detected_at,
            data=BreachFacts(
                ticket_id=ticket.id,
                priority=ticket.priority,
                status=ticket.status,
                assignee=ticket.assignee,
                target=clock.target,
                cycle=clock.cycle,
                breached_at=clock.breached_at,
                detected_at=clock.detected_at,
                cause=clock.cause,
            ),
        ),
    )


def recipient(destination: str, ticket: Ticket, mail_to: str | None) -> str | None:
    """Return the mail address that a destination means; None where it means none."""
    way, _, address = destination.partition(":")
    if way != MAIL:
        return None
    if not address:
        return ticket.assignee if is_address(ticket.assignee) else mail_to
    if not is_address(address):
        raise Rejected(f"{address!r} is not a plain mail address")
    return address


def one_line(text: str) -> str:
    """Return the text with every run of line breaks, control characters and blanks made one blank."""
    return _NOT_ONE_LINE.sub(" ", text).strip()


def is_address(text: str | None) -> bool:
    """Tell whether a name is a plain mail address and nothing else."""
    return text is not None and text.isascii() and _ADDRESS.fullmatch(text) is not None


def moment(at: datetime) -> str:
    """Return a moment as a person reads it, in UTC and saying so."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(span: timedelta) -> str:
    """Return a span in its two largest units: `3 d 4 h`, `12 min 5 s`, `0.4 s`."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 10:  # noqa: PLR2004 - below this, tenths of a second say something
        return f"{seconds:.1f} s"
    parts: list[str] = []
    left = round(seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
