"""Do what other services ask for: each wish once, however often it arrives, and none of them lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import structlog
from pydantic import ValidationError

from ticket_system import Comment, Ticket, parking, wishes
from ticket_system.changes import Changes
from ticket_system.errors import (
    DuplicateComment,
    DuplicateTicket,
    InvalidTransition,
    StorageError,
    TicketNotFound,
    TicketSystemError,
)
from ticket_tasks import names
from ticket_tasks.errors import BrokerUnreachable, TooEarly
from ticket_tasks.payloads import (
    WISHES,
    AcknowledgeTicket,
    AddComment,
    Answer,
    AssignTicket,
    EscalateTicket,
    OpenTicket,
    Report,
    SetStatus,
    Wish,
)
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)

Outcome: TypeAlias = Literal["done", "unchanged", "repeated", "parked"]
#: Comments made by a key get their ids from it: the key forgotten, the same one is refused still.
_COMMENTS = uuid.UUID("6f0c2f0e-4c9a-4d0a-9c58-1f2f6f5f7a10")


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of one message."""

    #: Its name on the wire.
    kind: str
    outcome: Outcome
    key: str | None = None


def take_wish(toolbox: Toolbox, name: str, payload: object = None) -> Intake:
    """Do what a message asks for.

    What makes no sense is parked, where a person sees it. Raises TooEarly where it may make sense in a moment, because
    messages overtake each other.
    """
    try:
        wish = WISHES[name].model_validate(payload)
    except ValidationError as error:
        reasons = "; ".join(f"{_place(issue['loc'])}: {issue['msg']}" for issue in error.errors(include_url=False))
        return park(toolbox, name, payload, reasons)
    key = wish.key or str(getattr(wish, "ticket_id", ""))
    if isinstance(wish, Report):
        _answer(toolbox, wish, key, "done", value=toolbox.system.generate_report(wish.days))
        return Intake(name, "done", key)
    ticket_id = str(getattr(wish, "ticket_id", ""))
    try:
        granted = wishes.grant(
            toolbox.system, key, name, ticket_id, lambda changes: _DOINGS[name](toolbox, changes, wish)
        )
    except (DuplicateTicket, DuplicateComment):
        # Its key was forgotten long ago, or somebody else opened it under this id.
        granted = wishes.Granted(wishes.DONE, is_new=False)
    except (TicketNotFound, InvalidTransition) as error:
        raise TooEarly(str(error)) from error
    except StorageError:
        raise
    except TicketSystemError as error:
        return park(toolbox, name, payload, str(error))
    outcome: Outcome = (
        "repeated" if not granted.is_new else "unchanged" if granted.outcome == wishes.UNCHANGED else "done"
    )
    _answer(toolbox, wish, key, outcome)
    log.info("wish.granted", wish=name, outcome=outcome, key=key, ticket_id=ticket_id)
    return Intake(name, outcome, key)


def park(toolbox: Toolbox, name: str, payload: object, reason: str) -> Intake:
    """Keep a message that cannot be done; what the requester wrote stays out of the log."""
    number = parking.park(toolbox.database, name, _text(payload), reason)
    given = payload if isinstance(payload, dict) else {}
    key = given.get("key") or given.get("ticket_id")
    key = key[:200] if isinstance(key, str) and key else None
    log.error("message.parked", message=name, number=number, key=key, reason=reason)
    if key and given.get("answer") is True:
        _tell(toolbox, Answer(key=key, outcome="parked", reason=reason))
    return Intake(name, "parked", key)


def park_message(toolbox: Toolbox, name: str = "", body: str = "", reason: str = "", **_more: object) -> Intake:
    """Keep a message that a worker could not even hand to a job."""
    number = parking.park(toolbox.database, str(name), str(body), str(reason))
    log.error("message.parked", message=str(name)[:200], number=number, reason=reason)
    return Intake(str(name), "parked")


def replay_parked(toolbox: Toolbox) -> int:
    """Take the parked messages again that a person wants tried again; returns how many were understood this time."""
    understood = 0
    for one in parking.due(toolbox.database):
        payload = json.loads(one.body)
        if one.name not in WISHES:
            known = ", ".join(WISHES)
            park(toolbox, one.name, payload, f"no message is called {one.name[:100]!r}; there are {known}")
            continue
        try:
            outcome = take_wish(toolbox, one.name, payload).outcome
        except TooEarly as error:
            outcome = park(toolbox, one.name, payload, str(error)).outcome
        if outcome != "parked":
            parking.finish(toolbox.database, one.id)
            understood += 1
    return understood


def _open(toolbox: Toolbox, changes: Changes, wish: OpenTicket) -> None:
    priority, hours = wish.priority, wish.sla_hours
    if priority is None:
        priority, _ = toolbox.system.auto_priority(f"{wish.title}\n{wish.description}")
    created_at = wish.created_at or wish.asked_at or datetime.now(UTC)
    changes.create(
        Ticket(
            title=wish.title,
            description=wish.description,
            requester=wish.requester,
            id=wish.ticket_id,
            priority=priority,
            sla_hours=hours or toolbox.system.policy.hours[priority],
            assignee=wish.assignee,
            tags=list(wish.tags),
            customer=wish.customer,
            plan=wish.plan,
            group=wish.group,
            created_at=created_at,
            updated_at=created_at,
        )
    )


def _comment(_toolbox: Toolbox, changes: Changes, wish: AddComment) -> None:
    comment_id = str(uuid.uuid5(_COMMENTS, wish.key))
    changes.comment(
        Comment(
            wish.ticket_id,
            wish.author,
            wish.body,
            id=comment_id,
            created_at=wish.asked_at or datetime.now(UTC),
            is_internal=wish.is_internal,
        )
    )


def _assign(_toolbox: Toolbox, changes: Changes, wish: AssignTicket) -> bool:
    ticket = _known(changes, wish.ticket_id)
    if ticket.status == "open":
        return changes.assign(wish.ticket_id, wish.assignee, actor=wish.author)
    return ticket.assignee != wish.assignee and changes.reassign(wish.ticket_id, wish.assignee, actor=wish.author)


def _set_status(_toolbox: Toolbox, changes: Changes, wish: SetStatus) -> bool:
    if _known(changes, wish.ticket_id).status == wish.status:
        return False
    return changes.set_status(wish.ticket_id, wish.status, actor=wish.author, note=wish.note)


def _escalate(_toolbox: Toolbox, changes: Changes, wish: EscalateTicket) -> bool:
    _known(changes, wish.ticket_id)
    return changes.escalate(wish.ticket_id, wish.reason, actor=wish.author)


def _acknowledge(_toolbox: Toolbox, changes: Changes, wish: AcknowledgeTicket) -> bool:
    _known(changes, wish.ticket_id)
    return changes.acknowledge(wish.ticket_id, until=wish.until, note=wish.note, actor=wish.author)


_DOINGS: Mapping[str, Callable[[Toolbox, Changes, Any], bool | None]] = {
    names.OPEN_TICKET: _open,
    names.ADD_COMMENT: _comment,
    names.ASSIGN_TICKET: _assign,
    names.SET_STATUS: _set_status,
    names.ESCALATE_TICKET: _escalate,
    names.ACKNOWLEDGE_TICKET: _acknowledge,
}


def _known(changes: Changes, ticket_id: str) -> Ticket:
    ticket, _ = changes.lock(ticket_id, None)
    if ticket is None:
        raise TicketNotFound(ticket_id)
    return ticket


def _answer(toolbox: Toolbox, wish: Wish, key: str, outcome: Outcome, *, value: dict[str, Any] | None = None) -> None:
    if wish.answer:
        _tell(toolbox, Answer(key=key, outcome=outcome, value=value))


def _tell(toolbox: Toolbox, answer: Answer) -> None:
    """Say what is done, and committed. Word that is lost costs whoever waits for it a repeat."""
    try:
        toolbox.answers.tell(answer)
    except BrokerUnreachable as error:
        log.warning("answer.lost", key=answer.key, error=str(error))


def _text(payload: object) -> str:
    """Return a payload as the JSON that it came as; what is none is told as Python shows it."""
    try:
        return json.dumps(payload, ensure_ascii=False)
    except (TypeError, ValueError):
        return json.dumps(repr(payload))


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in path) or "payload"
