"""A desk whose customers are billed, at moments of the past, and somebody who answers for whoever bills."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from tests.support.contents import rows_of
from tests.support.factories import a_ticket
from tests.support.promises import MONDAY, at
from ticket_system import TicketSystem, accounts, ledger, merging
from ticket_system.accounts import Synced
from ticket_system.billing.deliveries import Answer, Delivery, Said, State
from ticket_system.billing.subscriptions import Subscription
from ticket_system.billing.usage import CRITICAL_TICKET, Window
from ticket_system.changes import Changes
from ticket_system.ledger import Row
from ticket_system.settlements import listed
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.plans import Billing, Plan
from ticket_system.sla.policies import Policy, TargetRule
from ticket_system.storage.billing_tables import usage_facts
from ticket_system.storage.database import Database

ACCEPTED = Said(Answer.ACCEPTED, request_id="req_1")
REFUSED = Said(Answer.REFUSED, http=404, code="resource_missing", message="No such customer")
#: Long enough after an hour that it is sealed.
SEALED = 1.2
JUNE = Window(datetime.fromisoformat("2026-06-01T00:00Z"), datetime.fromisoformat("2026-07-01T00:00Z"))


def a_policy_for_all(**changes: Any) -> Policy:
    """A hundred hours around the clock, for everybody."""
    hundred = TargetRule(dict.fromkeys(range(1, 5), 360_000))
    mine: dict[str, Any] = {"name": "all", "rank": 9, "targets": {"resolution": hundred}, "chain": ()}
    return Policy(**mine | changes)


def a_subscription(price: str | None = "gold-monthly", status: str = "active", **changes: Any) -> Subscription:
    """A subscription of this month."""
    mine: dict[str, Any] = {"id": "sub_1", "created": JUNE.start, "periods": (JUNE,)}
    return Subscription(**mine | {"price": price, "status": status} | changes)


class Till:
    """A desk whose customers are billed."""

    def __init__(self, url: str) -> None:
        self.now = MONDAY
        self.database = Database(url, clock=lambda: self.now)
        self.database.upgrade()
        self.system = TicketSystem(self.database)

    def promises(self, *plans: Plan, policies: Collection[Policy] = (), **billing: Any) -> None:
        """Put plans in force."""
        book = PolicyBook(
            (*policies, a_policy_for_all()), {}, plans={one.name: one for one in plans}, billing=Billing(**billing)
        )
        self.system.put_in_force(book, actor="lead")

    def links(self, name: str = "acme", theirs: str = "cus_A", *, livemode: bool = False, hours: float = 0) -> int:
        """Say who a customer is for whoever bills."""
        return accounts.link(self.database, name, theirs, livemode=livemode, actor="boss", now=at(hours))

    def fetches(self, *found: Subscription, name: str = "acme", hours: float = 0, **more: Any) -> Synced:
        """Store what a customer has bought."""
        seen = more.pop("seen", hours)
        synced = accounts.apply(self.database, self.system.rules, name, found, seen_at=at(seen), now=at(hours))
        assert synced is not None
        return synced

    def bills_critical(self, critical: str, hours: float = 0) -> None:
        """Have the plan of a customer bill critical tickets in another way."""
        self.promises(
            Plan("gold", frozenset({"gold-monthly"}), hours=8, critical=critical),  # type: ignore[arg-type]
            amounts={CRITICAL_TICKET: 1500},
        )
        self.fetches(a_subscription(), hours=hours)

    def opens(self, ticket_id: str = "t", *, hours: float = 0, **changes: Any) -> None:
        """Open a ticket of a customer."""
        mine: dict[str, Any] = {"id": ticket_id, "customer": "acme", "created_at": at(hours), "updated_at": at(hours)}
        self.system.create_ticket(a_ticket(**mine | changes))

    def does(self, verb: str, *words: Any, hours: float, **more: Any) -> Any:
        """Make a change at its moment."""
        with self.database.write() as connection:
            return getattr(Changes(connection, self.system.rules), verb)(*words, now=at(hours), **more)

    def forgives(self, ticket_id: str = "t", *, hours: float, reason: str = "kindness") -> list[str]:
        """Let a ticket cost nothing."""
        with self.database.write() as connection:
            changes = Changes(connection, self.system.rules)
            ticket, now = changes.lock(ticket_id, at(hours))
            assert ticket is not None
            return changes.forgive(ticket, reason, now)

    def merges(self, ticket_id: str, into: str, *, hours: float) -> bool:
        """End a ticket in favour of another."""
        with self.database.write() as connection:
            return merging.merge(Changes(connection, self.system.rules), ticket_id, into, now=at(hours))

    def facts(self, ticket_id: str | None = None) -> list[dict[str, Any]]:
        """What was counted."""
        found = rows_of(self.database, usage_facts)
        return [one for one in found if ticket_id in {None, one["ticket_id"]}]

    def causes(self, ticket_id: str | None = None) -> list[str]:
        """What was counted, by its cause: `void` is what is not to be paid for and in no batch, `-` a credit."""
        return [
            ("-" if one["quantity"] < 0 else "")
            + one["key"]
            + (" void" if one["forgiven_at"] and not one["batch_id"] else "")
            for one in self.facts(ticket_id)
        ]

    def seals(self, hours: float, *, livemode: bool = False) -> int:
        """Seal what is over; returns how many batches were made."""
        made = 0
        while new := ledger.seal(self.database, self.system.rules, livemode=livemode, now=at(hours)).batches:
            made += new
        return made

    def sends(self, hours: float, said: Said = ACCEPTED, *, livemode: bool = False) -> list[Delivery]:
        """Send all that is due, to somebody who always says the same."""
        after: list[Delivery] = []
        while held := ledger.claim(self.database, livemode=livemode, now=at(hours)):
            after += [
                ledger.settle(self.database, row, begun, said, luck=1, now=at(hours))
                for row in held.rows
                if (begun := ledger.begin(self.database, held, row, now=at(hours)))
            ]
            ledger.release(self.database, held)
        return after

    def rows(self, *states: str) -> list[Row]:
        """Deliveries in these states; in any, if none is named."""
        return listed(self.database, states or tuple(State), limit=1000)

    def row(self) -> Row:
        """The only delivery there is."""
        [row] = self.rows()
        return row

    def told(self) -> list[tuple[str, str, str, int]]:
        """Each delivery: state, kind, the meter or the invoice, and quantity; tickets opened first, then as made."""
        rows = sorted(self.rows(), key=lambda row: row.batch.kind, reverse=True)
        return [(row.delivery.state, row.batch.kind, row.lane.event_name, row.delivery.quantity) for row in rows]


def minutes(number: float) -> timedelta:
    """So many minutes."""
    return timedelta(minutes=number)
