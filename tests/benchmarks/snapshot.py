"""The old-snapshot trap: as long as somebody holds a snapshot, index entries of what was handled cannot be removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from tests.benchmarks import bare, stock
from tests.benchmarks.breaches import TABLES, ours, raw
from tests.benchmarks.results import Results
from tests.benchmarks.turns import in_turns, milliseconds, per_second
from ticket_system import Ticket, TicketSystem, monitor, outbox
from ticket_system.storage.database import Database

#: An idle tick may cost this much, in milliseconds, whatever lies dead in the index.
MOST = 5.0
#: Ticks, at the rate of a fleet that looks as often as it can for a while.
TICKS = 200


def old_snapshot(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure breaches a second and the idle tick with a long transaction open, and after it; PostgreSQL only."""
    rates: dict[str, list[float]] = {}
    ticks: dict[str, list[float]] = {}
    means: list[float] = []
    look, claim = partial(monitor.scan_breaches, database), partial(outbox.claim, database)
    for turn, way in in_turns(("undisturbed", "held", "held, by hand"), rounds):
        _let_leave(database)
        stock.add_due(database, f"snapshot-{way}-{turn}", number, datetime.now(UTC))
        stock.settle_down(database, *TABLES)
        work = raw(database, "built in") if way == "held, by hand" else ours(database)
        if way != "held":
            with _held(database) if way != "undisturbed" else _nothing():
                rates.setdefault(way, []).append(per_second(work))
            continue
        with _held(database):
            rates.setdefault(way, []).append(per_second(work))
            found = [milliseconds(look) for _ in range(TICKS)]
            ticks.setdefault("held", []).append(sorted(found)[TICKS // 2])
            ticks.setdefault("worst", []).append(max(found))
            means.append(sum(found) / TICKS)
            _let_leave(database)
            ticks.setdefault("claim", []).append(milliseconds(claim, times=TICKS))
        # Whoever looked before it ended learns that with the next transaction that writes, whosever it is.
        TicketSystem(database).create_ticket(Ticket("Anything", "", "ada"))
        # What the first look after it has to walk once more, and marks: measured apart.
        ticks.setdefault("first after", []).append(milliseconds(look))
        ticks.setdefault("after", []).append(milliseconds(look, times=TICKS))
        stock.settle_down(database, *TABLES)
        ticks.setdefault("vacuumed", []).append(milliseconds(look, times=TICKS))
        ticks.setdefault("claim, vacuumed", []).append(milliseconds(claim, times=TICKS))
    name = f"{database.dialect}: old snapshot held"
    add = partial(results.add, unit="a second", in_pairs=True)
    add(f"{name}, breaches handled", rates["held"], floor=rates["undisturbed"], over="undisturbed", wanted=("≥", 0.8))
    add(f"{name}, breaches handled, over raw", rates["held"], floor=rates["held, by hand"], over="the same by hand")
    dead = f"idle tick after {number:,} breaches"
    results.bound(f"{name}, {dead}", ticks["held"], "ms", wanted=("≤", MOST))
    results.add(f"{name}, {dead}, growth", ticks["held"], "ms", ticks["vacuumed"], over="vacuumed", in_pairs=True)
    results.bound(f"{name}, {dead}, mean of {TICKS}", means, "ms")
    results.bound(f"{name}, {dead}, worst of {TICKS}", ticks["worst"], "ms")
    claims = ticks["claim"], "ms", ticks["claim, vacuumed"]
    results.add(f"{name}, a claim after {number:,} notices", *claims, over="vacuumed", in_pairs=True)
    name = f"{database.dialect}: old snapshot gone"
    results.bound(f"{name}, idle tick, the first", ticks["first after"], "ms")
    results.bound(f"{name}, idle tick", ticks["after"], "ms", wanted=("≤", MOST))
    results.bound(f"{name}, idle tick, vacuumed", ticks["vacuumed"], "ms", wanted=("≤", MOST))


def _let_leave(database: Database) -> None:
    """Have every notice go the way of all: claimed, begun, sent."""
    with bare.postgresql(database) as connection:
        for state, then in (
            ("leased", "now() + interval '1 minute'"),
            ("sending", "next_attempt_at"),
            ("sent", "NULL"),
        ):
            connection.execute(
                "UPDATE outbox SET state = %s, next_attempt_at = "
                f"{then} WHERE state IN ('pending', 'leased', 'sending')",
                (state,),
            )


@contextmanager
def _held(database: Database) -> Iterator[None]:
    """Have somebody read for a long time: a dump, a report, a session that was forgotten."""
    with bare.postgresql(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT count(*) FROM steps")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
