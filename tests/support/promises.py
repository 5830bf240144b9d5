"""A desk with promises on Berlin's office hours, whose changes are told when they happen."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.factories import a_comment, a_ticket
from ticket_system import Ticket, TicketSystem
from ticket_system.changes import Changes
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.policies import Policy, TargetRule
from ticket_system.storage import clocks

OFFICE = Calendar("office", ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), (Hours.of(time(9), time(17)),)))
#: A Monday, nine o'clock in Berlin.
MONDAY = datetime(2026, 6, 1, 7, tzinfo=UTC)


def at(hours: float) -> datetime:
    """The instant so many hours after Monday nine."""
    return MONDAY + timedelta(hours=hours)


def promise(hours: float | dict[int, float], **changes: Any) -> TargetRule:
    """Office hours, for every priority or by priority."""
    by_priority = hours if isinstance(hours, dict) else dict.fromkeys(range(1, 5), hours)
    seconds = {priority: int(wanted * 3600) for priority, wanted in by_priority.items()}
    return TargetRule(**{"seconds": seconds, "calendar": "office"} | changes)


def a_policy(**changes: Any) -> Policy:
    """A first response in 1, a next response in 2, a resolution in 10 office hours."""
    targets = {FIRST_RESPONSE: promise(1, pausing=frozenset()), NEXT_RESPONSE: promise(2), RESOLUTION: promise(10)}
    return Policy(**{"name": "office hours", "targets": targets} | changes)


class PromisingDesk:
    """One ticket, `t`, under what was promised last."""

    def __init__(self, system: TicketSystem) -> None:
        self.system = system

    def promises(self, *policies: Policy, **calendars: Calendar) -> int:
        return self.system.put_in_force(PolicyBook(policies, {"office": OFFICE} | calendars), actor="lead")

    def opens(self, **changes: Any) -> Ticket:
        return self.system.create_ticket(a_ticket(**{"id": "t", "created_at": MONDAY} | changes))

    def does(self, verb: str, *words: Any, hours: float, **more: Any) -> Any:
        with self.system.database.write() as connection:
            return getattr(Changes(connection, self.system.rules), verb)("t", *words, now=at(hours), **more)

    def moves(self, *moves: tuple[str, float]) -> None:
        for status, hours in moves:
            self.does("set_status", status, hours=hours)

    def says(self, author: str, *, hours: float, **more: Any) -> None:
        with self.system.database.write() as connection:
            Changes(connection, self.system.rules).comment(a_comment("t", author=author, **more), now=at(hours))

    def clock(self, target: str = RESOLUTION, cycle: int = 1) -> Clock:
        return self.clocks()[target, cycle]

    def clocks(self) -> dict[tuple[str, int], Clock]:
        with self.system.database.write() as connection:
            return {(clock.target, clock.cycle): clock for clock in clocks.lock(connection, "t")}

    def breaches(self) -> list[tuple[str, datetime]]:
        """The breaches on record: which target, and the instant."""
        return [
            ((event.note or "").split()[0], event.at)
            for event in self.system.get_history("t")
            if event.kind == "breached"
        ]
