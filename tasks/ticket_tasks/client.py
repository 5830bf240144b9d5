"""Enqueue work from another service, without the engine and without a database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ticket_tasks import names
from ticket_tasks.journal import Kept
from ticket_tasks.payloads import (
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
from ticket_tasks.post import Post

#: Ids that are made of a message's content lie in a space of their own.
_OURS = uuid.UUID("0f5b2f57-5f0c-4f3e-9f0e-0a4f9b1f7a52")


class TicketClient:
    """Sends messages to the ticket workers; keep one per process, it is safe to share between threads.

    Every method returns the key of its wish, or takes yours: repeat a call that failed with the same `key`, and however
    often it arrives it is done once. Without one it is made of the content and of `at`, when you name that moment (the
    same fact told twice is one), else it is new (two calls are two wishes). Each raises `ValueError`, before anything
    is sent, for a field that makes no sense, and `BrokerUnreachable` when nothing could be enqueued, after at most
    about three times `timeout_seconds`; its `key` is the one to repeat the call with.

    With a `journal` ("memory", or the path of a file that outlives the process) what was sent is kept until the workers
    have confirmed that it is in their database, and sent again as long as they have not: a broker that loses a message,
    or is away, loses nothing then. None raises `BrokerUnreachable`, but `JournalError` where the file is the trouble.
    """

    def __init__(
        self, broker_url: str, *, timeout_seconds: float = 3.0, journal: Path | Literal["memory"] | None = None
    ) -> None:
        self._post = Post(broker_url, timeout_seconds=timeout_seconds, journal=journal)

    def open_ticket(  # noqa: PLR0913 - a ticket has this many fields, and all but three have a default
        self,
        title: str,
        description: str,
        requester: str,
        *,
        priority: int | None = None,
        sla_hours: int | None = None,
        assignee: str | None = None,
        tags: Iterable[str] = (),
        customer: str | None = None,
        plan: str | None = None,
        group: str | None = None,
        created_at: datetime | None = None,
        ticket_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """Ask for a new ticket and return its id, which is its key as well unless you name another.

        The promise to the requester starts at `created_at`, by default now, however long the message waits.
        """
        wish = {
            "title": title,
            "description": description,
            "requester": requester,
            "priority": priority,
            "sla_hours": sla_hours,
            "assignee": assignee,
            "tags": tuple(tags),
            "customer": customer,
            "plan": plan,
            "group": group,
        }
        named = ticket_id or (_same_id(names.OPEN_TICKET, key) if key else _id(names.OPEN_TICKET, wish, created_at))
        given = {**wish, "ticket_id": named, "created_at": created_at or datetime.now(UTC)}
        self._wish(names.OPEN_TICKET, OpenTicket, given, key or named, None)
        return named

    def add_comment(
        self,
        ticket_id: str,
        author: str,
        body: str,
        *,
        is_internal: bool = False,
        at: datetime | None = None,
        key: str | None = None,
    ) -> str:
        """Add a comment; an internal one is not for the requester."""
        given = {"ticket_id": ticket_id, "author": author, "body": body, "is_internal": is_internal}
        return self._wish(names.ADD_COMMENT, AddComment, given, key, at)

    def assign_ticket(
        self,
        ticket_id: str,
        assignee: str,
        *,
        author: str = "system",
        at: datetime | None = None,
        key: str | None = None,
    ) -> str:
        """Give a ticket to somebody; an open one moves to in_progress."""
        given = {"ticket_id": ticket_id, "assignee": assignee, "author": author}
        return self._wish(names.ASSIGN_TICKET, AssignTicket, given, key, at)

    def set_status(
        self,
        ticket_id: str,
        status: str,
        *,
        author: str = "system",
        note: str = "",
        at: datetime | None = None,
        key: str | None = None,
    ) -> str:
        """Move a ticket along its way; it counts from when the workers do it. A note becomes an internal comment."""
        given = {"ticket_id": ticket_id, "status": status, "author": author, "note": note}
        return self._wish(names.SET_STATUS, SetStatus, given, key, at)

    def escalate_ticket(
        self,
        ticket_id: str,
        reason: str = "",
        *,
        author: str = "system",
        at: datetime | None = None,
        key: str | None = None,
    ) -> str:
        """Raise the priority one step, and with it what is promised."""
        given = {"ticket_id": ticket_id, "reason": reason, "author": author}
        return self._wish(names.ESCALATE_TICKET, EscalateTicket, given, key, at)

    def acknowledge_ticket(
        self,
        ticket_id: str,
        author: str,
        *,
        until: datetime | None = None,
        note: str = "",
        at: datetime | None = None,
        key: str | None = None,
    ) -> str:
        """Stop the escalation chains of a ticket, not its clocks; they go on at `until`, or when the policy says."""
        given = {"ticket_id": ticket_id, "author": author, "until": until, "note": note}
        return self._wish(names.ACKNOWLEDGE_TICKET, AcknowledgeTicket, given, key, at)

    def report(self, days: int = 7, *, at: datetime | None = None, key: str | None = None) -> str:
        """Ask for the figures of the last days; `wait` returns them as the answer's `value`."""
        return self._wish(names.REPORT, Report, {"days": days}, key, at)

    def wait(self, key: str, timeout_seconds: float = 10.0) -> Answer | None:
        """Return what became of a wish; None: nobody has said so within that time, which is no reason to repeat it.

        An answer is kept for ten minutes. Raises `BrokerUnreachable`.
        """
        return self._post.answers.wait(key, timeout_seconds)

    def unconfirmed(self, limit: int = 1000) -> list[Kept]:
        """Return what the journal holds: messages that no worker has confirmed yet."""
        return self._post.journal.waiting(limit) if self._post.journal else []

    def flush(self, timeout_seconds: float = 30.0) -> int:
        """Wait until the workers have confirmed everything in the journal; returns how many they have not."""
        return self._post.flush(timeout_seconds)

    def tick(self, name: str, queue: str, *, expires_seconds: float) -> None:
        """Have a job of the schedule run now, unless nobody takes the tick in time. Raises `BrokerUnreachable`."""
        self._post.send(name, f"{name}:{uuid.uuid4().hex[:8]}", {}, queue=queue, expires=expires_seconds)

    def close(self) -> None:
        """Give back the connections; the client cannot be used afterwards.

        What a file keeps is sent by the next client; what is kept in memory is given up: `flush` before.
        """
        self._post.close()

    def _wish(
        self, name: str, model: type[Wish], given: Mapping[str, object], key: str | None, at: datetime | None
    ) -> str:
        key = key or _id(name, given, at)
        wish = model.model_validate({**given, "key": key, "asked_at": at or datetime.now(UTC), "answer": True})
        self._post.hand_over(name, key, wish.model_dump(mode="json"))
        return key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _id(name: str, given: Mapping[str, object], at: datetime | None) -> str:
    """Return the id of a wish: where its moment is named always the same for the same content, else a new one."""
    return str(uuid.uuid4()) if at is None else _same_id(name, given, at)


def _same_id(*parts: object) -> str:
    """Return an id that is the same for the same content."""
    return str(uuid.uuid5(_OURS, json.dumps(parts, sort_keys=True, default=str)))
