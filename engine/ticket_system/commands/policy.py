"""Verbs for whoever decides what is promised."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    Refused,
    at,
    bar,
    login_name,
    open_system,
    say,
    say_json,
    table,
)
from ticket_system.errors import InvalidTicket

if TYPE_CHECKING:
    from ticket_system.sla.books import PolicyBook
    from ticket_system.system import TicketSystem

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
    book = read_file(file)
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

    book = read_file(file)
    with open_system(database) as system:
        version, before = system.in_force()
    changes = difference(before, book)
    if as_json:
        say_json({"version": version, "changes": changes})
    else:
        say(*(changes or ["Nothing would change."]))


@policy.command()
def apply(
    file: File,
    to_open: Annotated[
        bool, typer.Option("--to-open", help="Also to tickets that are open already; shows first what would move.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --to-open: only show what would move.")] = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Promise what a file says to new tickets from now on. Clocks that run keep the rules they started with.

    With --to-open they do not: what is not decided yet runs under the new rules, no alarm is raised for what is past,
    and what is closed or breached stays as it is. Killed in the middle, the same command does the rest.
    """
    if dry_run and not to_open:
        raise InvalidTicket("--dry-run goes with --to-open; `tickets policy diff` shows what changes for new tickets")
    book, name = read_file(file), author or login_name()
    with open_system(database, create=not dry_run) as system:
        told: dict[str, Any] = {}
        if to_open:
            told |= _show_moves(system, book, as_json=as_json)
            if dry_run:
                if as_json:
                    say_json(told)
                return
            _confirm(told["tickets"], yes=yes)
        version, before = system.in_force()
        if version is None or before != book:
            version = system.put_in_force(book, actor=name)
        told["version"] = version
        if to_open:
            told["changed"] = _apply_to_open(system, name)
    if as_json:
        say_json(told)
    else:
        say(f"Version {version} is in force for new tickets.")
        if to_open:
            say(f"{told['changed']:,} open {'ticket runs' if told['changed'] == 1 else 'tickets run'} under it now.")


def _show_moves(system: TicketSystem, book: PolicyBook, *, as_json: bool) -> dict[str, Any]:
    from ticket_system import rollout

    with bar("looking at open tickets") as progress:
        found = rollout.preview(system.database, system.rules, book, progress=progress)
    counted = {what: found.counted[what] for what in _WORDS if found.counted[what]}
    if not as_json:
        are = "ticket is" if found.tickets == 1 else "tickets are"
        say(f"{found.tickets:,} {are} open." + ("" if counted else " No clock would move."))
        for what, number in counted.items():
            say(f"{number:>9,} {'clock' if number == 1 else 'clocks'} {_WORDS[what]}")
        shown = found.moves[:_SHOWN]
        if shown:
            rows = [(one.ticket_id, one.target, one.what, *map(_due, (one.due_before, one.due_after))) for one in shown]
            table(("ticket", "target", "what", "due before", "due after"), rows)
    moves = [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in one._asdict().items()}
        for one in found.moves
    ]
    return {"tickets": found.tickets, "counted": counted, "moves": moves}


def _confirm(number: int, *, yes: bool) -> None:
    if yes or not number:
        return
    if not sys.stdin.isatty():
        raise InvalidTicket("nobody is there to be asked; look with --dry-run, then say --yes")
    if not typer.confirm("Put them under these rules?", err=True):
        raise Refused("nothing was changed")


def _apply_to_open(system: TicketSystem, author: str) -> int:
    from ticket_system import rollout

    with bar("open tickets") as progress:
        return rollout.apply(system.database, system.rules, actor=author, progress=progress)


def _due(moment: datetime | None) -> str:
    return at(moment, None) if moment else "none, paused or not promised"


#: What may become of a clock, the most painful first.
_WORDS = {
    "breached": "would be late at once",
    "earlier": "would be due earlier",
    "ended": "would end: nothing is promised any more",
    "begun": "would begin",
    "later": "would be due later",
    "paused": "would go on with another rest",
    "same": "would be due as before",
}
_SHOWN = 20


def read_file(file: Path) -> PolicyBook:
    """Read the policies of a file, or name every mistake in it."""
    from ticket_system.sla import policy_file

    return policy_file.read(file, now=datetime.now(UTC))
