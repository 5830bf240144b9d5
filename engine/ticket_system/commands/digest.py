"""Verbs about reports on their way: which went out, which are stuck, and what can be done about those."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    each,
    login_name,
    open_system,
    say,
    say_json,
    table,
    zone_of,
)
from ticket_system.errors import InvalidTicket

if TYPE_CHECKING:
    from ticket_system.system import TicketSystem

digest = typer.Typer(
    help="Look after weekly and daily reports: preview, list, settle, send again.", no_args_is_help=True
)

Numbers = Annotated[
    list[int], typer.Argument(metavar="NUMBER...", min=1, max=2**63 - 1, help="As `tickets digest list` shows.")
]


@digest.command("list")
def list_digests(
    reports: Annotated[bool, typer.Option("--reports", help="The newest reports, not the stuck letters.")] = False,
    state: Annotated[
        list[str] | None, typer.Option(help="Only letters in these states. Default: failed, uncertain.")
    ] = None,
    report: Annotated[int | None, typer.Option(metavar="NUMBER", help="The letters of this report.")] = None,
    org: Annotated[str | None, typer.Option("--org", metavar="NAME", help="Reports of this organisation.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show letters that are stuck and why: failed ones did not arrive, uncertain ones may have. Or the reports."""
    from ticket_system import digests, mailings

    zone = zone_of(timezone)
    if strange := [one for one in state or () if one not in mailings.STATES]:
        raise InvalidTicket(f"there is no state {strange[0]!r}; there are {', '.join(mailings.STATES)}")
    if reports or org is not None:
        with open_system(database) as system:
            found = digests.runs(system.database, limit=limit, organisation=org)
        if as_json:
            say_json([_as_json(run) | {"letters": counts} for run, counts in found])
        elif not found:
            say("No report was due yet; `tickets organisations list` shows when the next one is.")
        else:
            cells = [
                (str(run.id), run.organisation, run.kind, str(run.sent_on), at(run.due_at, zone), run.state,
                 ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items())), run.error or "")
                for run, counts in found
            ]  # fmt: skip
            table(("number", "organisation", "kind", "day", "due", "state", "letters", "error"), cells)
        return
    wanted = None if report is not None and state is None else tuple(state or mailings.STUCK)
    with open_system(database) as system:
        letters = mailings.listed(system.database, wanted, limit=limit, run_id=report)
        counts = mailings.outstanding(system.database)
    if as_json:
        said = [_as_json(one) | {"organisation": name, "kind": kind} for one, name, kind in letters]
        say_json({"count": counts, "letters": said})
        return
    if not letters:
        say("No letter is stuck." if state is None and report is None else "There is no such letter.")
    else:
        columns = ("number", "state", "organisation", "kind", "report", "address", "attempts", "due", "answer")
        rows = [
            (str(one.id), one.state, name, kind, str(one.run_id), one.address, str(one.attempts), at(one.due_at, zone),
             one.answer or "")
            for one, name, kind in letters
        ]  # fmt: skip
        table(columns, rows)
    if counts:
        say("", "in all: " + ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items())))


@digest.command()
def resolve(
    numbers: Numbers,
    sent: Annotated[
        bool | None, typer.Option("--sent/--not-sent", help="It arrived; or it did not, and is let go.")
    ] = None,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say what became of letters that are stuck; they stay on record."""
    from ticket_system import mailings

    if sent is None:
        raise InvalidTicket("give either --sent or --not-sent")

    def act(system: TicketSystem, number: int) -> None:
        mailings.resolve(system.database, number, arrived=sent, actor=author or login_name())

    each(numbers, act, database, ("letter", "letters"), "resolved", as_json=as_json)


@digest.command()
def resend(numbers: Numbers, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Send letters that are stuck again at the next tick. An uncertain one may then arrive twice."""
    from ticket_system import mailings

    def act(system: TicketSystem, number: int) -> None:
        mailings.resend(system.database, number)

    each(numbers, act, database, ("letter", "letters"), "to be sent again", as_json=as_json)


def _as_json(one: Any) -> dict[str, Any]:
    from dataclasses import asdict

    told = {
        name: value.isoformat() if isinstance(value, date | datetime) else value for name, value in asdict(one).items()
    }
    return {name: value for name, value in told.items() if name not in {"lease", "key"}}
