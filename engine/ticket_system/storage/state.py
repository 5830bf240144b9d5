"""How much waits, and how long already: what a fleet is watched by.

Every query walks an index of what is open. What is done is left out: there is ever more of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.storage import deliveries
from ticket_system.storage.fleet_tables import job_runs, parked
from ticket_system.storage.outbox import STUCK
from ticket_system.storage.report_deliveries import STUCK as STUCK_LETTERS
from ticket_system.storage.report_tables import report_deliveries, report_runs
from ticket_system.storage.tables import clocks, is_active, named, one_of, outbox, rests, tickets


class Pile(NamedTuple):
    """What lies in one state: how many, and since when the oldest does."""

    state: str
    number: int
    oldest: datetime | None


def open_tickets(connection: sa.Connection) -> int:
    """Count the tickets that somebody still has to work on."""
    return connection.execute(sa.select(sa.func.count()).select_from(tickets).where(is_active)).scalar_one()


def due_clocks(connection: sa.Connection, now: datetime) -> Pile:
    """Count the clocks that a scan has to look at by now."""
    due = sa.select(sa.func.count(), sa.func.min(clocks.c.next_check_at)).where(clocks.c.next_check_at < now)
    return Pile("due", *connection.execute(due).one())


def last_done(connection: sa.Connection) -> dict[str, datetime]:
    """Return when each job last came to its end; a few looks into the index for each, however often it ran."""
    first = sa.select(sa.func.min(job_runs.c.job).label("job")).cte("names", recursive=True)
    following = sa.select(sa.func.min(job_runs.c.job)).where(job_runs.c.job > first.c.job).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.job.is_not(None)))
    newest = (
        sa.select(job_runs.c.finished_at)
        .where(job_runs.c.job == names.c.job, job_runs.c.state == named("done"))
        .order_by(job_runs.c.slot.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = connection.execute(sa.select(names.c.job, newest).where(names.c.job.is_not(None)))
    return {job: at for job, at in found if at is not None}


def notices(connection: sa.Connection) -> list[Pile]:
    """Count the notices that wait, are on their way, or want a person."""
    state = outbox.c.state
    return _piles(
        connection,
        state,
        outbox.c.created_at,
        one_of(state, ("pending", "leased")),
        state == named("sending"),
        one_of(state, STUCK),
    )


def usage(connection: sa.Connection) -> list[Pile]:
    """Count what is to be billed, to be looked for, or wants a person; its age is that of its batch."""
    piles: dict[str, Pile] = {}
    for one in deliveries.sums(connection):
        last = piles.get(one.state)
        oldest = min(one.oldest, last.oldest) if last and last.oldest else one.oldest
        piles[one.state] = Pile(one.state, one.deliveries + (last.number if last else 0), oldest)
    return list(piles.values())


def reports(connection: sa.Connection, since: datetime) -> list[Pile]:
    """Count the reports that are to be made, and those that were due since then and missed."""
    state = report_runs.c.state
    missed = sa.and_(state == named("missed"), report_runs.c.due_at >= since)
    return _piles(connection, state, report_runs.c.due_at, state == named("planned"), missed)


def report_letters(connection: sa.Connection) -> list[Pile]:
    """Count the letters of reports that wait, are on their way, or want a person."""
    state = report_deliveries.c.state
    return _piles(
        connection,
        state,
        report_deliveries.c.due_at,
        one_of(state, ("pending", "claimed")),
        state == named("in_data"),
        one_of(state, STUCK_LETTERS),
    )


def resting(connection: sa.Connection, now: datetime) -> int:
    """Count the places that nobody tries for a while, because nothing gets through."""
    return connection.execute(sa.select(sa.func.count()).select_from(rests).where(rests.c.until > now)).scalar_one()


def parked_messages(connection: sa.Connection) -> Pile:
    """Count the messages that nobody could understand, and that a person has to look at."""
    waiting = sa.select(sa.func.count(), sa.func.min(parked.c.parked_at)).where(parked.c.state == named("waiting"))
    return Pile("waiting", *connection.execute(waiting).one())


def _piles(
    connection: sa.Connection, state: sa.Column[Any], since: sa.Column[Any], *each: sa.ColumnElement[bool]
) -> list[Pile]:
    # One index for each part; all of them in one condition would walk the table.
    some = sa.union_all(*[sa.select(state, since.label("since")).where(one) for one in each]).subquery("some")
    query = sa.select(some.c.state, sa.func.count(), sa.func.min(some.c.since)).group_by(some.c.state)
    return [Pile(*row) for row in connection.execute(query.order_by(some.c.state))]
