"""The verb that forgets what is older than it is kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    bar,
    open_system,
    say,
    say_json,
)

#: As the fleet's own settings are called, so that a person and the fleet forget the same.
_VARIABLE = "TICKETS_KEEP_{}_DAYS"


def _days(what: str, about: str) -> Any:
    return typer.Option(f"--keep-{what}", metavar="DAYS", envvar=_VARIABLE.format(what.upper()), help=about)


def prune(
    events: Annotated[int, _days("events", "The history of tickets that are closed or cancelled.")] = 0,
    usage: Annotated[int, _days("usage", "What was billed, once it is settled.")] = 0,
    messages: Annotated[int, _days("messages", "Notices that were sent or dropped.")] = 90,
    contents: Annotated[int, _days("contents", "What stood in reports.")] = 90,
    reports: Annotated[int, _days("reports", "Reports, and who got them.")] = 730,
    wishes: Annotated[int, _days("wishes", "Keys of requests that were done.")] = 30,
    parked: Annotated[int, _days("parked", "Parked messages that were replayed or dropped.")] = 90,
    runs: Annotated[int, _days("runs", "Failed ticks, and audits.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be forgotten.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Forget what is older than it is kept: 0 days are for ever. A fleet does it every hour.

    Nothing goes that waits, is stuck, or that a bill still depends on. Tickets, comments and clocks stay.
    """
    from ticket_system import retention

    keep = retention.Keep(events, usage, messages, contents, reports, wishes, parked, runs)
    with open_system(database) as system:
        if dry_run:
            gone = retention.preview(system.database, keep)
        else:
            with bar("pruning") as moves:
                total = sum(retention.preview(system.database, keep).values()) if moves else 0
                progress = (lambda done: moves(done, max(done, total))) if moves else None
                gone = retention.prune(system.database, keep, budget_seconds=None, progress=progress).gone
    if as_json:
        say_json({"dry_run": dry_run, "gone": gone})
    elif not gone:
        say("Nothing is older than it is kept.")
    else:
        say(
            f"{'Would be forgotten' if dry_run else 'Forgotten'}: "
            + ", ".join(f"{n:,} {what}" for what, n in gone.items())
            + "."
        )
