"""The tickets of the demo, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ticket_system import Ticket

Fate = Literal["breach", "solve", "hold"]


#: Whose tickets are billed: those of our own people, and those of a shop that we look after.
CUSTOMERS = ("acme", "shop")


@dataclass(frozen=True, slots=True)
class Part:
    """One ticket, and what is to become of it."""

    title: str
    requester: str
    priority: int
    fate: Fate = "breach"
    #: Sent as a message, as another service would; else stored through the library.
    is_enqueued: bool = False

    @property
    def customer(self) -> str:
        """Who is billed for it."""
        return "shop" if self.requester in {"shop", "portal"} else "acme"

    @property
    def text(self) -> str:
        """What the requester wrote."""
        return f"{self.title}. Since this morning."


@dataclass(slots=True)
class Role:
    """One ticket of the play, and what is known of it so far."""

    part: Part
    due_at: datetime
    ticket_id: str = ""
    ticket: Ticket | None = None
    notice: str = ""
    #: The help that was to come came too late; the deadline passes.
    is_lost: bool = False

    @property
    def fate(self) -> Fate:
        """What is to become of it after all."""
        return "breach" if self.is_lost else self.part.fate

    @property
    def latency_seconds(self) -> float | None:
        """How long after its deadline the breach was found."""
        clock = self.ticket.clock if self.ticket else None
        if clock is None or clock.breached_at is None or clock.detected_at is None:
            return None
        return (clock.detected_at - clock.breached_at).total_seconds()

    @property
    def is_escalated(self) -> bool:
        """Whether the first escalation step was taken."""
        clock = self.ticket.clock if self.ticket else None
        return self.latency_seconds is not None and clock is not None and clock.next_check_at is None

    @property
    def is_over(self) -> bool:
        """Whether all that should become of it has."""
        if self.fate == "breach":
            return self.is_escalated and self.notice == "sent"
        return self.ticket is not None and self.ticket.status in {"resolved", "on_hold"}


@dataclass(slots=True)
class Verdict:
    """What the database says in the end."""

    breaches: int = 0
    escalations: int = 0
    comments: int = 0
    notices: int = 0
    missing: int = 0
    doubled: int = 0
    undeserved: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether everything happened, once, to whom it should."""
        return not (self.missing or self.doubled or self.undeserved)


CAST: tuple[Part, ...] = (
    Part("Card payments fail at checkout", "ada", 1),
    Part("Monitoring: certificate expires today", "monitoring", 1, is_enqueued=True),
    Part("VPN drops every ten minutes", "barbara", 2),
    Part("Portal: language switches back", "portal", 3, is_enqueued=True),
    Part("Spell check speaks French", "grace h.", 4, fate="solve"),
    Part("Portal: remember my last search", "portal", 4, is_enqueued=True),
    Part("Warehouse scanners lost the network", "margaret", 1),
    Part("Monitoring: queue grows without end", "monitoring", 1, fate="hold", is_enqueued=True),
    Part("Nightly backup did not run", "ada", 2),
    Part("Shop: size chart missing", "shop", 3, is_enqueued=True),
    Part("Dark mode for the intranet, please", "barbara", 4, fate="solve"),
    Part("Monitoring: add a graph for memory", "monitoring", 4, is_enqueued=True),
    Part("Production database is read-only", "grace h.", 1),
    Part("Shop: voucher refused", "shop", 2, is_enqueued=True),
    Part("Shared calendar lost its colours", "margaret", 3),
    Part("Monitoring: slow answers on node 7", "monitoring", 3, fate="solve", is_enqueued=True),
    Part("A second screen for Ada", "ada", 4),
    Part("Portal: shorter address form", "portal", 4, is_enqueued=True),
    Part("Login page answers 500", "barbara", 1, fate="hold"),
    Part("Portal: password mail never comes", "portal", 2, is_enqueued=True),
    Part("Printer prints stars", "grace h.", 3),
    Part("Portal: broken link in the footer", "portal", 3, fate="solve", is_enqueued=True),
    Part("Export to CSV would help", "margaret", 4),
    Part("Shop: orders are not confirmed", "shop", 1, is_enqueued=True),
    Part("Phones in the Oslo office are dead", "ada", 1),
    Part("Portal: profile picture upside down", "portal", 2, is_enqueued=True),
    Part("Search finds deleted pages", "barbara", 3),
    Part("Shop: picture loads twice", "shop", 3, is_enqueued=True),
    Part("Rename the meeting room", "grace h.", 4, fate="solve"),
    Part("Shop: basket empties itself", "shop", 1, is_enqueued=True),
    Part("Badge doors on floor 3 stay shut", "margaret", 2, fate="hold"),
    Part("Portal: two-factor code arrives late", "portal", 2, is_enqueued=True),
    Part("Reports take a minute to open", "ada", 3),
    Part("Portal: ask for a newsletter opt-out", "portal", 4, fate="solve", is_enqueued=True),
    Part("Bigger font in the canteen menu", "barbara", 4),
    Part("Monitoring: disk full on app-3", "monitoring", 1, is_enqueued=True),
    Part("Invoices show last year's address", "grace h.", 2),
    Part("Shop: wrong tax for Switzerland", "shop", 2, is_enqueued=True),
    Part("Scanner saves to the wrong folder", "margaret", 3, fate="solve"),
    Part("Shop: gift wrapping wished for", "shop", 4, is_enqueued=True),
)
