"""Verbs about who is called when it gets late: what is ahead, and who took it upon themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ticket_system.commands.desk import TicketId
from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    Refused,
    ZoneOption,
    at,
    login_name,
    open_system,
    say,
    say_json,
    table,
    text_or_stdin,
    zone_of,
)
from ticket_system.errors import InvalidTicket, TicketNotFound


def ack(
    ticket_id: TicketId,
    hold: Annotated[
        str, typer.Option("--for", metavar="2h", help="How long. Default: what the policy says, else for good.")
    ] = "",
    note: Annotated[str, typer.Option(help="Why, or what you are about to do; - reads standard input.")] = "",
    revoke: Annotated[bool, typer.Option("--revoke", help="Take it back: the chain goes on where it stood.")] = False,
    author: AuthorOption = "",
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Take a ticket's escalations upon yourself: nobody else is called. Its clocks run on."""
    if revoke and (hold or note):
        raise InvalidTicket("--revoke takes an acknowledgement back, and goes with neither --for nor --note")
    zone, until = zone_of(timezone), datetime.now(UTC) + _length(hold) if hold else None
    with open_system(database) as system:
        name = author or login_name()
        done = (
            system.rearm(ticket_id, name)
            if revoke
            else system.acknowledge(ticket_id, name, until=until, note=text_or_stdin(note))
        )
        ticket, ahead = system.get_ticket(ticket_id), system.get_alarms(ticket_id)
    if ticket is None:
        raise TicketNotFound(ticket_id)
    if not done:
        raise Refused(
            f"{ticket_id} has no acknowledgement to take back"
            if revoke
            else f"{ticket_id} is {ticket.status}; only a ticket that is worked on calls anybody"
        )
    if as_json:
        say_json({"ticket_id": ticket_id, "acknowledged": not revoke, "alarms": ahead})
        return
    following = next((one["at"] for one in ahead if one["kind"] == "level" and one["at"]), None)
    then = f"the next call is at {at(datetime.fromisoformat(following), zone)}" if following else "nobody is called"
    say(f"{ticket_id}: {'the chain goes on' if revoke else f'acknowledged by {name}'}; {then}.")


def alarms(
    ticket_id: TicketId,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show the warnings and escalation levels that are still to come for a ticket."""
    zone = zone_of(timezone)
    with open_system(database) as system:
        if system.get_ticket(ticket_id) is None:
            raise TicketNotFound(ticket_id)
        ahead = system.get_alarms(ticket_id)
    if as_json:
        say_json(ahead)
    elif not ahead:
        say("No alarm is to come for this ticket.")
    else:
        rows = [
            (
                at(datetime.fromisoformat(one["at"]), zone) if one["at"] else "when it goes on",
                one["target"],
                f"{one['kind']} {one['number']}" + (f", repeat {one['repeat']}" if one["repeat"] else ""),
                ", ".join(one["tells"]) or "nobody",
            )
            for one in ahead
        ]
        table(("at", "target", "alarm", "tells"), rows)


def _length(text: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from ticket_system.sla.policy_forms import Seconds

    try:
        seconds = TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        seconds = 0
    if seconds <= 0:
        raise InvalidTicket(f"--for takes a length of time such as 90m, 2h or 1h 30m, not {text[:60]!r}")
    return timedelta(seconds=seconds)
