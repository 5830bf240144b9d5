"""What it costs to go through histories: the audit that compares clocks with them, and the replay under another policy."""

from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tests.benchmarks import bare, stock, ticket_floors
from tests.benchmarks.results import Results
from tests.benchmarks.turns import in_turns, per_second
from ticket_system.audit import audit_clocks
from ticket_system.simulation import simulate
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import TARGETS
from ticket_system.sla.policies import Policy, TargetRule
from ticket_system.storage.database import Database

_READ = "SELECT ticket_id, id, at, kind, actor, old, new, note, key, detail FROM events ORDER BY ticket_id, id"


def audits(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure an audit of a healthy history beside bare reading of what it reads; a difference made by hand is found."""
    print(f"  {database.dialect}: storing {number * 6:,} events", file=sys.stderr)
    stock.live(database, number, datetime.now(UTC))
    stock.settle_down(database)

    def ours() -> int:
        report = audit_clocks(database, everything=True, budget_seconds=None)
        if report.found:
            results.missed.append(f"{database.dialect}: an audit of a healthy history found {report.found} differences")
        return number * 6

    def reading() -> int:
        with bare.opened(database) as (connection, _):
            if isinstance(connection, sqlite3.Connection):
                return sum(1 for _ in connection.execute(_READ))
            with connection.transaction(), connection.cursor("rows") as cursor:
                return sum(1 for _ in cursor.execute(_READ))

    rates: dict[Any, list[float]] = {ours: [], reading: []}
    for _, way in in_turns((ours, reading), min(rounds, 3)):
        rates[way].append(per_second(way))
    name = f"{database.dialect}: audit of {number * 6:,} events"
    results.add(name, rates[ours], "a second", rates[reading], over="reading them", in_pairs=True)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE clocks SET due_at = started_at WHERE ticket_id = 'life-7'"))
    found = audit_clocks(database, everything=True, budget_seconds=None).differences
    if [(one.ticket_id, one.field) for one in found] != [("life-7", "due_at")]:
        results.missed.append(f"{database.dialect}: a due instant edited by SQL was not found")


def replays(database: Database, results: Results, rounds: int) -> None:
    """Measure a simulation, tickets a second, against reading the same rows and doing nothing with them."""
    targets = {target: TargetRule(dict.fromkeys(range(1, 5), 7200)) for target in TARGETS}
    book, since = PolicyBook((Policy(targets=targets),)), datetime.now(UTC) - timedelta(days=90)

    def ours() -> int:
        return simulate(database, book, since=since).tickets

    def reading() -> int:
        with bare.opened(database) as (connection, mark):
            return ticket_floors.read_past(connection, mark, since)

    rates: dict[Any, list[float]] = {ours: [], reading: []}
    for _, way in in_turns((ours, reading), rounds):
        rates[way].append(per_second(way))
    name = f"{database.dialect}: tickets simulated"
    results.add(name, rates[ours], "a second", rates[reading], over="reading them", in_pairs=True)
