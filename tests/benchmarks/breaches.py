"""Breaches handled a second, with verdict, event, escalation and message, against one statement that writes the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from tests.benchmarks import bare, floors, stock
from tests.benchmarks.results import Results
from tests.benchmarks.turns import in_turns, per_second
from ticket_system import monitor
from ticket_system.storage.database import Database

#: What a round writes to.
TABLES = ("tickets", "clocks", "alarms", "events", "outbox", "comments")
#: Which rules the tickets are under, and who handles them: next to each other what is compared.
_RUNS = (("built in", "ours"), ("built in", "raw"), ("chain", "ours"), ("chain", "raw"), ("plain", "raw"))

#: Drains of each in a round. The shorter they are, the more alike is what the machine does meanwhile.
PARTS = 4


def sweeps(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure breaches a second, with the chain built in and with a longer one: raw and ours in turns on fresh tickets."""
    rates: dict[tuple[str, str], list[float]] = {}
    chain = stock.chain_of(database)
    for turn in range(rounds):
        # Before anything is due, as in a fleet: the statistics know nothing of it.
        stock.settle_down(database, *TABLES)
        for part, (way, who) in in_turns(_RUNS, PARTS):
            rules = chain if way == "chain" else None
            stock.add_due(database, f"{way}-{who}-{turn}-{part}", number // PARTS, datetime.now(UTC), rules=rules)
            rates.setdefault((way, who), []).append(per_second(ours(database) if who == "ours" else raw(database, way)))
    least = 0.8 if database.dialect == "postgresql" else 0.7
    name = f"{database.dialect}: breaches handled"
    add = partial(results.add, unit="a second", in_pairs=True)
    add(
        f"{name}, told and escalated",
        rates["built in", "ours"], floor=rates["built in", "raw"], over="the same rows by hand", wanted=("≥", least),
    )  # fmt: skip
    add(
        f"{name}, warnings and chain on",
        rates["chain", "ours"], floor=rates["chain", "raw"], over="the same rows by hand", wanted=("≥", 0.6),
    )  # fmt: skip
    add(f"{name}, chain on", rates["chain", "ours"], floor=rates["plain", "raw"], over="verdict and message alone")


def ours(database: Database) -> Callable[[], int]:
    """Scan until nothing is due; returns how many were found."""
    return lambda: monitor.scan_breaches(database, batch_size=floors.BATCH, budget_seconds=600).found


def raw(database: Database, way: str) -> Callable[[], int]:
    """Do the same by hand."""

    def drain() -> int:
        with bare.opened(database) as (connection, _):
            return floors.drain_any(connection, way)

    return drain
