"""The verb that looks whether all is well, and says what to do where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_system.commands.terminal import DEFAULT_DATABASE, JsonOption, clean, open_system, say_json

if TYPE_CHECKING:
    from ticket_system.checkup import Finding

_MARKS = {True: ("ok", typer.colors.GREEN), None: ("look", typer.colors.YELLOW), False: ("no", typer.colors.RED)}


def doctor(
    database: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            envvar="TICKETS_DATABASE_URL",
            help="A SQLite file or a PostgreSQL URL. Default: the fleet's, or tickets.db where only the engine is.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Look whether all is well: database, rules, clocks; broker, beat, mail and billing where a fleet is installed.

    Changes nothing and sends nothing. Status 1: something needs a hand, and it says which.
    """
    fleet = next(iter(metadata.entry_points(group="ticket_system.doctor")), None)
    if fleet is not None:
        try:
            look = fleet.load()
        except ImportError:
            # The rooms above are in the wheel, and what they need was not asked for.
            look = _of_database
    else:
        look = _of_database
    if not report(look(database), as_json=as_json):
        raise typer.Exit(1)


def _of_database(database: str) -> list[Finding]:
    from ticket_system import checkup

    with open_system(database or DEFAULT_DATABASE) as system:
        return list(checkup.findings(system.database))


def report(findings: Iterable[Finding], *, as_json: bool) -> bool:
    """Print what was found, and return whether all of it is well."""
    found = list(findings)
    if as_json:
        say_json([asdict(one) for one in found])
        return all(one.is_ok for one in found)
    width = max((len(one.what) for one in found), default=0)
    for one in found:
        mark, colour = _MARKS[None if one.is_ok and one.advice else one.is_ok]
        typer.echo(f"{typer.style(f'{mark:4}', fg=colour)}  {one.what:{width}}  {clean(one.detail)}")
        if one.advice:
            typer.echo(f"{'':{width + 8}}→ {clean(one.advice)}")
    return all(one.is_ok for one in found)
