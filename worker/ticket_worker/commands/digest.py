"""The verbs of `tickets digest` that write a report or mail one; entry points, loaded when they are asked for."""

from __future__ import annotations

import uuid
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    open_system,
    say,
    say_json,
)
from ticket_system.errors import ReportError

if TYPE_CHECKING:
    from ticket_system.reports.contents import Daily, Weekly
    from ticket_system.reports.readers import Reader
    from ticket_tasks.toolbox import Letter
    from ticket_worker.settings import Settings

SAMPLES = ("full", "empty", "hostile", "daily")

Org = Annotated[str | None, typer.Option("--org", metavar="NAME", help="What this organisation would get now.")]
Sample = Annotated[str | None, typer.Option(metavar="|".join(SAMPLES), help="A made-up report.")]
IsDaily = Annotated[bool, typer.Option("--daily", help="The report of a day, not of a week.")]
ReaderOption = Annotated[
    str | None,
    typer.Option("--reader", metavar="ADDRESS", help="As this person sees it. Default: as one who sees all."),
]


def preview(
    org: Org = None,
    sample: Sample = None,
    daily: IsDaily = False,
    reader: ReaderOption = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="Where report.html, .txt, .png and .eml are written.")
    ] = Path("report-preview"),
    browse: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Write a report as it would be mailed now, to look at; nothing is sent, nothing is stored."""
    settings = _settings()
    content, who = _chosen(org, sample, reader, database, is_daily=daily)
    letter = _written(settings, content, who, key=f"preview/{content.organisation}/{content.kind}")
    files = write_files(letter, settings, out)
    if as_json:
        say_json({"subject": letter.subject, "files": [str(path) for path in files]})
    else:
        say(letter.subject, *(f"  {path} ({path.stat().st_size:,} bytes)" for path in files))
    if browse:
        webbrowser.open(files[0].resolve().as_uri())


def send_test(
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who gets it.", show_default=False)],
    org: Org = None,
    sample: Sample = None,
    daily: IsDaily = False,
    reader: ReaderOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Mail a report to one address now, by the mail server that TICKETS_… settings name; it is on no record."""
    from dataclasses import replace

    from ticket_system.tickets import is_address
    from ticket_tasks.errors import JobError
    from ticket_worker.lifecycle import build_mailer

    if not is_address(to):
        raise ReportError(f"{to[:60]!r} is not a plain mail address, name@example.org")
    settings = _settings()
    content, who = _chosen(org, sample, reader, database, is_daily=daily)
    letter = _written(settings, content, replace(who, address=to), key=f"test/{uuid.uuid4()}")
    try:
        answer = build_mailer(settings).send(
            replace(letter, subject=f"[Test] {letter.subject}"), before_data=lambda: None
        )
    except JobError as error:
        typer.echo(f"tickets: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        say_json({"to": to, "subject": letter.subject, "answer": answer})
    else:
        say(f"Mailed to {to}: {answer}")


def write_files(letter: Letter, settings: Settings, folder: Path) -> list[Path]:
    """Write a letter as a page with its pictures beside it, as text, and as it goes over the wire."""
    from ticket_worker.lifecycle import sender_of
    from ticket_worker.message import as_bytes

    folder.mkdir(parents=True, exist_ok=True)
    page = letter.html or ""
    contents: dict[str, bytes] = {}
    for picture in letter.pictures:
        page = page.replace(f"cid:{picture.name}", f"{picture.name}.png")
        contents[f"{picture.name}.png"] = picture.png
    contents = {"report.html": page.encode(), "report.txt": letter.text.encode(), **contents}
    contents["report.eml"] = as_bytes(letter, sender_of(settings))
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def _chosen(
    org: str | None, sample: str | None, reader: str | None, database: str, *, is_daily: bool
) -> tuple[Weekly | Daily, Reader]:
    """Return what stands in the report, and who reads it."""
    from ticket_system import digests, recipients
    from ticket_system.reports.contents import DAILY, WEEKLY
    from ticket_system.reports.readers import Reader, told_to

    if (org is None) == (sample is None):
        raise ReportError("give either --org or --sample")
    if sample is not None:
        if sample not in SAMPLES:
            raise ReportError(f"there is no sample {sample[:40]!r}; there are {', '.join(SAMPLES)}")
        from ticket_tasks.digest.samples import sample as made_up

        return made_up(sample)
    with open_system(database) as system:
        mine = recipients.organisation(system.database, org or "")
        content = digests.preview(system.database, system.rules, mine.name, DAILY if is_daily else WEEKLY)
        people = [one for one, _ in recipients.listed(system.database, mine.name)]
    if reader is None:
        everything = Reader(
            0, "reader@example.org", locale=mine.locale, zone=mine.zone, sees_agents=True, sees_billing=True
        )
        return content, everything
    for one in people:
        if one.key == reader.lower():
            return told_to(content, one.roles, [one.address, one.name]), recipients.reader_of(one, mine)
    raise ReportError(f"{reader[:60]!r} gets no reports of {mine.name}; `tickets recipients list` shows who does")


def _written(settings: Settings, content: Weekly | Daily, who: Reader, *, key: str) -> Letter:
    from ticket_system.reports.contents import Weekly
    from ticket_tasks.digest import chart, letter
    from ticket_worker.lifecycle import build_stationery

    paper = build_stationery(settings)
    leave = paper.unsubscribe_url(who.id, content.kind, content.as_of) if paper.unsubscribe_url else None
    picture = chart.draw(content) if isinstance(content, Weekly) else None
    return letter.write(content, who, paper, key=key, at=content.as_of, picture=picture, unsubscribe_url=leave)


def _settings() -> Settings:
    """Read the settings; what is wrong with them, and what is not installed, is said in one line."""
    try:
        from ticket_tasks.digest import letter as _letter  # noqa: F401
        from ticket_worker.errors import SettingsError
        from ticket_worker.settings import read_settings
    except ModuleNotFoundError as error:
        raise ReportError(f"reports need {error.name}: pip install 'blackroad-ticket-system[charts]'") from error
    try:
        return read_settings()
    except SettingsError as error:
        raise ReportError("; ".join(error.problems)) from None
