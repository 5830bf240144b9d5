"""What was signed for us is stored once, and something follows from it once, or a person hears of it."""

from typing import Any

import pytest

from tests.support.billing import SEALED, Till
from tests.support.contents import Sabotage, everything, failing_at, rows_of
from tests.support.promises import at
from ticket_system import accounts, inbox, retention, settlements
from ticket_system.billing.deliveries import Answer, Said
from ticket_system.inbox import Effects, InboxEvent, Refusal, Waiting
from ticket_system.storage.billing_tables import customers, stripe_events, usage_lanes

EVENT = InboxEvent("evt_1", "snapshot", "customer.subscription.updated", livemode=False, body='{"id":"evt_1"}')


def received(till: Till, *, hours: float = 1, ignored: str | None = None, **changes: Any) -> bool:
    return inbox.receive(till.database, EVENT._replace(**changes), ignored=ignored, now=at(hours))


def waiting(till: Till, hours: float, *, livemode: bool = False) -> list[Waiting]:
    return inbox.waiting(till.database, livemode=livemode, now=at(hours))


def stored(till: Till) -> dict[str, Any]:
    [row] = rows_of(till.database, stripe_events)
    return row


def test_an_event_is_stored_once_as_it_came(till: Till) -> None:
    assert [received(till), received(till, hours=2, body="{}")] == [True, False]
    assert (stored(till)["body"], stored(till)["received_at"], stored(till)["state"]) == (EVENT.body, at(1), "new")
    assert waiting(till, 1) == [Waiting(EVENT, 0)]
    assert waiting(till, 1, livemode=True) == []


def test_what_is_ignored_is_kept_with_the_reason_and_nothing_follows(till: Till) -> None:
    received(till, ignored="of the other mode")
    assert (stored(till)["state"], stored(till)["error"], stored(till)["handled_at"]) == (
        "ignored",
        "of the other mode",
        at(1),
    )
    assert waiting(till, 100) == []
    assert received(till) is False


def test_the_oldest_comes_first_and_so_many_at_once(till: Till) -> None:
    for number in (3, 1, 2):
        received(till, hours=number, id=str(number))
    assert [one.event.id for one in waiting(till, 9)] == ["1", "2", "3"]
    assert [one.event.id for one in inbox.waiting(till.database, livemode=False, limit=2, now=at(2))] == ["1", "2"]


def test_what_follows_is_done_with_the_event_or_not_at_all(till: Till) -> None:
    received(till)
    till.fetches()
    before, number = everything(till.database), 1
    effects = Effects(dirty=("cus_A",), finalised=("cus_A", at(-9)), refusal=Refusal("tickets_opened"))
    while True:
        try:
            with failing_at(till.database, number):
                inbox.handle(till.database, EVENT, effects, now=at(2))
            break
        except Sabotage:
            number += 1
            assert everything(till.database) == before
    assert number > 4
    [mine] = rows_of(till.database, customers)
    assert (mine["dirty_at"], mine["finalised_until"]) == (at(2), at(-9))
    assert (stored(till)["state"], stored(till)["handled_at"]) == ("handled", at(2))
    assert waiting(till, 100) == []


def test_an_event_of_one_mode_touches_nobody_of_the_other(till: Till) -> None:
    till.links("real", "cus_A", livemode=True)
    till.fetches()
    till.fetches(name="real")
    live = EVENT._replace(livemode=True)
    inbox.handle(till.database, live, Effects(dirty=("cus_A", "cus_nobody"), finalised=("cus_A", at(0))), now=at(2))
    found = {one.name: (one.dirty_at, one.finalised_until) for one in accounts.listed(till.database)}
    assert found == {"acme": (None, None), "real": (at(2), at(0))}


def test_everybody_is_fetched_where_prices_changed(till: Till) -> None:
    till.links("umbrella", "cus_B")
    till.links("real", "cus_C", livemode=True)
    for name in ("acme", "umbrella", "real"):
        till.fetches(name=name)
    inbox.handle(till.database, EVENT, Effects(everybody=True), now=at(2))
    assert [one.name for one in accounts.to_sync(till.database, livemode=False, now=at(2))] == ["acme", "umbrella"]
    assert accounts.to_sync(till.database, livemode=True, now=at(2)) == []


def test_what_fails_waits_ever_longer_then_for_a_person(till: Till) -> None:
    received(till)
    hours, waits = 1.0, []
    for attempt in range(inbox.MAX_ATTEMPTS):
        [one] = waiting(till, hours)
        assert one.attempts == attempt
        alive = inbox.failed(till.database, one, f"no\x00 answer {attempt}" + "x" * 999, now=at(hours))
        assert alive is (attempt + 1 < inbox.MAX_ATTEMPTS)
        if alive:
            wait = (stored(till)["next_attempt_at"] - at(hours)).total_seconds() / 3600
            assert waiting(till, hours + wait * 0.99) == []
            waits.append(wait)
            hours += wait
    assert waits == sorted(waits)
    assert [round(waits[0] * 3600), round(waits[-1] * 3600)] == [60, 30 * 2**9]
    assert stored(till)["state"] == "dead"
    assert waiting(till, 10**4) == []
    assert settlements.outstanding(till.database).dead_events == 1
    assert inbox.revive(till.database, now=at(hours)) == 1
    assert waiting(till, hours) == [Waiting(EVENT, 0)]
    assert settlements.outstanding(till.database).dead_events == 0


def test_who_fails_at_what_another_has_handled_changes_nothing(till: Till) -> None:
    received(till)
    [one] = waiting(till, 1)
    inbox.handle(till.database, EVENT, Effects(), now=at(1))
    inbox.failed(till.database, one, "too slow", now=at(1))
    assert stored(till)["state"] == "handled"


def test_what_was_handled_is_forgotten_after_five_weeks(till: Till) -> None:
    for number in range(4):
        received(till, id=str(number), ignored="why" if number == 1 else None)
    inbox.handle(till.database, EVENT._replace(id="0"), Effects(), now=at(1))
    inbox.handle(till.database, EVENT._replace(id="2"), Effects(), now=at(24 * 30))
    assert retention.prune(till.database, now=at(24 * 35)).found == 0
    assert retention.prune(till.database, now=at(24 * 35 + 2)).gone == {"events of Stripe": 2}
    assert [row["id"] for row in rows_of(till.database, stripe_events)] == ["2", "3"], "what waits is never forgotten"


@pytest.mark.parametrize("event_name", ("tickets_opened", None))
def test_what_was_thrown_away_is_marked_and_its_meter_compared(till: Till, event_name: str | None) -> None:
    till.links("umbrella", "cus_B")
    for name in ("acme", "umbrella"):
        till.opens(name, customer=name, priority=1)
    till.seals(SEALED)
    till.sends(SEALED)
    [first, *others] = [row for row in till.rows() if row.lane.event_name == "tickets_opened"]
    samples = ((first.delivery.identifier, "meter_event_customer_not_found"), ("tickets:nobody:g1", "why"))
    for _ in range(2):
        inbox.handle(till.database, EVENT, Effects(refusal=Refusal(event_name, samples, 9)), now=at(3))
    after = {row.delivery.id: row.delivery for row in till.rows()}
    assert (after[first.delivery.id].state, after[first.delivery.id].error_code) == (
        "rejected_async",
        "meter_event_customer_not_found",
    )
    assert {one.state for one in after.values() if one.id != first.delivery.id} == {"accepted"}
    now_due = {row["event_name"] for row in rows_of(till.database, usage_lanes) if row["compare_at"] == at(3)}
    assert now_due == ({event_name} if event_name else {"tickets_opened", "critical_tickets"})
    assert len(others) == 1


def test_a_sample_that_was_sent_anew_or_is_on_its_way_is_left_alone(till: Till) -> None:
    till.opens()
    till.seals(SEALED)
    refusal = Effects(refusal=Refusal("tickets_opened", ((till.row().delivery.identifier, "why"),), 1))
    inbox.handle(till.database, EVENT, refusal, now=at(2))
    assert till.row().delivery.state == "sealed"
    till.sends(2, Said(Answer.LOST))
    till.sends(40)
    inbox.handle(till.database, EVENT, refusal, now=at(41))
    settlements.retry(till.database, till.row().delivery.id, actor="boss", now=at(42))
    inbox.handle(till.database, EVENT, refusal, now=at(43))
    assert [row.delivery.state for row in till.rows()] == ["replaced", "sealed"]
