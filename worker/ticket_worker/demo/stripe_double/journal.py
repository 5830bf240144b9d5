"""What Stripe would bill, whatever it was asked and answered: the oracle of a test."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime

from ticket_worker.demo.stripe_double.answers import Json
from ticket_worker.demo.stripe_double.things import InvoiceItem, MeterEvent
from ticket_worker.demo.stripe_double.world import World


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: what it was, what befell it, and how it ended."""

    at: datetime
    method: str
    path: str
    key: str | None
    identifier: str | None
    outcome: str
    fault: str | None = None
    is_replay: bool = False


@dataclass(slots=True)
class Journal:
    """A view of the world, and the calls that made it so."""

    world: World
    requests: list[Seen] = field(default_factory=list)
    #: For each customer and meter, how many calls were being worked on at once, at most.
    in_flight_peak: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def events(self) -> list[MeterEvent]:
        """Every meter event that was taken, rejected ones too."""
        with self.world.lock:
            return list(self.world.usage)

    @property
    def unbilled(self) -> list[MeterEvent]:
        """Events that count and yet came too late for their invoice."""
        return [event for event in self.events if event.counts and event.is_unbilled]

    @property
    def invoice_items(self) -> list[InvoiceItem]:
        """Every invoice item that was not deleted, on an invoice or not."""
        with self.world.lock:
            return list(self.world.items.values())

    def billed(self, customer: str, event_name: str, start: datetime | None = None, end: datetime | None = None) -> int:
        """How much of a meter is, or will be, on a customer's invoices: the sum as it is, also below 0."""
        return sum(
            event.value
            for event in self.events
            if event.counts
            and not event.is_unbilled
            and (event.customer, event.event_name) == (customer, event_name)
            and (start is None or event.timestamp >= start)
            and (end is None or event.timestamp < end)
        )

    def json(self) -> Json:
        """The journal for a reader in another process. Moments are ISO texts."""
        events = self.events
        pairs = sorted({(event.customer, event.event_name) for event in events})
        with self.world.lock:
            invoices = [invoice.json() for invoice in self.world.invoices.values()]
        return {
            "billed": [
                {"customer": customer, "event_name": name, "value": self.billed(customer, name)}
                for customer, name in pairs
            ],
            "events": [_plain(event) for event in events],
            "unbilled": [_plain(event) for event in self.unbilled],
            "invoice_items": [item.json() for item in self.invoice_items],
            "invoices": invoices,
            "requests": [_plain(seen) for seen in list(self.requests)],
            "in_flight_peak": [
                {"customer": customer, "event_name": name, "peak": peak}
                for (customer, name), peak in sorted(dict(self.in_flight_peak).items())
            ],
        }


def _plain(record: MeterEvent | Seen) -> Json:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(record).items()}
