"""Verbs about customers as they are billed: who they are for Stripe, what they bought, what was done about them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    AuthorOption,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    login_name,
    open_system,
    say,
    say_json,
    table,
    zone_of,
)
from ticket_system.commands.usage import LiveOption
from ticket_system.errors import BillingError

if TYPE_CHECKING:
    from ticket_system.accounts import Customer

billing = typer.Typer(help="Look after customers as they are billed: link, show, fetch anew.", no_args_is_help=True)


@billing.command()
def link(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="As tickets name them.")],
    stripe_customer: Annotated[str, typer.Argument(metavar="CUS_…", help="As Stripe names them.")],
    live: LiveOption = False,
    author: AuthorOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Say who a customer is for Stripe. What was counted before is billed too; what was refused is sent again."""
    from ticket_system import accounts

    with open_system(database) as system:
        again = accounts.link(system.database, customer, stripe_customer, livemode=live, actor=author or login_name())
    if as_json:
        say_json({"customer": customer, "stripe_customer": stripe_customer, "sent_again": again})
        return
    more = f"; {again:,} refused or unsent deliveries go there now" if again else ""
    say(f"{customer} is {stripe_customer}{more}. Its plan is fetched at the next tick.")


@billing.command()
def show(
    customer: Annotated[str | None, typer.Argument(metavar="[CUSTOMER]", help="Default: all of them.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    timezone: ZoneOption = "",
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Show customers, their plans, and what is wrong with them."""
    from ticket_system import accounts

    zone = zone_of(timezone)
    with open_system(database) as system:
        if customer is None:
            found, history = accounts.listed(system.database, limit=limit), []
        else:
            one = accounts.get(system.database, customer)
            if one is None:
                raise BillingError(f"{customer} is not linked; `tickets billing link {customer} cus_…` does it")
            found, history = [one], accounts.history(system.database, customer)
    if as_json:
        told = [_as_json(one) for one in found]
        say_json(told if customer is None else told[0] | {"history": [_plain(entry) for entry in history]})
        return
    if not found:
        say("No customer is linked yet; `tickets billing link CUSTOMER cus_…` does it.")
        return
    columns = ("customer", "mode", "stripe", "status", "plan", "critical", "fetched", "problem")
    table(columns, [_cells(one, at(one.synced_at, zone) if one.synced_at else "not yet") for one in found])
    if history:
        say("")
        cells = [(at(one["at"], zone), one["actor"], one["kind"], one["note"]) for one in history]
        table(("when", "who", "what", "note"), cells)


@billing.command()
def sync(
    customer: Annotated[str | None, typer.Argument(metavar="[CUSTOMER]", help="Default: all of them.")] = None,
    live: LiveOption = False,
    database: DatabaseOption = DEFAULT_DATABASE,
    as_json: JsonOption = False,
) -> None:
    """Have customers fetched anew at the fleet's next tick, and events tried again that were given up."""
    from ticket_system import accounts, inbox

    with open_system(database) as system:
        one = accounts.get(system.database, customer) if customer else None
        if customer and one is None:
            raise BillingError(f"{customer} is not linked; `tickets billing link {customer} cus_…` does it")
        marked = accounts.mark(
            system.database,
            livemode=one.livemode if one else live,
            stripe_customer=one.stripe_customer if one else None,
        )
        revived = inbox.revive(system.database)
    if as_json:
        say_json({"customers": marked, "events": revived})
    else:
        more = f", {revived:,} {'event is' if revived == 1 else 'events are'} tried again" if revived else ""
        say(f"{marked:,} {'customer is' if marked == 1 else 'customers are'} fetched at the next tick{more}.")


def _cells(one: Customer, fetched: str) -> tuple[str, ...]:
    from ticket_system.billing.usage import mode
    from ticket_system.sla.plans import FREE

    status, plan = one.status or "none", one.plan or FREE
    return (one.name, mode(one.livemode), one.stripe_customer, status, plan, one.critical, fetched, one.problem or "")


def _as_json(one: Customer) -> dict[str, Any]:
    return _plain(one._asdict())


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
