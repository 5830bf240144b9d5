"""What a call says, and a meter that only writes it to the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from ticket_system.billing.deliveries import Answer, Delivery, Said
from ticket_system.billing.usage import Window
from ticket_system.ledger import Lane, Row
from ticket_tasks.errors import Rejected

log = structlog.stdlib.get_logger(__name__)

#: Where an invoice item says which batch it stands for.
BATCH_KEY = "ticket_batch"


@dataclass(slots=True)
class ConsoleMeter:
    """Writes usage of test customers to the log, and calls it accepted; it counts nothing."""

    looks: bool = False

    @property
    def livemode(self) -> bool:
        """Never: what only the log knows is not billed."""
        return False

    def take_turn(self) -> None:
        """Wait for nothing."""

    def send(self, row: Row, begun: Delivery) -> Said:
        """Write down what would be sent."""
        params = item_params(row) if row.is_item else event_params(row, begun)
        log.info("usage.console", idempotency_key=begun.idempotency_key, params=params)
        return Said(Answer.ACCEPTED)

    def counted(self, lane: Lane, minute: Window) -> int:
        """Raise: nobody counts here."""
        raise Rejected(f"the console counts nothing ({lane.event_name}, {minute.start})")

    def counted_by_hour(self, lane: Lane, span: Window) -> dict[datetime, int]:
        """Raise: nobody counts here."""
        raise Rejected(f"the console counts nothing ({lane.event_name}, {span.start})")

    def items(self, row: Row) -> list[str]:
        """Raise: nobody keeps items here."""
        raise Rejected(f"the console keeps no items ({row.delivery.identifier})")


def event_params(row: Row, begun: Delivery) -> dict[str, Any]:
    """Return an event of a meter, with whole seconds and texts: the SDK sends what it is given."""
    return {
        "event_name": row.lane.event_name,
        "identifier": begun.identifier,
        "timestamp": int(begun.event_at.timestamp()),
        "payload": {"stripe_customer_id": row.lane.stripe_customer, "value": str(begun.quantity)},
    }


def item_params(row: Row) -> dict[str, Any]:
    """Return an item of the next invoice, which says what it is for and in which hour that happened."""
    batch, quantity = row.batch, row.delivery.quantity
    what = batch.kind.replace("_", " ")
    told = f"{what} on {batch.window_start:%Y-%m-%d}" + (f" ({quantity})" if abs(quantity) != 1 else "")
    params: dict[str, Any] = {
        "customer": row.lane.stripe_customer,
        "amount": row.money,
        "currency": batch.currency,
        "description": f"Credit: {told}" if row.money < 0 else told.capitalize(),
        "period": {"start": int(batch.window_start.timestamp()), "end": int(batch.window_end.timestamp())},
        "metadata": {BATCH_KEY: batch.id, "charges": (batch.charges or "")[:500]},
    }
    return params | ({"subscription": row.subscription} if row.subscription else {})
