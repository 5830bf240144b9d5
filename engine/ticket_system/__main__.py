"""The `tickets` command."""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from ticket_system.commands import (
    billing,
    calls,
    desk,
    digest,
    doctor,
    figures,
    jobs,
    parked,
    policy,
    prune,
    recipients,
    simulation,
    transfer,
    trust,
    upkeep,
    usage,
)
from ticket_system.commands.terminal import Refused, clean
from ticket_system.errors import (
    HistoryPruned,
    InvalidTransition,
    PolicyError,
    StorageError,
    TicketNotFound,
    TicketSystemError,
)

TROUBLE, USAGE, NOT_FOUND, REFUSED, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 4, 130, 141

# The first that fits.
_STATUSES: tuple[tuple[type[TicketSystemError], int], ...] = (
    (TicketNotFound, NOT_FOUND),
    (HistoryPruned, NOT_FOUND),
    (InvalidTransition, REFUSED),
    (Refused, REFUSED),
    (StorageError, TROUBLE),
    (TicketSystemError, USAGE),
)

app = typer.Typer(
    name="tickets",
    help="Support tickets and the time promised for them.",
    epilog=(
        "The database is tickets.db in this folder, unless --database or TICKETS_DATABASE_URL names another. "
        "Exit status: 0 done; 1 something is wrong, for example with the database, or rows were left out; "
        "2 a command or an input that makes no sense; 3 not found; 4 refused, for example an illegal move."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help comes at once; the decorated one would load Rich first.
    rich_markup_mode=None,
)
app.command()(desk.create)
app.command()(desk.show)
app.command("list")(desk.list_tickets)
app.command()(trust.explain)
app.command()(desk.assign)
app.command()(desk.status)
app.command("set")(desk.set_fields)
app.command()(desk.comment)
app.command()(desk.escalate)
app.command()(desk.merge)
app.command()(calls.ack)
app.command()(calls.alarms)
app.command()(trust.waive)
app.command()(figures.breaches)
app.command()(figures.report)
app.command()(trust.audit)
app.command()(doctor.doctor)
app.command()(jobs.jobs)
app.add_typer(transfer.importing, name="import")
app.command()(transfer.export)
policy.policy.command()(simulation.simulate)
app.add_typer(policy.policy, name="policy")
app.command()(prune.prune)
app.add_typer(upkeep.db, name="db")
app.add_typer(upkeep.deliveries, name="outbox")
app.add_typer(parked.parked, name="parked")
app.add_typer(usage.usage, name="usage")
app.add_typer(billing.billing, name="billing")
app.add_typer(recipients.organisations, name="organisations")
app.add_typer(recipients.recipients, name="recipients")
app.add_typer(digest.digest, name="digest")


@app.callback(invoke_without_command=True)
def tickets(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Support tickets and the time promised for them."""
    if version:
        typer.echo(f"tickets {metadata.version('blackroad-ticket-system')}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its status; whatever goes wrong on purpose is one line on standard error."""
    status: int | None
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # An old locale cannot print every name; a question mark is better than a crash.
            stream.reconfigure(errors="backslashreplace")
    _extend(words)
    try:
        status = app(words, prog_name="tickets", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:
            _fail("interrupted; what was committed stays, and to repeat the command does no harm", status, words)
    except SystemExit:
        status = PIPE_CLOSED  # Typer leaves in this way when it meets a closed pipe, and in no other case
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = PIPE_CLOSED
    except PolicyError as error:
        status = _fail(str(error), USAGE, words, lines=True)
    except TicketSystemError as error:
        status = _fail(str(error), next(status for kind, status in _STATUSES if isinstance(error, kind)), words)
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
            status = USAGE
        else:
            status = _fail(f"{error.format_message().rstrip('.')}; `tickets --help` tells more", USAGE, words)
    sys.exit(status or 0)


def _extend(words: list[str]) -> None:
    """Add the verbs that rooms above bring along: what it takes to write a report, and to mail one, lies there."""
    if words[:1] == ["digest"]:
        for verb in metadata.entry_points(group="ticket_system.digest"):
            digest.digest.command(verb.name)(verb.load())


def _fail(message: str, status: int, words: list[str], *, lines: bool = False) -> int:
    """Say what is wrong in one line, or in `lines`; to a program, in one line of JSON."""
    if lines and "--json" not in words:
        for line in message.splitlines():
            typer.echo(f"tickets: {clean(line)}", err=True)
        return status
    line = " ".join(message.split())
    if "--json" in words:
        typer.echo(json.dumps({"error": line, "status": status}), err=True)
    else:
        typer.echo(f"tickets: {clean(line)}", err=True)
    return status


if __name__ == "__main__":
    main()
