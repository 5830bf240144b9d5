"""A desk in Berlin with office hours: policies, a ticket on a Monday morning, and changes at moments of the past."""

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from ticket_system import Ticket, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.monitor import Sweep
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.policies import Policy, TargetRule
from ticket_system.storage import alarms, clocks, tables
from ticket_system.storage.events import Event

HOUR = 3600
OFFICE = Calendar("office", ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), (Hours.of(time(9), time(17)),)))
#: A Monday, nine o'clock in Berlin.
MONDAY = datetime(2026, 6, 1, 7, tzinfo=UTC)


def at(hours: float) -> datetime:
    """So many hours after the ticket was opened."""
    return MONDAY + timedelta(hours=hours)


def promise(hours: float | dict[int, float], **changes: Any) -> TargetRule:
    """Office hours, for every priority or by priority."""
    by_priority = hours if isinstance(hours, dict) else dict.fromkeys(range(1, 5), hours)
    seconds = {priority: int(wanted * HOUR) for priority, wanted in by_priority.items()}
    return TargetRule(**{"seconds": seconds, "calendar": "office"} | changes)


def a_policy(**changes: Any) -> Policy:
    """An hour to answer, two to answer again, ten to solve it."""
    targets = {
        FIRST_RESPONSE: promise(1, pausing=frozenset()),
        NEXT_RESPONSE: promise(2),
        RESOLUTION: promise(10),
    }
    return Policy(**{"name": "office hours", "targets": targets} | changes)


class Desk:
    """A system whose changes are told when they happen."""

    def __init__(self, system: TicketSystem) -> None:
        self.system = system

    def promises(self, *policies: Policy, **more: Any) -> int:
        """Put policies in force."""
        return self.system.put_in_force(PolicyBook(policies, {"office": OFFICE}, **more), actor="lead")

    def opens(self, ticket_id: str = "t", **changes: Any) -> Ticket:
        """Open a ticket on Monday at nine."""
        return self.system.create_ticket(a_ticket(**{"id": ticket_id, "created_at": MONDAY} | changes))

    def does(self, verb: str, *words: Any, hours: float, **more: Any) -> Any:
        """Make a change at its moment."""
        with self.system.database.write() as connection:
            return getattr(Changes(connection, self.system.rules), verb)(*words, now=at(hours), **more)

    def says(self, author: str, *, hours: float, **more: Any) -> None:
        """Comment on the ticket."""
        self.does("comment", a_comment("t", author=author, **more), hours=hours)

    def scans(self, hours: float, **more: Any) -> Sweep:
        """Look for what is due."""
        return monitor.scan_breaches(self.system.database, now=at(hours), **more)

    def clock(self, target: str = RESOLUTION, cycle: int = 1) -> Clock:
        """One clock of the ticket."""
        return self.clocks()[target, cycle]

    def clocks(self, ticket_id: str = "t") -> dict[tuple[str, int], Clock]:
        """All clocks of a ticket."""
        with self.system.database.write() as connection:
            return {(clock.target, clock.cycle): clock for clock in clocks.lock(connection, ticket_id)}

    def ticket(self, ticket_id: str = "t") -> Ticket:
        """The ticket as stored."""
        found = self.system.get_ticket(ticket_id)
        assert found is not None
        return found

    def history(self, *kinds: str, ticket_id: str = "t") -> list[Event]:
        """What happened to the ticket, of these kinds."""
        return [event for event in self.system.get_history(ticket_id) if event.kind in kinds]

    def alarms(self, *kinds: str, ticket_id: str = "t") -> list[str]:
        """What was raised or passed over: kind, target, and `number/repeat`."""
        told = self.history(*(kinds or ("warned", "escalated", "collapsed")), ticket_id=ticket_id)
        keys = [(event.kind, (event.key or "").rsplit("/", 5)) for event in told if event.key]
        return [f"{kind} {parts[1]} {parts[4]}/{parts[5]}" for kind, parts in keys]

    def ahead(self, ticket_id: str = "t") -> list[float]:
        """When alarms are to come, in hours since Monday nine."""
        with self.system.database.read() as connection:
            found = alarms.of_ticket(connection, ticket_id)
        return [(one.at - MONDAY).total_seconds() / HOUR for one in found]

    def letters(self) -> Counter[str]:
        """How many messages wait for each destination."""
        return Counter(row["destination"] for row in rows_of(self.system.database, tables.outbox))


class PromisingDesk(Desk):
    """One ticket, `t`, under what was promised last."""

    def promises(self, *policies: Policy, **calendars: Calendar) -> int:
        """Put policies in force, with calendars of their own."""
        return self.system.put_in_force(PolicyBook(policies, {"office": OFFICE} | calendars), actor="lead")

    def does(self, verb: str, *words: Any, hours: float, **more: Any) -> Any:
        """Make a change of the one ticket at its moment."""
        return super().does(verb, "t", *words, hours=hours, **more)

    def says(self, author: str, *, hours: float, **more: Any) -> None:
        """Comment on the ticket."""
        super().does("comment", a_comment("t", author=author, **more), hours=hours)

    def moves(self, *moves: tuple[str, float]) -> None:
        """Move the ticket from status to status."""
        for status, hours in moves:
            self.does("set_status", status, hours=hours)

    def breaches(self) -> list[tuple[str, datetime]]:
        """The breaches on record: which target, and the instant."""
        return [((event.note or "").split()[0], event.at) for event in self.history("breached")]
