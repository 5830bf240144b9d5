"""Verbs that count: what is late, and how a period went."""

from __future__ import annotations

from typing import Annotated

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    open_system,
    say,
    say_json,
    table,
)


def breaches(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show active tickets that are late, worst first."""
    with open_system(database) as system:
        late = system.get_breached_tickets()
    if as_json:
        say_json(late)
    elif not late:
        say("No ticket is late.")
    else:
        rows = [
            (one["ticket_id"], one["priority"], f"{one['overdue_hours']} h", one["assignee"] or "", one["title"])
            for one in late
        ]
        table(("id", "priority", "overdue", "assignee", "title"), rows)


def report(
    days: Annotated[int, typer.Option(help="How far to look back.")] = 7,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show what was opened, resolved and late in the last days, and what is open now."""
    with open_system(database) as system:
        found = system.generate_report(days)
    if as_json:
        say_json(found)
        return
    average = found["avg_resolution_hours"]
    say(f"The last {days} days" if days > 1 else "The last day", "")
    facts = {
        "opened": found["total_opened"],
        "resolved": found["total_resolved"],
        "average time to resolution": "none yet" if average is None else f"{average} h",
        "late, of those decided": f"{found['sla_breach_rate_pct']} %",
        "open now": found["currently_open"],
    }
    say(*(f"{name:<28}{value}" for name, value in facts.items()), "")
    rows = [(label, str(one["opened"]), str(one["resolved"])) for label, one in found["by_priority"].items()]
    table(("priority", "opened", "resolved"), rows)
    if found["open_by_assignee"]:
        say("")
        table(("assignee", "open"), [(name, str(number)) for name, number in found["open_by_assignee"].items()])
