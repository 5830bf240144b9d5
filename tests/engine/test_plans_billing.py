"""What a question of the ledger costs follows what waits or is asked for, not what was billed so far."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.support.ledger_rows import a_fact, fill_ledger
from tests.support.plans import read_as_a_whole
from ticket_system import TicketSystem, accounts, inbox, ledger, reconciliation, settlements
from ticket_system.billing.usage import Window
from ticket_system.inbox import Effects, InboxEvent
from ticket_system.storage import billing_tables as tables
from ticket_system.storage import report_usage

EVENT = InboxEvent("new", "snapshot", "customer.subscription.updated", livemode=False, body="{}")


def seal(system: TicketSystem) -> object:
    return ledger.seal(system.database, system.rules, livemode=False)


def use(system: TicketSystem) -> object:
    now = datetime.now(UTC)
    with system.database.read() as connection:
        return (
            report_usage.used(connection, "c7", Window(now - timedelta(days=2), now)),
            report_usage.stuck(connection, "c7"),
        )


#: What is asked, and the indexes that must answer it.
QUESTIONS: dict[str, tuple[Callable[[TicketSystem], object], set[str]]] = {
    "seal": (seal, {"usage_facts_unsealed"}),
    "use": (use, {"usage_facts_unsealed", "usage_batches_of_customer", "usage_stuck"}),
    "claim": (lambda system: ledger.claim(system.database, livemode=False), {"usage_to_send"}),
    "hurry": (lambda system: ledger.release_backoff(system.database), {"usage_to_send"}),
    "look for": (
        lambda system: reconciliation.to_look_for(system.database, livemode=False),
        {"usage_to_look_for"},
    ),
    "compare": (
        lambda system: reconciliation.to_compare(system.database, livemode=False),
        {"usage_lanes_to_compare"},
    ),
    "fetch": (lambda system: accounts.to_sync(system.database, livemode=False), {"customers_dirty"}),
    "events": (lambda system: inbox.waiting(system.database, livemode=False), {"stripe_events_new"}),
    "handle": (lambda system: inbox.handle(system.database, EVENT, Effects(dirty=("cus_c7",))), set()),
    "revive": (lambda system: inbox.revive(system.database), {"stripe_events_dead"}),
    "stuck": (
        lambda system: settlements.listed(system.database, ("rejected", "expired"), limit=50),
        {"usage_stuck"},
    ),
    "delivery": (lambda system: settlements.get(system.database, 7), set()),
    "facts": (lambda system: settlements.facts(system.database, "7"), {"usage_facts_of_batch"}),
    "ticket": (lambda system: settlements.of_ticket(system.database, "7"), {"usage_facts_of_ticket"}),
    "history": (lambda system: accounts.history(system.database, "c7"), {"billing_log_of_customer"}),
    "customer": (lambda system: accounts.get(system.database, "c7"), set()),
}
OUTSTANDING: dict[str, tuple[Callable[[TicketSystem], object], set[str]]] = {
    "outstanding": (
        lambda system: settlements.outstanding(system.database),
        {"usage_to_send", "usage_to_look_for", "usage_stuck", "usage_facts_unsealed"},
    ),
}


@pytest.fixture
def filled(system: TicketSystem) -> TicketSystem:
    """A desk with a long past and a full ledger."""
    fill_ledger(system.database)
    return system


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_no_question_of_the_ledger_reads_a_whole_table(filled: TicketSystem) -> None:
    assert read_as_a_whole(filled, QUESTIONS) == ""
    # Of so few customers PostgreSQL would rather look through all than look up some.
    assert read_as_a_whole(filled, OUTSTANDING, besides=("customers",)) == ""


@pytest.mark.parametrize("database_url", ("sqlite-file", "postgresql"), indirect=True)
def test_sealing_reads_what_is_sealed(filled: TicketSystem) -> None:
    late = datetime.now(UTC) - timedelta(hours=3)
    with filled.database.write() as connection:
        connection.execute(sa.insert(tables.usage_facts), [a_fact("late", late)])
    asked: dict[str, tuple[Callable[[TicketSystem], object], set[str]]] = {"seal": (seal, {"usage_facts_unsealed"})}
    assert read_as_a_whole(filled, asked) == ""
    with filled.database.read() as connection:
        unsealed = sa.select(tables.usage_facts.c.id).where(
            tables.usage_facts.c.key == "late", tables.usage_facts.c.batch_id.is_(None)
        )
        assert list(connection.scalars(unsealed)) == []
