"""How the demo looks: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ticket_system import PRIORITY_LABELS
from ticket_system.billing.usage import CRITICAL_TICKET, TICKET_OPENED
from ticket_worker.demo.cast import Role, Verdict
from ticket_worker.demo.till import Bill

Show = Callable[[list[Role], dict[str, int]], None]

_COLOURS = {1: "bold red", 2: "yellow", 3: "cyan", 4: "green"}
_BAR = 12
_BAR_SECONDS = 12.0
_LINES_EVERY_SECONDS = 2.0
_AROUND_THE_TABLE = 9


@contextmanager
def curtain(console: Console) -> Iterator[Show]:
    """Give a function that shows how things stand, as often as it is called."""
    started = time.monotonic()
    if not console.is_terminal:
        last = -_LINES_EVERY_SECONDS

        def tell(roles: list[Role], _pids: dict[str, int]) -> None:
            nonlocal last
            if (passed := time.monotonic() - started) - last >= _LINES_EVERY_SECONDS:
                last = passed
                console.print(f"{passed:5.1f} s  {_tally(roles)}", highlight=False, soft_wrap=True)

        yield tell
        console.print(f"{time.monotonic() - started:5.1f} s  done", highlight=False)
        return

    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:

        def draw(roles: list[Role], pids: dict[str, int]) -> None:
            live.update(_scene(roles, pids, time.monotonic() - started, console.width, console.height), refresh=True)

        yield draw


def show_summary(
    console: Console,
    roles: Sequence[Role],
    verdict: Verdict,
    seconds: float,
    folder: Path | None,
    *,
    bill: Bill | None = None,
    page: Path | None = None,
) -> None:
    """Print what happened, in figures."""
    latencies = verdict.latencies
    table = Table.grid(padding=(0, 3))
    table.add_column(justify="right", style="bold")
    table.add_column()
    enqueued = sum(role.part.is_enqueued for role in roles)
    fates = {fate: sum(role.fate == fate for role in roles) for fate in ("solve", "hold")}
    table.add_row(
        str(len(roles)), f"tickets: {enqueued} enqueued by another program, {len(roles) - enqueued} by the library"
    )
    table.add_row(str(fates["solve"]), "solved in time")
    table.add_row(str(fates["hold"]), "put on hold: their clocks stand still")
    table.add_row(str(verdict.breaches), "breaches found")
    table.add_row(str(verdict.escalations), f"escalations, {verdict.comments} comments")
    table.add_row(str(verdict.notices), "notices delivered, to the log")
    if latencies:
        spread = f"p50 {share(latencies, 0.5):.2f} s, p99 {share(latencies, 0.99):.2f} s, longest {latencies[-1]:.2f} s"
        table.add_row("", f"from deadline to detection: {spread}")
    if bill is not None:
        _show_bill(table, bill)
    table.add_row(_verdict(verdict.missing), "missing")
    table.add_row(_verdict(verdict.doubled), "doubled")
    table.add_row(_verdict(verdict.undeserved), "undeserved")
    if page is not None:
        table.add_row("", f"the report of this run: {page}")
    if folder is not None:
        table.add_row("", f"kept: {folder}")
    is_right = verdict.is_right and (bill is None or bill.is_right)
    console.print(
        Panel(
            table,
            title="every deadline kept an eye on" if is_right else "something went wrong",
            subtitle=f"{seconds:.0f} s in all",
            border_style="green" if is_right else "red",
            box=box.ROUNDED if console.is_terminal else box.ASCII,
            expand=False,
            padding=(1, 3),
        )
    )


def _show_bill(table: Table, bill: Bill) -> None:
    opened, critical = bill.billed[TICKET_OPENED], bill.billed[CRITICAL_TICKET]
    table.add_row(str(opened), f"tickets on Stripe's bill, {critical} of them as critical")
    table.add_row("", f"in {bill.calls} calls, {bill.lost_answers} of them accepted with the answer lost")
    table.add_row(str(bill.unsealed), "became critical within this hour: reported when it is over")
    off = bill.used.total() - bill.billed.total() - bill.unsealed
    table.add_row(_verdict(abs(off)), "billed twice, or not at all")


def show_failure(console: Console, message: str, log: Path) -> None:
    """Print what went wrong, and the last the fleet said."""
    console.print(f"[bold red]{message}[/]")
    for line in log.read_text("utf-8", errors="replace").splitlines()[-15:]:
        console.print(line, markup=False, highlight=False, style="dim")


def share(ordered: Sequence[float], part: float) -> float:
    """Return the value that this part of them does not exceed."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]


def _scene(roles: list[Role], pids: dict[str, int], seconds: float, width: int, height: int) -> RenderableType:
    now = datetime.now(UTC)
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    for heading, width_of_it in (("ticket", min(width - 60, 38)), ("by", 7), ("priority", 15), ("clock", 25)):
        table.add_column(heading, width=width_of_it, no_wrap=True, overflow="ellipsis")
    table.add_column("told", width=4, no_wrap=True)
    for role in _in_view(roles, max(height - _AROUND_THE_TABLE, 5)):
        table.add_row(
            Text(role.part.title),
            Text("message" if role.part.is_enqueued else "library", style="dim"),
            _priority(role),
            _clock(role, now),
            Text("✓", style="green") if role.notice == "sent" else Text(role.notice, style="dim"),
        )
    running = Text("  ".join(f"{name} {pid}" for name, pid in pids.items()), style="dim")
    headline = Text.assemble((f"{seconds:5.1f} s  ", "bold"), _tally(roles), no_wrap=True, overflow="ellipsis")
    return Group(headline, table, running)


def _in_view(roles: list[Role], count: int) -> list[Role]:
    """Return the tickets around the next deadline: some that are over, more that are to come."""
    opened = [role for role in roles if role.ticket_id]
    over = sum(role.is_over for role in opened)
    first = min(max(over - count // 2, 0), max(len(opened) - count, 0))
    return opened[first : first + count]


def _priority(role: Role) -> Text:
    before = role.part.priority
    now = role.ticket.priority if role.ticket else before
    text = Text(PRIORITY_LABELS[before], style=_COLOURS[before])
    if now != before:
        text.append(" → ", style="dim").append(PRIORITY_LABELS[now], style=_COLOURS[now])
    elif role.is_escalated:
        text.append(" ↑", style=_COLOURS[now])
    return text


def _clock(role: Role, now: datetime) -> Text:
    if role.ticket is None:
        return Text("in the queue", style="dim")
    if role.ticket.status == "resolved":
        return Text("solved in time", style="green")
    if role.ticket.status == "on_hold":
        return Text("on hold", style="blue")
    if (latency := role.latency_seconds) is not None:
        return Text(f"breached, found in {latency:.2f} s", style="red")
    left = (role.due_at - now).total_seconds()
    if left < 0:
        return Text(f"overdue {-left:.1f} s", style="bold yellow")
    filled = min(math.ceil(left / _BAR_SECONDS * _BAR), _BAR)
    colour = "green" if left > 5 else "yellow" if left > 2 else "red"  # noqa: PLR2004 - by eye
    return Text.assemble(("━" * filled, colour), ("─" * (_BAR - filled), "dim"), f" {left:4.1f} s")


def _tally(roles: Sequence[Role]) -> str:
    stored = [role for role in roles if role.ticket is not None]
    breached = [role for role in stored if role.latency_seconds is not None]
    solved = sum(role.ticket is not None and role.ticket.status == "resolved" for role in stored)
    held = sum(role.ticket is not None and role.ticket.status == "on_hold" for role in stored)
    latencies = sorted(role.latency_seconds or 0.0 for role in breached)
    line = (
        f"{len(stored)} opened · {solved} solved · {held} held · {len(breached)} breached · "
        f"{sum(role.is_escalated for role in breached)} escalated · {sum(role.notice == 'sent' for role in roles)} told"
    )
    return line + (f" · p50 {share(latencies, 0.5):.2f} s" if latencies else "")


def _verdict(count: int) -> Text:
    return Text(str(count), style="bold red" if count else "bold green")
