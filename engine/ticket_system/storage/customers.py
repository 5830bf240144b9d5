"""Customers as they are billed, what was signed for us about them, and what was done by whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.billing.usage import Window
from ticket_system.storage.billing_tables import (
    billing_log,
    billing_periods,
    billing_rounds,
    customers,
    stripe_events,
)
from ticket_system.storage.tables import named


class Customer(NamedTuple):
    """A customer as billed."""

    name: str
    livemode: bool
    stripe_customer: str
    subscription: str | None
    status: str | None
    past_due_since: datetime | None
    price: str | None
    plan: str | None
    hours: int | None
    critical: str
    problem: str | None
    dirty_at: datetime | None
    synced_at: datetime | None
    finalised_until: datetime | None


class InboxEvent(NamedTuple):
    """An event that was signed for us, as it came."""

    id: str
    form: str
    type: str
    livemode: bool
    body: str


class Waiting(NamedTuple):
    """An event that somebody has to do something about, and how often it was tried."""

    event: InboxEvent
    attempts: int


_COLUMNS = [customers.c[name] for name in Customer._fields]


def known(connection: sa.Connection, names: Iterable[str]) -> dict[str, Customer]:
    """Return those customers of these that are billed, by name."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    if len(wanted) == 1:
        rows = connection.execute(_ONE, {"customer_name": wanted[0]})
    else:
        rows = connection.execute(sa.select(*_COLUMNS).where(customers.c.name.in_(wanted)))
    return {row.name: Customer(*row) for row in rows}


def lock(connection: sa.Connection, name: str) -> Customer | None:
    """Return a customer for change."""
    row = connection.execute(sa.select(*_COLUMNS).where(customers.c.name == name).with_for_update()).one_or_none()
    return None if row is None else Customer(*row)


def of_stripe(connection: sa.Connection, stripe_customer: str, *, livemode: bool) -> Customer | None:
    """Return the customer that theirs stands for."""
    mine = (customers.c.stripe_customer == stripe_customer, customers.c.livemode == livemode)
    row = connection.execute(sa.select(*_COLUMNS).where(*mine)).one_or_none()
    return None if row is None else Customer(*row)


def add(connection: sa.Connection, name: str, stripe_customer: str, now: datetime, *, livemode: bool) -> None:
    """Store a customer; everything else is fetched."""
    row = {"name": name, "livemode": livemode, "stripe_customer": stripe_customer, "dirty_at": now}
    connection.execute(sa.insert(customers).values(row))


def update(connection: sa.Connection, name: str, **values: Any) -> None:
    """Change columns of a customer."""
    connection.execute(sa.update(customers).where(customers.c.name == name).values(**values))


def listed(connection: sa.Connection, *, limit: int, after: str = "") -> list[Customer]:
    """Return customers by name, beginning behind one."""
    query = sa.select(*_COLUMNS).where(customers.c.name > after).order_by(customers.c.name).limit(limit)
    return [Customer(*row) for row in connection.execute(query)]


def to_sync(connection: sa.Connection, now: datetime, limit: int, *, livemode: bool) -> list[Customer]:
    """Return customers about whom there is something new, the longest waiting first."""
    due = (customers.c.dirty_at <= now, customers.c.livemode == livemode)
    query = sa.select(*_COLUMNS).where(*due).order_by(customers.c.dirty_at, customers.c.name).limit(limit)
    return [Customer(*row) for row in connection.execute(query)]


def mark_dirty(connection: sa.Connection, now: datetime, *, livemode: bool, stripe_customer: str | None = None) -> int:
    """Have a customer, or all of them, fetched anew; returns how many there are."""
    theirs = sa.update(customers).where(customers.c.livemode == livemode)
    if stripe_customer is not None:
        theirs = theirs.where(customers.c.stripe_customer == stripe_customer)
    return connection.execute(theirs.values(dirty_at=now)).rowcount


def add_periods(connection: sa.Connection, name: str, periods: Sequence[Window]) -> None:
    """Remember billing periods: usage is cut where they begin and end."""
    if periods:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        rows = [{"customer": name, "starts_at": one.start, "ends_at": one.end} for one in periods]
        connection.execute(dialect.insert(billing_periods).on_conflict_do_nothing(), rows)


def periods(connection: sa.Connection, names: Iterable[str]) -> dict[str, list[Window]]:
    """Return the billing periods of customers, oldest first."""
    query = sa.select(*billing_periods.c).where(billing_periods.c.customer.in_(list(names)))
    found: dict[str, list[Window]] = {}
    for name, start, end in connection.execute(query.order_by(billing_periods.c.starts_at)):
        found.setdefault(name, []).append(Window(start, end))
    return found


def note(connection: sa.Connection, at: datetime, actor: str, kind: str, text: str, customer: str | None) -> None:
    """Write down who did what, and why."""
    row = {"at": at, "actor": actor, "kind": kind, "note": text, "customer": customer}
    connection.execute(sa.insert(billing_log).values(row))


def notes(connection: sa.Connection, customer: str, limit: int) -> list[dict[str, Any]]:
    """Return what was done about a customer, the newest first."""
    columns = (billing_log.c.at, billing_log.c.actor, billing_log.c.kind, billing_log.c.note)
    query = sa.select(*columns).where(billing_log.c.customer == customer).order_by(billing_log.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


# --- the inbox -----------------------------------------------------------------------------------------------------


def receive(connection: sa.Connection, event: InboxEvent, now: datetime, *, ignored: str | None = None) -> bool:
    """Store an event; False: it is here already. What is ignored is kept with the reason, and nothing follows."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    state: dict[str, Any] = {"state": "new", "next_attempt_at": now}
    if ignored is not None:
        state = {"state": "ignored", "handled_at": now, "error": ignored}
    new = dialect.insert(stripe_events).values(**event._asdict(), received_at=now, **state)
    # Asked for: the number of rows that an INSERT reports is not the same everywhere.
    once = new.on_conflict_do_nothing(index_elements=[stripe_events.c.id]).returning(stripe_events.c.id)
    return connection.execute(once).first() is not None


def waiting(connection: sa.Connection, now: datetime, limit: int, *, livemode: bool) -> list[Waiting]:
    """Return events that nothing has followed from yet, those that nobody else is at; they stay locked."""
    due = (stripe_events.c.state == named("new"), stripe_events.c.next_attempt_at <= now)
    columns = [stripe_events.c[name] for name in InboxEvent._fields]
    query = sa.select(*columns, stripe_events.c.attempts).where(*due, stripe_events.c.livemode == livemode)
    ordered = query.order_by(stripe_events.c.next_attempt_at).limit(limit)
    return [
        Waiting(InboxEvent(*row[:-1]), row[-1]) for row in connection.execute(ordered.with_for_update(skip_locked=True))
    ]


def settle_event(connection: sa.Connection, event_id: str, state: str, now: datetime, **values: Any) -> None:
    """Say what became of an event that nothing has followed from yet."""
    handled = {"handled_at": now} if state in {"handled", "ignored"} else {}
    mine = sa.update(stripe_events).where(stripe_events.c.id == event_id, stripe_events.c.state == named("new"))
    connection.execute(mine.values(state=state, **handled, **values))


def dead_events(connection: sa.Connection) -> int:
    """Count events that were given up."""
    query = sa.select(sa.func.count()).where(stripe_events.c.state == named("dead"))
    return int(connection.execute(query).scalar_one())


def revive_events(connection: sa.Connection, now: datetime) -> int:
    """Try events again that were given up; returns how many."""
    dead = sa.update(stripe_events).where(stripe_events.c.state == named("dead"))
    return connection.execute(dead.values(state="new", attempts=0, next_attempt_at=now)).rowcount


def last_round(connection: sa.Connection, name: str) -> datetime | None:
    """Return when something that is done now and then was done last."""
    query = sa.select(billing_rounds.c.at).where(billing_rounds.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def finish_round(connection: sa.Connection, name: str, at: datetime) -> None:
    """Remember when it was done."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(billing_rounds).values(name=name, at=at)
    connection.execute(new.on_conflict_do_update(index_elements=[billing_rounds.c.name], set_={"at": new.excluded.at}))


_ONE = sa.select(*_COLUMNS).where(customers.c.name == sa.bindparam("customer_name"))
