"""What a scan costs that finds nothing, by the number of tickets stored."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

from tests.benchmarks import bare
from tests.benchmarks.results import Results
from tests.benchmarks.turns import milliseconds
from ticket_system import monitor
from ticket_system.storage.database import Database

#: A look is over at once: many turns in each round, and the median of so many looks in each turn.
TURNS, LOOKS = 6, 20


def idle_ticks(databases: dict[int, Database], results: Results, rounds: int) -> None:
    """Measure a scan that finds nothing in databases of growing size, in turns: what disturbs one disturbs all."""
    whos = ("ours", "by hand", "select 1")
    taken: dict[str, dict[int, list[float]]] = {who: {size: [] for size in databases} for who in whos}
    with ExitStack() as stack:
        by_hand = {size: stack.enter_context(_by_hand(database)) for size, database in databases.items()}
        for turn in range(rounds * TURNS + 1):
            for size, database in databases.items():
                works: tuple[Callable[[], object], ...] = (partial(monitor.scan_breaches, database), *by_hand[size])
                for who, work in zip(whos, works, strict=True):
                    value = milliseconds(work, times=LOOKS)
                    if turn:  # the first warms up
                        taken[who][size].append(value)
    dialect, first, last = next(iter(databases.values())).dialect, min(databases), max(databases)
    ours, looks, ones = (taken[who] for who in whos)
    for size in databases:
        results.add(f"{dialect}: idle tick, {size:,} stored", ours[size], "ms", looks[size], over="the look by hand")
    if dialect == "postgresql":
        for size in databases:
            bound = [3 * one + 1 for one in ones[size]]
            name = f"{dialect}: idle tick, {size:,} stored, of its bound"
            results.add(name, ours[size], "ms", bound, over="three times select 1, and 1 ms", wanted=("≤", 1))
            for curve, of in (("ours", ours), ("the look by hand", looks), ("select 1", ones)):
                results.point(f"idle tick, {curve}", size, statistics.median(of[size]))
    if last > first:
        name, over = f"{dialect}: idle tick, {last:,} stored", f"{first:,} stored"
        results.add(f"{name}, growth", ours[last], "ms", ours[first], over=over, wanted=("≤", 1.5))


@contextmanager
def _by_hand(database: Database) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """The question whether any is due as bare SQL; and a round trip that asks for nothing, on the same connection."""
    with bare.opened(database) as (connection, mark):
        look = f"SELECT 1 FROM clocks WHERE next_check_at < {mark} LIMIT 1"
        live = "SELECT 1 FROM clocks WHERE next_check_at < statement_timestamp() LIMIT 1"

        def ask() -> object:
            if database.dialect == "postgresql":
                return connection.execute(live).fetchone()
            return connection.execute(look, (f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",)).fetchone()

        yield ask, lambda: connection.execute("SELECT 1").fetchone()
