"""A ServiceNow log, replayed: every event at its own time, and the verdicts that come of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ticket_system import PRIORITY_LABELS, Status, TicketSystem
from ticket_system.imports import import_servicenow


def replay(console: Console, log_file: Path, database: Path) -> None:
    """Import the log into a database of its own, and print its figures."""
    with TicketSystem(database) as system:
        columns = (TextColumn("replaying {task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(log_file.name, total=None)
            summary = import_servicenow(
                system, log_file, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
        verdicts = count_verdicts(system)
    facts = f"{summary.added:,} incidents, {summary.events:,} events, {summary.failed:,} rows left out"
    console.print(f"[bold]{escape(log_file.name)}[/]: {facts}", soft_wrap=True, highlight=False)
    console.print(_table(verdicts))


def count_verdicts(system: TicketSystem) -> dict[int, Counter[str]]:
    """Count by priority: met, breached, and what has no verdict."""
    verdicts: dict[int, Counter[str]] = {priority: Counter() for priority in PRIORITY_LABELS}
    for status in Status:
        for ticket in system.get_queue(status=status):
            if ticket.is_breached():
                verdict = "breached"
            elif ticket.clock is not None and ticket.clock.state == "met":
                verdict = "met"
            else:
                verdict = "undecided"
            verdicts[ticket.priority][verdict] += 1
    return verdicts


def attainment(counts: Counter[str]) -> str:
    """Return the share of the promises decided that were kept."""
    decided = counts["met"] + counts["breached"]
    return f"{counts['met'] / decided:.1%}" if decided else "none due"


def _table(verdicts: dict[int, Counter[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    total = sum(verdicts.values(), Counter[str]())
    table.add_column("priority", footer="all")
    for verdict in ("met", "breached", "undecided"):
        table.add_column(verdict, justify="right", footer=f"{total[verdict]:,}")
    table.add_column("attainment", justify="right", footer=attainment(total))
    for priority, counts in verdicts.items():
        table.add_row(
            PRIORITY_LABELS[priority],
            *(f"{counts[verdict]:,}" for verdict in ("met", "breached", "undecided")),
            attainment(counts),
        )
    return table
