"""What a proposed book of policies would have meant for the tickets there are. Tells; changes nothing (rule 28)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ticket_system.sla.books import PolicyBook
from ticket_system.sla.course import Course
from ticket_system.sla.simulate import simulated
from ticket_system.sla.terms import OneBook
from ticket_system.sla.verdicts import Change, Simulation
from ticket_system.storage import simulations
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment

#: How far back it looks when nobody says.
PERIOD = timedelta(days=90)


def simulate(
    database: Database,
    book: PolicyBook,
    *,
    since: datetime | None = None,
    now: datetime | None = None,
    batch_size: int = 250,
    changed: Callable[[Change], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Replay the tickets opened since then under a book, as if it had always been in force; returns the figures.

    `changed` is told every verdict that would be another, `progress` how many tickets are done, of how many. Memory
    does not grow with the number of tickets; each batch is read in one snapshot, and judged as of that moment.
    """
    course = Course(OneBook(book))
    with database.snapshot() as connection:
        until = now or moment(connection)
        since = until - PERIOD if since is None else since
        total = simulations.count(connection, since, until)
    found, reached, after = Simulation(since, until), since, ""
    while True:
        with database.snapshot() as connection:
            batch = simulations.page(connection, reached, after, until, batch_size)
            as_of = now or moment(connection)
        for ticket, stored, facts in batch:
            changes = found.add(ticket, stored, simulated(course, ticket, facts, as_of), as_of)
            if changed:
                for one in changes:
                    changed(one)
        if progress and batch:
            progress(found.tickets, max(found.tickets, total))
        if len(batch) < batch_size:
            return found
        reached, after = batch[-1].ticket.created_at, batch[-1].ticket.id
