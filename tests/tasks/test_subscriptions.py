"""Subscriptions are kept up with: what events marked is fetched, what they missed is found, no event is believed."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.contents import rows_of
from tests.support.till import CUS_ACME, HOUR, MINUTE, START, Till, a_till
from ticket_system import accounts, inbox
from ticket_system.inbox import InboxEvent
from ticket_system.sla import policy_file
from ticket_system.storage import billing_tables as tables

DAY = timedelta(days=1)
PLANS = """
[policies.all.targets.resolution]
within = { critical = "4h", high = "24h", medium = "72h", low = "168h" }
[plans.gold]
prices = ["gold"]
hours = 24
[plans.silver]
prices = ["silver"]
hours = 48
cancelled = "keep"
"""


@pytest.fixture(params=("sqlite", "postgresql"))
def till(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Till]:
    url = str(tmp_path / "till.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with a_till(url) as opened:
        opened.system.put_in_force(policy_file.parse(PLANS, now=opened.now), actor="lead")
        yield opened


def buys(till: Till, plan: str) -> str:
    """Acme subscribes."""
    price = till.double.add_price(plan, till.double.add_product(plan))
    return till.double.subscribe(CUS_ACME, price, start=START - DAY, end=START + 29 * DAY)


def plan_of(till: Till) -> str | None:
    found = accounts.get(till.database, "acme")
    assert found is not None
    return found.plan


def hands_over(till: Till, *, shuffled: bool = False, copies: int = 1) -> None:
    """What the endpoint would store of what happened."""
    events = [event for event in till.double.events for _ in range(copies)]
    if shuffled:
        random.Random(3).shuffle(events)
    for event in events:
        body = json.dumps(event.notification())
        inbox.receive(till.database, InboxEvent(event.id, "snapshot", event.type, livemode=False, body=body))


def test_an_event_has_its_customer_fetched(till: Till) -> None:
    till.syncs()
    assert plan_of(till) is None
    till.passes(MINUTE)
    buys(till, "gold")
    till.syncs()
    assert plan_of(till) is None, "nobody said anything yet"
    hands_over(till)
    till.syncs()
    assert plan_of(till) == "gold"


def test_order_and_copies_change_nothing(till: Till) -> None:
    """What is fetched is what is so now, whatever an event of the past says."""
    till.syncs()
    subscription = buys(till, "gold")
    till.double.change_plan(subscription, till.double.add_price("silver", till.double.add_product("silver")))
    hands_over(till, shuffled=True, copies=3)
    till.syncs()
    assert plan_of(till) == "silver"
    assert {row["state"] for row in rows_of(till.database, tables.stripe_events)} == {"handled"}


def test_what_no_event_told_is_found_within_the_hour(till: Till) -> None:
    till.syncs()
    buys(till, "gold")
    for event in till.double.events:
        event.is_delivered = True  # somebody took it, and lost it
    till.passes(59 * MINUTE)
    till.syncs()
    assert plan_of(till) is None
    till.passes(MINUTE)
    till.syncs()
    assert plan_of(till) == "gold"


def test_events_that_did_not_get_through_are_asked_for(till: Till) -> None:
    """The endpoint was down: a quarter of an hour later they are there, without anybody sending them again."""
    till.syncs()
    till.passes(MINUTE)
    buys(till, "gold")
    till.passes(15 * MINUTE)
    till.syncs()
    assert plan_of(till) == "gold"
    assert rows_of(till.database, tables.stripe_events)


def test_a_cancelled_subscription_moves_open_tickets(till: Till) -> None:
    """To the free plan's promise: an event on each, a note for whoever has it, the deadline follows."""
    subscription = buys(till, "gold")
    till.syncs()
    [ticket, done] = till.opens(2)
    assert (ticket.plan, ticket.sla_hours) == ("gold", 24)
    till.changes("assign", done.id, "grace")
    till.changes("set_status", done.id, "resolved")
    till.passes(HOUR)
    till.double.cancel(subscription)
    hands_over(till)
    till.syncs()
    moved, kept = till.system.get_ticket(ticket.id), till.system.get_ticket(done.id)
    assert moved is not None
    assert kept is not None
    assert (moved.plan, kept.plan, plan_of(till)) == ("free", "gold", None)
    assert moved.sla_deadline() == START + timedelta(hours=168)
    assert [event.new for event in till.system.get_history(ticket.id) if event.kind == "classified"] == [
        '{"plan":"free"}'
    ]
    [note] = till.system.get_comments(ticket.id)
    assert note.is_internal
    assert "plan gold → free" in note.body


def test_a_plan_may_keep_its_promise_after_the_end(till: Till) -> None:
    subscription = buys(till, "silver")
    till.syncs()
    [ticket] = till.opens(1)
    till.double.cancel(subscription)
    hands_over(till)
    till.syncs()
    kept = till.system.get_ticket(ticket.id)
    assert kept is not None
    assert (kept.plan, plan_of(till)) == ("silver", None)


def test_an_event_that_cannot_be_followed_is_tried_ten_times_and_shown(till: Till) -> None:
    broken = InboxEvent("evt_1", "snapshot", "customer.subscription.updated", livemode=False, body='{"data":{}}')
    inbox.receive(till.database, broken)
    for _ in range(20):
        till.syncs()
        till.passes(12 * HOUR)
    [row] = [row for row in rows_of(till.database, tables.stripe_events) if row["id"] == "evt_1"]
    assert (row["state"], row["attempts"]) == ("dead", 10)
    assert inbox.revive(till.database) == 1


def test_stripe_away_puts_customers_off_and_loses_nothing(till: Till) -> None:
    buys(till, "gold")
    till.breaks("error_before", path="/v1/subscriptions", times=None)
    till.syncs()
    found = accounts.get(till.database, "acme")
    assert found is not None
    assert found.plan is None
    assert found.problem
    till.mends()
    till.passes(5 * MINUTE)
    till.syncs()
    assert plan_of(till) == "gold"
    again = accounts.get(till.database, "acme")
    assert again is not None
    assert again.problem is None
