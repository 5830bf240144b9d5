"""Each fact is billed in one way, and what is forgiven is never lost. On every database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from tests.support.billing import JUNE, SEALED, Till, a_subscription
from tests.support.promises import at
from ticket_system import ledger
from ticket_system.billing.usage import Window
from ticket_system.storage.billing_tables import usage_batches, usage_facts

OPENED, CRITICAL = "ticket_opened", "critical_ticket"
ROUTES = {"metered": "critical_tickets", "invoice_item": "invoice items"}


@pytest.mark.parametrize("critical", ("metered", "invoice_item", "none"))
def test_a_critical_ticket_is_billed_as_the_plan_says(till: Till, critical: str) -> None:
    till.bills_critical(critical)
    till.opens(priority=1)
    till.opens("u", priority=1)
    till.seals(SEALED)
    billed = [(meter, quantity) for _, kind, meter, quantity in till.told() if kind == CRITICAL]
    assert (
        billed
        == {
            "metered": [("critical_tickets", 2)],
            "invoice_item": [("invoice items", 1), ("invoice items", 1)],
            "none": [],
        }[critical]
    ), "usage is added up, an item is a line of its own"
    assert [one["batch_id"] is None for one in till.facts() if one["kind"] == CRITICAL] == [critical == "none"] * 2
    assert till.seals(SEALED + 1) == 0


def test_a_switch_in_the_middle_of_a_month_bills_each_ticket_in_one_way(till: Till) -> None:
    """Row 21 of the faults: what was counted before the switch keeps its way, sealed or not."""
    ways = ("metered", "invoice_item", "none", "metered")
    for number, way in enumerate(ways):
        till.bills_critical(way, hours=number)
        till.opens(f"sealed later {number}", priority=1, hours=number)
        till.opens(f"raised {number}", priority=2, hours=number)
        till.does("set_priority", f"raised {number}", 1, hours=number + 0.5)
    till.bills_critical("invoice_item", hours=4)
    # What is raised by now is known: a second cause is another fact.
    for number in range(len(ways)):
        till.does("set_priority", f"raised {number}", 1, hours=5)
    till.seals(7)
    facts = [one for one in till.facts() if one["kind"] == CRITICAL]
    assert len(facts) == 2 * len(ways)
    assert [one["route"] for one in facts] == [way for way in ways for _ in range(2)]
    meters = {row.batch.id: row.lane.event_name for row in till.rows()}
    for one in facts:
        assert meters.get(one["batch_id"]) == ROUTES.get(one["route"])


def test_a_credit_goes_the_way_of_its_fact(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    till.sends(SEALED)
    till.bills_critical("metered", hours=2)
    till.forgives(hours=3)
    till.seals(5)
    assert [(meter, quantity) for _, kind, meter, quantity in till.told() if kind == CRITICAL] == [
        ("invoice items", 1),
        ("invoice items", -1),
    ]


def test_an_invoice_item_that_nobody_sent_is_taken_back_without_a_credit(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    assert till.forgives(hours=2) == [OPENED, CRITICAL]
    assert [(state, kind) for state, kind, *_ in till.told()] == [("sealed", OPENED), ("voided", CRITICAL)]
    assert [one["kind"] for one in till.facts() if one["quantity"] < 0] == [OPENED]
    assert [one.quantity for one in till.sends(3)] == [1]


def test_an_invoice_item_that_is_under_way_is_credited(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    while held := ledger.claim(till.database, livemode=False, now=at(2)):
        for row in held.rows:
            ledger.begin(till.database, held, row, now=at(2))
    till.does("set_priority", "t", 2, hours=2)
    assert till.causes()[-1] == f"-{CRITICAL}/t/1/credit"
    assert [state for state, *_ in till.told()] == ["sending", "sending"]


def test_the_database_refuses_a_fact_in_a_batch_of_another_way(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    [metered, item] = till.facts()

    def write(statement: sa.Executable) -> None:
        with till.database.write() as connection:
            connection.execute(statement)

    def moved(to: object) -> sa.Update:
        return sa.update(usage_facts).where(usage_facts.c.id == metered["id"]).values(batch_id=to)

    with pytest.raises(exc.IntegrityError):
        write(moved(item["batch_id"]))
    with pytest.raises(exc.IntegrityError):
        write(sa.update(usage_facts).where(usage_facts.c.id == metered["id"]).values(route="none"))
    with pytest.raises(exc.IntegrityError):
        write(sa.update(usage_facts).where(usage_facts.c.id == metered["id"]).values(route=None))
    with pytest.raises(exc.IntegrityError):
        write(moved("no batch"))


def test_the_database_refuses_a_fact_or_a_batch_a_second_time(till: Till) -> None:
    till.bills_critical("invoice_item")
    till.opens(priority=1)
    till.seals(SEALED)
    with till.database.read() as connection:
        facts = [dict(row) for row in connection.execute(sa.select(usage_facts)).mappings()]
        batches = [dict(row) for row in connection.execute(sa.select(usage_batches)).mappings()]
    for fact in facts:
        with pytest.raises(exc.IntegrityError), till.database.write() as connection:
            connection.execute(sa.insert(usage_facts).values({**fact, "id": 1000, "batch_id": None}))
    for batch in batches:
        with pytest.raises(exc.IntegrityError), till.database.write() as connection:
            connection.execute(sa.insert(usage_batches).values({**batch, "id": "another"}))
    item = next(one for one in batches if one["route"] == "invoice_item")
    for changed in ({"route": "metered"}, {"charges": None}):
        with pytest.raises(exc.IntegrityError), till.database.write() as connection:
            connection.execute(sa.insert(usage_batches).values({**item, "id": "another", "charges": "x"} | changed))


@pytest.mark.parametrize(
    ("forgiven", "credited"),
    (
        # The period of the fact is open: it comes off the same bill.
        (at(100), at(0)),
        (JUNE.end - timedelta(seconds=1), at(0)),
        # It is over, and was billed.
        (JUNE.end, JUNE.end),
        (JUNE.end + timedelta(days=3), JUNE.end + timedelta(days=3)),
    ),
)
def test_a_credit_lands_in_the_period_of_its_fact_while_that_is_open(
    till: Till, forgiven: object, credited: object
) -> None:
    july = Window(JUNE.end, JUNE.end + timedelta(days=31))
    till.fetches(a_subscription(periods=(JUNE, july)))
    till.opens()
    till.seals(SEALED)
    till.forgives(hours=(forgiven - at(0)).total_seconds() / 3600)  # type: ignore[operator]
    [fact, credit] = till.facts()
    assert (credit["key"], credit["quantity"], credit["reason"]) == (f"{fact['key']}/credit", -1, "kindness")
    assert credit["occurred_at"] == credited


@pytest.mark.parametrize(("days", "same"), ((27, True), (29, False)))
def test_without_a_known_period_a_credit_is_dated_back_by_less_than_a_month(
    till: Till, days: int, *, same: bool
) -> None:
    till.opens()
    till.seals(SEALED)
    till.forgives(hours=24 * days)
    assert (till.facts()[-1]["occurred_at"] == at(0)) is same


@pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)
def test_what_is_forgiven_while_it_is_sealed_is_void_or_credited(till: Till) -> None:
    many = 24
    till.bills_critical("invoice_item")
    for number in range(many):
        till.opens(str(number), priority=1)
    ready = threading.Barrier(3)

    def forgive(part: int) -> None:
        ready.wait()
        for number in range(part, many, 2):
            till.forgives(str(number), hours=2)

    def seal() -> None:
        ready.wait()
        till.seals(2)

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(forgive, 0), pool.submit(forgive, 1), pool.submit(seal)]
        for one in done:
            one.result()
    till.seals(4)
    till.sends(4)
    billed = [row for row in till.rows() if row.delivery.state != "voided"]
    assert sum(row.delivery.quantity for row in billed if row.batch.kind == OPENED) == 0
    assert sum(row.delivery.quantity for row in billed if row.batch.kind == CRITICAL) == 0
    open_ones = [one for one in till.facts() if not one["batch_id"] and not one["forgiven_at"]]
    assert open_ones == []


@pytest.mark.parametrize("database_url", ("postgresql",), indirect=True)
@pytest.mark.parametrize("first", ("seal", "forgive"))
def test_forgiving_waits_for_a_seal_that_is_not_committed_and_the_reverse(till: Till, first: str) -> None:
    """Two transactions that overlap for certain: the first is open while the second begins."""
    till.opens()
    with ThreadPoolExecutor(1) as pool:
        with till.database.write() as connection:
            if first == "seal":
                sealing = ledger._seal
                sealing(connection, till.system.rules, at(2), 10, livemode=False)
                other = pool.submit(till.forgives, hours=2)
            else:
                row = sa.update(usage_facts).values(forgiven_at=at(2), reason="kindness")
                connection.execute(row)
                other = pool.submit(lambda: [str(till.seals(2))])
            with pytest.raises(TimeoutError):
                other.result(0.5)
        other.result(10)
    quantities = [one["quantity"] for one in till.facts()]
    assert quantities == ([1, -1] if first == "seal" else [1])
    till.seals(4)
    assert [row.delivery.quantity for row in till.rows()] == ([1, -1] if first == "seal" else [])
