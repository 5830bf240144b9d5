"""What every job is handed: the database, the ports to the world, and how much to do at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ticket_system import TicketSystem
from ticket_system.storage.database import Database
from ticket_tasks.payloads import TicketAlarm, TicketAlarms


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, before any mail system, chat or webhook dressed it."""

    #: The same for every attempt at the same message; becomes its Message-ID.
    key: str
    #: A mail address, where it goes by mail.
    to: str | None
    subject: str
    text: str
    #: When its cause happened, not when it was sent: a repeat carries the same date.
    at: datetime
    #: The same for a program to read.
    facts: TicketAlarm | TicketAlarms | None = None


class Mailer(Protocol):
    """The port to whatever delivers letters.

    `send` calls `before_data` once, at the last moment at which nothing has left the house; what it raises stops the
    letter and comes out unchanged. It raises `Transient` or `Rejected` when the letter surely did not go out, and
    `Uncertain` when nobody can know.
    """

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter."""


class Notifier(Protocol):
    """The port to every other place: chats, pagers, webhooks, each known by a name.

    Promises what `Mailer` promises, and raises `Unreachable` where the place itself is away. No error it raises holds
    anything of the place's address or secrets: errors are stored and logged.
    """

    def send(self, destination: str, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter to the place of that name."""


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Everything a job may touch; made once per process, never across a fork."""

    system: TicketSystem
    mailer: Mailer
    notifier: Notifier
    #: Gets the notices of tickets whose assignee is no mail address.
    mail_to: str | None = None
    scan_batch_size: int = 1000
    #: How long one scan may go on draining; the next tick carries on.
    scan_budget_seconds: float = 20.0
    #: Tickets per snapshot, those of the rotating sample per run, and how long one run may go on.
    audit_batch_size: int = 500
    audit_sample: int = 5000
    audit_budget_seconds: float = 20.0
    deliver_batch_size: int = 10
    deliver_budget_seconds: float = 10.0
    #: Longer than sending one batch takes at its slowest, or two workers would take turns at the same letter.
    lease_seconds: float = 120.0

    @property
    def database(self) -> Database:
        """Where the tickets are."""
        return self.system.database
