"""Messages that nobody could understand or finish."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.fleet_tables import parked
from ticket_system.storage.tables import named

#: The states that a person, or a job, still has to do something about.
OPEN = ("waiting", "due")


class Parked(NamedTuple):
    """One message, why it lies here, and what was decided about it."""

    id: int
    name: str
    body: str
    reason: str
    times: int
    parked_at: datetime
    state: str
    settled_at: datetime | None
    settled_by: str | None


_COLUMNS = [parked.c[name] for name in Parked._fields]


def park(connection: sa.Connection, fingerprint: str, name: str, body: str, reason: str, now: datetime) -> int:
    """Keep a message; the same one again is counted, and waits again unless somebody dropped it. Returns its id."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(parked).values(
        fingerprint=fingerprint, name=name, body=body, reason=reason, times=1, parked_at=now, state="waiting"
    )
    again = new.on_conflict_do_update(
        index_elements=[parked.c.fingerprint],
        set_={
            "times": parked.c.times + 1,
            "reason": new.excluded.reason,
            "state": sa.case((parked.c.state == named("dropped"), parked.c.state), else_=named("waiting")),
        },
    )
    return int(connection.execute(again.returning(parked.c.id)).scalar_one())


def get(connection: sa.Connection, number: int) -> Parked | None:
    """Return one of them, locked, or None."""
    row = connection.execute(sa.select(*_COLUMNS).where(parked.c.id == number).with_for_update()).first()
    return None if row is None else Parked(*row)


def some(connection: sa.Connection, states: tuple[str, ...], limit: int) -> list[Parked]:
    """Return messages in these states, the oldest first."""
    # Spelt out: the partial index holds those that are open.
    wanted = parked.c.state.in_([named(state) for state in states])
    query = sa.select(*_COLUMNS).where(wanted).order_by(parked.c.id).limit(limit)
    return [Parked(*row) for row in connection.execute(query)]


def count(connection: sa.Connection) -> int:
    """Count those that wait for a person."""
    query = sa.select(sa.func.count()).where(parked.c.state == named("waiting"))
    return int(connection.execute(query).scalar_one())


def settle(connection: sa.Connection, number: int, state: str, by: str, now: datetime) -> None:
    """Say what was decided about a message."""
    mine = sa.update(parked).where(parked.c.id == number)
    connection.execute(mine.values(state=state, settled_by=by, settled_at=now))


def rewrite(connection: sa.Connection, number: int, fingerprint: str, body: str) -> None:
    """Put a mended message in its place."""
    connection.execute(sa.update(parked).where(parked.c.id == number).values(fingerprint=fingerprint, body=body))


def finish(connection: sa.Connection, number: int, now: datetime) -> None:
    """Say that a message that was to be tried again was taken; who decided it stays on record."""
    mine = sa.update(parked).where(parked.c.id == number, parked.c.state == named("due"))
    connection.execute(mine.values(state="replayed", settled_at=now))
