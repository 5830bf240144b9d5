"""Reports that go out by mail: planned once, made once, frozen.

    planned ──claim_run, make, freeze──► ready | empty     there is something to tell, or nothing
       └──────────── plan, fail, miss ──► missed           it could not be made in time; never silently

What a report says is frozen when it is made: a second attempt shows the same numbers, and next week's report compares
itself with them. A report may be made twice, when a worker dies over it; it is frozen once.
"""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from ticket_system import figures, recipients
from ticket_system.reports import weeks
from ticket_system.reports.contents import DAILY, Daily, Scope, Weekly, read_weekly
from ticket_system.reports.readers import told_to
from ticket_system.reports.weeks import CATCH_UP, Hour, Timetable
from ticket_system.rulebook import Rulebook
from ticket_system.storage import organisations, report_deliveries, report_runs
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.organisations import Organisation, Recipient, Schedule
from ticket_system.storage.report_runs import Run
from ticket_system.tickets import storable
from ticket_system.waits import backoff

__all__ = ["Planned", "Run"]

_PLANNED_AT_ONCE = 100
_MAX_ANSWER = 500
_FIRST_WAIT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 3600.0
_TOO_LATE = f"not made within {CATCH_UP.total_seconds() / 3600:.0f} hours after it was due"


class Planned(NamedTuple):
    """How many reports were planned, and how many are so late that they are not sent any more."""

    planned: int
    missed: int


def plan(database: Database, *, now: datetime | None = None) -> Planned:
    """Plan the reports that are due, each once; what is too late to be sent is put on record as missed."""
    with database.write() as connection:
        at = now or moment(connection)
        due = organisations.due(connection, at, _PLANNED_AT_ONCE)
        if not due:
            return Planned(0, 0)
        names = {one.organisation for one in due}
        known = {one.name: one for one in organisations.listed(connection, names)}
        last = report_runs.last_days(connection, names)
        people = organisations.people(connection, names)
        rows: list[dict[str, Any]] = []
        ahead: list[Schedule] = []
        for one in due:
            mine = known[one.organisation]
            theirs = [person for person in people if person.organisation == mine.name]
            new, following = _due(one, mine, theirs, last.get((mine.name, one.kind)), at)
            rows += new
            ahead.append(following)
        states = report_runs.add(connection, rows)
        organisations.schedule(connection, *ahead)
    return Planned(states.count("planned"), states.count("missed"))


def claim_run(database: Database, *, lease_seconds: float = 300, now: datetime | None = None) -> Run | None:
    """Take a report that is to be made; it is ours until the lease runs out. None: there is none."""
    with database.write() as connection:
        at = now or moment(connection)
        until = at + timedelta(seconds=lease_seconds)
        return report_runs.claim(connection, lease=str(uuid.uuid4()), until=until, now=at)


def make(database: Database, rules: Rulebook, run: Run, *, now: datetime | None = None) -> Weekly | Daily:
    """Count what a report says, as of now; ReportError where its organisation is gone."""
    mine = recipients.organisation(database, run.organisation)
    return _count(database, rules, mine, run.kind, run.sent_on, zone=run.zone, as_of=now or database.now())


def preview(
    database: Database, rules: Rulebook, organisation: str, kind: str, *, now: datetime | None = None
) -> Weekly | Daily:
    """Count what the newest report of an organisation would say if it were made now; nothing is stored.

    ReportError where there is no such organisation.
    """
    mine, at = recipients.organisation(database, organisation), now or database.now()
    sent_on = weeks.newest_day(kind, mine.timetable, at)
    return _count(database, rules, mine, kind, sent_on, zone=mine.zone, as_of=at)


def freeze(
    database: Database, run: Run, content: Weekly | Daily, picture: bytes | None, *, now: datetime | None = None
) -> int | None:
    """Keep what a report says, and put a delivery for each reader beside it; returns how many will be sent.

    None: the lease was lost, and whoever has it now makes the report.
    """
    with database.write() as connection:
        at, mine = now or moment(connection), organisations.get(connection, run.organisation)
        state = "empty" if content.is_empty else "ready"
        frozen = {"content": content.model_dump_json(), "picture": picture, "made_at": at, "error": None}
        if not report_runs.settle(connection, run, state=state, lease=None, next_attempt_at=None, **frozen):
            return None
        people = [one for one in organisations.people(connection, [run.organisation]) if one.wants(run.kind)]
        rows = [_new_delivery(run, mine, one, content, at) for one in people if mine is not None]
        report_deliveries.add(connection, rows)
        return len([row for row in rows if row["state"] == "pending"])


def fail(database: Database, run: Run, error: str, *, now: datetime | None = None) -> datetime | None:
    """Make a report later, after a wait that doubles; None: it is too late for it, and it is missed."""
    with database.write() as connection:
        at = now or moment(connection)
        again = at + backoff(run.attempts, first_seconds=_FIRST_WAIT_SECONDS, longest_seconds=_LONGEST_WAIT_SECONDS)
        error = storable(error[:_MAX_ANSWER])
        if again - run.due_at <= CATCH_UP:
            report_runs.settle(connection, run, lease=None, next_attempt_at=again, error=error)
            return again
        report_runs.settle(connection, run, state="missed", lease=None, next_attempt_at=None, error=error)
        return None


def miss(database: Database, run: Run, *, now: datetime | None = None) -> bool:
    """Put a report on record as missed if it is too late to make it; tells whether it is."""
    with database.write() as connection:
        too_late = (now or moment(connection)) - run.due_at > CATCH_UP
        if too_late:
            report_runs.settle(
                connection, run, state="missed", lease=None, next_attempt_at=None, error=run.error or _TOO_LATE
            )
        return too_late


def runs(database: Database, *, limit: int = 20, organisation: str | None = None) -> list[tuple[Run, dict[str, int]]]:
    """Return the newest reports, and how many of each were delivered how."""
    with database.read() as connection:
        return report_runs.listed(connection, limit, organisation)


def _count(
    database: Database, rules: Rulebook, mine: Organisation, kind: str, sent_on: date, *, zone: str, as_of: datetime
) -> Weekly | Daily:
    covers = weeks.period(kind, sent_on, zone)
    if kind == DAILY:
        return figures.daily(database, rules, organisation=mine.name, scope=mine.scope, period=covers, as_of=as_of)
    with database.read() as connection:
        earlier = report_runs.content(connection, mine.name, kind, sent_on - weeks.step(kind))
    before = read_weekly(earlier) if earlier else None
    is_same = before is not None and Scope(customer=before.customer, group=before.group) == mine.scope
    return figures.weekly(
        database,
        rules,
        organisation=mine.name,
        scope=mine.scope,
        period=covers,
        week_ends=weeks.week_ends(sent_on, zone),
        before=before.totals if before is not None and is_same else None,
        as_of=as_of,
    )


def _due(
    one: Schedule, mine: Organisation, people: list[Recipient], last: date | None, now: datetime
) -> tuple[list[dict[str, Any]], Schedule]:
    """Return the reports of a kind that are due by now, and when the next one is."""
    readers = recipients.hours(people, mine, one.kind)
    day, at = one.next_on, one.next_at
    if last is not None and day < last + weeks.step(one.kind):
        # It was set while the last report was being planned.
        day, at = weeks.next_day(one.kind, mine.timetable, readers, since=at, after=last)
    rows = []
    while at <= now:
        rows.append(_new_run(mine, one.kind, day, at, too_late=now - at > CATCH_UP))
        day, at = weeks.next_day(one.kind, mine.timetable, readers, since=at, after=day)
    return rows, Schedule(mine.name, one.kind, day, at)


def _new_run(mine: Organisation, kind: str, day: date, due: datetime, *, too_late: bool) -> dict[str, Any]:
    return {
        "organisation": mine.name,
        "kind": kind,
        "sent_on": day,
        "zone": mine.zone,
        "hour": mine.hour,
        "due_at": due,
        "state": "missed" if too_late else "planned",
        "attempts": 0,
        "next_attempt_at": None if too_late else due,
        "error": _TOO_LATE if too_late else None,
    }


def _new_delivery(
    run: Run, mine: Organisation, person: Recipient, content: Weekly | Daily, now: datetime
) -> dict[str, Any]:
    hour = Hour(person.zone or run.zone, run.hour if person.hour is None else person.hour)
    due = weeks.due_at(run.sent_on, Timetable(run.zone, mine.weekday, run.hour), hour)
    reason = "nothing to tell" if told_to(content, person.roles, [person.address, person.name]).is_empty else None
    return {
        "run_id": run.id,
        "key": person.key,
        "address": person.address,
        "state": "skipped" if reason else "pending",
        "due_at": due,
        "attempts": 0,
        "next_attempt_at": None if reason else due,
        "answer": reason,
        "finished_at": now if reason else None,
    }
