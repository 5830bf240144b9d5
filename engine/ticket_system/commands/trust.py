"""Verbs that show why a promise is due when it is, and whether the stored clocks are what the history makes of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ticket_system.commands.desk import TicketId
from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    bar,
    clean,
    login_name,
    open_system,
    say,
    say_json,
    zone_of,
)
from ticket_system.errors import TicketNotFound

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_STYLES = {
    "open": "green",
    "closed": "dim",
    "holiday": "magenta",
    "paused": "yellow",
    "stopped": "cyan",
    "overdue": "red",
}
_LOUD = {"breached": "bold red", "due": "bold", "met": "bold green", "now": "bold reverse"}


def explain(
    ticket_id: TicketId,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Only this one, for example resolution.")] = None,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show why a ticket is due when it is: every stretch of time that counted or did not, and by which rule."""
    from ticket_system.sla.explain import without_clock

    zone = zone_of(timezone)
    with open_system(database) as system:
        found = system.explain(ticket_id, target)
        events = [] if found else system.get_history(ticket_id)
        others = [] if found or target is None else system.explain(ticket_id)
    if as_json:
        say_json(found)
    elif others:
        say(f"This ticket has no clock for {target}; it has one for {', '.join(one['target'] for one in others)}.")
    elif not found:
        opened_with = next((event.new for event in events if event.kind == "created"), None)
        say(f"This ticket has no clock: {without_clock(opened_with)}.")
    else:
        for number, one in enumerate(found):
            say(*([""] if number else []), *_headline(one, zone))
            _draw(list(_rows(one, zone)))


class _Row(NamedTuple):
    at: str
    what: str
    text: str
    length: str
    counted: str
    rules: str
    style: str
    #: It has not happened yet.
    ahead: bool


def _headline(one: dict[str, Any], zone: ZoneInfo | None) -> Iterator[str]:
    cycle = f", cycle {one['cycle']}" if one["cycle"] > 1 else ""
    due = f"due {_at(one['due_at'], zone)}" if one["due_at"] else f"no deadline, {_span(one['remaining_seconds'])} left"
    yield f"{one['target']}{cycle}: {one['state']}, {due}"
    under = one["calendar"] or "around the clock"
    paused = f", {_span(one['paused_seconds'])} paused" if one["paused_seconds"] else ""
    yield f"{_span(one['target_seconds'])} promised by the policy {one['policy']}, {under}{paused}"
    if one["differs"]:
        fields = ", ".join(one["differs"])
        yield f"The stored clock says otherwise ({fields}); this is what the history says. `tickets audit` tells more."


def _rows(one: dict[str, Any], zone: ZoneInfo | None) -> Iterator[_Row]:
    """Put intervals and marks into one order; at one instant what happened stands before what follows from it."""
    now, last = one["explained_at"], max(part["end"] for part in one["intervals"]) if one["intervals"] else ""
    told: list[tuple[datetime, int, dict[str, Any]]] = [
        (datetime.fromisoformat(mark["at"]), 0, mark) for mark in [*one["marks"], *([_now(now)] if now < last else [])]
    ]
    told += [(datetime.fromisoformat(part["start"]), 1, part) for part in one["intervals"]]
    present = datetime.fromisoformat(now)
    for moment, is_interval, part in sorted(told, key=lambda row: row[:2]):
        rules = "rule " + ", ".join(map(str, part["rules"])) if part["rules"] else ""
        ahead = moment > present
        if is_interval:
            length = (datetime.fromisoformat(part["end"]) - moment).total_seconds()
            counted = _span(part["open_seconds"])
            yield _Row(
                at(moment, zone),
                part["kind"],
                part["reason"],
                _span(length),
                counted,
                rules,
                _STYLES[part["kind"]],
                ahead,
            )
        else:
            style = _LOUD.get(part["what"], "bold")
            yield _Row(at(moment, zone), part["what"], part["text"], "", "", rules, style, ahead)


def _now(now: str) -> dict[str, Any]:
    return {"at": now, "what": "now", "text": "", "rules": []}


def _draw(rows: list[_Row]) -> None:
    """Draw the timeline; without a terminal one line each, separated by tabs."""
    columns = ("at", "what", "", "length", "counted", "")
    if not sys.stdout.isatty():
        typer.echo("\nat\twhat\twhy\tlength\tcounted\trules")
        for row in rows:
            typer.echo("\t".join(clean(cell) for cell in row[:6]))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        right = column in {"length", "counted"}
        drawn.add_column(column, justify="right" if right else "left", no_wrap=column in {"at", "what"} or right)
    before = ""
    for row in rows:
        sign = "│ " if row.length else "● "
        cells = [
            Text(row.at if row.at != before else ""),
            Text(sign + row.what, style=row.style),
            Text(clean(row.text)),
            Text(row.length),
            Text(row.counted),
            Text(row.rules, style="dim"),
        ]
        drawn.add_row(*cells, style="dim" if row.ahead else None)
        before = row.at
    Console(highlight=False).print(drawn)


def waive(
    ticket_id: TicketId,
    reason: Annotated[str, typer.Option(help="Why; it stays in the ticket's history.", show_default=False)],
    target: Annotated[str, typer.Option(metavar="TARGET", help="Which promise was broken.")] = "resolution",
    cycle: Annotated[int | None, typer.Option(min=1, help="Which of several cycles. Default: the newest.")] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Let the breach count again.")] = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Take a breach out of reports and bills; it stays on record, and so does who said so and why."""
    with open_system(database) as system:
        act = system.revoke_waiver if revoke else system.waive_breach
        if not act(ticket_id, reason, target=target, cycle=cycle, author=author or login_name()):
            raise TicketNotFound(ticket_id)
    if as_json:
        say_json({"ticket_id": ticket_id, "target": target, "cycle": cycle, "waived": not revoke})
    else:
        say(f"{ticket_id}: the breach of its {target.replace('_', ' ')} {'counts again' if revoke else 'is waived'}.")


def audit(
    everything: Annotated[bool, typer.Option("--all", help="Every ticket, however long ago it changed.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Recompute the clocks of tickets that changed, and a sample of the others, from their events. Mends nothing.

    Status 1 if a stored clock is not what its history makes of it.
    """
    from ticket_system.audit import audit_clocks

    with open_system(database) as system, bar("tickets") as progress:
        report = audit_clocks(
            system.database, policy=system.policy, everything=everything, budget_seconds=None, progress=progress
        )
    if as_json:
        say_json(asdict(report))
    else:
        for one in report.differences:
            say(
                f"{one.ticket_id}, {one.target} {one.cycle}: {one.field} is {one.stored or 'empty'},"
                f" the history says {one.computed or 'empty'}",
                f"  stored:  {one.stored_because}",
                f"  history: {one.computed_because}",
            )
        if report.found > len(report.differences):
            say(f"… and {report.found - len(report.differences):,} more.")
        checked, found = _count(report.checked, "ticket"), _count(report.found, "difference")
        say(f"{checked} checked, {found}.")
    if report.found:
        raise typer.Exit(1)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _at(text: str, zone: ZoneInfo | None) -> str:
    return at(datetime.fromisoformat(text), zone)


def _span(seconds: float) -> str:
    """Write a length of time exactly enough to be added up: hours beyond a day stay hours."""
    minutes, rest = divmod(round(abs(timedelta(seconds=seconds)).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"
