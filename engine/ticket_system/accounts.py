"""Customers as they are billed: linked by a person, kept up with what they have bought.

What they bought is always fetched, never taken from an event: an event only says that there is something to fetch, so
it may come twice, late, or in any order.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import exc

from ticket_system.billing.course import replaced
from ticket_system.billing.deliveries import STUCK, TO_SEND, State
from ticket_system.billing.subscriptions import PAST_DUE, Subscription, newest, that_counts
from ticket_system.billing.usage import METERED, Route, Window, mode, stamp
from ticket_system.changes import Changes
from ticket_system.errors import BillingError
from ticket_system.rulebook import Rulebook
from ticket_system.sla.plans import FREE, FREE_HOURS, Plan, bought
from ticket_system.storage import customers, deliveries, lanes, tickets
from ticket_system.storage.customers import Customer
from ticket_system.storage.database import Database
from ticket_system.storage.deliveries import Row
from ticket_system.storage.moments import moment
from ticket_system.tickets import Comment, check_name, storable

__all__ = ["Customer", "Synced"]

_FETCH_AGAIN = timedelta(minutes=5)
_LONGEST_PROBLEM = 500
_OF_STRIPE = re.compile(r"cus_[A-Za-z0-9_-]{1,250}", re.ASCII)


class Synced(NamedTuple):
    """What a fetched subscription changed."""

    customer: str
    old_plan: str | None
    new_plan: str | None
    #: Open tickets that moved to the free plan.
    replanned: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class _Bought:
    """What the subscriptions of a customer come to."""

    subscription: Subscription | None
    plan: str | None
    hours: int | None
    critical: Route
    problem: str | None


def link(
    database: Database, name: str, stripe_customer: str, *, livemode: bool, actor: str, now: datetime | None = None
) -> int:
    """Say who a customer is for whoever bills; returns how many refused deliveries are sent again because of it.

    Everything else is fetched. A corrected link moves what was not sent, and what was refused, to the new one.
    """
    check_name("customer", name)
    if not _OF_STRIPE.fullmatch(stripe_customer):
        raise BillingError(f"{stripe_customer!r} is no customer of Stripe's: expected an id such as cus_QXg1o8vlGmoR")
    with database.write() as connection:
        at, before = now or moment(connection), customers.lock(connection, name)
        try:
            with connection.begin_nested():
                if before is None:
                    customers.add(connection, name, stripe_customer, at, livemode=livemode)
                else:
                    told: dict[str, Any] = {"stripe_customer": stripe_customer, "livemode": livemode, "dirty_at": at}
                    if (before.stripe_customer, before.livemode) != (stripe_customer, livemode):
                        # Which of the other's invoices are final says nothing of theirs.
                        told |= {"finalised_until": None, "synced_at": None}
                    customers.update(connection, name, **told)
        except exc.IntegrityError as error:
            raise BillingError(f"{stripe_customer} is linked to another customer already") from error
        old = f"{before.stripe_customer} → " if before else ""
        customers.note(connection, at, actor, "linked", f"{old}{stripe_customer} ({mode(livemode)})", name)
        if before is None or (before.stripe_customer, before.livemode) == (stripe_customer, livemode):
            return 0
        if before.livemode != livemode and deliveries.of_customer(connection, name, (*TO_SEND, *STUCK, State.UNKNOWN)):
            raise BillingError(f"{name} has usage under way in {mode(before.livemode)} mode: settle it first")
        return sum(
            renew(connection, row, at, stripe_customer)
            for row in deliveries.of_customer(connection, name, (State.SEALED, State.REJECTED))
            if row.delivery.first_attempt_at is None or row.delivery.state == State.REJECTED
        )


def renew(connection: sa.Connection, row: Row, now: datetime, stripe_customer: str) -> bool:
    """Send a batch anew under another identifier, to the customer of theirs that it belongs to now."""
    ended = row.delivery
    if not deliveries.save(connection, ended, replaced(ended)):
        return False
    lane_id = lanes.lane(connection, stripe_customer, row.lane.event_name, livemode=row.lane.livemode)
    event_at = ended.event_at
    if lane_id != row.lane.id and not row.is_item:
        window = Window(row.batch.window_start, row.batch.window_end)
        used = deliveries.taken(connection, lane_id, window)
        event_at = event_at if event_at not in used else stamp(window, used) or event_at
    deliveries.add_generation(connection, row, now, lane_id=lane_id, event_at=event_at)
    return True


def apply(
    database: Database,
    rules: Rulebook,
    name: str,
    found: Collection[Subscription],
    *,
    seen_at: datetime,
    now: datetime | None = None,
) -> Synced | None:
    """Store what a customer has bought, as it was fetched; None: there is no such customer.

    `seen_at`: when the fetching began. What was marked after that is fetched again.
    """
    with database.write() as connection:
        at, before = now or moment(connection), customers.lock(connection, name)
        if before is None:
            return None
        if before.synced_at is not None and seen_at < before.synced_at:
            # Somebody who looked later was faster: what is stored is newer.
            return Synced(name, before.plan, before.plan, 0, before.problem)
        _, book = rules.current(connection)
        latest = newest(found)
        overdue = latest is not None and any(one.status == PAST_DUE for one in found)
        since = (before.past_due_since or at) if overdue else None
        grace = timedelta(seconds=book.billing.grace_seconds)
        mine = _bought(book.plans, that_counts(found, at, past_due_since=since, grace=grace), before)
        shown = mine.subscription or latest
        customers.add_periods(connection, name, [period for one in found for period in one.periods])
        customers.update(
            connection,
            name,
            subscription=shown.id if shown else None,
            status=shown.status if shown else None,
            past_due_since=since,
            price=mine.subscription.price if mine.subscription else None,
            plan=mine.plan,
            hours=mine.hours,
            critical=mine.critical,
            problem=mine.problem,
            synced_at=seen_at,
            dirty_at=before.dirty_at if before.dirty_at and before.dirty_at > seen_at else None,
        )
        if mine.plan == before.plan:
            return Synced(name, before.plan, mine.plan, 0, mine.problem)
        told = f"{before.plan or FREE} → {mine.plan or FREE}"
        customers.note(connection, at, "system", "planned", told, name)
        moved = _replan(connection, rules, book.plans, before, at) if mine.plan is None else 0
        return Synced(name, before.plan, mine.plan, moved, mine.problem)


def _bought(plans: Any, one: Subscription | None, before: Customer) -> _Bought:
    if one is None:
        free: Plan | None = plans.get(FREE)
        return _Bought(None, None, free.hours if free else None, free.critical if free else METERED, None)
    plan = bought(plans, price=one.price, lookup_key=one.lookup_key, product=one.product)
    plan = plan or plans.get(one.plan or "")
    if plan is not None:
        return _Bought(one, plan.name, one.hours or plan.hours, plan.critical, None)
    if one.plan is not None or one.hours is not None:
        # Its product says what it buys, and no file knows more of it.
        return _Bought(one, one.plan or one.product or one.id, one.hours, METERED, None)
    problem = f"the price {one.price} ({one.lookup_key or one.product}) is in no plan; it keeps what it had"
    critical: Any = before.critical
    return _Bought(one, before.plan, before.hours, critical, problem)


def _replan(connection: sa.Connection, rules: Rulebook, plans: Any, before: Customer, now: datetime) -> int:
    """Move the open tickets of a customer whose subscription has ended to the free plan, if the old one says so."""
    old: Plan | None = plans.get(before.plan or "")
    if before.plan is None or (old is not None and old.cancelled == "keep"):
        return 0
    changes, moved = Changes(connection, rules), 0
    version, _ = rules.current(connection)
    for ticket_id in tickets.active_of(connection, before.name, before.plan):
        changes.reclassify(ticket_id, plan=FREE, actor="system", now=now)
        ticket = tickets.get(connection, ticket_id) if version is None else None
        if ticket is not None:
            # The rules built in know no plans: as when it was opened, the hours are named.
            changes.set_priority(ticket_id, ticket.priority, sla_hours=FREE_HOURS, actor="system", now=now)
        said = f"The subscription has ended: plan {before.plan} → {FREE}. The promise follows the new plan."
        changes.comment(Comment(ticket_id, "system", said, created_at=now, is_internal=True), now=now)
        moved += 1
    return moved


def to_sync(database: Database, *, livemode: bool, limit: int = 500, now: datetime | None = None) -> list[Customer]:
    """Return customers about whom there is something new, the longest waiting first."""
    with database.read() as connection:
        return customers.to_sync(connection, now or moment(connection), limit, livemode=livemode)


def postpone(database: Database, name: str, problem: str, *, now: datetime | None = None) -> None:
    """Fetch a customer later: it did not work now."""
    with database.write() as connection:
        at = now or moment(connection)
        customers.update(connection, name, dirty_at=at + _FETCH_AGAIN, problem=storable(problem[:_LONGEST_PROBLEM]))


def is_time(database: Database, name: str, every: timedelta, *, now: datetime | None = None) -> bool:
    """Tell whether something that is done now and then is due, and that it is done now; to one of several who ask."""
    with database.write() as connection:
        at = now or moment(connection)
        last = customers.last_round(connection, name)
        due = last is None or at - last >= every
        if due:
            customers.finish_round(connection, name, at)
        return due


def last_time(database: Database, name: str) -> datetime | None:
    """Return when something that is done now and then was done last."""
    with database.read() as connection:
        return customers.last_round(connection, name)


def listed(database: Database, *, limit: int = 100, after: str = "") -> list[Customer]:
    """Return customers by name."""
    with database.read() as connection:
        return customers.listed(connection, limit=limit, after=after)


def get(database: Database, name: str) -> Customer | None:
    """Return a customer, or None."""
    with database.read() as connection:
        return customers.known(connection, [name]).get(name)


def history(database: Database, name: str, *, limit: int = 20) -> list[dict[str, Any]]:
    """Return who did what about a customer, the newest first."""
    with database.read() as connection:
        return customers.notes(connection, name, limit)


def mark(database: Database, *, livemode: bool, stripe_customer: str | None = None) -> int:
    """Have a customer, or all of them, fetched anew; returns how many there are."""
    with database.write() as connection:
        return customers.mark_dirty(connection, moment(connection), livemode=livemode, stripe_customer=stripe_customer)
