"""Verbs that bring tickets in and take them out."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    bar,
    clean,
    open_system,
    say,
    say_json,
)
from ticket_system.errors import InvalidTicket, StorageUnavailable

if TYPE_CHECKING:
    from ticket_system.imports.summary import ImportSummary

SourceFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.", show_default=False)]

_SHOWN = 20

importing = typer.Typer(
    help="Bring tickets in. May be repeated: what is there already is left alone. Status 1 if rows were left out.",
    no_args_is_help=True,
)


@importing.command("csv")
def import_csv(file: SourceFile, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """A spreadsheet saved as CSV: its first line names the columns, title and requester at least."""
    from ticket_system import imports

    with open_system(database, create=True) as system, bar(file.name) as progress:
        summary = imports.import_csv(system, file, progress=progress)
    _tell(summary, as_json=as_json)


@importing.command("servicenow")
def import_servicenow(
    file: SourceFile,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="The zone the log's times are in.")] = "UTC",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """A ServiceNow incident event log: every event is applied at its own time."""
    from ticket_system import imports

    with open_system(database, create=True) as system, bar(file.name) as progress:
        summary = imports.import_servicenow(system, file, progress=progress, timezone=timezone)
    _tell(summary, as_json=as_json)


@importing.command("legacy")
def import_legacy(file: SourceFile, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """A SQLite file of the earlier library, into another database. The file is only read."""
    from ticket_system import imports

    with open_system(database, create=True) as system, bar(file.name) as progress:
        summary = imports.import_legacy(system, file, progress=progress)
    _tell(summary, as_json=as_json)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; - is standard output.")] = Path("-"),
    form: Annotated[
        str | None, typer.Option("--format", metavar="csv|jsonl", help="Default: as the file's name ends, or csv.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Write every ticket, as CSV that `import csv` reads back exactly, or as JSON lines with its clock."""
    from ticket_system.exports import export_csv, export_json_lines

    chosen = form or ("jsonl" if as_json else None) or ("jsonl" if file.suffix in {".jsonl", ".ndjson"} else "csv")
    if chosen not in {"csv", "jsonl"}:
        raise InvalidTicket(f"the format must be csv or jsonl, not {chosen!r}")
    write = export_csv if chosen == "csv" else export_json_lines
    with open_system(database) as system:
        if str(file) == "-":
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(newline="", encoding="utf-8")
            write(system, sys.stdout)
            return
        if file.exists() and not force:
            raise InvalidTicket(f"{file} exists already; --force replaces it")
        # Under another name first: whoever finds the file finds a whole one.
        partial = file.with_name(f"{file.name}.partial")
        try:
            with partial.open("w", encoding="utf-8", newline="") as opened:
                number = write(system, opened)
            partial.replace(file)
        except OSError as error:
            raise StorageUnavailable(f"{file} cannot be written: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
    say(f"{number:,} {'ticket' if number == 1 else 'tickets'} written to {file}.")


def _tell(summary: ImportSummary, *, as_json: bool) -> None:
    if as_json:
        say_json(asdict(summary))
    else:
        for problem in summary.problems[:_SHOWN]:
            where = f"line {problem.line}: " if problem.line is not None else ""
            typer.echo(clean(f"{where}{problem.reason}"), err=True)
        if summary.failed > _SHOWN:
            typer.echo(f"… and {summary.failed - _SHOWN:,} more; --json lists up to a thousand", err=True)
        if summary.ignored:
            typer.echo(clean(f"columns that mean nothing here: {', '.join(summary.ignored)}"), err=True)
        events = f", {summary.events:,} events applied" if summary.events else ""
        say(
            f"{summary.read:,} rows read: {summary.added:,} tickets added, {summary.present:,} present before,"
            f" {summary.failed:,} rows left out{events}."
        )
    if summary.failed:
        raise typer.Exit(1)
