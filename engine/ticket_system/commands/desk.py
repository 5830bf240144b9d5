"""Verbs for one ticket, and the queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
    priority_of,
    say,
    say_json,
    span,
    table,
    text_or_stdin,
    zone_of,
)
from ticket_system.errors import InvalidTicket, TicketNotFound
from ticket_system.tickets import DEFAULT_SLA, PRIORITY_LABELS, Comment, Ticket, check_status

TicketId = Annotated[str, typer.Argument(metavar="ID", help="The ticket's id.", show_default=False)]
PriorityOption = Annotated[
    str | None, typer.Option("--priority", metavar="PRIORITY", help="1 to 4, or critical, high, medium, low.")
]

_STYLES = {1: "bold red", 2: "yellow", 3: "", 4: "dim"}


def create(
    title: Annotated[str, typer.Argument(help="What is the matter, in one line.", show_default=False)],
    description: Annotated[str, typer.Option(help="More about it; - reads standard input.")] = "",
    requester: Annotated[str, typer.Option(metavar="NAME", help="Who asks. Default: your login name.")] = "",
    priority: PriorityOption = None,
    hours: Annotated[int | None, typer.Option(help="Hours to resolution. Default: as the priority promises.")] = None,
    assignee: Annotated[str | None, typer.Option(metavar="NAME", help="Who is to do it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="WORD", help="May be given several times.")] = None,
    customer: Annotated[str | None, typer.Option(metavar="NAME", help="Whose ticket it is.")] = None,
    plan: Annotated[str | None, typer.Option(metavar="NAME", help="What they pay for.")] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Who works on it.")] = None,
    ticket_id: Annotated[str | None, typer.Option("--id", help="An id of your own. Default: a new one.")] = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Open a ticket and print its id. Without a priority its words decide."""
    text = text_or_stdin(description)
    chosen = None if priority is None else priority_of(priority)
    with open_system(database, create=True) as system:
        suggested, _ = system.auto_priority(f"{title}\n{text}")
        level = suggested if chosen is None else chosen
        ticket = Ticket(title, text, requester or login_name(), priority=level, assignee=assignee, tags=tag or [])
        ticket.sla_hours = system.policy.hours.get(level, DEFAULT_SLA[3]) if hours is None else hours
        ticket.customer, ticket.plan, ticket.group = customer, plan, group
        if ticket_id is not None:
            ticket.id = ticket_id
        system.create_ticket(ticket)
    if as_json:
        from ticket_system.exports import ticket_as_json

        say_json(ticket_as_json(ticket))
    else:
        say(ticket.id)


def list_tickets(
    assignee: Annotated[str | None, typer.Option(metavar="NAME", help="Only this person's, done ones too.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    priority: PriorityOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show the queue: active tickets, most urgent and oldest first."""
    level = None if priority is None else priority_of(priority)
    with open_system(database) as system:
        found = system.get_queue(assignee, status, level, limit=limit + 1)
    shown = found[:limit]
    if as_json:
        from ticket_system.exports import ticket_as_json

        say_json([ticket_as_json(ticket) for ticket in shown])
        return
    if not shown:
        say("No ticket matches." if assignee or status or priority else "The queue is empty.")
        return
    rows = [
        (ticket.id, PRIORITY_LABELS[ticket.priority], ticket.status, _due(ticket), ticket.assignee or "", ticket.title)
        for ticket in shown
    ]
    styles = [_STYLES[ticket.priority] for ticket in shown]
    table(("id", "priority", "status", "due", "assignee", "title"), rows, styles=styles)
    if len(found) > limit:
        typer.echo(f"There are more; --limit {limit * 2} shows more.", err=True)


def show(
    ticket_id: TicketId,
    database: DatabaseOption = DEFAULT_DATABASE,
    timezone: ZoneOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a ticket: where it stands with its promise, and all that happened to it."""
    from ticket_system.commands.timeline import as_json as told
    from ticket_system.commands.timeline import timeline

    zone = zone_of(timezone)
    with open_system(database) as system:
        ticket = system.get_ticket(ticket_id)
        if ticket is None:
            raise TicketNotFound(ticket_id)
        history, comments = system.get_history(ticket_id), system.get_comments(ticket_id)
    if as_json:
        say_json(told(ticket, history, comments))
        return
    say(f"{ticket.title}", "")
    facts = {
        "id": ticket.id,
        "status": ticket.status,
        "priority": f"{PRIORITY_LABELS[ticket.priority]}, {ticket.sla_hours} hours",
        "requester": ticket.requester,
        "assignee": ticket.assignee or "nobody",
        "tags": ", ".join(ticket.tags),
        "customer": ticket.customer,
        "plan": ticket.plan,
        "group": ticket.group,
        "opened": at(ticket.created_at, zone),
        "resolved": at(ticket.resolved_at, zone) if ticket.resolved_at else "",
        "due": f"{at(ticket.sla_deadline(), zone)} ({_due(ticket)})" if ticket.clock else "no clock runs for it",
    }
    say(*(f"{name:<10} {value}" for name, value in facts.items() if value))
    if ticket.description:
        say("", ticket.description)
    say("", *timeline(history, comments, zone))


def assign(
    ticket_id: TicketId,
    assignee: Annotated[str | None, typer.Argument(metavar="NAME", help="Who is to do it.")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Take it away from whoever has it.")] = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Give a ticket to somebody. An open one is in progress from then on; any other active one keeps its status."""
    if (assignee is None) != nobody:
        raise InvalidTicket("give either the name of an assignee or --nobody")
    with open_system(database) as system:
        done = assignee is not None and system.assign_ticket(ticket_id, assignee)
        done = done or system.reassign_ticket(ticket_id, assignee)
        ticket = system.get_ticket(ticket_id)
    if ticket is None:
        raise TicketNotFound(ticket_id)
    if not done:
        raise Refused(f"{ticket_id} is {ticket.status}, and only active tickets are assigned; move it to open first")
    _confirm(ticket, f"{ticket_id} is {ticket.status}, assigned to {ticket.assignee or 'nobody'}.", as_json=as_json)


def status(
    ticket_id: TicketId,
    new: Annotated[str, typer.Argument(metavar="STATUS", help="Where to move it.", show_default=False)],
    note: Annotated[str, typer.Option(help="An internal comment; - reads standard input.")] = "",
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Move a ticket: open, in_progress, review, on_hold, resolved, closed, cancelled."""
    check_status(new)
    with open_system(database) as system:
        if not system.update_status(ticket_id, new, author or login_name(), text_or_stdin(note)):
            raise TicketNotFound(ticket_id)
        ticket = system.get_ticket(ticket_id)
    _confirm(ticket, f"{ticket_id} is {new}.", as_json=as_json)


def set_fields(
    ticket_id: TicketId,
    priority: PriorityOption = None,
    customer: Annotated[str | None, typer.Option(metavar="NAME", help="Whose ticket it is; '' for nobody's.")] = None,
    plan: Annotated[str | None, typer.Option(metavar="NAME", help="What they pay for; '' for no plan.")] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Who works on it; '' for no group.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="In place of all its tags; may be given several times.")
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all its tags away.")] = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Change what a policy may be chosen by; where one looks at it, the promise and its deadline change with it."""
    if tag and no_tags:
        raise InvalidTicket("give either --tag or --no-tags")
    named = {"customer": customer, "plan": plan, "group": group}
    fields: dict[str, Any] = {what: value or None for what, value in named.items() if value is not None}
    fields |= {"priority": priority_of(priority)} if priority is not None else {}
    fields |= {"tags": tag or []} if tag or no_tags else {}
    if not fields:
        raise InvalidTicket("give what to set: --priority, --customer, --plan, --group, --tag or --no-tags")
    with open_system(database) as system:
        if not system.update_ticket(ticket_id, **fields, author=author or login_name()):
            raise TicketNotFound(ticket_id)
        ticket = system.get_ticket(ticket_id)
    told = fields | ({"priority": PRIORITY_LABELS[fields["priority"]]} if "priority" in fields else {})
    told |= {"tags": " + ".join(fields["tags"])} if "tags" in fields else {}
    sentence = ", ".join(f"{what} {value or 'none'}" for what, value in told.items())
    _confirm(ticket, f"{ticket_id} has {sentence}.", as_json=as_json)


def comment(
    ticket_id: TicketId,
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.", show_default=False)],
    internal: Annotated[bool, typer.Option("--internal", help="Not for the requester's eyes.")] = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say something about a ticket."""
    body = text_or_stdin(text)
    if not body.strip():
        raise InvalidTicket("a comment must not be empty")
    with open_system(database) as system:
        said = system.add_comment(Comment(ticket_id, author or login_name(), body, is_internal=internal))
    if as_json:
        from ticket_system.commands.timeline import comment_as_json

        say_json(comment_as_json(said))
    else:
        say(f"{ticket_id} has a new {'internal ' if internal else ''}comment.")


def escalate(
    ticket_id: TicketId,
    reason: Annotated[str, typer.Option(help="Becomes an internal comment.")] = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Raise the priority one step, and with it the promise: the deadline moves."""
    with open_system(database) as system:
        if not system.escalate(ticket_id, reason):
            raise TicketNotFound(ticket_id)
        ticket = system.get_ticket(ticket_id)
    label = PRIORITY_LABELS[ticket.priority] if ticket else ""
    _confirm(ticket, f"{ticket_id} is {label} now.", as_json=as_json)


def merge(
    ticket_id: TicketId,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The ticket that stays.")],
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """End a ticket that is another one in other words: its clocks are cancelled, and it costs nothing."""
    with open_system(database) as system:
        if not system.merge_ticket(ticket_id, into, author or login_name()):
            raise TicketNotFound(ticket_id)
        ticket = system.get_ticket(ticket_id)
    _confirm(ticket, f"{ticket_id} was merged into {into}.", as_json=as_json)


def _confirm(ticket: Ticket | None, sentence: str, *, as_json: bool) -> None:
    if as_json and ticket is not None:
        from ticket_system.exports import ticket_as_json

        say_json(ticket_as_json(ticket))
    else:
        say(sentence)


def _due(ticket: Ticket) -> str:
    """Write how a ticket stands with its deadline."""
    clock = ticket.clock
    if clock is None:
        return ""
    if clock.stopped_at is not None:
        if clock.due_at is None or clock.state == "cancelled":
            return str(clock.state)
        return f"{span(clock.stopped_at - clock.due_at)} late" if clock.breached_at else "in time"
    left = ticket.time_to_sla()
    if clock.breached_at is not None or left.total_seconds() < 0:
        return f"{span(left)} late"
    return f"{span(left)} left" + (", paused" if clock.paused_at else "")
