"""What a person does about usage: send again what was refused, carry over what is too old, settle, take back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ticket_system.accounts import renew
from ticket_system.billing import course
from ticket_system.billing.deliveries import STUCK, TO_SEND, State
from ticket_system.billing.money import money
from ticket_system.billing.usage import INVOICE_ITEM, ITEMS, batch_id
from ticket_system.errors import BillingError
from ticket_system.rulebook import Rulebook
from ticket_system.storage import customers, deliveries, lanes, usage
from ticket_system.storage.database import Database
from ticket_system.storage.deliveries import Row
from ticket_system.storage.moments import moment
from ticket_system.tickets import check_name

_LONGEST_REASON = 1000
_HINTS = {
    "unknown": "it may have arrived; it is looked for, and settles within two days",
    "rejected": "refused; mend the cause, then tickets usage retry",
    "rejected_async": "taken, then thrown away; mend the cause, then tickets usage retry",
    "disputed": "something else is counted than was sent; settle it with Stripe, then tickets usage resolve",
    "expired": "too late for its meter; tickets usage carry, or resolve",
}


@dataclass(frozen=True, slots=True)
class Sum:
    """How much of one thing there is, what it costs, how old the oldest is, and what to do."""

    what: str
    quantity: int
    money: str
    oldest: datetime
    hint: str


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is not billed yet, and what is counted without having been sent."""

    rows: list[Sum]
    surplus: list[dict[str, Any]]
    #: Events that were given up.
    dead_events: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        rows = [asdict(one) | {"oldest": one.oldest.isoformat()} for one in self.rows]
        return {"outstanding": rows, "surplus": self.surplus, "dead_events": self.dead_events}


def retry(database: Database, delivery_id: int, *, actor: str, now: datetime | None = None) -> None:
    """Send a refused delivery again, under a new identifier, to the customer that is linked now."""
    with database.write() as connection:
        at, row = now or moment(connection), _stuck(connection, delivery_id)
        one = row.delivery
        if one.state == State.DISPUTED:
            raise BillingError(f"{one.id} was counted, but not as sent: sending it again would count it twice")
        if course.is_too_old(one, at):
            raise BillingError(f"{one.id} is older than 35 days: it can only be carried (`tickets usage carry`)")
        if one.state == State.EXPIRED:
            raise BillingError(f"{one.id} belongs to an invoice that is final: it can only be carried")
        account = customers.known(connection, [row.batch.customer])[row.batch.customer]
        if account.livemode != row.lane.livemode:
            raise BillingError(f"{row.batch.customer} is linked in another mode now")
        renew(connection, row, at, account.stripe_customer)
        customers.note(connection, at, actor, "retried", f"delivery {one.id}, {one.identifier}", row.batch.customer)


def resolve(database: Database, delivery_id: int, reason: str, *, actor: str, now: datetime | None = None) -> None:
    """Say that a delivery needs nothing more: it was settled elsewhere, or let go."""
    check_name("reason", reason, limit=_LONGEST_REASON)
    with database.write() as connection:
        at, row = now or moment(connection), _stuck(connection, delivery_id, State.UNKNOWN)
        deliveries.save(connection, row.delivery, course.resolved(row.delivery))
        said = f"delivery {row.delivery.id}, {row.delivery.quantity} {row.batch.kind}: {reason}"
        customers.note(connection, at, actor, "resolved", said, row.batch.customer)


def carry(database: Database, rules: Rulebook, delivery_id: int, *, actor: str, now: datetime | None = None) -> int:
    """Charge what a meter takes no longer as an item on the next invoice; returns its amount.

    It costs what it did when it was sealed; what had no price then, what it costs now.
    """
    with database.write() as connection:
        at, row = now or moment(connection), _stuck(connection, delivery_id)
        one, batch = row.delivery, row.batch
        if row.is_item:
            raise BillingError(f"{one.id} is an invoice item already; `tickets usage retry` sends it again")
        if one.state == State.DISPUTED:
            raise BillingError(f"{one.id} was counted, but not as sent: settle it with Stripe, then resolve it")
        billing = rules.current(connection)[1].billing
        priced = (batch.amount, batch.currency) if batch.amount else (billing.amounts[batch.kind], billing.currency)
        if priced[0] == 0:
            raise BillingError(f"nobody said what one {batch.kind} costs: set it in [billing.amounts] of sla.toml")
        deliveries.save(connection, one, course.carried(one))
        account = customers.known(connection, [batch.customer])[batch.customer]
        lane_id = lanes.lane(connection, account.stripe_customer, ITEMS, livemode=row.lane.livemode)
        item = batch._asdict() | {
            "id": batch_id(usage.installation(connection), "carried", batch.id), "route": INVOICE_ITEM,
            "event_name": ITEMS, "seq": 0, "quantity": one.quantity, "charges": f"carried/{batch.id}", "sealed_at": at,
            "amount": priced[0], "currency": priced[1],
        }  # fmt: skip
        usage.add_batch(connection, item, lane_id=lane_id, event_at=one.event_at)
        customers.note(
            connection, at, actor, "carried", f"delivery {one.id}, {one.quantity} {batch.kind}", batch.customer
        )
        return one.quantity * priced[0]


def listed(
    database: Database, states: Sequence[str], *, limit: int, customer: str | None = None, livemode: bool | None = None
) -> list[Row]:
    """Return deliveries in these states, oldest first."""
    with database.read() as connection:
        return deliveries.listed(connection, states, limit, customer=customer, livemode=livemode)


def get(database: Database, delivery_id: int) -> Row | None:
    """Return a delivery, or None."""
    with database.read() as connection:
        return deliveries.get(connection, delivery_id)


def facts(database: Database, batch_id: str) -> list[tuple[str, str, datetime, int]]:
    """Return what a batch counts: the ticket, the kind, when it happened, and for how many."""
    with database.read() as connection:
        return usage.of_batch(connection, batch_id)


def of_ticket(database: Database, ticket_id: str) -> list[dict[str, Any]]:
    """Return what a ticket was counted for, credits included, and how far each of it has come."""
    with database.read() as connection:
        return usage.told(connection, ticket_id)


def outstanding(database: Database) -> Outstanding:
    """Add up what is not billed yet: unsealed, on its way, unknown, stuck; and what is counted too much."""
    with database.read() as connection:
        rows = [
            Sum(
                f"{one.state}",
                one.quantity,
                money(one.money, one.currency) if one.money else "",
                one.oldest,
                _HINTS.get(one.state, ""),
            )
            for one in deliveries.sums(connection)
        ]
        for name, kind, number, oldest, is_known in usage.unbatched(connection):
            hint = "sealed when its hour is over" if is_known else f"{name} is not linked: tickets billing link"
            rows.append(Sum(f"unsealed {kind} of {name}", number, "", oldest, hint))
        surplus = [
            {"stripe_customer": lane.stripe_customer, "event_name": lane.event_name, "quantity": number}
            for lane, number in lanes.surpluses(connection)
        ]
        return Outstanding(rows, surplus, customers.dead_events(connection))


def _stuck(connection: sa.Connection, delivery_id: int, *more: str) -> Row:
    row = deliveries.get(connection, delivery_id, lock=True)
    if row is None:
        raise BillingError(f"there is no delivery {delivery_id}; `tickets usage list` shows those that wait")
    if row.delivery.state not in {*STUCK, *more}:
        waits = "it is on its way" if row.delivery.state in TO_SEND else "it needs nothing"
        raise BillingError(f"delivery {delivery_id} is {row.delivery.state}: {waits}")
    return row
