"""A delivery is sent by one at a time, and what is killed in between is taken up under the same name."""

from datetime import timedelta

import pytest

from tests.support.billing import ACCEPTED, JUNE, REFUSED, SEALED, Till, a_subscription
from tests.support.contents import everything, rows_of
from tests.support.promises import at
from ticket_system import inbox, ledger, reconciliation
from ticket_system.billing.deliveries import Answer, Delivery, Said, State
from ticket_system.inbox import Effects, InboxEvent
from ticket_system.ledger import Held
from ticket_system.storage import deliveries
from ticket_system.storage.billing_tables import usage_lanes

LATER = SEALED + ledger.LEASE.total_seconds() / 3600
EVENT = InboxEvent("evt_1", "snapshot", "invoice.finalized", livemode=False, body="{}")


def claimed(till: Till, hours: float = SEALED, *, livemode: bool = False) -> Held:
    held = ledger.claim(till.database, livemode=livemode, now=at(hours))
    assert held is not None
    return held


def begun(till: Till, held: Held, hours: float = SEALED) -> Delivery:
    one = ledger.begin(till.database, held, held.rows[0], now=at(hours))
    assert one is not None
    return one


def state(till: Till) -> str:
    return str(till.row().delivery.state)


@pytest.fixture
def one_sealed(till: Till) -> Till:
    """A desk with a single delivery to be sent."""
    till.opens()
    till.seals(SEALED)
    return till


def test_a_lane_is_taken_by_one(one_sealed: Till) -> None:
    till = one_sealed
    held = claimed(till)
    assert [row.delivery.quantity for row in held.rows] == [1]
    assert ledger.claim(till.database, livemode=False, now=at(SEALED)) is None
    ledger.release(till.database, held)
    assert claimed(till).holder != held.holder


def test_other_lanes_are_free_the_longest_waiting_first(one_sealed: Till) -> None:
    till = one_sealed
    till.links("umbrella", "cus_B")
    till.opens("u", customer="umbrella", hours=0)
    till.seals(SEALED + 0.01)
    first, second = claimed(till, 2), claimed(till, 2)
    assert [one.lane.stripe_customer for one in (first, second)] == ["cus_A", "cus_B"]


def test_the_intent_is_on_record_before_the_call_and_the_outcome_after_it(one_sealed: Till) -> None:
    till = one_sealed
    held = claimed(till)
    one = begun(till, held)
    assert till.row().delivery == one
    assert (one.state, one.attempts, one.first_attempt_at) == (State.SENDING, 1, at(SEALED))
    after = ledger.settle(till.database, held.rows[0], one, ACCEPTED, now=at(SEALED))
    assert till.row().delivery == after
    assert (after.state, after.confirmed_by, after.request_id) == (State.ACCEPTED, "response", "req_1")
    [lane] = rows_of(till.database, usage_lanes)
    assert lane["compare_at"] == at(SEALED + 1), "what is taken may be counted later"


def test_who_was_killed_is_followed_by_another_under_the_same_name(one_sealed: Till) -> None:
    till = one_sealed
    first = begun(till, claimed(till))
    assert ledger.claim(till.database, livemode=False, now=at(LATER) - timedelta(seconds=1)) is None
    second = begun(till, claimed(till, LATER), LATER)
    assert (second.identifier, second.idempotency_key) == (first.identifier, first.idempotency_key)
    assert (second.attempts, second.first_attempt_at, second.last_attempt_at) == (2, at(SEALED), at(LATER))


def test_who_lost_the_lease_begins_nothing_and_settles_nothing(one_sealed: Till) -> None:
    till = one_sealed
    slow = claimed(till)
    theirs = begun(till, slow)
    mine = begun(till, claimed(till, LATER), LATER)
    assert ledger.begin(till.database, slow, slow.rows[0], now=at(LATER)) is None
    assert ledger.settle(till.database, slow.rows[0], theirs, REFUSED, now=at(LATER)) == mine
    assert till.row().delivery == mine
    ledger.release(till.database, slow)
    assert ledger.claim(till.database, livemode=False, now=at(LATER)) is None, "it was not theirs to give back"


def test_who_works_on_keeps_the_lane(one_sealed: Till) -> None:
    till = one_sealed
    held = claimed(till)
    begun(till, held, LATER - 0.001)
    assert ledger.claim(till.database, livemode=False, now=at(LATER)) is None


def test_what_was_changed_meanwhile_is_not_sent(one_sealed: Till) -> None:
    till = one_sealed
    held = claimed(till)
    till.links(theirs="cus_B", hours=SEALED)
    assert ledger.begin(till.database, held, held.rows[0], now=at(SEALED)) is None
    assert [(row.delivery.state, row.lane.stripe_customer) for row in till.rows()] == [
        ("replaced", "cus_A"), ("sealed", "cus_B"),
    ]  # fmt: skip


def test_a_failure_waits_and_is_tried_again_until_somebody_wants_it_now(one_sealed: Till) -> None:
    till = one_sealed
    [one] = till.sends(SEALED, Said(Answer.LOST, message="timeout\x00" + "x" * 1000))
    assert one.error is not None
    assert (one.error[:7], len(one.error) <= 510, one.state) == ("timeout", True, "sending")
    assert till.sends(SEALED + 0.001) == []
    till.now = at(SEALED + 0.001)
    assert ledger.release_backoff(till.database) == 1
    assert [one.state for one in till.sends(SEALED + 0.001)] == ["accepted"]
    assert ledger.release_backoff(till.database) == 0


def test_nobody_is_hurried_while_a_call_is_out(one_sealed: Till) -> None:
    till = one_sealed
    begun(till, claimed(till))
    till.now = at(SEALED + 0.001)
    assert ledger.release_backoff(till.database) == 0


def test_a_refusal_holds_up_nobody_else(one_sealed: Till) -> None:
    """Row 7 of the faults."""
    till = one_sealed
    till.links("umbrella", "cus_B")
    till.opens("u", customer="umbrella")
    till.seals(SEALED)
    held = claimed(till)
    ledger.settle(till.database, held.rows[0], begun(till, held), REFUSED, now=at(SEALED))
    ledger.release(till.database, held)
    assert [one.state for one in till.sends(SEALED)] == ["accepted"]
    assert sorted(row.delivery.state for row in till.rows()) == ["accepted", "rejected"]


def test_the_modes_never_mix(one_sealed: Till) -> None:
    till = one_sealed
    till.links("real", "cus_A", livemode=True)
    till.opens("r", customer="real")
    till.seals(SEALED, livemode=True)
    assert [row.batch.customer for row in claimed(till).rows] == ["acme"]
    assert ledger.claim(till.database, livemode=False, now=at(SEALED)) is None
    assert [row.batch.customer for row in claimed(till, livemode=True).rows] == ["real"]


@pytest.mark.parametrize(("hours", "after"), ((-0.5, "accepted"), (0.5, "expired")))
def test_what_was_used_before_a_final_invoice_expires(one_sealed: Till, hours: float, after: str) -> None:
    till = one_sealed
    inbox.receive(till.database, EVENT, now=at(1))
    inbox.handle(till.database, EVENT, Effects(finalised=("cus_A", at(hours))), now=at(1))
    till.sends(SEALED)
    assert state(till) == after


def test_an_earlier_invoice_takes_nothing_back(one_sealed: Till) -> None:
    till = one_sealed
    for until in (at(0.5), at(-700)):
        inbox.handle(till.database, EVENT, Effects(finalised=("cus_A", until)), now=at(1))
    till.sends(SEALED)
    assert state(till) == "expired"


def test_what_may_be_on_a_final_invoice_is_looked_for(one_sealed: Till) -> None:
    till = one_sealed
    till.sends(SEALED, Said(Answer.LOST))
    inbox.handle(till.database, EVENT, Effects(finalised=("cus_A", at(1))), now=at(2))
    assert till.sends(3) == []
    assert state(till) == "unknown"
    [row] = reconciliation.to_look_for(till.database, livemode=False, now=at(6))
    assert reconciliation.to_look_for(till.database, livemode=True, now=at(6)) == []
    reconciliation.observe(till.database, row, 0, now=at(6))
    reconciliation.observe(till.database, till.row(), 0, now=at(30))
    assert (state(till), till.row().delivery.error) == ("expired", "the invoice of its period is final")


def test_an_invoice_item_is_never_too_late(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    inbox.handle(till.database, EVENT, Effects(finalised=("cus_A", JUNE.end)), now=at(2))
    till.sends(24 * 50)
    assert till.told() == [
        ("expired", "ticket_opened", "tickets_opened", 1),
        ("accepted", "critical_ticket", "invoice items", 1),
    ]


@pytest.mark.parametrize(("days", "after"), ((2, "accepted"), (34, "accepted"), (35, "expired"), (40, "expired")))
def test_old_usage_is_sent_while_it_is_taken_and_never_moved(till: Till, days: int, after: str) -> None:
    """Row 11 of the faults."""
    till.fetches(a_subscription())
    till.opens()
    till.seals(24 * days)
    till.sends(24 * days)
    assert (state(till), till.row().delivery.event_at) == (after, at(0))


def test_an_absence_that_lasts_makes_the_next_generation_in_the_same_minute(one_sealed: Till) -> None:
    till = one_sealed
    till.sends(SEALED, Said(Answer.LOST))
    till.sends(30)
    assert state(till) == "unknown"
    for hours in (30, 40, 53.9):
        reconciliation.observe(till.database, till.row(), 0, now=at(hours))
        assert state(till) == "unknown"
    reconciliation.observe(till.database, till.row(), 0, now=at(54))
    [old, new] = till.rows()
    assert (old.delivery.state, new.delivery.state, new.delivery.generation) == ("absent", "sealed", 2)
    assert (new.batch, new.delivery.event_at) == (old.batch, old.delivery.event_at)
    assert [one.identifier[-2:] for one in till.sends(54)] == ["g2"]


def test_an_item_that_was_found_is_adopted_once(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    till.sends(SEALED, Said(Answer.LOST))
    [row] = [row for row in till.rows() if row.is_item]
    assert ledger.adopt(till.database, row, ["ii_1"], now=at(2)).state == "verified"
    before = everything(till.database)
    assert ledger.adopt(till.database, row, ["ii_1", "ii_2"], now=at(2)) == row.delivery, "it was changed meanwhile"
    assert everything(till.database) == before


def test_a_delivery_is_stored_where_nobody_changed_it(one_sealed: Till) -> None:
    till, row = one_sealed, one_sealed.row()
    till.sends(SEALED)
    with till.database.write() as connection:
        assert deliveries.save(connection, row.delivery, row.delivery) is False
    assert state(till) == "accepted"
