"""What a ticket is counted for: once by its cause, in the transaction of its cause. On every database."""

from pathlib import Path

import pytest

from tests.support.billing import SEALED, Till, a_subscription
from tests.support.contents import Sabotage, failing_at
from tests.support.earlier import old_file, old_ticket
from tests.support.factories import a_ticket
from tests.support.promises import at
from ticket_system import InvalidTicket, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.imports import import_csv, import_legacy, import_servicenow
from ticket_system.sla.plans import Plan
from ticket_system.sla.policies import Level, Match, Policy, TargetRule
from ticket_system.storage.database import Database

OPENED, CRITICAL = "ticket_opened", "critical_ticket"


def quick(*chain: Level) -> Policy:
    """An hour for whoever asked for it, then a chain."""
    hour = TargetRule(dict.fromkeys(range(1, 5), 3600))
    return Policy("quick", rank=1, match=Match(tags=frozenset({"quick"})), targets={"resolution": hour}, chain=chain)


def test_an_opened_ticket_is_counted_when_it_was_opened(till: Till) -> None:
    till.opens("low", hours=1, priority=4)
    till.opens("high", hours=2, priority=1)
    till.opens("nobody", customer=None, priority=1)
    assert till.causes() == [f"{OPENED}/low/1", f"{OPENED}/high/1", f"{CRITICAL}/high/1"]
    assert [(one["occurred_at"], one["customer"], one["route"]) for one in till.facts("high")] == [
        (at(2), "acme", "metered"),
        (at(2), "acme", "metered"),
    ]


def test_many_tickets_are_counted_with_their_transaction_or_not_at_all(till: Till) -> None:
    many = [a_ticket(id=str(number), customer="acme", priority=number % 4 + 1) for number in range(20)]
    with pytest.raises(InvalidTicket):
        till.system.create_tickets([*many, a_ticket(id="7", customer="acme")])
    assert till.causes() == []
    till.system.create_tickets(many)
    assert sorted(till.causes()) == sorted(
        [f"{OPENED}/{number}/1" for number in range(20)] + [f"{CRITICAL}/{number}/1" for number in range(0, 20, 4)]
    )


def test_what_fails_anywhere_is_not_counted(till: Till) -> None:
    till.opens("t", priority=2)
    number = 1
    while True:
        try:
            with failing_at(till.database, number):
                till.does("set_priority", "t", 1, hours=1)
            break
        except Sabotage:
            number += 1
            assert till.causes() == [f"{OPENED}/t/1"]
    assert number > 4
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1"]


@pytest.mark.parametrize("way", ("set_priority", "escalate", "update_ticket"))
def test_a_ticket_that_becomes_critical_is_counted_once_however_often_it_is_raised(till: Till, way: str) -> None:
    now = a_ticket().created_at
    till.opens("t", priority=2, created_at=now, updated_at=now)
    for _ in range(2):
        match way:
            case "set_priority":
                with till.database.write() as connection:
                    Changes(connection, till.system.rules).set_priority("t", 1)
            case "escalate":
                till.system.escalate("t", "why")
            case _:
                till.system.update_ticket("t", priority=1, customer="acme")
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1"]


def test_a_reopened_ticket_is_counted_once(till: Till) -> None:
    till.opens(priority=1, status="in_progress")
    for number in range(2):
        till.does("set_status", "t", "resolved", hours=1 + number)
        till.does("set_status", "t", "open", hours=1.2 + number)
        till.does("set_status", "t", "in_progress", hours=1.4 + number)
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1"]


@pytest.mark.parametrize("retarget", (False, True))
@pytest.mark.parametrize("way", ("a scan", "a change that comes before the scan"))
def test_a_ticket_that_a_chain_raises_to_critical_is_counted_when_it_rises(
    till: Till, way: str, *, retarget: bool
) -> None:
    level = Level(raise_priority=True, retarget=retarget, repeat_seconds=600, max_repeats=3)
    till.promises(policies=[quick(level)])
    till.opens("three", priority=3, tags=["quick"])
    till.opens("two", priority=2, tags=["quick"])
    till.opens("one", priority=1, tags=["quick"])
    till.opens("nobody", priority=2, tags=["quick"], customer=None)

    def passes(hours: float) -> None:
        if way == "a scan":
            monitor.scan_breaches(till.database, now=at(hours))
            return
        for name in ("three", "two", "one", "nobody"):
            till.does("reclassify", name, group=str(hours), hours=hours)

    passes(1.01)
    assert sorted(key for key in till.causes() if CRITICAL in key) == [f"{CRITICAL}/one/1", f"{CRITICAL}/two/1"]
    [_, critical] = till.facts("two")
    assert (critical["occurred_at"], critical["route"], critical["customer"]) == (at(1.01), "metered", "acme")
    passes(1.3)
    passes(1.6)
    wanted = [f"{CRITICAL}/one/1", f"{CRITICAL}/three/1", f"{CRITICAL}/two/1"]
    assert sorted(key for key in till.causes() if CRITICAL in key) == wanted


def test_a_chain_that_raises_what_was_downgraded_counts_it_a_second_time(till: Till) -> None:
    till.promises(policies=[quick(Level(raise_priority=True))])
    till.opens(priority=1, tags=["quick"])
    till.does("set_priority", "t", 2, hours=0.5)
    monitor.scan_breaches(till.database, now=at(1.01))
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1 void", f"{CRITICAL}/t/2"]


def test_a_downgrade_before_sealing_is_void_and_after_it_a_credit(till: Till) -> None:
    till.opens(priority=1)
    till.does("set_priority", "t", 2, hours=0.5)
    till.seals(SEALED)
    till.sends(SEALED)
    assert till.told() == [("accepted", OPENED, "tickets_opened", 1)]
    till.does("set_priority", "t", 1, hours=2)
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1 void", f"{CRITICAL}/t/2"]
    till.seals(2 + SEALED)
    till.sends(2 + SEALED)
    till.does("set_priority", "t", 3, hours=4)
    till.does("set_priority", "t", 4, hours=4)
    till.seals(4 + SEALED)
    till.sends(4 + SEALED)
    assert till.causes()[-2:] == [f"{CRITICAL}/t/2", f"-{CRITICAL}/t/2/credit"]
    assert [row.delivery.quantity for row in till.rows() if row.batch.kind == CRITICAL] == [1, -1]


@pytest.mark.parametrize("way", ("by hand", "a scan", "another customer"))
def test_a_ticket_that_costs_nothing_costs_nothing_when_it_rises(till: Till, way: str) -> None:
    till.promises(policies=[quick(Level(raise_priority=True))])
    till.links("umbrella", "cus_B")
    till.opens(priority=2, tags=["quick"])
    till.forgives(hours=0.1)
    match way:
        case "by hand":
            till.does("set_priority", "t", 1, hours=0.5)
        case "a scan":
            monitor.scan_breaches(till.database, now=at(1.01))
        case _:
            till.does("set_priority", "t", 1, hours=0.5)
            till.does("reclassify", "t", customer=None, hours=0.6)
            till.does("reclassify", "t", customer="umbrella", hours=0.7)
    ticket = till.system.get_ticket("t")
    assert ticket is not None
    assert ticket.priority == 1
    assert till.causes() == [f"{OPENED}/t/1 void"]


@pytest.mark.parametrize("way", ("waived", "merged"))
@pytest.mark.parametrize(("come", "credits"), (("unsealed", 0), ("sealed", 2), ("sent", 2)))
def test_a_ticket_that_costs_nothing_is_taken_back_once(till: Till, way: str, come: str, credits: int) -> None:  # noqa: A002 - what they are
    till.opens(priority=1)
    till.opens("other", customer=None)
    if come != "unsealed":
        till.seals(SEALED)
    if come == "sent":
        till.sends(SEALED)
    if way == "merged":
        assert till.merges("t", "other", hours=1.5)
        assert [event.new for event in till.system.get_history("t") if event.kind == "merged"] == ["other"]
    else:
        assert till.forgives(hours=1.5) == [OPENED, CRITICAL]
    assert till.forgives(hours=1.6) == [], "a second time changes nothing"
    assert [one["quantity"] for one in till.facts()] == [1, 1] + [-1] * credits
    till.seals(10)
    till.sends(10)
    billed = dict.fromkeys((OPENED, CRITICAL), 0)
    for row in till.rows("accepted", "verified"):
        billed[row.batch.kind] += row.delivery.quantity
    assert billed == {OPENED: 0, CRITICAL: 0}
    assert [event.kind for event in till.system.get_history("t")].count("forgiven") == 1


def test_a_merge_needs_both_tickets_and_two_of_them(till: Till) -> None:
    till.opens()
    with pytest.raises(InvalidTicket, match="into itself"):
        till.system.merge_ticket("t", "t")
    with pytest.raises(LookupError, match="nowhere"):
        till.system.merge_ticket("t", "nowhere")
    till.opens("other")
    assert till.system.merge_ticket("nobody", "other") is False
    assert till.causes() == [f"{OPENED}/t/1", f"{OPENED}/other/1"]


def test_what_is_imported_is_not_counted(till: Till, tmp_path: Path) -> None:
    csv = tmp_path / "tickets.csv"
    csv.write_text("id,title,requester,priority\nc,t,r,critical\n", encoding="utf-8")
    log = tmp_path / "log.csv"
    log.write_text(
        "number,incident_state,opened_at,sys_updated_at,priority,caller_id,assigned_to,sys_updated_by,resolved_at\n"
        "INC1,New,01-03-2016 08:00,01-03-2016 08:00,1 - Critical,Caller 1,?,Updated by 1,?\n",
        encoding="utf-8",
    )
    assert import_csv(till.system, csv).added == 1
    assert import_servicenow(till.system, log).added == 1
    assert import_legacy(till.system, old_file(tmp_path / "old.db", [old_ticket("old", priority=1)])).added == 1
    assert till.facts() == []


def test_a_ticket_that_gets_its_customer_later_is_counted_then_and_once(till: Till) -> None:
    till.opens(customer=None, priority=1)
    till.does("reclassify", "t", customer="acme", hours=3)
    till.does("reclassify", "t", customer=None, hours=4)
    till.does("reclassify", "t", customer="acme", hours=5)
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1"]
    assert {one["occurred_at"] for one in till.facts()} == {at(3)}


def test_a_ticket_that_moves_to_another_customer_stays_with_whom_it_was_counted(till: Till) -> None:
    till.links("umbrella", "cus_B")
    till.opens(priority=1)
    till.does("reclassify", "t", customer="umbrella", hours=1)
    assert {one["customer"] for one in till.facts()} == {"acme"}
    till.does("set_priority", "t", 2, hours=2)
    till.does("set_priority", "t", 1, hours=3)
    assert [(one["key"], one["customer"]) for one in till.facts()][-1] == (f"{CRITICAL}/t/2", "umbrella")


def test_a_downgrade_is_taken_back_from_whom_it_was_counted_for_even_without_a_customer(till: Till) -> None:
    till.opens(priority=1)
    till.does("reclassify", "t", customer=None, hours=1)
    till.does("set_priority", "t", 2, hours=2)
    assert till.causes() == [f"{OPENED}/t/1", f"{CRITICAL}/t/1 void"]


def test_facts_of_a_customer_who_is_not_linked_wait_and_get_their_route_then(till: Till) -> None:
    till.promises(Plan("silver", frozenset({"silver"}), hours=9, critical="invoice_item"), amounts={CRITICAL: 1500})
    till.opens(customer="umbrella", priority=1)
    assert till.seals(30) == 0
    assert [one["route"] for one in till.facts()] == [None, None]
    till.links("umbrella", "cus_B", hours=30)

    till.fetches(a_subscription("silver"), name="umbrella", hours=30)
    assert till.seals(31) == 2
    assert [one["route"] for one in till.facts()] == ["metered", "invoice_item"]


def test_a_waiver_names_a_reason_and_a_ticket(database: Database) -> None:
    system = TicketSystem(database)
    with pytest.raises(InvalidTicket, match="reason must not be empty"):
        system.waive_usage("t", " ")
    with pytest.raises(LookupError, match="'t'"):
        system.waive_usage("t", "why")
