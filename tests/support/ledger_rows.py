"""A ledger with a long past, as rows: nearly everything is settled, a little waits, a little of that is due."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ticket_system.storage import billing_tables as tables
from ticket_system.storage.database import Database

CUSTOMERS = 1500
BATCHES = 6000
EVERY = 300  # one in so many waits for something
HOUR = timedelta(hours=1)


def fill_ledger(database: Database) -> None:
    """Customers with their lanes, batches and events."""
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        table: []
        for table in (
            tables.customers, tables.billing_periods, tables.usage_lanes, tables.usage_batches, tables.usage_facts,
            tables.usage_deliveries, tables.stripe_events, tables.billing_log,
        )
    }  # fmt: skip
    for number in range(CUSTOMERS):
        name, dirty = f"c{number}", number % EVERY == 0
        rows[tables.customers].append(
            {"name": name, "livemode": False, "stripe_customer": f"cus_{name}", "dirty_at": now if dirty else None}
        )
        for month in range(4):
            start = hour - timedelta(days=30 * (month + 1))
            period = {"customer": name, "starts_at": start, "ends_at": start + timedelta(days=30)}
            rows[tables.billing_periods].append(period)
        rows[tables.usage_lanes].append(
            {
                "id": number + 1, "livemode": False, "stripe_customer": f"cus_{name}", "event_name": "tickets_opened",
                "compare_at": now if dirty else None, "surplus": 0,
            }
        )  # fmt: skip
    for number in range(BATCHES):
        name, key, waits = f"c{number % CUSTOMERS}", str(number), number % EVERY == 0
        start = hour - (number // CUSTOMERS + 2) * HOUR
        state = ("sealed", "unknown", "rejected")[number // EVERY % 3] if waits else "verified"
        rows[tables.usage_batches].append(
            {
                "id": key, "customer": name, "kind": "ticket_opened", "route": "metered", "seq": 0,
                "event_name": "tickets_opened", "window_start": start, "window_end": start + HOUR, "quantity": 1,
                "amount": 40, "currency": "eur", "sealed_at": start + HOUR,
            }
        )  # fmt: skip
        fact = {
            "kind": "ticket_opened", "ticket_id": key, "customer": name, "recorded_at": start, "quantity": 1,
            "route": "metered",
        }  # fmt: skip
        rows[tables.usage_facts].append(fact | {"key": key, "occurred_at": start, "batch_id": key})
        # Nobody is ever billed for these, so they stay without a batch.
        free = fact | {"occurred_at": start, "batch_id": None, "route": "none"}
        rows[tables.usage_facts].append(free | {"key": f"free/{key}"})
        rows[tables.usage_deliveries].append(
            {
                "batch_id": key, "lane_id": number % CUSTOMERS + 1, "generation": 1, "identifier": key,
                "event_at": start, "route": "metered", "quantity": 1, "state": state, "attempts": 1,
                "next_attempt_at": start if state in {"sealed", "unknown"} else None,
            }
        )  # fmt: skip
        rows[tables.stripe_events].append(
            {
                "id": key, "form": "snapshot", "type": "t", "livemode": False, "received_at": start, "body": "b" * 200,
                "state": {0: "new", 1: "dead"}.get(number % EVERY, "handled"), "attempts": 1,
                "next_attempt_at": start if waits else None,
            }
        )  # fmt: skip
        rows[tables.billing_log].append(
            {"at": start, "actor": "a", "customer": name, "kind": "planned", "note": "n" * 20}
        )
    with database.write() as connection:
        for table, some in rows.items():
            connection.execute(sa.insert(table), some)
        if database.dialect == "postgresql":
            # The numbers that were given by hand are taken.
            top = sa.text(f"SELECT setval(pg_get_serial_sequence('usage_lanes', 'id'), {CUSTOMERS})")
            connection.execute(top)
        connection.execute(sa.text("ANALYZE"))


def a_fact(key: str, occurred_at: datetime) -> dict[str, Any]:
    """A fact of a customer who is there, as a row."""
    return {
        "key": key, "kind": "ticket_opened", "ticket_id": key, "customer": "c7", "occurred_at": occurred_at,
        "recorded_at": occurred_at, "quantity": 1, "route": "metered",
    }  # fmt: skip
