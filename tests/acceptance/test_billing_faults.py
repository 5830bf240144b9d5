"""The fault matrix of usage billing: whatever happens, what Stripe would bill is what happened, once.

Everything is real but the clock and Stripe: the ledger on both databases, the jobs, the SDK over loopback HTTP, and a
double that keeps a journal of what it would bill. Where usage is not billed, it is shown as waiting for a person.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.till import CUS_ACME, HOUR, METERS, MINUTE, START, Till, a_till
from ticket_system import accounts, settlements
from ticket_system.billing.deliveries import Delivery, Said
from ticket_system.billing.usage import CRITICAL_TICKET, TICKET_OPENED
from ticket_system.errors import StorageUnavailable
from ticket_system.inbox import InboxEvent, receive
from ticket_system.ledger import Row
from ticket_system.sla import policy_file
from ticket_system.storage import billing_tables as tables
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.billing.pace import Pace

DAY = timedelta(days=1)


@pytest.fixture(params=("sqlite", "postgresql"))
def till(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Till]:
    """A till on each database in turn."""
    url = str(tmp_path / "till.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with a_till(url) as opened:
        yield opened


def test_a_quiet_day(till: Till) -> None:
    """No fault at all: each hour is one batch, counted once and verified."""
    for _ in range(5):
        till.opens(3)
        till.works(HOUR)
    till.works(3 * HOUR)
    till.balances()
    assert till.states() == ["verified"] * 5
    assert [event.value for event in till.double.journal.events] == [3] * 5


# --- 3, 4, 5: what goes wrong with a call ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    (
        "throttle", "lock_timeout", "error_before", "error_after", "error_html", "junk", "empty",
        "reset_before", "reset_after", "reset_mid_body", "unauthorized",
    ),
)  # fmt: skip
@pytest.mark.parametrize("times", (1, 4))
def test_one_count_whatever_a_call_comes_to(till: Till, fault: str, times: int) -> None:
    """3, 4, 5, 8: progress after the fault, and one count; no key keeps replaying its failure for a day."""
    till.opens(7)
    till.breaks(*[fault] * times)
    till.passes(HOUR + 10 * MINUTE)
    till.works(4 * HOUR)
    till.balances()
    assert till.billed() == 7
    assert till.states() == ["verified"]


@pytest.mark.parametrize("fault", ("hang_before", "hang_after"))
def test_no_answer_in_time(till: Till, fault: str) -> None:
    """5: a timeout before or after it was accepted."""
    till.opens(2)
    till.breaks(fault, seconds=0.8)
    till.passes(HOUR + 10 * MINUTE)
    till.works(2 * HOUR)
    till.balances()


def test_a_burst_of_429_uses_nothing_up(till: Till) -> None:
    """3: throttled for an hour: surely not done, so no day of waiting follows."""
    till.opens(5)
    till.breaks("throttle", times=None)
    till.passes(HOUR + 10 * MINUTE)
    till.works(HOUR)
    assert till.billed() == 0
    [row] = till.deliveries()
    assert (row["state"], row["first_attempt_at"]) == ("sealed", None)
    till.mends()
    till.works(HOUR)
    till.balances()


# --- 6: duplicates --------------------------------------------------------------------------------------------------


def test_a_duplicate_is_delivered(till: Till) -> None:
    """6: refused because it is there already."""
    till.opens(3)
    till.breaks("error_after")  # the key is burnt: the next call comes under another, with the same identifier
    till.passes(HOUR + 10 * MINUTE)
    till.works()
    till.passes(MINUTE)
    till.reports()
    [row] = till.deliveries()
    assert (row["state"], row["confirmed_by"], row["epoch"]) == ("accepted", "duplicate", 1)
    till.works(2 * HOUR)
    till.balances()


def test_a_duplicate_in_other_words_is_found_by_what_is_counted(till: Till) -> None:
    """6: the wording may change; the summary does not."""
    till.double.rules.duplicate_wording = "Nope, {identifier} was here"
    till.opens(3)
    till.breaks("error_after")
    till.passes(HOUR + 10 * MINUTE)
    till.works(30 * MINUTE)
    assert till.states() == ["unknown"]
    till.works(3 * HOUR)
    assert till.deliveries()[0]["confirmed_by"] == "summary"
    till.balances()


# --- 7: what is refused ---------------------------------------------------------------------------------------------


def test_an_unknown_customer_parks_its_own_usage_only(till: Till) -> None:
    """7: the others flow; a corrected link sends it again, once."""
    till.links("typo", "cus_nobody", there=False)
    till.opens(2)
    till.opens(3, customer="typo")
    till.passes(HOUR + 10 * MINUTE)
    till.works(HOUR)
    assert (till.billed(), till.waiting()) == (2, 3)
    assert [row["state"] for row in till.deliveries("rejected")] == ["rejected"]
    till.double.add_customer("cus_right")
    assert accounts.link(till.database, "typo", "cus_right", livemode=False, actor="lead") == 1
    till.works(3 * HOUR)
    assert till.billed(customer="cus_right") == till.facts(customer="typo") == 3
    assert till.waiting() == 0


@pytest.mark.parametrize("trouble", ("archived meter", "no such meter"))
def test_what_is_mended_is_sent_again_by_a_person(till: Till, trouble: str) -> None:
    """7: an archived meter, an event name that nobody knows: only that meter's usage is parked."""
    meter = till.meters[TICKET_OPENED]
    till.double.archive_meter(meter) if trouble == "archived meter" else put_in_force(till, meter="tickets")
    till.opens(2)
    till.opens(1, priority=1)
    till.passes(HOUR + 10 * MINUTE)
    till.works(HOUR)
    [stuck] = till.deliveries("rejected")
    assert (till.billed(), till.billed(CRITICAL_TICKET)) == (0, 1)
    till.double.reactivate_meter(meter) if trouble == "archived meter" else till.double.add_meter("tickets")
    settlements.retry(till.database, stuck["id"], actor="lead")
    till.works(2 * HOUR)
    assert till.double.journal.billed(CUS_ACME, "tickets_opened" if trouble == "archived meter" else "tickets") == 3
    assert till.waiting() == 0


def test_a_deleted_customer_is_linked_anew(till: Till) -> None:
    """7: what was refused goes to the new one, once."""
    till.double.delete_customer(CUS_ACME)
    till.opens(3)
    till.passes(HOUR + 10 * MINUTE)
    till.works(HOUR)
    assert till.states() == ["rejected"]
    till.double.add_customer("cus_new")
    accounts.link(till.database, "acme", "cus_new", livemode=False, actor="lead")
    till.works(2 * HOUR)
    assert (till.billed(customer="cus_new"), till.waiting()) == (3, 0)


# --- 8: keys --------------------------------------------------------------------------------------------------------


def test_a_refused_key_stops_the_run_and_burns_no_attempt(till: Till) -> None:
    """8: 401 in the middle; with a new key everything goes on."""
    till.links("beta", "cus_beta")
    till.opens(2)
    till.opens(2, customer="beta")
    till.breaks("unauthorized", times=None)
    till.passes(HOUR + 10 * MINUTE)
    till.works(2 * HOUR)
    assert {(row["attempts"], row["first_attempt_at"], row["state"]) for row in till.deliveries()} == {
        (0, None, "sealed")
    }
    assert len(till.double.journal.requests) < 60, "nobody hammers at a closed door"
    till.mends()
    till.works(2 * HOUR)
    till.balances()
    assert till.billed(customer="cus_beta") == 2


# --- 9, 10: long outages and slow summaries -------------------------------------------------------------------------


@pytest.mark.parametrize("outage", (20.0, 23.5, 25.0, 72.0))
@pytest.mark.parametrize("fault", ("reset_after", "reset_before"))
def test_an_outage_after_a_lost_call(till: Till, outage: float, fault: str) -> None:
    """9: whether the lost call was accepted or not: one count, through reconciliation where a day has passed."""
    till.opens(4)
    till.breaks(fault)
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    till.passes(timedelta(hours=outage))
    till.works(30 * HOUR, every=30 * MINUTE)
    till.balances()
    assert till.billed() == 4


@pytest.mark.parametrize("lag", (timedelta(0), 10 * MINUTE, 6 * HOUR, 20 * HOUR))
def test_slow_summaries_never_make_a_second_generation_too_early(till: Till, lag: timedelta) -> None:
    """10: what was accepted is counted late, and is taken for absent meanwhile, but never repeated."""
    till.double.rules.summary_lag = lag
    till.opens(4)
    till.breaks("reset_after")
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    till.breaks("reset_before", times=None)
    till.passes(23 * HOUR)
    till.works(2 * HOUR, every=30 * MINUTE)
    assert till.deliveries()[0]["state"] in {"unknown", "accepted", "verified"}
    till.mends()
    till.works(50 * HOUR, every=HOUR)
    till.balances()
    assert till.billed() == 4
    assert {row["generation"] for row in till.deliveries()} == {1}


def test_what_never_arrived_is_sent_under_a_new_identifier_after_a_day_of_absence(till: Till) -> None:
    """9: 23 hours of trying, 2 of waiting, 24 of absence: then the second generation."""
    till.opens(4)
    till.breaks("reset_before", times=None)
    till.passes(HOUR + 10 * MINUTE)
    began = till.now
    till.works(24 * HOUR, every=HOUR)
    assert till.states() == ["unknown"]
    till.mends()
    till.works(20 * HOUR, every=HOUR)
    assert till.states() == ["unknown"], "not before it was absent for a day"
    till.works(10 * HOUR, every=HOUR)
    assert till.states()[0] == "absent"
    assert till.double.journal.events[0].received_at >= began + timedelta(hours=23 + 24)
    till.balances()


# --- 11, 12: old usage, wrong clocks --------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "is_sent"), ((2, True), (34, True), (35, False), (40, False)))
def test_usage_of_the_past(till: Till, days: int, is_sent: bool) -> None:
    """11: up to 34 days it is counted where it happened; older it expires, and its moment is never shifted."""
    when = till.now - days * DAY
    till.opens(3, at=when)
    till.works(3 * HOUR)
    if is_sent:
        till.balances()
        [event] = till.double.journal.events
        assert when.replace(minute=0) <= event.timestamp < when + HOUR
        return
    assert till.states() == ["expired"]
    till.balances(waiting=3)


def test_what_expired_is_carried_to_the_next_invoice(till: Till) -> None:
    """11: an explicit item, with the amount, the moment and a trace to what it stands for."""
    put_in_force(till, amount=40)
    till.opens(3, at=till.now - 40 * DAY)
    till.works(HOUR)
    [row] = till.deliveries("expired")
    assert settlements.carry(till.database, till.system.rules, row["id"], actor="lead") == 120
    till.works(HOUR)
    [item] = till.double.journal.invoice_items
    assert (item.amount, item.currency) == (120, "eur")
    assert item.metadata["charges"].startswith("carried/")
    assert (till.billed(), till.waiting()) == (0, 0)


@pytest.mark.parametrize("skew", (timedelta(minutes=4), timedelta(minutes=6), timedelta(hours=1), -2 * DAY))
def test_a_worker_whose_clock_is_wrong(till: Till, skew: timedelta) -> None:
    """12: the sender's moment counts, and the database's clock decides when: nothing loops, everything is counted."""
    till.opens(3, at=till.now + skew)
    till.works(5 * HOUR)
    till.balances()
    assert till.billed() == 3


def test_a_database_whose_clock_is_an_hour_fast(till: Till) -> None:
    """12: Stripe refuses moments ahead of its own clock: tried later, never given up."""
    till.double.clock = lambda: till.now - 2 * HOUR
    till.opens(3)
    till.passes(HOUR + 10 * MINUTE)
    till.works(30 * MINUTE)
    assert (till.billed(), till.states()) == (0, ["sealed"])
    till.works(4 * HOUR)
    till.balances()
    assert len(till.double.journal.requests) < 80


# --- 13: periods ----------------------------------------------------------------------------------------------------


def test_a_window_is_cut_where_a_billing_period_ends(till: Till) -> None:
    """13: usage of one hour, in two periods, lands on two invoices."""
    price = till.double.add_price("gold", till.double.add_product(), meter=till.meters[TICKET_OPENED])
    ends = START + 20 * MINUTE + timedelta(seconds=30)
    subscription = till.double.subscribe(CUS_ACME, price, start=START - 30 * DAY, end=ends)
    till.syncs()
    till.opens(2, at=START + 5 * MINUTE)
    till.opens(3, at=START + 20 * MINUTE + timedelta(seconds=29))
    till.opens(4, at=START + 20 * MINUTE + timedelta(seconds=30))
    till.opens(5, at=START + 40 * MINUTE)
    till.passes(35 * MINUTE)
    till.works()
    first = till.double.finalize(subscription)
    till.works(2 * HOUR)
    till.balances()
    assert first.quantity(METERS[TICKET_OPENED]) == 5
    assert till.double.finalize(subscription).quantity(METERS[TICKET_OPENED]) == 9


def test_usage_after_the_invoice_is_final_is_shown_and_carried(till: Till) -> None:
    """13: what comes too late for its invoice is not sent where it would be counted and never billed."""
    put_in_force(till, amount=40)
    price = till.double.add_price("gold", till.double.add_product(), meter=till.meters[TICKET_OPENED])
    subscription = till.double.subscribe(CUS_ACME, price, start=START - 30 * DAY, end=START + 2 * HOUR)
    till.syncs()
    till.passes(3 * HOUR)
    till.double.finalize(subscription)
    receive_events(till)
    till.syncs()
    till.opens(3, at=START + HOUR)
    till.works(HOUR)
    assert till.states() == ["expired"]
    assert till.double.journal.unbilled == []
    till.balances(waiting=3)
    settlements.carry(till.database, till.system.rules, till.deliveries()[0]["id"], actor="lead")
    till.works(HOUR)
    assert [item.amount for item in till.double.journal.invoice_items] == [120]


# --- 14: late facts -------------------------------------------------------------------------------------------------


def test_late_facts_are_batches_of_their_own(till: Till) -> None:
    """14: each in its own minute of the same window."""
    for number in (3, 2, 1):
        till.opens(number, at=START + 5 * MINUTE)
        till.passes(HOUR + 10 * MINUTE)
        till.works()
    till.works(2 * HOUR)
    till.balances()
    assert [event.timestamp for event in till.double.journal.events] == [START, START + MINUTE, START + 2 * MINUTE]


def test_the_sixty_first_batch_of_an_hour_waits_and_is_shown(till: Till) -> None:
    """14: an hour has sixty minutes: what comes after that waits for a person, and is not lost."""
    till.passes(HOUR + 10 * MINUTE)
    for _ in range(61):
        till.opens(1, at=START)
        till.reports()
    till.works(HOUR)
    till.balances(waiting=1)
    assert till.billed() == 60
    found = settlements.outstanding(till.database)
    assert [one.what for one in found.rows] == ["unsealed ticket_opened of acme"]


# --- 15, 16: counted otherwise than sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_sampled", (True, False))
def test_usage_that_is_thrown_away_later(till: Till, is_sampled: bool) -> None:
    """15: found by its sample, or by the totals; mended, and counted once."""
    till.double.rules.lists_empty_summaries = True
    till.opens(3)
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    [row] = till.deliveries()
    assert row["state"] == "accepted"
    assert till.double.reject_async(row["identifier"], is_sampled=is_sampled) == 1
    receive_events(till)
    till.syncs()
    assert till.states() == (["rejected_async"] if is_sampled else ["accepted"])
    till.works(30 * HOUR, every=HOUR)
    assert till.states() == ["rejected_async"]
    till.balances(waiting=3)
    till.double.stop_rejecting()
    settlements.retry(till.database, row["id"], actor="lead")
    till.works(5 * HOUR, every=HOUR)
    till.balances()
    assert till.states() == ["replaced", "verified"]


def test_more_is_counted_than_was_sent(till: Till) -> None:
    """16: in the minute of a delivery, and outside of all; alarm, and nothing is changed."""
    till.opens(3)
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    elsewhere(till, 5, START + 30 * MINUTE)
    elsewhere(till, 2, START)
    calls = len(posts(till))
    till.works(3 * HOUR)
    assert till.states() == ["disputed"]
    [row] = till.deliveries()
    assert (row["found"], row["quantity"]) == (5, 3)
    assert [one["quantity"] for one in settlements.outstanding(till.database).surplus] == [5]
    assert len(posts(till)) == calls


# --- 17: the database goes away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", (0, 3))
def test_what_was_sent_is_forgotten(till: Till, days: int) -> None:
    """17: in a failover, or by a restore days later: sealed again it has the same name, and is known, or is found."""
    gold(till)
    till.opens(2)
    till.opens(1, priority=1)
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    assert (till.billed(), len(till.double.journal.invoice_items)) == (3, 1)
    with till.database.write() as connection:
        connection.execute(tables.usage_deliveries.delete())
        connection.execute(tables.usage_facts.update().values(batch_id=None))
        connection.execute(tables.usage_batches.delete())
    till.passes(days * DAY)
    till.works(3 * HOUR)
    till.balances()
    assert len(till.double.journal.invoice_items) == 1
    assert till.waiting(CRITICAL_TICKET) == 0


def test_what_cannot_be_looked_for_waits_and_keeps_nobody_waiting(till: Till) -> None:
    """17: usage of long ago is looked for before it is sent; while nobody answers, the rest goes on."""
    till.links("beta", "cus_beta")
    till.opens(2, at=till.now - 2 * DAY)
    till.opens(3, customer="beta")
    till.breaks("error_before", path="/v1/billing/meters", times=None)
    till.passes(HOUR + 10 * MINUTE)
    till.works(30 * MINUTE)
    assert (till.billed(), till.billed(customer="cus_beta")) == (0, 3)
    assert len(till.double.journal.requests) < 80
    till.mends()
    till.works(3 * HOUR)
    till.balances()


def test_the_database_goes_away_between_the_call_and_its_outcome(postgres_url: str, postgres_server: str) -> None:
    """17: the intent is stored, the outcome is not: the same identifier is asked about again."""
    name = sa.make_url(postgres_url).database
    server = sa.make_url(postgres_server).set(drivername="postgresql").render_as_string(hide_password=False)

    class Cut(StripeMeter):
        def send(self, row: Row, begun: Delivery) -> Said:
            answer = super().send(row, begun)
            admit(server, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            admit(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            return answer

    with a_till(postgres_url) as till:
        till.opens(3)
        till.passes(HOUR + 10 * MINUTE)
        well = till.toolbox
        till.toolbox = replace(well, meter=Cut(till.account, Pace(100)))
        with pytest.raises(StorageUnavailable):
            till.reports()
        admit(server, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        assert (till.billed(), till.states()) == (3, ["sending"])
        till.toolbox = well
        till.works(3 * HOUR)
        till.balances()
        assert till.states() == ["verified"]


def admit(server: str, statement: str) -> None:
    """Have the server itself do something."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


# --- 20: invoice items ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    ("error_before", "error_after", "error_html", "junk", "reset_before", "reset_after", "reset_mid_body",
     "lock_timeout", "throttle", "unauthorized"),
)  # fmt: skip
@pytest.mark.parametrize("outage", (0, 26))
def test_one_item_for_a_critical_ticket(till: Till, fault: str, outage: int) -> None:
    """20: after any fault, and after the key has expired too: one item, with its trace."""
    gold(till)
    till.opens(1, priority=1)
    till.breaks(fault, path="/v1/invoiceitems")
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    till.passes(timedelta(hours=outage))
    till.works(54 * HOUR, every=HOUR)
    assert [(item.amount, item.currency) for item in till.double.journal.invoice_items] == [(1500, "eur")]
    assert till.waiting(CRITICAL_TICKET) == 0
    assert till.billed(CRITICAL_TICKET) == 0


@pytest.mark.parametrize("fault", ("reset_after", "reset_before", "error_after"))
def test_the_invoice_is_finalised_while_an_item_is_in_doubt(till: Till, fault: str) -> None:
    """20: whether it was on that invoice or goes on the next, it is charged once."""
    subscription = gold(till)
    till.opens(1, priority=1)
    till.breaks(fault, path="/v1/invoiceitems")
    till.passes(HOUR + 10 * MINUTE)
    till.reports()
    first = till.double.finalize(subscription)
    receive_events(till)
    till.syncs()
    till.works(4 * HOUR)
    second = till.double.finalize(subscription)
    assert [item.amount for item in till.double.journal.invoice_items] == [1500]
    assert sorted((first.total, second.total)) == [0, 1500]
    assert till.waiting(CRITICAL_TICKET) == 0


def test_the_251st_item_is_held_and_shown(till: Till) -> None:
    """20: an invoice takes 250 items; the next is refused, shown, and sent again by a person after the invoice."""
    subscription = gold(till)
    till.opens(251, priority=1)
    till.passes(HOUR + 10 * MINUTE)
    for _ in range(8):
        till.reports()
    assert len(till.double.journal.invoice_items) == 250
    [row] = till.deliveries("rejected")
    assert till.waiting(CRITICAL_TICKET) == 1
    till.double.finalize(subscription)
    settlements.retry(till.database, row["id"], actor="lead")
    till.reports()
    assert len(till.double.journal.invoice_items) == 251


def test_a_downgraded_critical_ticket_is_void_before_and_credited_after(till: Till) -> None:
    """20, 7.5: before it was sent nothing goes out; afterwards a credit of the same amount."""
    gold(till)
    early, late = till.opens(2, priority=1)
    till.passes(HOUR + 10 * MINUTE)
    till.breaks("throttle", path="/v1/invoiceitems", times=1)
    till.changes("set_priority", early.id, 2)
    till.works(HOUR)
    assert [item.amount for item in till.double.journal.invoice_items] == [1500]
    till.changes("set_priority", late.id, 2)
    till.works(3 * HOUR)
    assert [item.amount for item in till.double.journal.invoice_items] == [1500, -1500]


# --- 21: exclusive routes -------------------------------------------------------------------------------------------


def test_each_critical_ticket_is_in_exactly_one_path(till: Till) -> None:
    """21: the plan changes its mind in mid-month."""
    subscription = gold(till)
    till.opens(2, priority=1)
    till.passes(2 * HOUR)
    silver = till.double.add_price("silver", till.double.add_product())
    till.double.change_plan(subscription, silver)
    accounts.mark(till.database, livemode=False)
    till.syncs()
    till.opens(3, priority=1)
    till.works(3 * HOUR)
    assert len(till.double.journal.invoice_items) == 2
    assert till.billed(CRITICAL_TICKET) == 3
    assert till.waiting(CRITICAL_TICKET) == 0


# --- what the tests above need --------------------------------------------------------------------------------------

POLICY = """
[policies.all.targets.resolution]
within = {{ critical = "4h", high = "24h", medium = "72h", low = "168h" }}
[plans.gold]
prices = ["gold"]
hours = 24
critical = "invoice_item"
[plans.silver]
prices = ["silver"]
hours = 48
[billing]
amounts = {{ ticket_opened = {amount}, critical_ticket = 1500 }}
meters = {{ ticket_opened = "{meter}" }}
"""


def put_in_force(till: Till, amount: int = 0, meter: str = "tickets_opened") -> None:
    """Plans, and what usage costs."""
    till.system.put_in_force(policy_file.parse(POLICY.format(amount=amount, meter=meter), now=till.now), actor="lead")


def gold(till: Till) -> str:
    """Acme buys gold: critical tickets are charged one by one. Returns its subscription."""
    put_in_force(till)
    price = till.double.add_price("gold", till.double.add_product())
    subscription = till.double.subscribe(CUS_ACME, price, start=START - DAY, end=START + 29 * DAY)
    till.syncs()
    found = accounts.get(till.database, "acme")
    assert found is not None
    assert (found.plan, found.critical) == ("gold", "invoice_item")
    return subscription


def receive_events(till: Till) -> None:
    """What the webhook endpoint would have stored."""
    for event in till.double.events:
        form, body = "thin" if event.is_thin else "snapshot", json.dumps(event.notification())
        receive(till.database, InboxEvent(event.id, form, event.type, livemode=False, body=body))


def elsewhere(till: Till, value: int, when: datetime) -> None:
    """Somebody else reports to our meter."""
    till.account.client.v1.billing.meter_events.create(
        {
            "event_name": METERS[TICKET_OPENED],
            "payload": {"stripe_customer_id": CUS_ACME, "value": str(value)},
            "timestamp": int(when.timestamp()),
        }
    )


def posts(till: Till) -> list[object]:
    """What was sent, not asked."""
    return [one for one in till.double.journal.requests if one.method == "POST"]
