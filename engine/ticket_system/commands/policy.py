"""Verbs for whoever decides what is promised."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    Refused,
    login_name,
    open_system,
    say,
    say_json,
)

if TYPE_CHECKING:
    from ticket_system.sla.books import PolicyBook

policy = typer.Typer(
    help="Decide what is promised: a commented file, checked, compared, put in force.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The policies, in TOML.", show_default=False)]


@policy.command()
def init(file: Annotated[Path, typer.Argument(metavar="FILE")] = Path("sla.toml"), as_json: JsonOption = False) -> None:
    """Write a commented example to start from. A file that is there is left alone."""
    from ticket_system.sla import policy_file

    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(policy_file.example())
    except FileExistsError:
        raise Refused(f"{file} is there already; name another file") from None
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from error
    if as_json:
        say_json({"file": str(file)})
    else:
        say(f"{file} is written; change it, then: tickets policy check {file}")


@policy.command()
def check(file: File, as_json: JsonOption = False) -> None:
    """Read the policies of a file and say what they promise, or name every mistake with its line."""
    book = _read(file)
    promised = {one.name: sorted(one.targets) for one in book.policies}
    if as_json:
        say_json(promised)
        return
    for name, targets in promised.items():
        say(f"{name}: {', '.join(targets).replace('_', ' ') or 'nothing is promised'}")


@policy.command()
def diff(file: File, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show what the policies of a file would change for new tickets."""
    from ticket_system.sla.books import difference

    book = _read(file)
    with open_system(database) as system:
        version, before = system.in_force()
    changes = difference(before, book)
    if as_json:
        say_json({"version": version, "changes": changes})
    else:
        say(*(changes or ["Nothing would change."]))


@policy.command()
def apply(
    file: File, author: AuthorOption = "", database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False
) -> None:
    """Promise what a file says to new tickets from now on. Clocks that run keep the rules they started with."""
    book = _read(file)
    with open_system(database, create=True) as system:
        version = system.put_in_force(book, actor=author or login_name())
    if as_json:
        say_json({"version": version})
    else:
        say(f"Version {version} is in force for new tickets.")


def _read(file: Path) -> PolicyBook:
    from ticket_system.sla import policy_file

    return policy_file.read(file, now=datetime.now(UTC))
