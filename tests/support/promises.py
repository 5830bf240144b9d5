"""A desk on one Monday, under policies that a test names, whose changes are told when they happen."""

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

HOUR = 3600
OFFICE = Calendar("office", ZoneInfo("Europe/Berlin"), dict.fromkeys(range(5), (Hours.of(time(9), time(17)),)))
#: A Monday, nine o'clock in Berlin.
MONDAY = datetime(2026, 6, 1, 7, tzinfo=UTC)


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def promise(hours: float, *, calendar: str = "office", pausing: frozenset[str] = frozenset({"on_hold"})) -> TargetRule:
    return TargetRule(dict.fromkeys(range(1, 5), int(hours * HOUR)), calendar, pausing)


def a_policy(**changes: Any) -> Policy:
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

    def promises(self, *policies: Policy) -> int:
        return self.system.put_in_force(PolicyBook(policies, {"office": OFFICE}), actor="lead")

    def opens(self, **changes: Any) -> Ticket:
        # What was put in force is known at once to the program that did it, and soon to others.
        return self.system.create_ticket(a_ticket(id="t", created_at=MONDAY, **changes))

    def does(self, verb: str, *words: Any, hours: float, **more: Any) -> Any:
        with self.system.database.write() as connection:
            return getattr(Changes(connection, self.system.rules), verb)(*words, now=at(hours), **more)

    def says(self, author: str, *, hours: float, **more: Any) -> None:
        self.does("comment", a_comment("t", author=author, **more), hours=hours)

    def clock(self, target: str, cycle: int = 1) -> Clock:
        return self.clocks()[target, cycle]

    def clocks(self) -> dict[tuple[str, int], Clock]:
        with self.system.database.write() as connection:
            return {(clock.target, clock.cycle): clock for clock in clocks.lock(connection, "t")}
