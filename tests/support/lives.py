"""Tickets that lived through something around a week, for whoever counts them; and the week."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st

from tests.support.contents import rows_of
from tests.support.factories import a_comment, a_ticket
from tests.support.promises import OFFICE, a_policy, promise
from ticket_system import TicketSystem, waivers
from ticket_system.changes import Changes
from ticket_system.errors import NotBreached
from ticket_system.reports.contents import Period
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar
from ticket_system.sla.clocks import FIRST_RESPONSE, RESOLUTION, Clock
from ticket_system.sla.policies import Match, Policy, Warn
from ticket_system.storage import clocks, tables
from ticket_system.tickets import ACTIVE_STATUSES, STATUS_FLOW

DAY = timedelta(days=1)
#: Midnights in Berlin, on both sides of the change to summer time.
ENDS = [datetime(2026, 2, 15, 23, tzinfo=UTC) + number * 7 * DAY for number in range(6)] + [
    datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 4, 5, 22, tzinfo=UTC),
]  # fmt: skip
SINCE, UNTIL = ENDS[-2:]
#: The next afternoon but one.
AS_OF = UNTIL + timedelta(hours=40)
WEEK = Period(
    zone="Europe/Berlin", starts_on=date(2026, 3, 30), ends_on=date(2026, 4, 5), starts_at=SINCE, ends_at=UNTIL
)
WEEK_ENDS = [(end, date(2026, 2, 15) + number * timedelta(days=7)) for number, end in enumerate(ENDS)]

POLICIES = (
    a_policy(name="office", rank=1, match=Match(customers=frozenset({"acme"}))),
    Policy(
        "again",
        rank=2,
        match=Match(customers=frozenset({"initech"})),
        targets={RESOLUTION: promise(30, calendar="around the clock"), FIRST_RESPONSE: promise(3)},
        reopen="restart",
        without_response="cancelled",
    ),
    Policy("nothing", rank=3, match=Match(groups=frozenset({"friends"})), no_sla=True),
    Policy(
        "rest",
        targets={RESOLUTION: promise({1: 8, 2: 40, 3: 90}, calendar="around the clock")},
        warnings=(Warn(percent=50),),
    ),
)

_hours = st.sampled_from((-168, -1, 0, 24, 167, 168, 169, 207)) | st.integers(-150, 150) | st.integers(-1300, 207)
_ACTS = ("move", "resolve", "reopen", "answer", "ask", "waive", "scan", "priority", "merge")
#: The way to a solution from wherever a ticket stands.
_SOLVED = {"open": "in_progress", "on_hold": "in_progress", "in_progress": "resolved", "review": "resolved"}


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[float, str, int]]]:
    """How a ticket is opened, in hours since the week began, and what happens to it after how many hours."""
    opened = draw(_hours)
    first = {
        "created_at": SINCE + timedelta(hours=opened),
        "priority": draw(st.integers(1, 4)),
        "assignee": draw(st.sampled_from((None, "ada", "grace"))),
        "customer": draw(st.sampled_from((None, "acme", "initech"))),
        "group": draw(st.sampled_from((None, "network", "friends"))),
        "status": draw(st.sampled_from(("open", "in_progress", "in_progress", "in_progress", "on_hold", "closed"))),
    }
    acts = st.tuples(
        st.sampled_from((0, 0.5, 1, 24, 168)) | st.integers(0, 60), st.sampled_from(_ACTS), st.integers(0, 3)
    )
    return first, draw(st.lists(acts, min_size=draw(st.sampled_from((0, 4))), max_size=9))


def play(system: TicketSystem, all_lives: list[tuple[dict[str, Any], list[tuple[float, str, int]]]]) -> None:
    """Put the promises in force, and have the tickets live, up to the moment of counting."""
    if system.in_force()[0] is None:
        system.put_in_force(PolicyBook(POLICIES, {"office": OFFICE}), actor="lead")
    with system.database.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table.name not in {"rules", "steps", "step_notices"}:
                connection.execute(sa.delete(table))
    for number, life in enumerate(all_lives):
        with system.database.write() as connection:
            _live(Changes(connection, system.rules), str(number), *life)


def _live(changes: Changes, name: str, first: dict[str, Any], acts: list[tuple[float, str, int]]) -> None:
    changes.create(a_ticket(id=name, **first))
    status, now = first["status"], first["created_at"]
    for number, (gap, act, which) in enumerate(acts):
        now += timedelta(hours=gap)
        if now > AS_OF:
            return
        for following in _way(status, act, which):
            changes.set_status(name, status := following, now=now)
        if act in {"answer", "ask"}:
            author = "ada" if act == "ask" else "grace"
            changes.comment(a_comment(name, id=f"{name}-{number}", author=author), now=now)
        elif act == "waive":
            with suppress(NotBreached):
                waivers.grant(changes, name, "Their own mains failed.", now=now)
        elif act == "scan":
            changes.settle(name, now=now)
        elif act == "priority":
            changes.set_priority(name, which + 1, now=now)
        elif act == "merge" and status in ACTIVE_STATUSES:
            ticket, at = changes.lock(name, now)
            assert ticket is not None
            changes.cancel(ticket, "Merged into another one.", at)
            status = "cancelled"


def _way(status: str, act: str, which: int) -> list[str]:
    """The moves that an act comes to."""
    if act == "move" and STATUS_FLOW[status]:
        return [STATUS_FLOW[status][which % len(STATUS_FLOW[status])]]
    if act == "reopen" and status == "resolved":
        return ["open"]
    way: list[str] = []
    while act == "resolve" and (status := way[-1] if way else status) in _SOLVED:
        way.append(_SOLVED[status])
    return way


def stored(system: TicketSystem) -> tuple[dict[str, dict[str, Any]], list[Clock]]:
    """All tickets by their ids, and all clocks."""
    found = {row["id"]: row for row in rows_of(system.database, tables.tickets)}
    with system.database.read() as connection:
        return found, [clock for name in found for clock in clocks.of_ticket(connection, name)]


def statuses(system: TicketSystem) -> Callable[[str, datetime], str | None]:
    """Tell from its events alone where a ticket stood just before a moment; None: it was not there."""
    told: dict[str, list[tuple[datetime, str]]] = {}
    for event in rows_of(system.database, tables.events):
        if event["kind"] in {"created", "status"}:
            status = json.loads(event["new"])["status"] if event["kind"] == "created" else event["new"]
            told.setdefault(event["ticket_id"], []).append((event["at"], status))

    def at(name: str, moment: datetime) -> str | None:
        return next((status for when, status in reversed(told[name]) if when < moment), None)

    return at


def calendar_of(clock: Clock) -> Calendar:
    """The calendar by which a clock of these promises counts."""
    rule = next(one for one in POLICIES if one.name == clock.policy).targets[clock.target]
    return OFFICE if rule.calendar == "office" else AROUND_THE_CLOCK
