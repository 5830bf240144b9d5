"""`make chaos`: a real fleet under load, disturbed at random; afterwards what was lost or doubled is counted.

Exit status: 0 nothing was, 1 something was or the fleet did not come to rest, 2 the command makes no sense, or a server
cannot be had here.
"""

import argparse
import json
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.plan import KINDS, Disturbance, Options, plan
from tests.chaos.run import NotOurs, Outcome, Watch, prepare, report, run
from tests.chaos.stage import NotReady
from tests.support.postgres import ServerUnavailable

FOLDER, TARGET = Path("build/chaos-run"), Path("build/chaos.json")
_LONGEST_MINUTES = 24 * 60
_LISTED = 10
#: Where no terminal says how wide it is.
_WIDTH = 120
_STATES = ("expected", "found", "waiting", "lost", "doubled", "uncertain", "unexpected")


def main(words: list[str] | None = None) -> int:
    """Run, or print the plan."""
    given = _arguments().parse_args(words)
    seed = SystemRandom().randrange(1, 1_000_000) if given.seed is None else given.seed
    options = Options(seed, given.minutes, given.rate, frozenset(given.without))
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(f"seed {seed}, {options.minutes:g} minutes, {options.rate:g} tickets a second")
    if given.list:
        for one in plan(options):
            console.print(_line(one))
        return 0
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        prepare(given.keep, options)
        with _watching(console) as watch:
            outcome = run(given.keep.resolve(), options, watch)
    except (NotOurs, ServerUnavailable) as error:
        console.print(f"[red]{error}[/]")
        return 2
    except NotReady as error:
        outcome = Outcome(failures=[str(error)])
    except KeyboardInterrupt:
        console.print("called off; to begin it again:", options.command())
        return 130
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report(outcome, options, given.keep), indent=2, default=str), "utf-8")
    _show(console, outcome)
    console.print(f"written to {given.out}; what happened lies in {given.keep}")
    if not outcome.is_well:
        console.print(f"[bold red]not well[/]; to run it again: {options.command()}")
    return 0 if outcome.is_well else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="how long it is disturbed (default: 10)")
    parser.add_argument("--seed", type=int, help="what the plan and the load are made of (default: any)")
    parser.add_argument("--rate", type=_rate, default=6.0, help="tickets a second (default: 6)")
    parser.add_argument("--without", action="append", default=[], choices=sorted(KINDS), metavar="KIND",
                        help=f"leave a kind out; one of {', '.join(KINDS)}")  # fmt: skip
    parser.add_argument("--keep", type=Path, default=FOLDER, metavar="FOLDER", help=f"default: {FOLDER}")
    parser.add_argument("--out", type=Path, default=TARGET, metavar="FILE", help=f"default: {TARGET}")
    parser.add_argument("--list", action="store_true", help="print the plan of a seed, and end")
    return parser


def _minutes(text: str) -> float:
    return _between(text, 0.2, _LONGEST_MINUTES)


def _rate(text: str) -> float:
    return _between(text, 0.1, 100)


def _between(text: str, least: float, most: float) -> float:
    number = float(text)
    if not math.isfinite(number) or not least <= number <= most:
        raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g}, not {text}")
    return number


def _interrupted(*_: Any) -> NoReturn:
    # As Ctrl-C: everything that was started is ended on the way out.
    raise KeyboardInterrupt


def _line(one: Disturbance) -> str:
    more = " ".join(f"{name}={value}" for name, value in one.detail.items() if name != "lot")
    return f"{one.second:7.1f} s  {one.kind:<17} {one.target:<9} for {one.for_seconds:4.1f} s  {more}".rstrip()


@contextmanager
def _watching(console: Console) -> Iterator[Watch]:
    """A bar on a terminal; lines for what happens, everywhere."""
    columns = (
        TextColumn("the fleet {task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[more]}"),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        running: list[TaskID] = []

        def phase(name: str, seconds: float) -> None:
            if not console.is_terminal:
                console.print(f"the fleet {name}")
            for one in running:
                progress.remove_task(one)
            running[:] = [progress.add_task(name, total=seconds, more="")]

        def happens(what: Disturbance | str) -> None:
            progress.console.print(what if isinstance(what, str) else _line(what), markup=False)
            if isinstance(what, Disturbance) and running:
                progress.update(running[0], completed=what.second)

        told: list[dict[str, int]] = []

        def rests(left: dict[str, int]) -> None:
            more = ", ".join(f"{number} {what}" for what, number in left.items())
            if running:
                progress.update(running[0], advance=1, more=more)
            if not console.is_terminal and (not told or set(told[-1]) != set(left)):
                console.print(f"    still: {more or 'nothing'}")
                told.append(left)

        yield Watch(phase, happens, rests)


def _show(console: Console, outcome: Outcome) -> None:
    table = Table("", *_STATES, box=box.SIMPLE)
    unseen = outcome.counts.get("seconds_unseen", {})
    for subject, found in outcome.counts.get("subjects", {}).items():
        table.add_row(subject, *(_cell(state, found.get(state, 0)) for state in _STATES))
    if table.row_count:
        console.print(table)
    if unseen.get("breaches"):
        console.print("from deadline to detection: p50 {p50} s, p99 {p99} s, longest {max} s".format(**unseen))
    for subject, found in outcome.counts.get("subjects", {}).items():
        for state in ("lost", "doubled", "unexpected"):
            for one in found[state][:_LISTED]:
                console.print(f"{state}: {subject}: {one['id']}: {one['why']}", style="red", markup=False)
    for what, number in outcome.unrest.items():
        console.print(f"[red]did not come to rest: {number} {what}[/]")
    for failure in outcome.failures:
        console.print(f"[red]the run itself failed: {failure}[/]", markup=True)
    for name, number in outcome.more.get("ended_by_themselves", {}).items():
        console.print(f"[yellow]ended by itself: {name}, {number} times[/]")


def _cell(state: str, value: Any) -> str:
    number = len(value) if isinstance(value, list | dict) else value
    is_bad = bool(number) and state in {"lost", "doubled", "unexpected"}
    return f"[bold red]{number}[/]" if is_bad else f"{number:,}"


if __name__ == "__main__":
    sys.exit(main())
