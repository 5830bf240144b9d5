"""What was asked from elsewhere, each under its key: the same key is done once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.fleet_tables import wishes
from ticket_system.storage.moments import database_clock, moment, uses_its_own_clock
from ticket_system.storage.tables import Instant


class Wish(NamedTuple):
    """One wish, and what became of it."""

    key: str
    kind: str
    ticket_id: str | None
    outcome: str
    taken_at: datetime


def take(connection: sa.Connection, key: str, kind: str, ticket_id: str | None, outcome: str) -> bool:
    """Write a wish down; False: its key is taken. Whoever comes second waits until the first has committed."""
    # The server's clock is asked by the statement itself: one round trip less for every wish.
    taken_at = None if uses_its_own_clock(connection) else moment(connection)
    given = {"key": key, "kind": kind, "ticket_id": ticket_id, "outcome": outcome, "moment": taken_at}
    return connection.execute(_TAKE[connection.dialect.name], given).first() is not None


def settle(connection: sa.Connection, key: str, outcome: str) -> None:
    """Say what became of a wish."""
    connection.execute(sa.update(wishes).where(wishes.c.key == key).values(outcome=outcome))


def get(connection: sa.Connection, key: str) -> Wish | None:
    """Return the wish of that key, or None."""
    row = connection.execute(sa.select(*[wishes.c[name] for name in Wish._fields]).where(wishes.c.key == key)).first()
    return None if row is None else Wish(*row)


def _taking(insert: Any, taken_at: sa.ColumnElement[datetime]) -> Any:
    named: dict[str, Any] = {name: sa.bindparam(name) for name in ("key", "kind", "ticket_id", "outcome")}
    new = insert(wishes).values(**named, taken_at=taken_at)
    return new.on_conflict_do_nothing(index_elements=[wishes.c.key]).returning(wishes.c.key)


_MOMENT = sa.bindparam("moment", type_=Instant)
_TAKE = {
    "sqlite": _taking(sqlite.insert, _MOMENT),
    "postgresql": _taking(postgresql.insert, sa.func.coalesce(_MOMENT, database_clock, type_=Instant)),
}
