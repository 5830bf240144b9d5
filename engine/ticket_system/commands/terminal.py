"""What the verbs share: which database, whose time zone, and how to speak to a person or to a program."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ticket_system.errors import (
    BillingError,
    InvalidTicket,
    ParkingError,
    ReportError,
    StorageUnavailable,
    TicketSystemError,
)
from ticket_system.tickets import PRIORITY_LABELS

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ticket_system.system import TicketSystem

DEFAULT_DATABASE = "tickets.db"
_URL_FILE = "TICKETS_DATABASE_URL_FILE"


def _from_file(context: typer.Context, database: str) -> str:
    """Return what the file holds that a container or systemd was given, where nothing else names a database."""
    path, source = os.environ.get(_URL_FILE), context.get_parameter_source("database")
    if not path or source is None or source.name != "DEFAULT":
        return database
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter(f"{_URL_FILE}: {path} cannot be read. Expected: a file that holds one URL") from None


DatabaseOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="FILE|URL",
        envvar="TICKETS_DATABASE_URL",
        callback=_from_file,
        help="A SQLite file or a PostgreSQL URL.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON; times in UTC.")]
ZoneOption: TypeAlias = Annotated[
    str, typer.Option("--timezone", metavar="ZONE", help="Show times in this zone, not in this machine's.")
]
AuthorOption: TypeAlias = Annotated[
    str,
    typer.Option("--author", metavar="NAME", envvar="TICKETS_AUTHOR", help="Who does it. Default: your login name."),
]

# Terminals act on control characters and turn text around on others; both are shown, not sent.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROLS_IN_TEXT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Refused(TicketSystemError):
    """What is asked for makes sense, but not for this ticket as it stands."""


@contextmanager
def open_system(database: str, *, create: bool = False) -> Iterator[TicketSystem]:
    """Open the database; only a verb that writes new things makes a file that is not there."""
    from ticket_system.storage.database import Database
    from ticket_system.system import TicketSystem

    with Database(database) as opened:
        # In memory, or a file by a URL of its own kind: not for us to look for.
        plain = opened.path is not None and "://" not in database
        if plain and not create and opened.path is not None and not opened.path.exists():
            raise StorageUnavailable(
                f"{database}: there is no such file; `tickets create` and `tickets import` make it,"
                " --database or TICKETS_DATABASE_URL name another"
            )
        yield TicketSystem(opened)


def each(
    numbers: Sequence[int],
    act: Callable[[TicketSystem, int], None],
    database: str,
    words: tuple[str, str],
    done: str,
    *,
    as_json: bool,
) -> None:
    """Do it to each; what cannot be done is said at the end, and stops none of the others."""
    refused: list[TicketSystemError] = []
    with open_system(database) as system:
        for number in numbers:
            try:
                act(system, number)
            except (BillingError, ParkingError, ReportError) as error:
                refused.append(error)
    changed = len(numbers) - len(refused)
    if as_json:
        say_json({"changed": changed, "refused": [str(error) for error in refused]})
    elif changed:
        say(f"{changed:,} {f'{words[0]} is' if changed == 1 else f'{words[1]} are'} {done}.")
    if refused:
        raise type(refused[0])("; ".join(str(error) for error in refused))


def clean(text: str | None, *, lines: bool = False) -> str:
    """Return a text that a terminal only shows; with `lines` it may have several."""
    pattern = _CONTROLS_IN_TEXT if lines else _CONTROLS
    return pattern.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text or "")


def say(*lines: str) -> None:
    """Print lines for a person."""
    for line in lines:
        typer.echo(clean(line, lines=True))


def say_json(value: Any) -> None:
    """Print JSON for a program. ASCII only: nothing in it can steer a terminal."""
    typer.echo(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, styles: Sequence[str] | None = None) -> None:
    """Print a table: with lines and colours on a terminal, separated by tabs elsewhere, nothing cut off there."""
    if not sys.stdout.isatty():
        typer.echo("\t".join(columns))
        for row in rows:
            typer.echo("\t".join(clean(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        drawn.add_column(column, no_wrap=number == 0, overflow="fold")
    for number, row in enumerate(rows):
        # Text, not markup: a title that reads "[red]" is shown as it is.
        drawn.add_row(*(Text(clean(cell)) for cell in row), style=styles[number] if styles else None)
    Console(highlight=False).print(drawn)


@contextmanager
def bar(about: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on a terminal, beside whatever the output is piped into; yields what moves it: done, of how many."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(clean(about), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def zone_of(name: str) -> ZoneInfo | None:
    """Return the zone of that name; None, the machine's own, for no name."""
    if not name:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidTicket(f"no time zone is called {name!r}; give one like Europe/Lisbon or UTC") from error


def at(moment: datetime, zone: ZoneInfo | None) -> str:
    """Write an instant for people's eyes, with its zone."""
    try:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except OverflowError:  # the last hours of the year 9999, in a zone that is ahead
        return moment.isoformat()


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    minutes = int(abs(length).total_seconds() // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def priority_of(text: str) -> int:
    """Read 1 to 4 or a label; a number that is no priority is left for the engine to refuse."""
    by_label = {label: priority for priority, label in PRIORITY_LABELS.items()}
    if text.lower() in by_label:
        return by_label[text.lower()]
    try:
        return int(text)
    except ValueError:
        raise InvalidTicket(f"priority must be 1 to 4, or {', '.join(by_label)}, not {text[:60]!r}") from None


def login_name() -> str:
    """Return who is at the keyboard."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "system"


def text_or_stdin(text: str) -> str:
    """Return a text; `-` stands for what comes in on standard input."""
    if text != "-":
        return text
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidTicket("standard input is not UTF-8 text") from error
