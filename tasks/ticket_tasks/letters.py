"""What a notice says: facts in, a letter out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ticket_system import PRIORITY_LABELS, Ticket
from ticket_system.errors import shown
from ticket_system.outbox import ALARMS, MAIL, OutboxRow, about, channel
from ticket_system.tickets import is_address
from ticket_tasks.errors import Rejected
from ticket_tasks.payloads import AlarmFacts, AlarmList, TicketAlarm, TicketAlarms
from ticket_tasks.toolbox import Letter

_FACTS = """\
{opening}

  Ticket     {title}
  Id         {id}
  Priority   {priority}
  Status     {status}
  Requester  {requester}
  Assignee   {assignee}
  Due        {due_at}
{found}
This message was sent once, by the ticket system. Nobody reads answers to it.
"""
_MANY = """\
{total} alarms, told together because so many came at once: {counted}.

{lines}

This message was sent once, by the ticket system. Nobody reads answers to it.
"""

#: So many alarms of a bundle are read by a person, and so many by a program.
LINES = 50
LISTED = 500

# One line stays one line, wherever a title or a name came from: nothing it holds can start another header or paragraph.
_NOT_ONE_LINE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SUBJECT_LIMIT = 150


def alarm_letter(row: OutboxRow, ticket: Ticket, mail_to: str | None) -> Letter:
    """Return the letter that tells of one warning, or of one level of an escalation chain."""
    facts, title = facts_of(row, ticket), one_line(ticket.title)
    at = facts.detected_at or row.created_at
    delay = duration(facts.detected_at - facts.breached_at) if facts.detected_at and facts.breached_at else ""
    return Letter(
        key=row.key,
        to=recipient(row.destination, ticket, mail_to),
        subject=_short(f"[{_label(ticket)}] {_headline(facts)}: {title}"),
        text=_FACTS.format(
            opening=_opening(facts),
            title=title,
            id=one_line(ticket.id),
            priority=_label(ticket),
            status=ticket.status,
            requester=one_line(ticket.requester),
            assignee=one_line(ticket.assignee or "nobody"),
            due_at=_due(facts),
            found=f"  Found      {moment(at)} ({delay} later)\n" if delay else "",
        ),
        at=row.created_at,
        facts=TicketAlarm(
            type="ticket.warned" if facts.kind == "warned" else "ticket.escalated", timestamp=row.created_at, data=facts
        ),
    )


def bundle_letter(
    row: OutboxRow, alarms: Sequence[tuple[OutboxRow, Ticket]], total: int, mail_to: str | None
) -> Letter:
    """Return the letter that tells of many alarms at once, the most urgent first."""
    told = [(facts_of(one, ticket), ticket) for one, ticket in alarms]
    late = sum(facts.breached_at is not None for facts, _ in told)
    lines = [
        f"  [{_label(ticket)}] {one_line(ticket.title)} ({one_line(ticket.id)}), due {_due(facts)}"
        for facts, ticket in told[:LINES]
    ]
    if total > LINES:
        lines.append(f"  and {total - LINES:,} more")
    counted = f"{late:,} overdue, {len(told) - late:,} due soon" if total == len(told) else "the most urgent first"
    return Letter(
        key=row.key,
        to=_address(row.destination, None, mail_to),
        subject=_short(f"{total:,} alarms: {counted}"),
        text=_MANY.format(total=f"{total:,}", counted=counted, lines="\n".join(lines)),
        at=row.created_at,
        facts=TicketAlarms(
            timestamp=row.created_at, data=AlarmList(total=total, alarms=tuple(facts for facts, _ in told))
        ),
    )


def facts_of(row: OutboxRow, ticket: Ticket) -> AlarmFacts:
    """Return what is certain about an alarm; Rejected for a message that is about none."""
    of, clock = about(row), ticket.clock
    if of is None or clock is None or of.kind not in ALARMS:
        raise Rejected("the message is about no warning and no escalation of its ticket")
    return AlarmFacts(
        kind="warned" if of.kind == "warned" else "escalated",
        ticket_id=ticket.id,
        priority=ticket.priority,
        status=ticket.status,
        assignee=ticket.assignee,
        target=clock.target,
        cycle=clock.cycle,
        due_at=clock.due_at,
        breached_at=clock.breached_at,
        detected_at=clock.detected_at,
        cause=clock.cause,
        number=of.number,
        repeat=of.repeat,
    )


def recipient(destination: str, ticket: Ticket, mail_to: str | None) -> str | None:
    """Return the mail address that a destination means; None where it means none, Rejected where it cannot be one."""
    return _address(destination, ticket.requester if destination == _REQUESTER else ticket.assignee, mail_to)


def place(destination: str, person: str | None, mail_to: str | None) -> str | None:
    """Return where a message really goes, so that what ends at one address counts together; None: nowhere."""
    if channel(destination) != MAIL:
        return destination
    try:
        address = _address(destination, person, mail_to)
    except Rejected:
        return None
    # The desk by its role: its address is the operator's affair, and may be one that no ticket could name.
    return _DESK if address == mail_to else address and f"{MAIL}:{address}"


_ASSIGNEE, _DESK, _REQUESTER = (f"{MAIL}:{role}" for role in ("assignee", "desk", "requester"))


def _address(destination: str, person: str | None, mail_to: str | None) -> str | None:
    """By `mail` to the assignee where that is a mail address, else to the desk; by `mail:…` to that role or address."""
    if channel(destination) != MAIL:
        return None
    if destination == MAIL:
        return person if is_address(person) else mail_to
    if destination == _DESK:
        if mail_to is None:
            raise Rejected("the desk has no mail address; set TICKETS_MAIL_TO, then: tickets outbox retry")
        return mail_to
    named = person if destination in {_ASSIGNEE, _REQUESTER} else destination.partition(":")[2]
    if named is None or not is_address(named):
        raise Rejected(f"{shown(named)} is not a plain mail address")
    return named


def _headline(facts: AlarmFacts) -> str:
    if facts.kind == "warned":
        return f"Due {_due(facts)}"
    words = ["Overdue" if facts.breached_at else "Due soon"]
    words += [f"level {facts.number}"] if facts.number > 1 else []
    return ", ".join(words + ([f"reminder {facts.repeat}"] if facts.repeat else []))


def _opening(facts: AlarmFacts) -> str:
    target = facts.target.replace("_", " ")
    if facts.breached_at is not None:
        return f"The deadline of this ticket's {target} has passed."
    return f"This ticket's {target} is due soon."


def _due(facts: AlarmFacts) -> str:
    due_at = facts.due_at or facts.breached_at
    return moment(due_at) if due_at else "when it goes on; it is paused now"


def _label(ticket: Ticket) -> str:
    return PRIORITY_LABELS.get(ticket.priority, str(ticket.priority))


def _short(subject: str) -> str:
    return subject if len(subject) <= _SUBJECT_LIMIT else subject[: _SUBJECT_LIMIT - 1] + "…"


def one_line(text: str) -> str:
    """Return the text with every run of line breaks, control characters and blanks made one blank."""
    return _NOT_ONE_LINE.sub(" ", text).strip()


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
