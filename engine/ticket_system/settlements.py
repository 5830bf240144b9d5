"""What a person does about usage: send again what was refused, carry over what is too old, settle, take back."""

from __future__ import annotations

import uuid
from datetime import datetime

import sqlalchemy as sa

from ticket_system.accounts import renew
from ticket_system.billing import deliveries as course
from ticket_system.billing.deliveries import STUCK, TO_SEND, State
from ticket_system.billing.usage import INVOICE_ITEM, ITEMS, KINDS
from ticket_system.changes import Changes
from ticket_system.errors import BillingError, TicketNotFound
from ticket_system.rulebook import Rulebook
from ticket_system.storage import customers, deliveries, usage
from ticket_system.storage.database import Database, moment
from ticket_system.storage.deliveries import Row
from ticket_system.tickets import check_name

_LONGEST_REASON = 1000


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


def carry(database: Database, delivery_id: int, *, actor: str, now: datetime | None = None) -> int:
    """Charge what a meter takes no longer as an item on the next invoice; returns its amount."""
    with database.write() as connection:
        at, row = now or moment(connection), _stuck(connection, delivery_id)
        one, batch = row.delivery, row.batch
        if row.is_item:
            raise BillingError(f"{one.id} is an invoice item already; `tickets usage retry` sends it again")
        if one.state == State.DISPUTED:
            raise BillingError(f"{one.id} was counted, but not as sent: settle it with Stripe, then resolve it")
        if batch.amount == 0:
            raise BillingError(f"nobody said what one {batch.kind} costs: set it in [billing.amounts] of sla.toml")
        deliveries.save(connection, one, course.carried(one))
        account = customers.known(connection, [batch.customer])[batch.customer]
        lane_id = deliveries.lane(connection, account.stripe_customer, ITEMS, livemode=row.lane.livemode)
        item = batch._asdict() | {
            "id": str(uuid.uuid4()), "route": INVOICE_ITEM, "event_name": ITEMS, "seq": 0, "quantity": one.quantity,
            "charges": f"carried/{batch.id}", "sealed_at": at,
        }  # fmt: skip
        usage.add_batch(connection, item, lane_id=lane_id, event_at=one.event_at)
        customers.note(
            connection, at, actor, "carried", f"delivery {one.id}, {one.quantity} {batch.kind}", batch.customer
        )
        return row.money


def forgive(
    database: Database,
    rules: Rulebook,
    ticket_id: str,
    reason: str,
    *,
    kinds: tuple[str, ...] = KINDS,
    actor: str = "system",
    now: datetime | None = None,
) -> list[str]:
    """Let a ticket cost nothing; returns what was forgiven. Before it was sent it is void, afterwards credited."""
    check_name("reason", reason, limit=_LONGEST_REASON)
    with database.write() as connection:
        changes = Changes(connection, rules)
        ticket, at = changes.lock(ticket_id, now)
        if ticket is None:
            raise TicketNotFound(ticket_id)
        return changes.forgive(ticket, reason, at, kinds=kinds, actor=actor)


def _stuck(connection: sa.Connection, delivery_id: int, *more: str) -> Row:
    row = deliveries.get(connection, delivery_id, lock=True)
    if row is None:
        raise BillingError(f"there is no delivery {delivery_id}; `tickets usage list` shows those that wait")
    if row.delivery.state not in {*STUCK, *more}:
        waits = "it is on its way" if row.delivery.state in TO_SEND else "it needs nothing"
        raise BillingError(f"delivery {delivery_id} is {row.delivery.state}: {waits}")
    return row
