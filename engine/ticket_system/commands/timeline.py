"""A ticket's events and comments as a story, oldest first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ticket_system.commands.terminal import at
from ticket_system.exports import ticket_as_json
from ticket_system.sla.terms import reclassified
from ticket_system.storage.events import Event
from ticket_system.tickets import PRIORITY_LABELS, Comment, Ticket

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def timeline(history: Sequence[Event], comments: Iterable[Comment], zone: ZoneInfo | None) -> Iterator[str]:
    """Tell what happened, one line each; a comment's further lines are set in under it."""
    if all(event.kind != "created" for event in history):
        yield "What happened to it before is forgotten, by policy."
    told: list[tuple[datetime, int, str, str]] = [
        (event.at, 0, event.actor, _sentence(event)) for event in history if event.kind != "commented"
    ]
    told += [
        (one.created_at, 1, one.author, f"{'noted' if one.is_internal else 'said'}: {one.body}") for one in comments
    ]
    for moment, _, actor, sentence in sorted(told, key=lambda one: one[:2]):
        first, *more = sentence.splitlines() or [""]
        yield f"{at(moment, zone)}  {actor}  {first}"
        yield from (f"    {line}" for line in more)


def as_json(ticket: Ticket, history: Iterable[Event], comments: Iterable[Comment]) -> dict[str, Any]:
    """Return a ticket with all that belongs to it, ready for JSON."""
    return ticket_as_json(ticket) | {
        "comments": [comment_as_json(one) for one in comments],
        "events": [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}
            for one in history
        ],
    }


def comment_as_json(comment: Comment) -> dict[str, Any]:
    """Return a comment, ready for JSON."""
    return asdict(comment) | {"created_at": comment.created_at.isoformat()}


def _sentence(event: Event) -> str:
    old, new, note = event.old or "", event.new or "", event.note or ""
    steps = f"{_label(event.old)} → {_label(event.new)}"
    told = {
        "created": f"opened it{_opened_with(event.new)}",
        "assigned": f"assigned it to {new or 'nobody'}" + (f" (before: {old})" if old else ""),
        "status": f"moved it: {old} → {new}" + (f" ({note})" if note else ""),
        "priority": f"changed the priority: {steps}",
        "classified": f"changed {reclassified(event.old, event.new)}",
        "escalated": f"escalated it: {steps if new else 'somebody is called'}" + (f": {note}" if note else ""),
        "warned": f"warned ({note})",
        "collapsed": f"kept an alarm back ({note})",
        "acknowledged": "took the escalations upon themselves" + (f": {note}" if note else ""),
        "rearmed": "let the escalations go on",
        "tagged": f"tagged it {new}",
        "unfinished": f"could not do all that an escalation says ({note})",
        "repromised": f"put it under version {new} of the rules",
        "waived": f"waived the breach of its {new.replace('_', ' ')}: {note}",
        "waiver_revoked": f"let the breach of its {new.replace('_', ' ')} count again: {note}",
        "breached": f"found it late ({note})",
        "legacy": f"{new} ({note})",
        "legacy_comment": f"said, to a ticket that is gone: {note}",
    }
    return told.get(event.kind, f"{event.kind}: {', '.join(word for word in (old, new, note) if word)}")


def _opened_with(facts: str | None) -> str:
    try:
        known = json.loads(facts or "{}")
        return f": {_label(str(known['priority']))}, {known['sla_hours']} hours"
    except (ValueError, KeyError, TypeError):
        return ""


def _label(priority: str | None) -> str:
    return PRIORITY_LABELS.get(int(priority), priority) if priority and priority.isdigit() else str(priority)
