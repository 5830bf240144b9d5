"""Keep up with what customers have bought: follow events, fetch what they marked, and fetch all of it every hour."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import structlog

from ticket_system import accounts, inbox
from ticket_system.accounts import Customer, Synced
from ticket_system.inbox import Waiting
from ticket_tasks.errors import JobError
from ticket_tasks.toolbox import Shop, Toolbox

log = structlog.stdlib.get_logger(__name__)

#: How often everybody is fetched, whatever events said; and how often events that did not get through are asked for.
SWEPT = timedelta(hours=1)
ASKED = timedelta(minutes=15)
#: Asked for so far back at first, and never less than a little twice: an event may appear late.
_FIRST_ASKED = timedelta(days=3)
_OVERLAP = timedelta(hours=1)
_MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What one run came to."""

    events: int = 0
    customers: int = 0
    plans_changed: int = 0
    replanned: int = 0

    @property
    def found(self) -> int:
        """How many events and customers were looked at."""
        return self.events + self.customers


def sync_subscriptions(toolbox: Toolbox) -> Synchronised:
    """Do what follows from events, and fetch the customers about whom there is something new."""
    shop = toolbox.shop
    if shop is None:
        return Synchronised()
    stop_at = time.monotonic() + toolbox.billing_budget_seconds
    _ask_for_missed(toolbox, shop)
    events = sum(
        _follow(toolbox, shop, one)
        for one in inbox.waiting(toolbox.database, livemode=shop.livemode)
        if time.monotonic() < stop_at
    )
    if accounts.is_time(toolbox.database, "sweep", SWEPT):
        accounts.mark(toolbox.database, livemode=shop.livemode)
    done = [
        synced
        for customer in accounts.to_sync(toolbox.database, livemode=shop.livemode)
        if time.monotonic() < stop_at and (synced := _fetch(toolbox, shop, customer)) is not None
    ]
    changed = sum(one.old_plan != one.new_plan for one in done)
    found = Synchronised(events, len(done), changed, sum(one.replanned for one in done))
    (log.info if found.found else log.debug)("subscriptions.synchronised", events=events, customers=len(done))
    return found


def _ask_for_missed(toolbox: Toolbox, shop: Shop) -> None:
    """Store events that their sender could not hand over."""
    last, now = accounts.last_time(toolbox.database, _MISSED), toolbox.database.now()
    if last is not None and now - last < ASKED:
        return
    try:
        since = (last or now - _FIRST_ASKED) - _OVERLAP
        missed = sum(inbox.receive(toolbox.database, event) for event in shop.undelivered(since))
    except JobError as error:
        log.warning("events.not_asked_for", error=str(error))
        return
    accounts.is_time(toolbox.database, _MISSED, ASKED)
    if missed:
        log.warning("events.missed", number=missed, hint="they did not get through; is the webhook endpoint up?")


def _follow(toolbox: Toolbox, shop: Shop, one: Waiting) -> int:
    event = one.event
    try:
        inbox.handle(toolbox.database, event, shop.effects(event))
    except (JobError, LookupError, TypeError, ValueError) as error:
        # Whatever stands in it that nobody expected: one event keeps no other waiting.
        why = f"{type(error).__name__}: {error}"
        if inbox.failed(toolbox.database, one, why):
            log.warning("event.postponed", event_id=event.id, type=event.type, error=why)
        else:
            hint = "see ticket-worker check; tickets billing sync tries it again"
            log.error("event.dead", event_id=event.id, type=event.type, error=why, hint=hint)  # noqa: TRY400
        return 0
    log.info("event.handled", event_id=event.id, type=event.type)
    return 1


def _fetch(toolbox: Toolbox, shop: Shop, customer: Customer) -> Synced | None:
    seen_at = toolbox.database.now()
    try:
        found = shop.subscriptions(customer.stripe_customer)
    except JobError as error:
        accounts.postpone(toolbox.database, customer.name, str(error))
        log.warning("subscription.not_fetched", customer=customer.name, error=str(error))
        return None
    synced = accounts.apply(toolbox.database, toolbox.system.rules, customer.name, found, seen_at=seen_at)
    if synced is not None and synced.problem:
        log.warning("price.unknown", customer=customer.name, problem=synced.problem)
    if synced is not None and synced.old_plan != synced.new_plan:
        log.info(
            "plan.changed",
            customer=customer.name,
            old=synced.old_plan,
            new=synced.new_plan,
            replanned=synced.replanned,
        )
    return synced
