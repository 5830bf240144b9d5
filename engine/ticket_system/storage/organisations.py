"""Organisations and the people who get their reports, and when the next one is due."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ticket_system.reports.contents import Scope
from ticket_system.reports.weeks import Timetable
from ticket_system.storage.report_tables import organisations, recipients, report_schedules, suppressions


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whose tickets are counted, and where and when its report is read."""

    name: str
    customer: str | None
    group: str | None
    zone: str
    locale: str
    #: 0 is Monday.
    weekday: int
    hour: int
    created_at: datetime

    @property
    def scope(self) -> Scope:
        """Whose tickets its reports count."""
        return Scope(customer=self.customer, group=self.group)

    @property
    def timetable(self) -> Timetable:
        """Where and when its report is read."""
        return Timetable(self.zone, self.weekday, self.hour)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person who may get reports of one organisation."""

    id: int
    organisation: str
    address: str
    #: The address in lower-case letters.
    key: str
    name: str
    roles: list[str]
    #: None: as the organisation has it.
    zone: str | None
    locale: str | None
    hour: int | None
    weekly: bool
    daily: bool
    changed_at: datetime
    changed_by: str

    def wants(self, kind: str) -> bool:
        """Tell whether they want reports of a kind."""
        return self.daily if kind == "daily" else self.weekly


class Schedule(NamedTuple):
    """The next report of a kind: the local day it is sent on, and when it is due for the first who gets it."""

    organisation: str
    kind: str
    next_on: date
    next_at: datetime


def get(connection: sa.Connection, name: str, *, lock: bool = False) -> Organisation | None:
    """Return an organisation, or None; with `lock` nobody else changes it meanwhile."""
    query = sa.select(*organisations.c).where(organisations.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return Organisation(**row) if row is not None else None


def save(connection: sa.Connection, values: dict[str, Any]) -> None:
    """Store an organisation, new or changed."""
    _upsert(connection, organisations, [values], ["name"])


def listed(connection: sa.Connection, names: Collection[str] | None = None) -> list[Organisation]:
    """Return organisations by name: all, or those named."""
    query = sa.select(*organisations.c).order_by(organisations.c.name)
    if names is not None:
        query = query.where(organisations.c.name.in_(list(names)))
    return [Organisation(**row) for row in connection.execute(query).mappings()]


def people(connection: sa.Connection, of: Collection[str] | None = None) -> list[Recipient]:
    """Return the people of all organisations, or of those named, by organisation and address."""
    query = sa.select(*recipients.c).order_by(recipients.c.organisation, recipients.c.key)
    if of is not None:
        query = query.where(recipients.c.organisation.in_(list(of)))
    return [Recipient(**row) for row in connection.execute(query).mappings()]


def person(connection: sa.Connection, organisation: str, key: str) -> Recipient | None:
    """Return one person of an organisation by their address in lower-case letters."""
    return _one(connection, recipients.c.organisation == organisation, recipients.c.key == key)


def by_id(connection: sa.Connection, recipient_id: int) -> Recipient | None:
    """Return one person."""
    return _one(connection, recipients.c.id == recipient_id)


def save_person(connection: sa.Connection, values: dict[str, Any]) -> None:
    """Store a person, new or changed."""
    _upsert(connection, recipients, [values], ["organisation", "key"])


def change_person(connection: sa.Connection, recipient_id: int, **values: Any) -> None:
    """Change a person."""
    connection.execute(sa.update(recipients).where(recipients.c.id == recipient_id).values(**values))


def remove_person(connection: sa.Connection, organisation: str, key: str) -> bool:
    """Forget a person; False when there is none."""
    gone = sa.delete(recipients).where(recipients.c.organisation == organisation, recipients.c.key == key)
    return connection.execute(gone).rowcount == 1


def end_schedules(connection: sa.Connection, organisation: str) -> None:
    """Have no more reports of an organisation planned; waits for whoever plans one."""
    connection.execute(sa.delete(report_schedules).where(report_schedules.c.organisation == organisation))


def remove(connection: sa.Connection, name: str) -> None:
    """Forget an organisation and the people in it; its schedules are ended before."""
    connection.execute(sa.delete(recipients).where(recipients.c.organisation == name))
    connection.execute(sa.delete(organisations).where(organisations.c.name == name))


def suppressed(connection: sa.Connection, keys: Collection[str] | None = None) -> dict[str, str]:
    """Return which addresses no report goes to, and why; all, or of those asked for."""
    query = sa.select(suppressions.c.key, suppressions.c.reason).order_by(suppressions.c.key)
    if keys is not None:
        query = query.where(suppressions.c.key.in_(list(keys)))
    return dict(connection.execute(query).all())


def suppress(connection: sa.Connection, key: str, reason: str, now: datetime) -> None:
    """Have no report go to an address."""
    _upsert(connection, suppressions, [{"key": key, "reason": reason, "at": now}], ["key"])


def release(connection: sa.Connection, key: str) -> bool:
    """Let reports go to an address again; False when they did."""
    return connection.execute(sa.delete(suppressions).where(suppressions.c.key == key)).rowcount == 1


def schedule(connection: sa.Connection, *ahead: Schedule) -> None:
    """Set when the next reports are due."""
    if ahead:
        _upsert(connection, report_schedules, [one._asdict() for one in ahead], ["organisation", "kind"])


def unschedule(connection: sa.Connection, organisation: str, kind: str) -> None:
    """Have no more reports of a kind."""
    mine = sa.and_(report_schedules.c.organisation == organisation, report_schedules.c.kind == kind)
    connection.execute(sa.delete(report_schedules).where(mine))


def schedules(connection: sa.Connection) -> list[Schedule]:
    """Return when the next reports are due, the next first."""
    rows = connection.execute(sa.select(*report_schedules.c).order_by(report_schedules.c.next_at))
    return [Schedule(*row) for row in rows]


def due(connection: sa.Connection, now: datetime, limit: int) -> list[Schedule]:
    """Take reports that are due to be planned, the longest waiting first; another worker's are skipped."""
    query = sa.select(*report_schedules.c).where(report_schedules.c.next_at <= now)
    query = query.order_by(report_schedules.c.next_at).limit(limit).with_for_update(skip_locked=True)
    return [Schedule(*row) for row in connection.execute(query)]


def _one(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Recipient | None:
    row = connection.execute(sa.select(*recipients.c).where(*where)).mappings().first()
    return Recipient(**row) if row is not None else None


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], key: list[str]) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    new = dialect.insert(table)
    told = {name: new.excluded[name] for name in rows[0] if name not in key}
    connection.execute(new.on_conflict_do_update(index_elements=[table.c[name] for name in key], set_=told), rows)
