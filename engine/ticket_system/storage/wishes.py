"""What was asked from elsewhere, each under its key: the same key is done once."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.storage.fleet_tables import wishes


class Wish(NamedTuple):
    """One wish, and what became of it."""

    key: str
    kind: str
    ticket_id: str | None
    outcome: str
    taken_at: datetime


def take(connection: sa.Connection, wish: Wish) -> bool:
    """Write a wish down; False: its key is taken. Whoever comes second waits until the first has committed."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(wishes).values(**wish._asdict())
    once = new.on_conflict_do_nothing(index_elements=[wishes.c.key]).returning(wishes.c.key)
    return connection.execute(once).first() is not None


def settle(connection: sa.Connection, key: str, outcome: str) -> None:
    """Say what became of a wish."""
    connection.execute(sa.update(wishes).where(wishes.c.key == key).values(outcome=outcome))


def get(connection: sa.Connection, key: str) -> Wish | None:
    """Return the wish of that key, or None."""
    row = connection.execute(sa.select(*[wishes.c[name] for name in Wish._fields]).where(wishes.c.key == key)).first()
    return None if row is None else Wish(*row)
