"""Two workers that handle breaches side by side, over one that has the same work."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from tests.benchmarks import stock
from tests.benchmarks.breaches import TABLES
from tests.benchmarks.results import Results
from tests.benchmarks.sweeper import racers
from tests.benchmarks.turns import in_turns
from ticket_system.storage.database import Database

_RUNS = (("ours", 1), ("ours", 2), ("raw", 1), ("raw", 2))


def two_workers(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure one and two processes on the same number of breaches, ours and the statement by hand."""
    rates: dict[tuple[str, int], list[float]] = {}
    for turn, (who, workers) in in_turns(_RUNS, rounds):
        with racers(database, who, workers) as go:
            # Behind their start: they would find it.
            stock.add_due(database, f"race-{who}-{workers}-{turn}", number, datetime.now(UTC))
            stock.settle_down(database, *TABLES)
            race = go()
        if race.found != number:
            results.missed.append(f"{workers} workers ({who}) handled {race.found} breaches of {number}")
        rates.setdefault((who, workers), []).append(race.rate)
    name = f"{database.dialect}: breaches handled by two workers"
    add = partial(results.add, unit="a second", in_pairs=True)
    add(name, rates["ours", 2], floor=rates["ours", 1], over="one worker", wanted=("≥", 1.3))
    add(f"{name}, over the floor's two", rates["ours", 2], floor=rates["raw", 2], over="two by hand")
    add(f"{name}, the floor's own gain", rates["raw", 2], floor=rates["raw", 1], over="one by hand")
