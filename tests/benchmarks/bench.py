"""Measures the engine against hand-written SQL in the same run, prints ratios, writes build/bench.json and pictures.

Machines differ and are noisy, so no figure stands alone: each has its floor beside it, measured turn by turn with it.
The PostgreSQL server forgets everything on a power cut, for both sides: without waits for a disk, what is ours shows.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tests.benchmarks import (
    breaches,
    curves,
    fleet_figures,
    histories,
    idle,
    letters,
    reports,
    snapshot,
    tickets,
    usage,
    workers,
)
from tests.benchmarks.deadlines import deadlines
from tests.benchmarks.peers.helpdesk import helpdesk
from tests.benchmarks.results import Results
from tests.benchmarks.shelf import Shelf

FOLDER = Path("build")
DIALECTS = ("postgresql", "sqlite")
#: How narrow a table may become before nobody can read it.
_NARROW = 80


@dataclass(frozen=True)
class Run:
    """What is measured with, and how thoroughly."""

    results: Results
    shelf: Shelf
    dialects: Sequence[str]
    #: Breaches that are due in a round; breaches behind which an idle tick is looked at; tickets with a history.
    due: int
    trap: int
    lives: int
    #: Calls in a round of single calls.
    calls: int
    rounds: int
    full: bool


def _idle(run: Run, dialect: str) -> None:
    idle.idle_ticks(run.shelf.stored(dialect), run.results, run.rounds)


def _breaches(run: Run, dialect: str) -> None:
    breaches.sweeps(run.shelf.largest(dialect), run.results, run.due, run.rounds)


def _workers(run: Run, dialect: str) -> None:
    if dialect == "postgresql":
        workers.two_workers(run.shelf.largest(dialect), run.results, run.due, run.rounds)


def _snapshot(run: Run, dialect: str) -> None:
    if dialect == "postgresql":
        snapshot.old_snapshot(run.shelf.largest(dialect), run.results, run.trap, min(run.rounds, 3))


def _tickets(run: Run, dialect: str) -> None:
    tickets.opening_and_moving(run.shelf.largest(dialect), run.results, run.calls, run.rounds)
    tickets.looking(run.shelf.largest(dialect), run.results, run.rounds)


def _reports(run: Run, dialect: str) -> None:
    if dialect == "postgresql":
        size, database = run.shelf.moderate(dialect)
        reports.weekly_reports(database, run.results, size, run.rounds)


def _usage(run: Run, dialect: str) -> None:
    usage.usage_facts_cost(run.shelf.largest(dialect), run.results, run.calls, run.rounds)
    usage.sealing(run.shelf.largest(dialect), run.results, 50 * run.calls, run.rounds)


def _histories(run: Run, dialect: str) -> None:
    histories.audits(run.shelf.empty(dialect, "lives"), run.results, run.lives, run.rounds)
    histories.replays(run.shelf.empty(dialect, "lives"), run.results, run.rounds)


def _fleet(run: Run) -> None:
    if "postgresql" in run.dialects:
        load = fleet_figures.FULL if run.full else fleet_figures.QUICK
        fleet_figures.fleet(run.results, run.shelf.stored("postgresql"), load=load)


def _peers(run: Run) -> None:
    if "postgresql" in run.dialects:
        stored, due = (100_000, 1000) if run.full else (10_000, 100)
        helpdesk(run.results, run.shelf.server, stored=stored, due=due)


class Group(NamedTuple):
    """Figures that are measured together."""

    about: str
    #: With each database in turn; or, once, without any.
    of_database: Callable[[Run, str], None] | None = None
    alone: Callable[[Run], None] | None = None


#: In this order: reports count what nobody has added to yet, and breaches leave much behind that a fleet would tell.
GROUPS = {
    "deadlines": Group("a deadline on an office calendar, in microseconds", alone=lambda run: deadlines(run.results)),
    "idle": Group("a scan that finds nothing, by the number of tickets stored", _idle),
    "reports": Group("the weekly report over everything", _reports),
    "tickets": Group("create_ticket, update_status, get_queue, generate_report", _tickets),
    "fleet": Group("beats and workers: from deadline to detection, wishes, messages, memory", alone=_fleet),
    "breaches": Group("breaches handled a second", _breaches),
    "workers": Group("two workers over one", _workers),
    "snapshot": Group("breaches and idle ticks while somebody holds an old snapshot", _snapshot),
    "usage": Group("what is billed: facts written and sealed", _usage),
    "histories": Group("the audit and the simulation of a policy", _histories),
    "peers": Group("what django-helpdesk takes for a ticket that it escalates", alone=_peers),
    "letters": Group("letters of a report", alone=lambda run: letters.letters(run.results)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; the exit code says whether every figure is what it must be."""
    options = _options(arguments)
    if options.list:
        for name, group in GROUPS.items():
            print(f"{name:<12} {group.about}")
        return 0
    wanted = options.only or list(GROUPS)
    results, began = Results(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="tickets-bench-", dir=options.place) as folder,
        Shelf(_reachable(folder), options.sizes) as stored,
    ):
        run = Run(
            results, stored, options.database, options.due, options.trap, options.lives, options.calls, options.rounds,
            options.full,
        )  # fmt: skip
        for name in GROUPS:
            if name in wanted:
                _measure(name, run)
    about = {"sizes": options.sizes, "groups": wanted, "minutes": round((time.monotonic() - began) / 60, 1)}
    _tell(results, options.folder, about)
    return 1 if results.missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="up to ten million tickets on PostgreSQL: an hour, 20 GB")
    parser.add_argument("--only", type=_names, help="these groups alone, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the groups")
    parser.add_argument("--database", choices=DIALECTS, action="append", help="one database only")
    parser.add_argument("--sizes", type=_sizes, help="numbers of stored tickets; default 10000,100000,1000000")
    parser.add_argument("--due", type=int, help="tickets that run out in each round; default 10000, 20000 with --full")
    parser.add_argument("--trap", type=int, help="the same with a snapshot held; default 20000, 100000 with --full")
    parser.add_argument("--rounds", type=int, help="how often each pair is measured; default 3, 5 with --full")
    parser.add_argument(
        "--lives", type=int, help="tickets whose six events are audited; default 5000, 20000 with --full"
    )
    parser.add_argument("--calls", type=int, default=1000, help="single calls in each round")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where files and pictures go")
    parser.add_argument("--place", type=Path, help="a folder with room for the databases; default: the temporary one")
    options = parser.parse_args(arguments)
    options.database = options.database or list(DIALECTS)
    options.sizes = options.sizes or [10_000, 100_000, 1_000_000, *[10_000_000] * options.full]
    for name, quick, full in (
        ("trap", 20_000, 100_000),
        ("due", 10_000, 20_000),
        ("lives", 5_000, 20_000),
        ("rounds", 3, 5),
    ):
        setattr(options, name, getattr(options, name) or (full if options.full else quick))
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in GROUPS]:
        raise argparse.ArgumentTypeError(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    return names


def _sizes(text: str) -> list[int]:
    return sorted(int(size) for size in text.split(","))


def _reachable(folder: str) -> Path:
    """Let the account of the PostgreSQL server through: it is not ours where we are root."""
    Path(folder).chmod(0o755)
    return Path(folder)


def _measure(name: str, run: Run) -> None:
    began, group = time.monotonic(), GROUPS[name]
    print(f"{name}: {group.about}", file=sys.stderr)
    if group.alone is not None:
        group.alone(run)
    for dialect in run.dialects:
        if group.of_database is not None:
            group.of_database(run, dialect)
    print(f"{name}: {time.monotonic() - began:,.0f} s", file=sys.stderr)


def _tell(results: Results, folder: Path, about: dict[str, object]) -> None:
    target = folder / "bench.json"
    results.write(target, **about)
    width = shutil.get_terminal_size((100, 24)).columns
    console = Console(width=max(width, _NARROW))
    console.print(results.table())
    if results.curves:
        print(curves.show(results.curves, width))
    print(", ".join(f"{name}" for name in [target, *curves.draw(results.curves, folder)]), "written")
    for miss in results.missed:
        print(f"missed  {miss}")


if __name__ == "__main__":
    # Whoever ends it by a signal would else leave a server behind, and what it stores.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
