"""What billing costs: the usage fact beside a ticket that is opened, and how fast facts become batches."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import sqlalchemy as sa

from tests.benchmarks.results import Results
from ticket_system import Ticket, TicketSystem, accounts, ledger
from ticket_system.billing.usage import METERED, TICKET_OPENED, hour_of
from ticket_system.storage import usage
from ticket_system.storage.billing_tables import usage_facts
from ticket_system.storage.database import Database

CUSTOMERS = 50
HOURS = 10


def usage_facts_cost(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure `create_ticket` of a customer who is billed against one of nobody, in turns."""
    system, rates = TicketSystem(database), dict[str, list[float]]()
    accounts.link(database, "billed", "cus_billed", livemode=False, actor="bench")
    for turn in range(rounds + 1):
        for name, customer in (("with", "billed"), ("without", None)):
            rate = _rate(partial(_open, system, number, customer), number)
            if turn:  # the first warms up
                rates.setdefault(name, []).append(rate)
    name = f"{database.dialect}: create_ticket with its usage fact"
    results.add(name, rates["with"], "a second", rates["without"], over="without it", in_pairs=True)


def sealing(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure facts sealed a second, against one bare UPDATE that marks the same rows."""
    system, ours, raw = TicketSystem(database), [], []
    for one in range(CUSTOMERS):
        accounts.link(database, f"c{one}", f"cus_{one}", livemode=False, actor="bench")
    for turn in range(rounds):
        for who in ("ours", "raw"):
            _store(database, f"{turn}-{who}", number, turn)
            if who == "ours":
                began = time.perf_counter()
                done = 0
                while True:
                    found = ledger.seal(database, system.rules, livemode=False)
                    done += found.facts
                    if not found.batches:
                        break
                ours.append(done / (time.perf_counter() - began))
            else:
                raw.append(_rate(partial(_mark, database), number))
    name = f"{database.dialect}: facts sealed"
    results.add(name, ours, "a second", raw, over="marking them", in_pairs=True)


def _open(system: TicketSystem, number: int, customer: str | None) -> None:
    for turn in range(number):
        # A plan of its own, so that both promise the same.
        system.create_ticket(Ticket(f"Ticket {turn}", "It is broken", "ada", customer=customer, plan="own"))


def _rate(work: Callable[[], object], number: int) -> float:
    began = time.perf_counter()
    work()
    return number / (time.perf_counter() - began)


def _store(database: Database, name: str, number: int, turn: int) -> None:
    """Store facts of some hours that are over; each turn has hours of its own."""
    now = datetime.now(UTC)
    first = hour_of(now) - timedelta(hours=(turn + 1) * 2 * HOURS)
    with database.write() as connection:
        rows = [
            usage.fact(
                TICKET_OPENED, f"{name}-{one}", f"c{one % CUSTOMERS}",
                first + timedelta(hours=one % HOURS, seconds=one % 3600), now, METERED,
            )
            for one in range(number)
        ]  # fmt: skip
        for start in range(0, number, 5000):
            connection.execute(sa.insert(usage_facts), rows[start : start + 5000])


def _mark(database: Database) -> None:
    """Mark what is not sealed, by hand, as forgiven: it is not sealed afterwards."""
    query = (
        "UPDATE usage_facts SET forgiven_at = recorded_at WHERE batch_id IS NULL AND forgiven_at IS NULL"
        " AND (route IS NULL OR route <> 'none')"
    )
    if database.dialect == "postgresql":
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(query)
        return
    with closing(sqlite3.connect(database.url.database or "")) as file:
        file.execute(query)
        file.commit()
