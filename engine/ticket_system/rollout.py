"""Rules for tickets that are open already: shown first, then applied, a ticket at a time (rules 18, 19).

Whoever is killed in the middle, or runs beside another, does no harm: a clock that is under the rules already stays as
it is, and a second time does the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple

from ticket_system.changes import Changes
from ticket_system.rulebook import Rulebook
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.course import Changed
from ticket_system.sla.rollout import Rollout
from ticket_system.sla.terms import Rules
from ticket_system.storage import clocks, tickets
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment

_BATCH = 200
_KEPT = 1000


class Move(NamedTuple):
    """What the rules would do to one clock."""

    ticket_id: str
    target: str
    #: `earlier`, `later`, `same`, `breached` (its new deadline has passed), `paused`, `begun` or `ended`.
    what: str
    due_before: datetime | None
    due_after: datetime | None


@dataclass(slots=True)
class Preview:
    """What would move: counted in all, and the first of what does, the most painful kinds first."""

    tickets: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    moves: list[Move] = field(default_factory=list)


_ORDER = ("breached", "earlier", "ended", "begun", "later", "paused", "same")


def preview(
    database: Database,
    rules: Rulebook,
    book: PolicyBook,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Tell what a book would move if it were applied to open tickets now; writes nothing."""
    found = Preview()
    for batch in _open(database, progress):
        with database.snapshot() as connection:
            now = moment(connection)
            course = Rollout(_Proposed(rules.within(connection), book))
            all_clocks, answered = clocks.of_tickets(connection, batch), tickets.answered(connection, batch)
            for ticket in tickets.listed(connection, batch):
                mine = {clock.target: clock for clock in all_clocks.get(ticket.id, ())}
                was_answered = partial(answered.__contains__, ticket.id)
                changes = course.repromised(mine, ticket, now, was_answered=was_answered).changes
                found.tickets += 1
                moves = [_move(one) for one in changes]
                found.counted.update(move.what for move in moves)
                room = _KEPT - len(found.moves)
                found.moves += [move for move in moves if move.what != "same"][: max(room, 0)]
    found.moves.sort(key=lambda move: (_ORDER.index(move.what), move.ticket_id))
    return found


def apply(
    database: Database,
    rules: Rulebook,
    *,
    actor: str = "system",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Put open tickets under the rules in force; returns how many changed. No alarm is raised for what is past."""
    changed = 0
    for batch in _open(database, progress):
        for ticket_id in batch:
            with database.write() as connection:
                changed += Changes(connection, rules).repromise(ticket_id, actor=actor)
    return changed


class _Proposed:
    """The rules as they are, but for the book that is proposed to be in force."""

    #: No version has this number.
    VERSION = -1

    def __init__(self, rules: Rules, book: PolicyBook) -> None:
        self._rules, self._book = rules, book

    def in_force(self) -> tuple[int | None, PolicyBook]:
        """Return the proposed book."""
        return self.VERSION, self._book

    def of_version(self, version: int | None) -> PolicyBook:
        """Return the rules of a version."""
        return self._book if version == self.VERSION else self._rules.of_version(version)


def _open(database: Database, progress: Callable[[int, int], None] | None) -> Iterator[list[str]]:
    with database.read() as connection:
        ids = tickets.active(connection)
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
        if progress:
            progress(min(start + _BATCH, len(ids)), len(ids))


def _move(changed: Changed) -> Move:
    before, after, _ = changed
    due = (before.due_at if before else None), after.due_at
    return Move(after.ticket_id, after.target, _what(before, after), *due)


def _what(before: Clock | None, after: Clock) -> str:
    if before is None:
        return "begun"
    if after.state is ClockState.CANCELLED:
        return "ended"
    if after.state is ClockState.BREACHED:
        return "breached"
    if before.due_at is None or after.due_at is None:
        return "same" if before.remaining == after.remaining else "paused"
    return "same" if before.due_at == after.due_at else "later" if after.due_at > before.due_at else "earlier"
