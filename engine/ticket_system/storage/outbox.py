"""What leaves the system: rows with a state, taken by lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate

from ticket_system.storage.tables import Instant, named, one_of, outbox, rests, tickets

#: Somebody has to look at these by hand.
STUCK = ("parked", "uncertain")
STATES = ("pending", "leased", "sending", "sent", "parked", "uncertain", "dropped", "bundled")
#: What an alarm sends out, by the kind of its event; many of these to one recipient go out as one `bundle`.
ALARMS = ("warned", "escalated")
BUNDLE = "bundle"

#: To the assignee where that is a mail address, else to the desk.
MAIL = "mail"
#: In the rules, the group of a ticket; in the outbox `group:` and its name.
GROUP = "group"

# A message that tells of more would be too long for anybody; what is left waits for the next one.
_BUNDLED_AT_ONCE = 10_000

# Who on the ticket decides where a message goes.
_PERSON = sa.case(
    (one_of(outbox.c.destination, (MAIL, f"{MAIL}:assignee")), tickets.c.assignee),
    (outbox.c.destination == named(f"{MAIL}:requester"), tickets.c.requester),
)

# The conditions of the partial indexes, word for word: SQLite uses them for nothing less.
_TO_SEND = one_of(outbox.c.state, ("pending", "leased"))
_SENDING = outbox.c.state == named("sending")
_STUCK = one_of(outbox.c.state, STUCK)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message: why it goes out, how far it came, and what went wrong."""

    id: int
    key: str
    kind: str
    ticket_id: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    lease: str | None
    error: str | None
    sent_at: datetime | None
    destination: str = MAIL
    bundle_id: int | None = None


class Crowd(NamedTuple):
    """How many alarms wait for one recipient: a destination, and the person on the ticket where that decides."""

    destination: str
    person: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Rest:
    """A channel through which nothing gets at the moment: nobody tries before `until`."""

    channel: str
    failures: int
    until: datetime
    error: str | None


def add(
    connection: sa.Connection, *, cause: str, destination: str = MAIL, kind: str, ticket_id: str, now: datetime
) -> None:
    """Put a message beside its cause, which an event's key names; a second one to the same place is not written."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(outbox).on_conflict_do_nothing(index_elements=[outbox.c.key])
    row = {"key": f"{cause}/{destination}", "destination": destination, "kind": kind, "ticket_id": ticket_id}
    connection.execute(new, row | {"state": "pending", "attempts": 0, "created_at": now, "next_attempt_at": now})


def channel(destination: str) -> str:
    """Return what fails as one: every `mail:…` goes through the same mail server."""
    return destination.partition(":")[0]


def give_up_lost(connection: sa.Connection, now: datetime) -> int:
    """Mark what was being sent when its sender vanished: it may have arrived, so it is shown and not repeated."""
    return connection.execute(_GIVE_UP_LOST, {"now": now}).rowcount


def claim(connection: sa.Connection, *, lease: str, until: datetime, now: datetime, limit: int) -> list[OutboxRow]:
    """Take messages that are due: new ones, and ones whose holder let the lease run out.

    One of each destination that is not resting, oldest first, then a second of each, until there are enough: a long
    queue for one never keeps the others from their turn. What waits for a resting one is not even read.
    """
    turns: Counter[str] = Counter()
    rows: list[tuple[int, OutboxRow]] = []
    taken = connection.execute(_take(limit, connection.dialect.name), {"now": now, "holder": lease, "until": until})
    for row in sorted((_row(row) for row in taken), key=lambda row: row.id):
        rows.append((turns[row.destination], row))
        turns[row.destination] += 1
    return [row for _, row in sorted(rows, key=lambda pair: (pair[0], pair[1].id))]


@cache
def _take(limit: int, dialect: str) -> ReturningUpdate[Any]:
    """Build the claim, once: putting it together takes longer than the database does."""
    due = _due(limit, dialect)
    holder, until = sa.bindparam("holder", type_=sa.Text), sa.bindparam("until", type_=Instant)
    return (
        sa.update(outbox)
        .where(outbox.c.id.in_(sa.select(due.c.id)))
        .values(state="leased", attempts=outbox.c.attempts + 1, lease=holder, next_attempt_at=until)
        .returning(*outbox.c)
    )


def _due(limit: int, dialect: str) -> sa.CTE:
    """Build the choice of due messages; cost follows the number of destinations and the limit, not the queues."""
    now = sa.bindparam("now", type_=Instant)
    first = sa.select(sa.func.min(outbox.c.destination).label("destination")).where(_TO_SEND)
    waiting = first.cte("waiting", recursive=True)
    later = sa.select(sa.func.min(outbox.c.destination)).where(_TO_SEND, outbox.c.destination > waiting.c.destination)
    waiting = waiting.union_all(sa.select(later.scalar_subquery()).where(waiting.c.destination.is_not(None)))
    through = sa.case(
        (waiting.c.destination.startswith(f"{MAIL}:"), named(MAIL)),
        else_=waiting.c.destination,
    )
    is_resting = sa.exists().where(rests.c.channel == through, rests.c.until > now)
    awake = sa.select(waiting.c.destination).where(waiting.c.destination.is_not(None), ~is_resting).cte("awake")
    oldest = (
        sa.select(outbox.c.id, outbox.c.next_attempt_at)
        .where(_TO_SEND, outbox.c.destination == awake.c.destination, outbox.c.next_attempt_at <= now)
        .order_by(outbox.c.next_attempt_at)
        .limit(limit)
        .correlate(awake)
    )
    found: sa.FromClause
    if dialect == "sqlite":
        # It has no LATERAL; a list of keys for each destination comes to the same.
        found = outbox.alias("found")
        joined = sa.join(awake, found, found.c.id.in_(oldest.with_only_columns(outbox.c.id).scalar_subquery()))
    else:
        found = oldest.with_for_update(skip_locked=True).lateral("found")
        joined = sa.join(awake, found, sa.true())
    turn = sa.func.row_number().over(partition_by=awake.c.destination, order_by=found.c.next_attempt_at)
    chosen = sa.select(found.c.id, found.c.next_attempt_at, turn.label("turn")).select_from(joined).subquery()
    return sa.select(chosen.c.id).order_by(chosen.c.turn, chosen.c.next_attempt_at).limit(limit).cte("due")


def crowds(connection: sa.Connection, now: datetime, more_than: int) -> list[Crowd]:
    """Return who waits for alarms that nobody has tried to send; nothing when they are no more than so many in all."""
    waiting = sa.select(outbox.c.id).where(*_alarms_due(now)).offset(more_than).limit(1)
    if connection.execute(waiting).first() is None:
        return []
    found = (
        sa.select(outbox.c.destination, _PERSON.label("person"), sa.func.count())
        .join(tickets, tickets.c.id == outbox.c.ticket_id)
        .where(*_alarms_due(now))
        .group_by(outbox.c.destination, _PERSON)
    )
    return [Crowd(*row) for row in connection.execute(found)]


def bundle(
    connection: sa.Connection, found: Sequence[Crowd], destination: str, *, key: str, now: datetime, more_than: int
) -> int:
    """Put what waits for one recipient into one message; returns how many, none where they are few after all.

    What another worker has taken meanwhile is left to it.
    """
    person = sa.func.coalesce(_PERSON, "")
    theirs = sa.or_(*[sa.and_(outbox.c.destination == one.destination, person == (one.person or "")) for one in found])
    chosen = (
        sa.select(outbox.c.id)
        .join(tickets, tickets.c.id == outbox.c.ticket_id)
        .where(*_alarms_due(now), theirs)
        .order_by(outbox.c.id)
        .limit(_BUNDLED_AT_ONCE)
        .with_for_update(skip_locked=True, of=outbox)
    )
    ids = list(connection.scalars(chosen))
    if len(ids) <= more_than:
        return 0
    row = {
        "key": f"{key}/{destination}", "destination": destination, "kind": BUNDLE, "ticket_id": "", "state": "pending",
        "attempts": 0, "created_at": now, "next_attempt_at": now,
    }  # fmt: skip
    bundle_id = connection.execute(sa.insert(outbox).values(row).returning(outbox.c.id)).scalar_one()
    mine = sa.update(outbox).where(outbox.c.id.in_(ids))
    return connection.execute(mine.values(state="bundled", bundle_id=bundle_id, next_attempt_at=None)).rowcount


def bundled(connection: sa.Connection, bundle_id: int, limit: int) -> tuple[list[OutboxRow], int]:
    """Return what goes out in a bundle, the most urgent tickets first, and how many there are in all."""
    mine = outbox.c.bundle_id == bundle_id
    query = sa.select(*outbox.c).join(tickets, tickets.c.id == outbox.c.ticket_id).where(mine)
    rows = connection.execute(query.order_by(tickets.c.priority, outbox.c.id).limit(limit))
    total: int = connection.execute(sa.select(sa.func.count()).select_from(outbox).where(mine)).scalar_one()
    return [_row(row) for row in rows], total


def _alarms_due(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    kinds = one_of(outbox.c.kind, ALARMS)
    untried = sa.and_(outbox.c.state == named("pending"), outbox.c.attempts == 0)
    return _TO_SEND, untried, kinds, outbox.c.next_attempt_at <= now


def release(connection: sa.Connection, ids: Sequence[int], *, holder: str) -> int:
    """Give back what was taken and not begun: as if it had not been taken, and in its old place in the queue."""
    mine = sa.update(outbox).where(outbox.c.id.in_(ids), outbox.c.lease == holder, outbox.c.state == "leased")
    back = {"state": "pending", "attempts": outbox.c.attempts - 1, "lease": None}
    return connection.execute(mine.values(next_attempt_at=outbox.c.created_at, **back)).rowcount


def rest(connection: sa.Connection, name: str, *, failures: int, until: datetime, error: str | None) -> None:
    """Let a channel rest until then; a later end that somebody else set stays."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(rests).values(channel=name, failures=failures, until=until, error=error)
    longer = sa.case((rests.c.until > new.excluded.until, rests.c.until), else_=new.excluded.until)
    values = {"failures": new.excluded.failures, "until": longer, "error": new.excluded.error}
    connection.execute(new.on_conflict_do_update(index_elements=[rests.c.channel], set_=values))


def wake(connection: sa.Connection, *names: str) -> None:
    """End the rest of channels: one answered, or a person said so."""
    connection.execute(_awake(*names))


def resting(connection: sa.Connection, *names: str) -> list[Rest]:
    """Return the channels that rest, or rested and have not answered since; all, or those named."""
    query = sa.select(*rests.c).order_by(rests.c.channel)
    found = connection.execute(query.where(rests.c.channel.in_(names)) if names else query)
    return [Rest(**row._mapping) for row in found]  # noqa: SLF001 - as below


def move(
    connection: sa.Connection,
    row_id: int,
    *,
    holder: str,
    held: Sequence[str],
    state: str,
    wakes: str | None = None,
    **values: Any,
) -> bool:
    """Change the state of a message we hold; False: the lease was lost, and the message was not changed.

    Either way the rest of the channel that it `wakes` is over. On PostgreSQL all of it is one statement.
    """
    mine = sa.update(outbox).where(outbox.c.id == row_id, outbox.c.lease == holder, outbox.c.state.in_(held))
    change = mine.values(state=state, **values)
    if wakes is not None and connection.dialect.name == "sqlite":
        wake(connection, wakes)
    elif wakes is not None:
        change = change.add_cte(_awake(wakes).cte("awake"))
    return connection.execute(change).rowcount == 1


def rows(connection: sa.Connection, states: Sequence[str], limit: int) -> list[OutboxRow]:
    """Return messages in these states, oldest first."""
    query = sa.select(*outbox.c).where(one_of(outbox.c.state, tuple(states))).order_by(outbox.c.id).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def count(connection: sa.Connection) -> dict[str, int]:
    """Count the messages by state."""
    return dict(connection.execute(sa.select(outbox.c.state, sa.func.count()).group_by(outbox.c.state)).all())


def settle_by_hand(connection: sa.Connection, ids: Sequence[int], state: str, now: datetime) -> int:
    """Send stuck messages again, or drop them; others are left alone. Returns how many were changed."""
    retried = {"attempts": 0, "next_attempt_at": now} if state == "pending" else {"next_attempt_at": None}
    stuck = sa.update(outbox).where(outbox.c.id.in_(ids), _STUCK).values(state=state, lease=None, **retried)
    changed = [channel(row.destination) for row in connection.execute(stuck.returning(outbox.c.destination))]
    if state == "pending":
        wake(connection, *set(changed))
    return len(changed)


_LOST = "the sender vanished while the message was being handed over; it may have arrived"
_GIVE_UP_LOST = (
    sa.update(outbox)
    .where(_SENDING, outbox.c.next_attempt_at < sa.bindparam("now", type_=Instant))
    .values(state="uncertain", lease=None, next_attempt_at=None, error=_LOST)
)


def _awake(*names: str) -> sa.Delete:
    return sa.delete(rests).where(rests.c.channel.in_(names))


def _row(row: sa.Row[Any]) -> OutboxRow:
    return OutboxRow(**row._mapping)  # noqa: SLF001 - the underscore is SQLAlchemy's way of not clashing with columns
