"""What was billed is forgotten only once nothing of it is open; and never is anything billed again because of that."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.billing import SEALED, Till
from tests.support.contents import rows_of
from tests.support.lives import AS_OF, WEEK, WEEK_ENDS, lives, play
from tests.support.promises import at
from ticket_system import TicketSystem, accounts, figures, ledger, reconciliation, settlements
from ticket_system.audit import audit_clocks
from ticket_system.billing.deliveries import STUCK, TO_SEND, State
from ticket_system.changes import Changes
from ticket_system.errors import TicketSystemError
from ticket_system.monitor import scan_breaches
from ticket_system.reports.contents import Scope
from ticket_system.retention import Keep, Pruned, prune
from ticket_system.storage import tables
from ticket_system.storage.billing_tables import usage_batches, usage_deliveries, usage_facts, usage_lanes
from ticket_system.storage.database import Database

DAY = timedelta(days=1)
USAGE = Keep(usage=400)
OPEN = {*TO_SEND, State.UNKNOWN, *STUCK}


def pruned(till: Till, keep: Keep = USAGE, days: float = 402) -> Pruned:
    """What goes when everything lies so many days back."""
    return prune(till.database, keep, now=datetime.now(UTC) + days * DAY)


def change(database: Database, table: sa.Table, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(sa.update(table).values(**values))


def is_billed(till: Till, **changes: Any) -> None:
    """A ticket is opened, sealed, sent and closed."""
    till.opens(**changes)
    till.seals(SEALED)
    till.sends(SEALED)
    closes(till)


def closes(till: Till, ticket_id: str = "t") -> None:
    for hours, status in enumerate(("in_progress", "resolved", "closed"), 2):
        till.does("set_status", ticket_id, status, hours=hours)


def test_what_is_settled_goes_batch_by_batch_with_its_facts_and_deliveries(till: Till) -> None:
    is_billed(till, priority=1)
    assert pruned(till, days=399).found == 0
    assert pruned(till, Keep(), days=4000).gone.get("usage") is None, "for ever, unless somebody says otherwise"
    assert pruned(till).gone == {"usage": 2}
    for table in (usage_batches, usage_deliveries, usage_facts):
        assert rows_of(till.database, table) == []
    [ticket] = rows_of(till.database, tables.tickets)
    assert ticket["usage_pruned_at"] is not None


@pytest.mark.parametrize("state", tuple(State))
def test_what_needs_a_call_an_answer_or_a_person_stays_however_old(till: Till, state: State) -> None:
    is_billed(till)
    change(till.database, usage_deliveries, state=state)
    before = settlements.outstanding(till.database)
    assert pruned(till, days=4000).found == (0 if state in OPEN else 1)
    assert settlements.outstanding(till.database) == before
    assert len(rows_of(till.database, usage_facts)) == (1 if state in OPEN else 0)


def test_what_a_person_has_settled_lately_stays_for_as_long_again(till: Till) -> None:
    is_billed(till)
    change(till.database, usage_deliveries, last_attempt_at=datetime.now(UTC) + 10 * DAY)
    assert pruned(till).found == 0
    assert pruned(till, days=411).found == 1


def test_nothing_that_left_by_a_lane_with_a_surplus_goes(till: Till) -> None:
    is_billed(till)
    change(till.database, usage_lanes, surplus=1)
    assert pruned(till).found == 0
    change(till.database, usage_lanes, surplus=0)
    assert pruned(till).found == 1


def test_what_a_ticket_that_is_still_active_was_counted_for_stays(till: Till) -> None:
    """It may be downgraded, and credited."""
    till.opens()
    till.seals(SEALED)
    till.sends(SEALED)
    assert pruned(till).found == 0


def test_a_batch_stays_whole_while_one_ticket_in_it_is_active(till: Till) -> None:
    till.opens("open")
    is_billed(till)
    assert [row.delivery.quantity for row in till.rows()] == [2]
    assert pruned(till).found == 0
    closes(till, "open")
    assert pruned(till).found == 1


def test_a_credit_that_is_not_sealed_keeps_what_it_takes_back(till: Till) -> None:
    is_billed(till)
    till.forgives(hours=6)
    assert [one["quantity"] for one in till.facts()] == [1, -1]
    assert pruned(till, Keep(usage=400, events=100)).found == 0, "nor does its history go"
    till.seals(12)
    till.sends(12)
    assert pruned(till, Keep(usage=400, events=100)).gone == {"histories": 1, "usage": 2}


def test_what_was_forgiven_before_it_was_sealed_or_is_never_billed_goes_too(till: Till) -> None:
    till.opens("forgiven")
    till.forgives("forgiven", hours=0.5)
    till.opens("free")
    change(till.database, usage_facts, route="none")
    till.opens("waits", customer="nobody we know")
    for one in ("forgiven", "free", "waits"):
        closes(till, one)
    assert pruned(till).gone == {"usage never billed": 2}
    assert [one["ticket_id"] for one in till.facts()] == ["waits"], "until somebody links its customer"


def test_a_ticket_whose_usage_is_forgotten_is_not_counted_again(till: Till) -> None:
    is_billed(till, priority=1)
    assert pruned(till).found == 2
    for hours, priority in ((900, 3), (901, 1)):
        till.does("set_priority", "t", priority, hours=hours)
    for hours, customer in ((902, None), (903, "acme")):
        till.does("reclassify", "t", customer=customer, hours=hours)
    till.forgives(hours=904)
    assert till.facts() == []
    assert ledger.seal(till.database, till.system.rules, livemode=False).batches == 0


def test_a_ticket_that_comes_back_is_not_counted_again_by_a_scan(till: Till) -> None:
    till.opens(priority=2, sla_hours=4, status="in_progress")
    till.seals(SEALED)
    till.sends(SEALED)
    till.does("set_status", "t", "resolved", hours=2)
    assert pruned(till).gone == {"usage": 1}
    till.does("set_status", "t", "open", hours=3)
    assert scan_breaches(till.database, now=at(200)).breaches == 1
    ticket = till.system.get_ticket("t")
    assert ticket is not None
    assert ticket.priority == 1
    assert till.facts() == []


# --- random lives, random states, random settings ------------------------------------------------------------------

#: The newest week that a report of that day could tell of, and everything that lies long enough before it.
TODAY = AS_OF + 20 * DAY
_shifted = st.tuples(lives(), st.sampled_from((0, 40, 120, 500, 600, 700)))


def moved(life: tuple[dict[str, Any], list[Any]], days: int) -> tuple[dict[str, Any], list[Any]]:
    first, acts = life
    return first | {"created_at": first["created_at"] - days * DAY}, acts


def was_written_when_it_happened(system: TicketSystem) -> None:
    with system.database.write() as connection:
        # When a breach was found is part of what an audit compares.
        last = sa.select(sa.func.max(tables.events.c.at)).where(tables.events.c.ticket_id == tables.tickets.c.id)
        connection.execute(sa.update(tables.tickets).values(updated_at=last.scalar_subquery()))
        others = sa.update(tables.events).where(tables.events.c.kind != "breached")
        connection.execute(others.values(recorded_at=tables.events.c.at))
        connection.execute(sa.update(usage_facts).values(recorded_at=usage_facts.c.occurred_at))
        connection.execute(
            sa.text("UPDATE tickets SET updated_at = created_at WHERE updated_at > :now"), {"now": TODAY}
        )


#: The way to the end from wherever a ticket stands.
_TO_THE_END = {
    "open": "in_progress", "on_hold": "in_progress", "in_progress": "resolved", "review": "resolved",
    "resolved": "closed",
}  # fmt: skip


def most_are_closed(system: TicketSystem, data: st.DataObject) -> None:
    """Have most of the old tickets come to their end soon after what happened to them last."""
    for row in rows_of(system.database, tables.tickets):
        old = row["created_at"] < AS_OF - 70 * DAY
        if not old or not data.draw(st.sampled_from((True, True, True, False))):
            continue
        status, now = row["status"], max(event.at for event in system.get_history(row["id"]))
        while status := _TO_THE_END.get(status, ""):
            now += timedelta(hours=1)
            with system.database.write() as connection:
                Changes(connection, system.rules).set_status(row["id"], status, now=now)


def is_billed_somehow(system: TicketSystem, data: st.DataObject) -> None:
    """Have one of the customers be known, its usage sealed, and each delivery of it stand anywhere."""
    accounts.link(system.database, "acme", "cus_A", livemode=False, actor="boss", now=AS_OF)
    while ledger.seal(system.database, system.rules, livemode=False, now=AS_OF).batches:
        pass
    with system.database.write() as connection:
        for row in connection.execute(sa.select(usage_deliveries.c.id).order_by(usage_deliveries.c.id)).all():
            state = data.draw(st.sampled_from((*State, State.VERIFIED, State.VERIFIED, State.ACCEPTED)))
            mine = sa.update(usage_deliveries).where(usage_deliveries.c.id == row.id)
            if state in {State.ABSENT, State.REPLACED}:
                state = State.RESOLVED  # each of these is followed by another generation
            connection.execute(mine.values(state=state, next_attempt_at=AS_OF if state in OPEN else None))
        old = sa.case((usage_batches.c.window_end < AS_OF - 450 * DAY, usage_batches.c.window_end), else_=AS_OF)
        connection.execute(sa.update(usage_batches).values(sealed_at=old))


def told(system: TicketSystem) -> tuple[Any, ...]:
    """Everything that must not change: figures, money that is open, comparisons, clocks, tickets."""
    week = [
        figures.weekly(
            system.database, system.rules, organisation="house", scope=scope, period=WEEK, week_ends=WEEK_ENDS,
            before=None, as_of=AS_OF,
        )
        for scope in (Scope(), Scope(customer="acme"))
    ]  # fmt: skip
    report = system.generate_report(36_500)
    for moving in ("generated_at",):
        report.pop(moving, None)
    rows = rows_of(system.database, usage_deliveries, usage_deliveries.c.state.in_(sorted(OPEN)))
    facts = rows_of(system.database, usage_facts, usage_facts.c.batch_id.in_([row["batch_id"] for row in rows]))
    compared = reconciliation.to_compare(system.database, livemode=False, now=TODAY)
    outstanding = settlements.outstanding(system.database)
    clocks = rows_of(system.database, tables.clocks)
    return week, report, rows, facts, compared, outstanding, clocks, system.get_breached_tickets()


def comes_back(system: TicketSystem) -> None:
    """Everything that anybody may still do, to every ticket."""
    scan_breaches(system.database, now=TODAY)
    for number, row in enumerate(rows_of(system.database, tables.tickets)):
        for verb, words in (("set_priority", (4,)), ("set_priority", (1,)), ("settle", ()), ("finish", ())):
            with system.database.write() as connection, contextlib.suppress(TicketSystemError):
                getattr(Changes(connection, system.rules), verb)(row["id"], *words, now=TODAY + number * DAY)
        for customer in (None, "acme"):
            with system.database.write() as connection:
                Changes(connection, system.rules).reclassify(row["id"], customer=customer, now=TODAY + number * DAY)
    scan_breaches(system.database, now=TODAY + 30 * DAY)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_lives=st.lists(_shifted, max_size=12), data=st.data())
def test_nothing_that_is_needed_is_ever_forgotten(
    system: TicketSystem, all_lives: list[Any], data: st.DataObject
) -> None:
    play(system, [moved(*one) for one in all_lives])
    most_are_closed(system, data)
    scan_breaches(system.database, now=AS_OF)
    was_written_when_it_happened(system)
    is_billed_somehow(system, data)
    before = told(system)
    keys = {row["key"] for row in rows_of(system.database, tables.events) if row["key"]}
    letters = {row["key"] for row in rows_of(system.database, tables.outbox)}
    facts = {row["key"] for row in rows_of(system.database, usage_facts)}
    keep = Keep(events=100, usage=400, messages=7, contents=30, reports=60, wishes=15, parked=7, runs=7)
    gone = prune(system.database, keep, batch_size=data.draw(st.sampled_from((1, 10, 1000))), now=TODAY)
    assert told(system) == before
    assert audit_clocks(system.database, everything=True).differences == []
    left = {row["key"] for row in rows_of(system.database, tables.events) if row["key"]}
    kept = {row["key"] for row in rows_of(system.database, usage_facts)}
    assert prune(system.database, keep, now=TODAY).found == 0, gone
    comes_back(system)
    assert audit_clocks(system.database, everything=True).differences == []
    again = {row["key"] for row in rows_of(system.database, tables.events) if row["key"]} - left
    assert not again & keys, "nothing that happened once happens again"
    raised = {row["key"] for row in rows_of(system.database, tables.outbox)}
    assert not {key.rsplit("/", 1)[0] for key in raised - letters} & keys, "nobody is told twice"
    counted = {row["key"] for row in rows_of(system.database, usage_facts)} - kept
    assert not counted & facts, "and nothing is billed twice"
    marked = {row["id"] for row in rows_of(system.database, tables.tickets) if row["usage_pruned_at"]}
    assert not {row["ticket_id"] for row in rows_of(system.database, usage_facts) if row["key"] in counted} & marked
