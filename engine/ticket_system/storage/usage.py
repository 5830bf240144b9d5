"""Usage facts: written with their cause, forgiven, and put into batches."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.billing.deliveries import SUPERSEDED, State, identifier
from ticket_system.billing.usage import (
    INVOICE_ITEM,
    METERED,
    SEAL_AFTER,
    TICKET_OPENED,
    Window,
    credit_key,
    fact_key,
    hour_of,
)
from ticket_system.storage.billing_tables import (
    UNSEALED,
    billing_periods,
    customers,
    installations,
    usage_batches,
    usage_deliveries,
    usage_facts,
)
from ticket_system.storage.tables import Instant, named, tickets

_unsealed = sa.text(UNSEALED)


class Group(NamedTuple):
    """Facts of one customer, kind and route within an hour, that lie in no batch."""

    customer: str
    kind: str
    route: str
    hour: datetime


class Fact(NamedTuple):
    """A fact, as far as a later one is compared with it."""

    id: int
    key: str
    kind: str
    customer: str
    occurred_at: datetime
    route: str | None
    batch_id: str | None
    forgiven_at: datetime | None


def record(connection: sa.Connection, facts: Sequence[Mapping[str, Any]]) -> None:
    """Write facts down, each once by its key."""
    if not facts:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    once = dialect.insert(usage_facts).on_conflict_do_nothing(index_elements=[usage_facts.c.key])
    connection.execute(once, list(facts))


def fact(
    kind: str, ticket_id: str, customer: str, occurred_at: datetime, now: datetime, route: str | None, *, time: int = 1
) -> dict[str, Any]:
    """Return one as it is written down."""
    return {
        "key": fact_key(kind, ticket_id, time), "kind": kind, "ticket_id": ticket_id, "customer": customer,
        "occurred_at": occurred_at, "recorded_at": now, "quantity": 1, "route": route,
    }  # fmt: skip


def of_ticket(connection: sa.Connection, ticket_id: str) -> list[Fact]:
    """Return what a ticket was counted for, credits left out, oldest first."""
    query = sa.select(*[usage_facts.c[name] for name in Fact._fields])
    mine = query.where(usage_facts.c.ticket_id == ticket_id, usage_facts.c.quantity > 0)
    return [Fact(*row) for row in connection.execute(mine.order_by(usage_facts.c.id))]


def is_pruned(connection: sa.Connection, ticket_id: str) -> bool:
    """Tell whether what a ticket was counted for is forgotten: whether it is new can then not be told any more."""
    query = sa.select(tickets.c.usage_pruned_at).where(tickets.c.id == ticket_id)
    return connection.execute(query).scalar_one_or_none() is not None


def forgive(connection: sa.Connection, one: Fact, reason: str, now: datetime) -> Fact | None:
    """Mark a fact that is not to be paid for; returns it as it is now. None: it was marked before."""
    mine = sa.update(usage_facts).where(usage_facts.c.id == one.id, usage_facts.c.forgiven_at.is_(None))
    marked = mine.values(forgiven_at=now, reason=reason).returning(*[usage_facts.c[name] for name in Fact._fields])
    row = connection.execute(marked).one_or_none()
    return None if row is None else Fact(*row)


def credit(connection: sa.Connection, one: Fact, ticket_id: str, at: datetime, now: datetime, reason: str) -> None:
    """Write down that what was sent for a fact is taken back."""
    row = fact(one.kind, ticket_id, one.customer, at, now, one.route) | {"key": credit_key(one.key), "quantity": -1}
    record(connection, [row | {"reason": reason}])


def void_batch(connection: sa.Connection, batch_id: str) -> bool:
    """Take an invoice item back that nobody has begun to send; False: it may be there already."""
    unsent = (
        usage_deliveries.c.batch_id == batch_id,
        usage_deliveries.c.route == INVOICE_ITEM,
        usage_deliveries.c.state == State.SEALED,
        usage_deliveries.c.first_attempt_at.is_(None),
    )
    gone = sa.update(usage_deliveries).where(*unsent).values(state=State.VOIDED, next_attempt_at=None)
    return connection.execute(gone).rowcount == 1


# --- batches -------------------------------------------------------------------------------------------------------


def to_seal(connection: sa.Connection, now: datetime, *, livemode: bool, limit: int) -> list[str]:
    """Lock customers who have facts in a window that is over, those that nobody else is at."""
    over = hour_of(now - SEAL_AFTER)
    in_this_hour = sa.exists().where(
        billing_periods.c.customer == usage_facts.c.customer,
        billing_periods.c.ends_at > over,
        billing_periods.c.ends_at <= now - SEAL_AFTER,
        billing_periods.c.ends_at > usage_facts.c.occurred_at,
    )
    # By what waits, not by customer: most of them have nothing.
    is_over = sa.or_(usage_facts.c.occurred_at < over, in_this_hour)
    with_some = sa.select(usage_facts.c.customer).where(_unsealed, is_over)
    query = (
        sa.select(customers.c.name)
        .where(customers.c.livemode == livemode, customers.c.name.in_(with_some))
        .order_by(customers.c.name)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return list(connection.scalars(query))


def lock(connection: sa.Connection, names: Sequence[str]) -> None:
    """Lock what lies in no batch, in the order in which a ticket's facts are forgiven: neither waits in a circle."""
    mine = sa.select(usage_facts.c.id).where(usage_facts.c.customer.in_(names), _unsealed)
    connection.execute(mine.order_by(usage_facts.c.id).with_for_update(key_share=True)).all()


def settle_routes(connection: sa.Connection, names: Sequence[str]) -> None:
    """Give facts that came before their customer was known the route that the customer has."""
    route = sa.select(customers.c.critical).where(customers.c.name == usage_facts.c.customer).scalar_subquery()
    theirs = sa.case((usage_facts.c.kind == TICKET_OPENED, METERED), else_=route)
    mine = sa.update(usage_facts).where(usage_facts.c.customer.in_(names), usage_facts.c.route.is_(None))
    connection.execute(mine.where(_unsealed).values(route=theirs))


def groups(connection: sa.Connection, names: Sequence[str], before: datetime) -> list[Group]:
    """Return what lies in no batch, by customer, kind, route and hour."""
    hour: sa.ColumnElement[Any]
    if connection.dialect.name == "sqlite":
        hour = sa.type_coerce(sa.func.substr(usage_facts.c.occurred_at, 1, 13) + named(":00:00.000000"), Instant)
    else:
        hour = sa.func.date_trunc("hour", usage_facts.c.occurred_at, type_=Instant)
    columns = (usage_facts.c.customer, usage_facts.c.kind, usage_facts.c.route, hour.label("hour"))
    past = (usage_facts.c.customer.in_(names), usage_facts.c.occurred_at < before, _unsealed)
    return [Group(*row) for row in connection.execute(sa.select(*columns).distinct().where(*past).order_by("hour"))]


def single(connection: sa.Connection, group: Group, window: Window) -> list[Fact]:
    """Return the facts of a window one by one: each becomes an invoice item."""
    query = sa.select(*[usage_facts.c[name] for name in Fact._fields]).where(*_within(group, window))
    return [Fact(*row) for row in connection.execute(query.order_by(usage_facts.c.id))]


def next_seq(connection: sa.Connection, customer: str, event_name: str, window: Window) -> int:
    """Return the number of the next batch of a window."""
    mine = (
        usage_batches.c.customer == customer,
        usage_batches.c.event_name == event_name,
        usage_batches.c.window_start == window.start,
        usage_batches.c.route == named(METERED),
    )
    newest: int | None = connection.execute(sa.select(sa.func.max(usage_batches.c.seq)).where(*mine)).scalar_one()
    return 0 if newest is None else newest + 1


def gather(
    connection: sa.Connection, group: Group, window: Window, batch_id: str, *, fact_id: int | None = None
) -> int:
    """Put the facts of a window, or one of them, into a batch; returns how many they are in sum."""
    mine = sa.update(usage_facts).where(*_within(group, window))
    if fact_id is not None:
        mine = mine.where(usage_facts.c.id == fact_id)
    connection.execute(mine.values(batch_id=batch_id))
    total = sa.select(sa.func.sum(usage_facts.c.quantity)).where(usage_facts.c.batch_id == batch_id)
    return int(connection.execute(total).scalar_one() or 0)


def installation(connection: sa.Connection) -> str:
    """Return the name of this installation, made when it is first asked for: two may bill through one account."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(installations).values(id=1, name=str(uuid.uuid4()))
    connection.execute(new.on_conflict_do_nothing(index_elements=[installations.c.id]))
    return str(connection.execute(sa.select(installations.c.name)).scalar_one())


def of_batch(connection: sa.Connection, batch_id: str) -> list[tuple[str, str, datetime, int]]:
    """Return the facts of a batch: the ticket, the kind, when it happened, and how many it counts for."""
    columns = [usage_facts.c[name] for name in ("ticket_id", "kind", "occurred_at", "quantity")]
    query = sa.select(*columns).where(usage_facts.c.batch_id == batch_id).order_by(usage_facts.c.id)
    return [(row[0], row[1], row[2], int(row[3])) for row in connection.execute(query)]


def add_batch(connection: sa.Connection, batch: Mapping[str, Any], *, lane_id: int, event_at: datetime) -> None:
    """Store a batch with its first delivery; one that adds up to nothing is verified as it is."""
    connection.execute(sa.insert(usage_batches).values(**batch))
    nothing = {"state": State.VERIFIED, "confirmed_by": "nothing to send", "next_attempt_at": None}
    waits = {"state": State.SEALED, "next_attempt_at": batch["sealed_at"]}
    row = {
        "batch_id": batch["id"], "lane_id": lane_id, "generation": 1, "identifier": identifier(batch["id"], 1),
        "event_at": event_at, "route": batch["route"], "quantity": batch["quantity"],
    }  # fmt: skip
    connection.execute(sa.insert(usage_deliveries).values(row | (waits if batch["quantity"] else nothing)))


def unbatched(connection: sa.Connection) -> list[tuple[str, str, int, datetime, bool]]:
    """Count facts that lie in no batch, by customer and kind, with the oldest, and whether their customer is known."""
    known = customers.c.name.is_not(None)
    query = (
        sa.select(
            usage_facts.c.customer,
            usage_facts.c.kind,
            sa.func.sum(usage_facts.c.quantity),
            sa.func.min(usage_facts.c.occurred_at),
            known,
        )
        .join_from(usage_facts, customers, customers.c.name == usage_facts.c.customer, isouter=True)
        .where(_unsealed)
        .group_by(usage_facts.c.customer, usage_facts.c.kind, known)
        .order_by(usage_facts.c.customer, usage_facts.c.kind)
    )
    return [(row[0], row[1], int(row[2]), row[3], bool(row[4])) for row in connection.execute(query)]


def told(connection: sa.Connection, ticket_id: str) -> list[dict[str, Any]]:
    """Return the facts of a ticket, with the newest delivery of the batch of each."""
    of_fact = [usage_facts.c[name] for name in ("kind", "customer", "occurred_at", "quantity", "route", "reason")]
    is_open = sa.and_(
        usage_deliveries.c.batch_id == usage_facts.c.batch_id,
        usage_deliveries.c.state.not_in([named(one) for one in SUPERSEDED]),
    )
    query = (
        sa.select(*of_fact, usage_deliveries.c.id.label("delivery"), usage_deliveries.c.state)
        .join_from(usage_facts, usage_deliveries, is_open, isouter=True)
        .where(usage_facts.c.ticket_id == ticket_id)
        .order_by(usage_facts.c.id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def count(connection: sa.Connection, ids: Iterable[str]) -> int:
    """Return how many facts lie in these batches."""
    query = sa.select(sa.func.count()).select_from(usage_facts).where(usage_facts.c.batch_id.in_(list(ids)))
    return int(connection.execute(query).scalar_one())


def _within(group: Group, window: Window) -> list[sa.ColumnElement[bool] | sa.TextClause]:
    return [
        usage_facts.c.customer == group.customer,
        usage_facts.c.kind == group.kind,
        usage_facts.c.route == group.route,
        usage_facts.c.occurred_at >= window.start,
        usage_facts.c.occurred_at < window.end,
        _unsealed,
    ]
