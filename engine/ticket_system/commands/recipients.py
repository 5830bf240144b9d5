"""Verbs about who gets reports: organisations, and the people in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    Refused,
    at,
    login_name,
    open_system,
    say,
    say_json,
    table,
    zone_of,
)
from ticket_system.errors import ReportError

if TYPE_CHECKING:
    from ticket_system.recipients import Organisation, Recipient, Schedule

organisations = typer.Typer(
    help="Look after who gets reports together: whose tickets, and where it is Monday at nine.", no_args_is_help=True
)
recipients = typer.Typer(help="Look after the people who get reports: add, list, remove.", no_args_is_help=True)

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The organisation.", show_default=False)]
Org = Annotated[str, typer.Option("--org", metavar="NAME", help="The organisation.", show_default=False)]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address.", show_default=False)]
Locale = Annotated[
    str | None, typer.Option(metavar="LOCALE", help="For numbers and dates, like de_DE; the words are English.")
]
Hour = Annotated[int | None, typer.Option(min=0, max=23, help="The hour at which they get it, by their own clock.")]


@organisations.command("set")
def set_organisation(
    name: Name,
    customer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Count this customer's tickets only; '' for all.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Count this group's only; '' for all.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Like Europe/Lisbon. New ones: UTC.")] = None,
    locale: Locale = None,
    weekday: Annotated[
        str | None, typer.Option(metavar="DAY", help="The day of the report: monday to sunday. New ones: monday.")
    ] = None,
    hour: Hour = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Make an organisation, or change what is named. Without a customer and a group its report counts all tickets."""
    from ticket_system import recipients as front
    from ticket_system.tickets import LEAVE

    with open_system(database, create=True) as system:
        found = front.set_organisation(
            system.database,
            name,
            customer=LEAVE if customer is None else customer or None,
            group=LEAVE if group is None else group or None,
            zone=LEAVE if timezone is None else timezone,
            locale=LEAVE if locale is None else locale,
            weekday=LEAVE if weekday is None else _weekday(weekday),
            hour=LEAVE if hour is None else hour,
        )
        ahead = [one for other, some in front.all_organisations(system.database) if other == found for one in some]
    if as_json:
        say_json(_organisation_as_json(found, ahead))
    else:
        say(f"{name} gets its report of {_whose(found)} on {_when(found)}: {_next(ahead)}.")


@organisations.command("list")
def list_organisations(database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show organisations, whose tickets their reports count, and when the next one is due."""
    from ticket_system import recipients as front

    with open_system(database) as system:
        found = front.all_organisations(system.database)
    if as_json:
        say_json([_organisation_as_json(one, ahead) for one, ahead in found])
    elif not found:
        say("There is no organisation yet; `tickets organisations set NAME` makes one.")
    else:
        columns = ("organisation", "counts", "report", "numbers as", "next")
        table(columns, [(one.name, _whose(one), _when(one), one.locale, _next(ahead)) for one, ahead in found])


@organisations.command("remove")
def remove_organisation(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only say what would be removed.")] = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Have no more reports of an organisation: it and its people are forgotten, its past reports stay on record.

    What is planned is not made, and letters that wait are not sent.
    """
    from ticket_system import recipients as front

    with open_system(database) as system:
        front.organisation(system.database, name)
        people = len(front.listed(system.database, name))
        if not yes:
            some = f"{people:,} {'person' if people == 1 else 'people'}"
            raise Refused(f"{name} and {some} who may get its reports would be forgotten; say --yes to do it")
        front.remove_organisation(system.database, name, actor=author or login_name())
    if as_json:
        say_json({"removed": name, "people": people})
    else:
        say(f"There are no more reports of {name}; those that were made stay: tickets digest list --reports.")


@recipients.command()
def add(
    address: Address,
    org: Org,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What the person is called.")] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE", help="manager, agent or billing; may be given several times. New ones: manager."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Where they are; '' for where the organisation is.")
    ] = None,
    locale: Locale = None,
    hour: Hour = None,
    weekly: Annotated[bool | None, typer.Option("--weekly/--no-weekly", help="The weekly report.")] = None,
    daily: Annotated[
        bool | None, typer.Option("--daily/--no-daily", help="What was broken yesterday and is due next, every day.")
    ] = None,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Have somebody get reports, or change what is named about them.

    Managers see what each agent has, the billing role sees what is billed; by day an agent is told of their own
    tickets. Whoever left a series comes back to it only with --weekly or --daily.
    """
    from ticket_system import recipients as front
    from ticket_system.tickets import LEAVE

    with open_system(database) as system:
        found = front.add(
            system.database,
            org,
            address,
            actor=author or login_name(),
            name=LEAVE if name is None else name,
            roles=role or LEAVE,
            zone=LEAVE if timezone is None else timezone or None,
            locale=LEAVE if locale is None else locale or None,
            hour=LEAVE if hour is None else hour,
            weekly=LEAVE if weekly is None else weekly,
            daily=LEAVE if daily is None else daily,
        )
    if as_json:
        say_json(_recipient_as_json(found, None))
    else:
        gets = " and ".join(_kinds(found)) or "no"
        say(f"{address} gets {gets} reports of {org}, as {' and '.join(found.roles)}.")


@recipients.command("list")
def list_recipients(
    org: Annotated[str | None, typer.Option("--org", metavar="NAME", help="Of this organisation only.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show who gets which reports, and whom none can reach."""
    from ticket_system import recipients as front

    with open_system(database) as system:
        if org is not None:
            front.organisation(system.database, org)
        found = front.listed(system.database, org)
    if as_json:
        say_json([_recipient_as_json(one, reason) for one, reason in found])
    elif not found:
        say("Nobody gets reports yet; `tickets recipients add ADDRESS --org NAME` changes that.")
    else:
        columns = ("organisation", "address", "name", "roles", "gets", "where", "last said by", "problem")
        table(columns, [_cells(one, reason) for one, reason in found])


@recipients.command()
def remove(
    address: Address, org: Org, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False
) -> None:
    """Have somebody get no more reports of an organisation; what was sent stays on record."""
    from ticket_system import recipients as front

    with open_system(database) as system:
        front.remove(system.database, org, address)
    if as_json:
        say_json({"removed": address, "organisation": org})
    else:
        say(f"{address} gets no more reports of {org}.")


@recipients.command()
def release(address: Address, database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Let reports go again to an address of which its mail server said that there is nobody."""
    from ticket_system import recipients as front

    with open_system(database) as system:
        front.release(system.database, address)
    if as_json:
        say_json({"released": address})
    else:
        say(f"Reports go to {address} again.")


def _weekday(text: str) -> int:
    found = [number for number, day in enumerate(_DAYS) if len(text) > 1 and day.startswith(text.lower())]
    if len(found) != 1:
        raise ReportError(f"no day is called {text[:40]!r}; give {_DAYS[0]} to {_DAYS[-1]}")
    return found[0]


def _whose(one: Organisation) -> str:
    parts = [f"customer {one.customer}"] if one.customer else []
    parts += [f"group {one.group}"] if one.group else []
    return " and ".join(parts) or "all tickets"


def _when(one: Organisation) -> str:
    return f"{_DAYS[one.weekday].capitalize()} {one.hour:02}:00 {one.zone}"


def _next(ahead: list[Schedule]) -> str:
    return ", ".join(f"{one.kind} {at(one.next_at, zone_of(''))}" for one in ahead) or "none"


def _kinds(one: Recipient) -> list[str]:
    return [kind for kind in ("weekly", "daily") if one.wants(kind)]


def _cells(one: Recipient, reason: str | None) -> tuple[str, ...]:
    where = [one.zone, one.locale, None if one.hour is None else f"{one.hour:02}:00"]
    return (
        one.organisation,
        one.address,
        one.name,
        " ".join(one.roles),
        " ".join(_kinds(one)) or "nothing",
        ", ".join(part for part in where if part),
        one.changed_by,
        f"suppressed: {reason}" if reason else "",
    )


def _organisation_as_json(one: Organisation, ahead: list[Schedule]) -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(one) | {"weekday": _DAYS[one.weekday], "created_at": one.created_at.isoformat()}
    told["next"] = {
        schedule.kind: {"day": schedule.next_on.isoformat(), "at": schedule.next_at.isoformat()} for schedule in ahead
    }
    return told


def _recipient_as_json(one: Recipient, reason: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}
    return told | {"suppressed": reason}
