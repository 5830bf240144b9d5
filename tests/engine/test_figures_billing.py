"""What the billing role sees of a customer: what was used, what arrived, what it comes to. On every database."""

from datetime import datetime, timedelta

import pytest

from tests.support.billing import JUNE, REFUSED, SEALED, Till, a_subscription
from tests.support.promises import at
from ticket_system import figures
from ticket_system.billing.usage import CRITICAL_TICKET, INVOICE_ITEM, TICKET_OPENED
from ticket_system.reports.contents import Billing, Period, Scope, Use
from ticket_system.sla.plans import Plan


def billed(till: Till, hours: float, scope: Scope) -> Billing | None:
    """What a report says that is made so many hours after Monday nine, the first of June."""
    now = at(hours)
    week = Period(zone="UTC", starts_on=now.date(), ends_on=now.date(), starts_at=now - timedelta(days=7), ends_at=now)
    return figures.weekly(
        till.database, till.system.rules, organisation="acme", scope=scope, period=week, week_ends=(), before=None,
        as_of=now,
    ).billing  # fmt: skip


def use(till: Till, hours: float) -> dict[str, Use]:
    found = billed(till, hours, Scope(customer="acme"))
    assert found is not None
    return {one.kind: one for one in found.use}


def counts(till: Till, hours: float) -> tuple[tuple[int, int], ...]:
    """Used and reported: tickets opened, then critical ones."""
    told = use(till, hours)
    return tuple((told[kind].used, told[kind].reported) for kind in (TICKET_OPENED, CRITICAL_TICKET))


GOLD = Plan("gold", prices=frozenset({"gold-monthly"}), critical=INVOICE_ITEM)


def test_what_was_used_is_counted_before_it_was_sealed_and_after(till: Till) -> None:
    till.fetches(a_subscription())
    for number in range(3):
        till.opens(f"t{number}", hours=0.1 * number, priority=1 if number == 0 else 3)
    till.opens("theirs", customer="initech")
    assert counts(till, 1) == ((3, 0), (1, 0))
    till.seals(SEALED)
    assert counts(till, SEALED) == ((3, 0), (1, 0))
    till.sends(SEALED)
    assert counts(till, SEALED) == ((3, 3), (1, 1))
    till.opens("late", hours=2)
    assert counts(till, 3) == ((4, 3), (1, 1))


def test_what_was_forgiven_is_used_no_longer(till: Till) -> None:
    till.fetches(a_subscription())
    for name in ("void", "credited", "kept"):
        till.opens(name)
    till.forgives("void", hours=0.5)
    assert counts(till, 1)[0] == (2, 0)
    till.seals(SEALED)
    till.sends(SEALED)
    till.forgives("credited", hours=2)
    assert counts(till, 3)[0] == (1, 2), "its credit is not reported yet"
    till.seals(5)
    till.sends(5)
    assert counts(till, 5)[0] == (1, 1)


def test_an_invoice_item_that_was_taken_back_is_not_used(till: Till) -> None:
    till.promises(GOLD, amounts={TICKET_OPENED: 0, CRITICAL_TICKET: 900}, currency="chf")
    till.fetches(a_subscription())
    for name in ("one", "two"):
        till.opens(name, priority=1)
    till.seals(SEALED)
    till.forgives("one", hours=2)
    assert counts(till, 3) == ((1, 0), (1, 0))
    told = use(till, 3)
    assert (told[CRITICAL_TICKET].amount, told[CRITICAL_TICKET].currency) == (900, "chf")
    assert (told[TICKET_OPENED].amount, told[TICKET_OPENED].currency) == (None, None), "nobody said what one costs"


def test_what_is_never_billed_is_not_told(till: Till) -> None:
    till.promises(Plan("gold", prices=frozenset({"gold-monthly"}), critical="none"))
    till.fetches(a_subscription())
    till.opens(priority=1)
    assert counts(till, 1) == ((1, 0), (0, 0))


def test_the_period_that_is_running_is_counted_and_projected(till: Till) -> None:
    till.fetches(a_subscription())
    till.opens("before", hours=-48)
    for number in range(6):
        till.opens(f"t{number}", hours=24 * number)
    told = use(till, 7 * 24)[TICKET_OPENED]
    assert (told.starts_at, told.ends_at, told.used) == (JUNE.start, JUNE.end, 6)
    gone = at(7 * 24) - JUNE.start
    assert told.projected == round(6 * (JUNE.end - JUNE.start) / gone)
    assert use(till, 12)[TICKET_OPENED].projected is None, "the period has hardly begun"


def test_without_a_period_the_month_is_counted_and_not_projected(till: Till) -> None:
    till.opens("may", hours=-8)
    till.opens("june", hours=-5)
    told = use(till, 100)[TICKET_OPENED]
    assert (told.starts_at, told.ends_at, told.used, told.projected) == (
        datetime.fromisoformat("2026-06-01T00:00Z"), None, 1, None,
    )  # fmt: skip


def test_what_is_wrong_with_a_customer_is_told_with_what_they_bought(till: Till) -> None:
    till.promises(GOLD)
    till.fetches(a_subscription("gold-monthly", "past_due"))
    till.opens()
    till.seals(SEALED)
    till.sends(SEALED, REFUSED)
    told = billed(till, 2, Scope(customer="acme"))
    assert told is not None
    assert (told.customer, told.plan, told.status, told.problem, told.stuck) == ("acme", "gold", "past_due", None, 1)
    till.fetches(a_subscription("nobody knows"), hours=3)
    told = billed(till, 4, Scope(customer="acme"))
    assert told is not None
    assert told.problem is not None


@pytest.mark.parametrize("scope", (Scope(), Scope(group="network"), Scope(customer="initech")))
def test_nothing_is_billed_of_whoever_is_not_linked(till: Till, scope: Scope) -> None:
    till.opens("theirs", customer="initech")
    assert billed(till, 1, scope) is None
