"""Facts are sealed into batches: each into one, and one for each window and turn. On every database."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.billing import ACCEPTED, JUNE, SEALED, Till, a_subscription, minutes
from tests.support.contents import everything, rows_of
from tests.support.promises import MONDAY, at
from ticket_system import ledger
from ticket_system.billing.usage import Window
from ticket_system.storage.billing_tables import usage_batches

OPENED, CRITICAL = "ticket_opened", "critical_ticket"


@pytest.mark.parametrize(("minute", "batches"), ((60, 0), (69.99, 0), (70, 1), (6000, 1)))
def test_a_window_is_sealed_ten_minutes_after_it_is_over(till: Till, minute: float, batches: int) -> None:
    till.opens(hours=0)
    till.opens("last", hours=0.999)
    till.opens("next", hours=1)
    assert till.seals(minute / 60) == (batches if minute < 100 else 2)
    if minute == 70:
        row = till.row()
        assert (row.delivery.quantity, row.delivery.event_at, row.batch.seq) == (2, MONDAY, 0)
        assert (row.batch.window_start, row.batch.window_end) == (MONDAY, at(1))
        assert row.delivery.identifier == f"tickets:{row.batch.id}:g1"


def test_what_is_late_gets_a_turn_and_a_minute_of_its_own(till: Till) -> None:
    for number in range(3):
        till.opens(str(number), hours=0.1)
        assert till.seals(SEALED + number) == 1
        assert till.seals(SEALED + number) == 0, "once"
    assert [(row.batch.seq, row.delivery.event_at) for row in till.rows()] == [
        (0, MONDAY), (1, MONDAY + minutes(1)), (2, MONDAY + minutes(2)),
    ]  # fmt: skip
    assert len({row.batch.id for row in till.rows()}) == 3


def test_the_sixty_first_turn_of_a_window_waits_for_a_person(till: Till) -> None:
    for number in range(61):
        till.opens(str(number))
        done = ledger.seal(till.database, till.system.rules, livemode=False, now=at(SEALED))
        assert (done.batches, done.full) == ((1, 0) if number < 60 else (0, 1))
    till.opens("another", hours=1)
    assert till.seals(1 + SEALED) == 1, "the next hour goes on"
    assert [one["ticket_id"] for one in till.facts() if one["batch_id"] is None] == ["60"]
    assert till.rows()[59].delivery.event_at == MONDAY + minutes(59)


def test_a_window_ends_where_a_billing_period_does(till: Till) -> None:
    cut = MONDAY + minutes(20)
    till.fetches(a_subscription(periods=(Window(JUNE.start, cut), Window(cut, JUNE.end))))
    for number, minute in enumerate((19, 19.999, 20, 50)):
        till.opens(str(number), hours=minute / 60)
    assert till.seals(29.99 / 60) == 0
    assert till.seals(30 / 60) == 1, "the last usage of a period does not wait for the end of its hour"
    assert till.seals(SEALED) == 1
    assert [(row.batch.window_start, row.batch.window_end, row.delivery.quantity) for row in till.rows()] == [
        (MONDAY, cut, 2), (cut, at(1), 2),
    ]  # fmt: skip
    assert [row.delivery.event_at for row in till.rows()] == [MONDAY, cut]


def test_a_period_that_becomes_known_later_cuts_what_is_late(till: Till) -> None:
    till.opens("0", hours=0.9)
    till.seals(SEALED)
    cut = MONDAY + minutes(20)
    till.fetches(a_subscription(periods=(Window(JUNE.start, cut), Window(cut, JUNE.end))), hours=2)
    till.opens("1", hours=0.1)
    till.opens("2", hours=0.9)
    assert till.seals(3) == 2
    found = [(row.batch.window_start, row.batch.seq, row.delivery.event_at) for row in till.rows()]
    assert found == [(MONDAY, 0, MONDAY), (MONDAY, 1, MONDAY + minutes(1)), (cut, 0, cut)]


def test_what_adds_up_to_nothing_is_verified_and_never_sent(till: Till) -> None:
    till.opens(priority=1)
    till.seals(SEALED)
    till.sends(SEALED)
    till.opens("new")
    till.forgives("t", hours=2)
    assert till.seals(3) == 2
    assert till.told()[1] == ("verified", OPENED, "tickets_opened", 0), "one more, and one credit"
    assert till.told()[3] == ("sealed", CRITICAL, "critical_tickets", -1)
    assert [one.quantity for one in till.sends(3)] == [-1]
    assert till.seals(4) == 0


def test_every_customer_kind_and_hour_has_its_batch(till: Till) -> None:
    names = [f"c{number:02}" for number in range(9)]
    for name in names:
        till.links(name, f"cus_{name}")
        for hour in range(3):
            till.opens(f"{name}-{hour}", customer=name, hours=hour, priority=1 + hour % 2)
    found = [
        ledger.seal(till.database, till.system.rules, livemode=False, customers_at_once=4, now=at(5)) for _ in range(4)
    ]
    assert [(one.facts, one.batches) for one in found] == [(20, 20), (20, 20), (5, 5), (0, 0)]
    keys = Counter((row.batch.customer, row.batch.kind, row.batch.window_start) for row in till.rows())
    assert (len(keys), set(keys.values())) == (45, {1})
    assert {row.lane.stripe_customer for row in till.rows()} == {f"cus_{name}" for name in names}


def test_what_nobody_is_linked_for_is_not_sealed_and_holds_nobody_up(till: Till) -> None:
    till.opens("a", customer="aardvark")
    till.opens("t")
    assert till.seals(SEALED) == 1
    till.links("aardvark", "cus_Z", hours=2)
    assert till.seals(SEALED) == 1


def test_the_modes_are_sealed_each_by_itself(till: Till) -> None:
    till.links("real", "cus_A", livemode=True)
    till.opens("t")
    till.opens("r", customer="real")
    assert till.seals(SEALED, livemode=True) == 1
    assert [(row.batch.customer, row.lane.livemode) for row in till.rows()] == [("real", True)]
    assert till.seals(SEALED) == 1


def test_a_preview_changes_nothing_and_is_what_is_then_sent(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens("t", priority=1)
    till.seals(SEALED)
    till.opens("u", priority=1, hours=1)
    till.opens("later", hours=3)
    before = everything(till.database)
    seen = ledger.preview(till.database, till.system.rules, livemode=False, now=at(3))
    assert everything(till.database) == before
    assert ledger.preview(till.database, till.system.rules, livemode=True, now=at(3)) == []
    till.seals(3)
    sent = till.sends(3)
    assert sorted(one.identifier for one in sent) == sorted(row.delivery.identifier for row in seen)
    assert {(row.delivery.identifier, row.delivery.event_at, row.delivery.quantity) for row in seen} == {
        (one.identifier, one.event_at, one.quantity) for one in sent
    }


def test_the_first_preview_of_an_installation_names_what_is_then_sent(till: Till) -> None:
    till.opens()
    [seen] = ledger.preview(till.database, till.system.rules, livemode=False, now=at(3))
    till.seals(3)
    assert till.row().delivery.identifier == seen.delivery.identifier


@pytest.fixture(params=("sqlite-file", "postgresql"))
def shared_till(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Till]:
    """A desk that several connections work at."""
    if request.param == "sqlite-file":
        url = str(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tickets.db"))
    else:
        url = request.getfixturevalue("postgres_url")
    till = Till(url)
    yield till
    till.database.close()


def test_of_several_sealers_each_fact_gets_one_batch(shared_till: Till) -> None:
    till, sealers = shared_till, 4
    names = [f"c{number}" for number in range(12)]
    for name in names:
        till.links(name, f"cus_{name}")
        for hour in range(2):
            for number in range(3):
                till.opens(f"{name}-{hour}-{number}", customer=name, hours=hour)
    ready = threading.Barrier(sealers)

    def seal(_: int) -> int:
        ready.wait()
        made = 0
        while new := ledger.seal(
            till.database, till.system.rules, livemode=False, customers_at_once=2, now=at(4)
        ).batches:
            made += new
        return made

    with ThreadPoolExecutor(sealers) as pool:
        made = list(pool.map(seal, range(sealers)))
    till.seals(4)
    assert sum(made) <= len(till.rows()) == 2 * len(names)
    assert {row.delivery.quantity for row in till.rows()} == {3}
    assert {row["seq"] for row in rows_of(till.database, usage_batches)} == {0}
    assert all(one["batch_id"] for one in till.facts())


def test_of_several_senders_each_delivery_goes_out_once(shared_till: Till) -> None:
    till, senders = shared_till, 4
    for number in range(6):
        till.links(f"c{number}", f"cus_{number}")
        for hour in range(3):
            till.opens(f"{number}-{hour}", customer=f"c{number}", hours=hour)
    till.seals(6)
    ready = threading.Barrier(senders)
    under_way, crowded = Counter[int](), []

    def send(_: int) -> list[str]:
        ready.wait()
        sent = []
        while held := ledger.claim(till.database, livemode=False, limit=2, now=at(6)):
            under_way[held.lane.id] += 1
            if under_way[held.lane.id] > 1:
                crowded.append(held.lane)
            for row in held.rows:
                begun = ledger.begin(till.database, held, row, now=at(6))
                assert begun is not None
                sent.append(begun.identifier)
                ledger.settle(till.database, row, begun, ACCEPTED, now=at(6))
            under_way[held.lane.id] -= 1
            ledger.release(till.database, held)
        return sent

    with ThreadPoolExecutor(senders) as pool:
        sent = [one for some in pool.map(send, range(senders)) for one in some]
    assert crowded == []
    assert (len(sent), len(set(sent))) == (18, 18)
