"""What counts as usage, and how it is cut into what is billed as one line. Pure.

A fact is one thing that happened: a ticket was opened, or became critical. Facts of one customer and kind that happened
within one window are billed together, as a batch. A window is an hour of UTC, cut where a billing period ends, so that
no batch crosses one. Each batch is stamped with a minute of its window that no other batch has: asked what it counted
in that minute, the other side answers for this batch alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID, uuid5

TICKET_OPENED: Final = "ticket_opened"
CRITICAL_TICKET: Final = "critical_ticket"
KINDS: Final = (TICKET_OPENED, CRITICAL_TICKET)
#: The priority that makes a ticket critical.
CRITICAL_PRIORITY: Final = 1

#: The way a fact is billed: as usage of a meter, as an item on the invoice, or not at all.
Route: TypeAlias = Literal["metered", "invoice_item", "none"]
METERED: Final = "metered"
INVOICE_ITEM: Final = "invoice_item"
UNBILLED: Final = "none"
ROUTES: Final = (METERED, INVOICE_ITEM, UNBILLED)

#: What stands in place of a meter's name where an invoice item goes.
ITEMS: Final = "invoice items"

#: What happened in a window may be written down a little later than it happened; after this it is a late fact.
SEAL_AFTER = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
_A_MONTH = timedelta(days=28)


class Window(NamedTuple):
    """From the first instant that belongs to it to the first that does not."""

    start: datetime
    end: datetime

    def holds(self, instant: datetime) -> bool:
        """Tell whether an instant belongs to it."""
        return self.start <= instant < self.end


def hour_of(instant: datetime) -> datetime:
    """Return the beginning of the hour of UTC in which it lies."""
    return instant.replace(minute=0, second=0, microsecond=0)


def minute_of(instant: datetime) -> datetime:
    """Return the beginning of the minute in which it lies."""
    return instant.replace(second=0, microsecond=0)


def windows(hour: datetime, boundaries: Iterable[datetime]) -> list[Window]:
    """Cut an hour where billing periods begin and end."""
    inside = sorted({at for at in boundaries if hour < at < hour + HOUR})
    edges = [hour, *inside, hour + HOUR]
    return [Window(*edge) for edge in pairwise(edges)]


def stamp(window: Window, taken: Container[datetime]) -> datetime | None:
    """Return the first minute that lies wholly inside a window and is not taken; None: there is none left.

    A window too short to hold a whole minute is stamped with its own beginning, once.
    """
    first = minute_of(window.start + MINUTE - timedelta(microseconds=1))
    whole = (minute_of(window.end) - first) // MINUTE
    if whole <= 0:
        return None if window.start in taken else window.start
    return next((at for number in range(whole) if (at := first + number * MINUTE) not in taken), None)


def mode(livemode: bool) -> str:  # noqa: FBT001 - what the column holds
    """Return the name of a mode."""
    return "live" if livemode else "test"


def batch_id(installation: str, *parts: str) -> str:
    """Name a batch by what it is: sealed again after a loss, it has the same name, and is known where it was sent."""
    return str(uuid5(UUID(installation), "/".join(parts)))


def fact_key(kind: str, ticket_id: str, time: int = 1) -> str:
    """Name what is billed once: a ticket is opened once, and may become critical again after it was downgraded."""
    return f"{kind}/{ticket_id}/{time}"


def credit_key(key: str) -> str:
    """Name the credit for a fact: there is one at most."""
    return f"{key}/credit"


def credited_at(occurred_at: datetime, periods: Sequence[Window], now: datetime) -> datetime:
    """Return when a credit happens: when the fact did while its billing period is still open, else now.

    A period that is over was billed: what is taken back afterwards comes off the next bill.
    """
    if not periods:
        return occurred_at if now - occurred_at < _A_MONTH else now
    is_open = any(one.holds(occurred_at) and one.holds(now) for one in periods)
    return occurred_at if is_open else now
