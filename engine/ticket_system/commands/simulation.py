"""`tickets policy simulate`: what a file of policies would have meant for the tickets there are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_system.commands.policy import File, read_file
from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    bar,
    open_system,
    say,
    table,
)
from ticket_system.errors import InvalidTicket
from ticket_system.tickets import PRIORITY_LABELS, as_utc

if TYPE_CHECKING:
    from ticket_system.sla.books import PolicyBook
    from ticket_system.sla.verdicts import Change, Simulation, Tally, Verdict
    from ticket_system.system import TicketSystem

_LENGTH = re.compile(r"(\d{1,5})([dhw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_STYLES = {"lost": "red", "kept": "green"}


def simulate(
    file: File,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Tickets opened since: 90d, 12w, a date, or an instant.")
    ] = "90d",
    changes: Annotated[int, typer.Option(metavar="N", min=0, help="Show so many of the verdicts that change.")] = 20,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Replay past tickets under the policies of a file: what was kept, and what would have been. Changes nothing.

    What people did stays as it was: answers, moves, priorities, waivers. Only the promises are others. Attainment is
    met of what was decided; overdue counts as breached.
    """
    from ticket_system.sla.verdicts import CHANGES

    began = since_of(since, datetime.now(UTC))
    book = read_file(file)
    with open_system(database) as system:
        if as_json:
            _print_json(system, book, began)
            return
        shown: list[Change] = []
        kept: Counter[str] = Counter()

        def keep(one: Change) -> None:
            if kept[one.kind] < changes:
                kept[one.kind] += 1
                shown.append(one)

        with bar("tickets") as progress:
            found = _run(system, book, began, keep, progress)
    if not found.tickets:
        say(f"No ticket was opened since {began:%Y-%m-%d %H:%M} UTC; --since 52w looks back a year.")
        return
    # What is lost is what somebody wants to see first.
    _draw(found, sorted(shown, key=lambda one: CHANGES.index(one.kind))[:changes])


def since_of(text: str, now: datetime) -> datetime:
    """Read a length of time back from now, a date, or an instant; without a zone it is UTC."""
    try:
        if length := _LENGTH.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[length[2]]: int(length[1])})
        return as_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise InvalidTicket(
            f"--since takes a length like 90d or 12w, or a date like 2026-01-31, not {text!r}"
        ) from None


def _run(
    system: TicketSystem,
    book: PolicyBook,
    since: datetime,
    changed: Callable[[Change], object],
    progress: Callable[[int, int], None] | None,
) -> Simulation:
    from ticket_system import simulation

    return simulation.simulate(system.database, book, since=since, changed=changed, progress=progress)


def _print_json(system: TicketSystem, book: PolicyBook, since: datetime) -> None:
    """Print one object; the changes as they are found, for there may be a million."""
    from ticket_system.sla.verdicts import as_json, change_as_json

    before = "\n    "

    def write(one: Change) -> None:
        nonlocal before
        typer.echo(before + json.dumps(change_as_json(one)), nl=False)
        before = ",\n    "

    typer.echo('{\n  "changes": [', nl=False)
    with bar("tickets") as progress:
        found = _run(system, book, since, write, progress)
    figures = json.dumps(as_json(found), indent=2)
    typer.echo("\n  ],\n" + figures.removeprefix("{\n"))


def _draw(found: Simulation, shown: list[Change]) -> None:
    tickets = "1 ticket" if found.tickets == 1 else f"{found.tickets:,} tickets"
    say(f"{tickets} opened since {found.since:%Y-%m-%d %H:%M} UTC; as it is now, and as it would be", "")
    rows = []
    for target in dict.fromkeys(target for target, _, _ in found.ordered()):
        name, together = target.replace("_", " "), found.totals(target)
        lines = [line for line in found.ordered() if line[0] == target]
        rows += [(name, PRIORITY_LABELS[priority], *_cells(line.now, line.proposed)) for _, priority, line in lines]
        rows += [(name, "all", *_cells(together.now, together.proposed))] if len(lines) > 1 else []
    totals = found.totals()
    columns = ("target", "priority", "met", "breached", "attainment", "→ met", "→ breached", "→ attainment", "points")
    table(columns, rows)
    apart = [
        (what, f"{getattr(totals.now, what):,}", f"{getattr(totals.proposed, what):,}")
        for what in ("waived", "cancelled", "undecided")
    ]
    apart.append(("tickets without a clock", f"{found.without:,}", f"{found.without_proposed:,}"))
    say("")
    table(("not counted", "now", "→ proposed"), apart)
    say("")
    if found.untold:
        say(f"{found.untold:,} left out: their history does not tell how they were opened.")
    counted = ", ".join(f"{number:,} {kind}" for kind, number in found.changed.most_common())
    say(f"Verdicts that change: {counted}, on {found.tickets_changed:,} of them." if counted else "No verdict changes.")
    if shown:
        _list(shown, sum(found.changed.values()))


def _list(shown: list[Change], total: int) -> None:
    say("")
    rows = [
        (
            one.ticket_id,
            PRIORITY_LABELS[one.priority],
            one.target.replace("_", " ") + (f" {one.cycle}" if one.cycle > 1 else ""),
            one.kind,
            _verdict(one.now),
            _verdict(one.proposed),
        )
        for one in shown
    ]
    styles = [_STYLES.get(one.kind, "") for one in shown]
    table(("id", "priority", "target", "what", "now", "→ proposed"), rows, styles=styles)
    if total > len(shown):
        say(f"… and {total - len(shown):,} more; --changes shows more, --json all.")


def _cells(now: Tally, proposed: Tally) -> list[str]:
    counts = [
        cell
        for tally in (now, proposed)
        for cell in (f"{tally.met:,}", f"{tally.breached:,}", _percent(tally.attainment))
    ]
    if now.attainment is None or proposed.attainment is None:
        return [*counts, ""]
    return [*counts, f"{(proposed.attainment - now.attainment) * 100:+.1f}"]


def _percent(attainment: float | None) -> str:
    return "" if attainment is None else f"{attainment * 100:.1f} %"


def _verdict(told: Verdict | None) -> str:
    if told is None:
        return "not promised"
    return f"{told.kind} {told.at:%Y-%m-%d %H:%M} UTC" if told.at else told.kind
