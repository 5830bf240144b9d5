"""The rules that were ever in force, newest last."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ticket_system.storage.tables import rules


def newest(connection: sa.Connection) -> int | None:
    """Return the version in force; None: the rules built in."""
    version: int | None = connection.execute(_NEWEST).scalar_one()
    return version


def versions(connection: sa.Connection) -> list[int]:
    """Return every version there ever was."""
    return list(connection.scalars(_VERSIONS))


def text(connection: sa.Connection, version: int) -> str:
    """Return the rules of a version."""
    found: str = connection.execute(_TEXT, {"version": version}).scalar_one()
    return found


def add(connection: sa.Connection, text: str, *, now: datetime, actor: str) -> int:
    """Put rules in force; returns their version."""
    new = sa.insert(rules).values(text=text, applied_at=now, applied_by=actor).returning(rules.c.id)
    version: int = connection.execute(new).scalar_one()
    return version


_NEWEST = sa.select(sa.func.max(rules.c.id))
_VERSIONS = sa.select(rules.c.id).order_by(rules.c.id)
_TEXT = sa.select(rules.c.text).where(rules.c.id == sa.bindparam("version"))
