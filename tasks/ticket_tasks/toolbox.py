"""What every job is handed: the database, the ports to the world, and how much to do at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ticket_system import TicketSystem
from ticket_system.billing.deliveries import Delivery, Said
from ticket_system.billing.subscriptions import Subscription
from ticket_system.billing.usage import Window
from ticket_system.inbox import Effects, InboxEvent
from ticket_system.ledger import Lane, Row
from ticket_system.retention import Keep
from ticket_system.storage.database import Database
from ticket_tasks.payloads import Answer, TicketAlarm, TicketAlarms


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a letter shows, in PNG."""

    #: What the HTML calls it, in `src="cid:…"`; letters, digits and dashes.
    name: str
    png: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailing:
    """What makes a letter one of a series that its reader can leave."""

    #: The series, `weekly.initech`; and in words, `Weekly report of initech`.
    list_name: str
    title: str
    #: https://…, leaves the series by one click (RFC 8058); None where nobody serves it.
    unsubscribe_url: str | None = None
    #: A mail address that takes the same wish, for programs that know no other way.
    unsubscribe_address: str | None = None


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
    #: What `to` is called.
    to_name: str | None = None
    #: The same as the text, as a page, and the pictures in it.
    html: str | None = None
    pictures: tuple[Picture, ...] = ()
    mailing: Mailing | None = None


class Mailer(Protocol):
    """The port to whatever delivers letters.

    `send` calls `before_data` once, at the last moment at which nothing has left the house; what it raises stops the
    letter and comes out unchanged. It raises `Transient` or `Rejected` when the letter surely did not go out, and
    `Uncertain` when nobody can know.
    """

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        """Deliver one letter; returns what the other side answered, for the record."""


class Notifier(Protocol):
    """The port to every other place: chats, pagers, webhooks, each known by a name.

    Promises what `Mailer` promises, and raises `Unreachable` where the place itself is away. No error it raises holds
    anything of the place's address or secrets: errors are stored and logged.
    """

    def send(self, destination: str, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter to the place of that name."""


class Meter(Protocol):
    """The port to whoever counts usage and charges for it, in one mode.

    Another service can be put behind it: the ledger needs a place that takes a batch under an identifier which makes a
    repeat harmless for a day, and that tells what it counted in a minute. Errors other than an answer to `send` are
    `Transient` or `Rejected`.
    """

    @property
    def livemode(self) -> bool:
        """Whether it is about real money."""

    @property
    def looks(self) -> bool:
        """Whether it can tell what was counted; one that cannot is never asked."""

    def take_turn(self) -> None:
        """Wait until a call keeps within the rate that the whole fleet shares."""

    def send(self, row: Row, begun: Delivery) -> Said:
        """Have a batch counted, or charged; never raises for what the other side says, or does not say."""

    def counted(self, lane: Lane, minute: Window) -> int:
        """Return what was counted in a minute."""

    def counted_by_hour(self, lane: Lane, span: Window) -> dict[datetime, int]:
        """Return what was counted, by the beginning of each hour in which anything was."""

    def items(self, row: Row) -> list[str]:
        """Return the ids of the invoice items that were made for a delivery's batch."""


class Shop(Protocol):
    """The port to whoever sells subscriptions, and tells about them. Raises `Transient` or `Rejected`."""

    @property
    def livemode(self) -> bool:
        """Whether it is about real money."""

    def subscriptions(self, stripe_customer: str) -> list[Subscription]:
        """Return what a customer has bought, ended subscriptions among them."""

    def undelivered(self, since: datetime) -> Iterator[InboxEvent]:
        """Return events since then that did not get through to us."""

    def effects(self, event: InboxEvent) -> Effects:
        """Return what follows from an event; what it says of a state is not taken from it but fetched."""


class Teller(Protocol):
    """The port to whoever waits for what became of a wish. Raises `BrokerUnreachable`."""

    def tell(self, answer: Answer) -> None:
        """Leave word, for a while."""


class Silence:
    """Tells nobody anything."""

    def tell(self, answer: Answer) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class Stationery:
    """What every report carries, whatever it tells."""

    #: Where a ticket can be looked at, with `{id}` in it; None: nowhere.
    ticket_url: str | None = None
    #: The sender's postal address, where the law wants one.
    postal_address: str | None = None
    #: From a recipient's id, the kind of report and the moment it is written: where they leave it by one click.
    unsubscribe_url: Callable[[int, str, datetime], str] | None = None
    #: The mail address that takes the same wish.
    unsubscribe_address: str | None = None


@dataclass(frozen=True, slots=True)
class Toolbox:
    """Everything a job may touch; made once per process, never across a fork."""

    system: TicketSystem
    mailer: Mailer
    notifier: Notifier
    #: None: nothing is billed from here.
    meter: Meter | None = None
    shop: Shop | None = None
    #: Gets the notices of tickets whose assignee is no mail address.
    mail_to: str | None = None
    stationery: Stationery = Stationery()
    answers: Teller = field(default_factory=Silence)
    scan_batch_size: int = 1000
    #: How long one scan may go on draining; the next tick carries on.
    scan_budget_seconds: float = 20.0
    #: Tickets per snapshot, those of the rotating sample per run, and how long one run may go on.
    audit_batch_size: int = 500
    audit_sample: int = 5000
    audit_budget_seconds: float = 20.0
    #: How long things are kept; rows per transaction of whoever forgets them, and how long one run may go on.
    keep: Keep = field(default_factory=Keep)
    prune_batch_size: int = 1000
    prune_budget_seconds: float = 60.0
    deliver_batch_size: int = 10
    deliver_budget_seconds: float = 10.0
    #: How long one report, comparison or synchronisation may go on; the next tick carries on.
    billing_budget_seconds: float = 60.0
    #: How long weekly reports may be made, or mailed, in one go; the next tick carries on.
    reports_budget_seconds: float = 60.0
    #: Longer than sending one batch takes at its slowest, or two workers would take turns at the same letter.
    lease_seconds: float = 120.0

    @property
    def database(self) -> Database:
        """Where the tickets are."""
        return self.system.database
