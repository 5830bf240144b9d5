"""Verbs for whoever looks after the database and its deliveries."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    open_system,
    say,
    say_json,
    table,
    zone_of,
)
from ticket_system.errors import InvalidTicket, TicketNotFound

db = typer.Typer(help="Look after the database.", no_args_is_help=True)
deliveries = typer.Typer(help="Look after what is sent: list, send again, drop.", no_args_is_help=True)

MessageIds = Annotated[list[int] | None, typer.Argument(metavar="[NUMBER]...", help="As `tickets outbox list` shows.")]
AllStuck = Annotated[bool, typer.Option("--all", help="Every message that is stuck.")]


@db.command()
def upgrade(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Bring the database to this program's schema; several at once, and a second time, are fine."""
    from ticket_system.storage import schema
    from ticket_system.storage.database import Database

    with Database(database) as opened:
        before = opened.schema_version()
        converted = opened.upgrade()
        opened.require_current_schema()
    if as_json:
        copy = str(converted.copy) if converted else None
        say_json({"before": before, "now": schema.HEAD, "copy": copy})
        return
    if converted:
        say(f"{converted.tickets:,} tickets of the earlier library are converted; the file as it was: {converted.copy}")
        if converted.strays:
            say(f"{converted.strays:,} comments and history rows belong to no ticket; they are kept as events.")
    say(f"The database is at schema {schema.HEAD}" + (" already." if before == schema.HEAD else "."))


@db.command()
def version(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show which schema the database has, and which this program wants. Changes nothing."""
    from ticket_system.errors import StorageUnavailable
    from ticket_system.storage import schema
    from ticket_system.storage.database import Database

    with Database(database) as opened:
        if opened.path is not None and "://" not in database and not opened.path.exists():
            raise StorageUnavailable(f"{database}: there is no such file; `tickets db upgrade` makes it")
        found = opened.schema_version()
    if as_json:
        say_json({"database": found, "program": schema.HEAD})
    else:
        say(f"database {found or 'none'}", f"program  {schema.HEAD}")
    if found != schema.HEAD:
        raise typer.Exit(1)


@deliveries.command("list")
def list_deliveries(
    state: Annotated[list[str] | None, typer.Option(help="Only these states. Default: parked, uncertain.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show messages that are stuck and why: parked ones did not arrive, uncertain ones may have."""
    from ticket_system import outbox

    zone = zone_of(timezone)
    wanted = tuple(state or outbox.STUCK)
    if strange := [one for one in wanted if one not in outbox.STATES]:
        raise InvalidTicket(f"there is no state {strange[0]!r}; there are {', '.join(outbox.STATES)}")
    with open_system(database) as system:
        found, count = outbox.rows(system.database, wanted, limit=limit), outbox.count(system.database)
    if as_json:
        rows = [
            {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}
            for one in found
        ]
        say_json({"count": count, "messages": rows})
        return
    if not found:
        say("No message is stuck." if state is None else "No message is in such a state.")
    else:
        table(
            ("number", "state", "kind", "ticket", "destination", "attempts", "since", "error"),
            [
                (
                    str(one.id),
                    one.state,
                    one.kind,
                    one.ticket_id,
                    one.destination,
                    str(one.attempts),
                    at(one.created_at, zone),
                    one.error or "",
                )
                for one in found
            ],
        )
    if count:
        say("", "in all: " + ", ".join(f"{number:,} {name}" for name, number in sorted(count.items())))


@deliveries.command()
def retry(
    numbers: MessageIds = None,
    everything: AllStuck = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Send stuck messages again. An uncertain one may then arrive twice."""
    _settle("retry", numbers or [], database, everything=everything, as_json=as_json)


@deliveries.command()
def drop(
    numbers: MessageIds = None,
    everything: AllStuck = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Decide that stuck messages are not sent. They stay on record."""
    _settle("drop", numbers or [], database, everything=everything, as_json=as_json)


def _settle(verb: str, numbers: list[int], database: str, *, everything: bool, as_json: bool) -> None:
    from ticket_system import outbox

    if bool(numbers) == everything:
        raise InvalidTicket("give either the numbers of messages or --all")
    act = outbox.retry if verb == "retry" else outbox.drop
    with open_system(database) as system:
        done = 0
        if everything:
            while stuck := outbox.rows(system.database, limit=1000):
                done += act(system.database, [one.id for one in stuck])
        else:
            done = act(system.database, numbers)
    if numbers and not done:
        raise TicketNotFound(", ".join(str(number) for number in numbers))
    if as_json:
        say_json({"changed": done})
    else:
        words = "to be sent again" if verb == "retry" else "dropped"
        say(f"{done:,} {'message is' if done == 1 else 'messages are'} {words}.")
