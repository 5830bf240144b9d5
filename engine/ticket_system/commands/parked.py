"""Verbs about messages from other programs that nobody could understand or finish."""

from __future__ import annotations

from pathlib import Path
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
from ticket_system.errors import InvalidTicket, ParkingError

if TYPE_CHECKING:
    from ticket_system.parking import Parked

parked = typer.Typer(
    help="Look after messages that nobody could understand: see them, have them tried again, drop them.",
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `tickets parked list` shows it.", show_default=False)]
Numbers = Annotated[
    list[int], typer.Argument(metavar="NUMBER…", help="As `tickets parked list` shows them.", show_default=False)
]


@parked.command("list")
def list_parked(
    state: Annotated[list[str] | None, typer.Option(help="Only these states. Default: waiting, due.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show which messages lie here, since when, and why. What is in them `show` shows."""
    from ticket_system import parking

    zone, wanted = zone_of(timezone), tuple(state or parking.OPEN)
    if strange := [one for one in wanted if one not in parking.STATES]:
        raise InvalidTicket(f"there is no state {strange[0]!r}; there are {', '.join(parking.STATES)}")
    with open_system(database) as system:
        found = parking.listed(system.database, states=wanted, limit=limit)
    if as_json:
        say_json([_as_json(one) for one in found])
    elif not found:
        say("No message is parked." if state is None else "No message is in such a state.")
    else:
        rows = [
            (str(one.id), one.state, one.name, str(one.times), at(one.parked_at, zone), one.reason) for one in found
        ]
        table(("number", "state", "message", "times", "since", "why"), rows)


@parked.command()
def show(number: Number, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show one message as it came: what a customer wrote may be in it."""
    from ticket_system import parking

    with open_system(database) as system:
        found = parking.get(system.database, number)
    if as_json:
        say_json(_as_json(found) | {"body": found.body})
    else:
        say(f"{found.name}, {found.state}: {found.reason}", found.body)


@parked.command()
def replay(
    numbers: Numbers,
    body: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Try this instead: the message, mended."),
    ] = None,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Have messages tried again, within half a minute. What was done before under the same key is not done twice."""
    from ticket_system import parking

    if body is not None and len(numbers) != 1:
        raise InvalidTicket("--body mends one message: give one number")
    try:
        text = None if body is None else body.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ParkingError(f"{body} is no UTF-8 text") from error
    by = author or login_name()
    each(
        numbers,
        lambda system, number: parking.replay(system.database, number, body=text, by=by),
        database,
        ("message", "messages"),
        "tried again",
        as_json=as_json,
    )


@parked.command()
def drop(
    numbers: Numbers,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Give messages up. They stay on record, and the same ones do not wait here again."""
    from ticket_system import parking

    by = author or login_name()
    each(
        numbers,
        lambda system, number: parking.drop(system.database, number, by=by),
        database,
        ("message", "messages"),
        "dropped",
        as_json=as_json,
    )


def _as_json(one: Parked) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "state": one.state,
        "reason": one.reason,
        "times": one.times,
        "parked_at": one.parked_at.isoformat(),
        "settled_at": one.settled_at and one.settled_at.isoformat(),
        "settled_by": one.settled_by,
    }
