"""Verbs about usage: what waits to be billed, what is stuck and how much money it is, and what can be done about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_system.commands.desk import TicketId
from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    each,
    login_name,
    open_system,
    say,
    say_json,
    span,
    table,
    zone_of,
)
from ticket_system.errors import InvalidTicket, TicketNotFound

if TYPE_CHECKING:
    from ticket_system.ledger import Row
    from ticket_system.system import TicketSystem

usage = typer.Typer(help="Look after what is billed: list, show, send again, settle, carry over.", no_args_is_help=True)

Numbers = Annotated[
    list[int], typer.Argument(metavar="NUMBER...", min=1, max=2**63 - 1, help="As `tickets usage list` shows.")
]
LiveOption = Annotated[bool, typer.Option("--live", help="Customers of Stripe's live mode, not of its test mode.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept on record.")]


@usage.command("list")
def list_usage(
    state: Annotated[list[str] | None, typer.Option(help="Only these states. Default: those that are stuck.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show usage that is stuck and why, then all that is not billed yet, with age and money at stake."""
    from ticket_system import settlements
    from ticket_system.billing.deliveries import STUCK, State

    zone, wanted = zone_of(timezone), tuple(state or STUCK)
    if strange := [one for one in wanted if one not in list(State)]:
        raise InvalidTicket(f"there is no state {strange[0]!r}; there are {', '.join(State)}")
    with open_system(database) as system:
        rows = settlements.listed(system.database, wanted, limit=limit, customer=customer)
        ledger = settlements.outstanding(system.database)
    if as_json:
        say_json({"deliveries": [_as_json(row) for row in rows], **ledger.as_json()})
        return
    if not rows:
        say("No usage waits for a person." if state is None else "No usage is in such a state.")
    else:
        columns = ("number", "state", "customer", "what", "quantity", "at stake", "of", "error")
        table(columns, [(*_cells(row), at(row.batch.window_start, zone), _why(row)) for row in rows])
    if ledger.rows:
        say("", "Not billed yet:")
        now = datetime.now(UTC)
        cells = [(one.what, f"{one.quantity:,}", one.money, span(now - one.oldest), one.hint) for one in ledger.rows]
        table(("what", "quantity", "at stake", "oldest", ""), cells)
    for one in ledger.surplus:
        said = "{quantity:,} more {event_name} of {stripe_customer} are counted than were sent; a person has to look"
        say(said.format(**one))
    if ledger.dead_events:
        number = f"{ledger.dead_events:,} {'event was' if ledger.dead_events == 1 else 'events were'}"
        say(f"{number} given up; `tickets billing sync` tries again.")


@usage.command()
def show(
    what: Annotated[str, typer.Argument(metavar="NUMBER|TICKET", help="A delivery, or a ticket.")],
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show a delivery with the tickets behind its number, or what a ticket was counted for."""
    from ticket_system import settlements

    zone = zone_of(timezone)
    with open_system(database) as system:
        row = settlements.get(system.database, int(what)) if what.isdecimal() and len(what) < 18 else None  # noqa: PLR2004
        facts = settlements.facts(system.database, row.batch.id) if row else []
        counted = [] if row else settlements.of_ticket(system.database, what)
        if row is None and not counted and system.get_ticket(what) is None:
            raise TicketNotFound(what)
    if row is not None:
        told = _as_json(row) | {
            "tickets": [
                {"ticket_id": ticket, "kind": kind, "occurred_at": when.isoformat(), "quantity": quantity}
                for ticket, kind, when, quantity in facts
            ]
        }
        if as_json:
            say_json(told)
            return
        table(("", ""), [(name, str(value)) for name, value in told.items() if name != "tickets" and value is not None])
        say("")
        table(("ticket", "what", "when", "quantity"), [(a, b, at(c, zone), str(d)) for a, b, c, d in facts])
    elif as_json:
        say_json([one | {"occurred_at": one["occurred_at"].isoformat()} for one in counted])
    elif not counted:
        say("This ticket was counted for nothing: it has no customer, or it was imported.")
    else:
        columns = ("what", "customer", "when", "quantity", "route", "delivery", "state", "forgiven")
        names = ("kind", "customer", "occurred_at", "quantity", "route", "delivery", "state", "reason")
        cells = [
            tuple(at(one[name], zone) if name == "occurred_at" else _text(one[name]) for name in names)
            for one in counted
        ]
        table(columns, cells)


@usage.command()
def retry(
    numbers: Numbers,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Send refused usage again, under a new identifier, to the customer that is linked now."""
    from ticket_system import settlements

    def act(system: TicketSystem, number: int) -> None:
        settlements.retry(system.database, number, actor=author or login_name())

    each(numbers, act, database, ("delivery", "deliveries"), "to be sent again", as_json=as_json)


@usage.command()
def resolve(
    numbers: Numbers,
    reason: ReasonOption,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say that usage needs nothing more: it was settled elsewhere, or is let go."""
    from ticket_system import settlements

    def act(system: TicketSystem, number: int) -> None:
        settlements.resolve(system.database, number, reason, actor=author or login_name())

    each(numbers, act, database, ("delivery", "deliveries"), "resolved", as_json=as_json)


@usage.command()
def carry(
    numbers: Numbers,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Charge usage that a meter takes no longer as an item on the customer's next invoice."""
    from ticket_system import settlements

    def act(system: TicketSystem, number: int) -> None:
        settlements.carry(system.database, system.rules, number, actor=author or login_name())

    each(numbers, act, database, ("delivery", "deliveries"), "carried to the next invoice", as_json=as_json)


@usage.command()
def waive(
    ticket_id: TicketId,
    reason: ReasonOption,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Let a ticket cost nothing. What was not sent is void; what was is credited."""
    with open_system(database) as system:
        done = system.waive_usage(ticket_id, reason, author=author or login_name())
    if as_json:
        say_json({"forgiven": done})
    else:
        say(f"Forgiven: {', '.join(done)}." if done else "There is nothing to forgive.")


@usage.command()
def report(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; change nothing.")] = False,
    live: LiveOption = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Have all that is due sent at the fleet's next tick, whatever it waits for; or show what that would be."""
    from ticket_system import ledger, settlements

    with open_system(database) as system:
        waiting = 0 if dry_run else ledger.release_backoff(system.database)
        if dry_run:
            rows = ledger.preview(system.database, system.rules, livemode=live)
        else:
            rows = settlements.listed(system.database, ("sealed", "sending"), limit=1_000_000, livemode=live)
    if as_json:
        say_json([_as_json(row) for row in rows])
        return
    if dry_run:
        if not rows:
            say("Nothing would be sent.")
            return
        columns = ("identifier", "stripe customer", "event", "timestamp", "value", "idempotency key")
        table(columns, [_call(row) for row in rows])
        return
    say(
        f"{len(rows):,} {'delivery is' if len(rows) == 1 else 'deliveries are'} to be sent at the next tick"
        + (f", {waiting:,} of them earlier than planned." if waiting else ".")
    )


def _call(row: Row) -> tuple[str, ...]:
    from ticket_system.billing.money import money

    value = money(row.money, row.batch.currency) if row.is_item else str(row.delivery.quantity)
    when = f"{row.delivery.event_at:%Y-%m-%dT%H:%M:%SZ}"
    key = row.delivery.idempotency_key.removeprefix(row.delivery.identifier)
    return (row.delivery.identifier, row.lane.stripe_customer, row.lane.event_name, when, value, f"…{key}")


def _cells(row: Row) -> tuple[str, ...]:
    from ticket_system.billing.money import money

    at_stake = money(row.money, row.batch.currency) if row.batch.amount else "no amount set"
    one, batch = row.delivery, row.batch
    return (str(one.id), one.state, batch.customer, batch.kind, str(one.quantity), at_stake)


def _why(row: Row) -> str:
    one = row.delivery
    if one.found is not None:
        return f"{one.found} counted instead of {one.quantity}"
    return " ".join(part for part in (one.error_code, one.error) if part)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _as_json(row: Row) -> dict[str, Any]:
    from dataclasses import asdict

    from ticket_system.billing.usage import mode

    told = {
        **asdict(row.delivery),
        "idempotency_key": row.delivery.idempotency_key,
        "customer": row.batch.customer,
        "mode": mode(row.lane.livemode),
        "stripe_customer": row.lane.stripe_customer,
        "event_name": row.lane.event_name,
        "kind": row.batch.kind,
        "window_start": row.batch.window_start,
        "window_end": row.batch.window_end,
        "money": row.money,
        "currency": row.batch.currency,
    }
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
