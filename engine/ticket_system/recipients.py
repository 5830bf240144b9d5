"""Who gets reports: organisations, the people in them, and addresses that no report goes to.

Whatever is changed here says anew when the next report is due; no day is ever told of twice because of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from ticket_system.errors import ReportError, shown
from ticket_system.reports.contents import KINDS, WEEKLY
from ticket_system.reports.readers import BILLING, MANAGER, ROLES, Reader
from ticket_system.reports.weeks import Hour, next_day
from ticket_system.storage import organisations, report_runs
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.organisations import Organisation, Recipient, Schedule
from ticket_system.tickets import LEAVE, Leave, check_name, check_whole, is_address, storable

__all__ = ["Organisation", "Recipient", "Schedule", "Told"]

DEFAULT_LOCALE = "en_GB"
DEFAULT_ZONE = "UTC"
_LOCALE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?(_([A-Z]{2}|[0-9]{3}))?", re.ASCII)


class Told(NamedTuple):
    """What somebody who wants to leave a series of reports is told about it."""

    organisation: str
    address: str
    is_subscribed: bool


def set_organisation(  # noqa: PLR0913 - each of them is one thing that can be said
    database: Database,
    name: str,
    *,
    customer: str | Leave | None = LEAVE,
    group: str | Leave | None = LEAVE,
    zone: str | Leave = LEAVE,
    locale: str | Leave = LEAVE,
    weekday: int | Leave = LEAVE,
    hour: int | Leave = LEAVE,
    now: datetime | None = None,
) -> Organisation:
    """Make an organisation, or change what is named; without a customer and a group it counts all tickets.

    ReportError, or InvalidTicket, for what makes no sense.
    """
    check_name("organisation", name)
    given: dict[str, Any] = {
        "customer": _or_none(customer, lambda one: check_name("customer", one)),
        "group": _or_none(group, lambda one: check_name("group", one)),
        "zone": _or_leave(zone, check_zone),
        "locale": _or_leave(locale, check_locale),
        "weekday": _or_leave(weekday, lambda one: check_whole("weekday", one, 0, 6)),
        "hour": _or_leave(hour, lambda one: check_whole("hour", one, 0, 23)),
    }
    with database.write() as connection:
        at = now or moment(connection)
        before = organisations.get(connection, name, lock=True)
        new = {"customer": None, "group": None, "zone": DEFAULT_ZONE, "locale": DEFAULT_LOCALE, "weekday": 0, "hour": 9}
        known = {what: getattr(before, what) for what in new} if before else new
        told: dict[str, Any] = {what: known[what] if value is LEAVE else value for what, value in given.items()}
        organisation = Organisation(name=name, created_at=before.created_at if before else at, **told)
        organisations.save(connection, told | {"name": name, "created_at": organisation.created_at})
        _reschedule(connection, organisation, at)
    return organisation


def add(  # noqa: PLR0913 - likewise
    database: Database,
    organisation: str,
    address: str,
    *,
    actor: str,
    name: str | Leave = LEAVE,
    roles: Collection[str] | Leave = LEAVE,
    zone: str | Leave | None = LEAVE,
    locale: str | Leave | None = LEAVE,
    hour: int | Leave | None = LEAVE,
    weekly: bool | Leave = LEAVE,
    daily: bool | Leave = LEAVE,
    now: datetime | None = None,
) -> Recipient:
    """Add a person, or change what is named; None: as the organisation has it.

    Somebody who left a series comes back to it only if `weekly` or `daily` says so.
    """
    key = _key(address)
    given: dict[str, Any] = {
        "name": _or_leave(name, lambda one: check_name("name", one) if one else ""),
        "roles": _or_leave(roles, _check_roles),
        "zone": _or_none(zone, check_zone),
        "locale": _or_none(locale, check_locale),
        "hour": _or_none(hour, lambda one: check_whole("hour", one, 0, 23)),
        "weekly": weekly,
        "daily": daily,
    }
    with database.write() as connection:
        at, mine = now or moment(connection), _organisation(connection, organisation)
        before = organisations.person(connection, organisation, key)
        new = {
            "name": "", "roles": ["manager"], "zone": None, "locale": None, "hour": None, "weekly": True, "daily": False
        }  # fmt: skip
        known = {what: getattr(before, what) for what in new} if before else new
        told = {what: known[what] if value is LEAVE else value for what, value in given.items()}
        told |= {"organisation": organisation, "key": key, "address": address, "changed_at": at, "changed_by": actor}
        organisations.save_person(connection, told)
        _reschedule(connection, mine, at)
        found = organisations.person(connection, organisation, key)
    if found is None:
        raise AssertionError("it was stored in this transaction")
    return found


def remove(database: Database, organisation: str, address: str, *, now: datetime | None = None) -> None:
    """Forget a person; what was sent to them stays on record. ReportError when there is none."""
    with database.write() as connection:
        at, mine = now or moment(connection), _organisation(connection, organisation)
        if not organisations.remove_person(connection, organisation, address.lower()):
            raise ReportError(
                f"{shown(address)} gets no reports of {organisation}; `tickets recipients list` shows who"
            )
        _reschedule(connection, mine, at)


def listed(database: Database, organisation: str | None = None) -> list[tuple[Recipient, str | None]]:
    """Return people by organisation and address, each with the reason why no report goes to them, if there is one."""
    with database.read() as connection:
        found = organisations.people(connection, None if organisation is None else [organisation])
        reasons = organisations.suppressed(connection, [one.key for one in found])
    return [(one, reasons.get(one.key)) for one in found]


def all_organisations(database: Database) -> list[tuple[Organisation, list[Schedule]]]:
    """Return organisations by name, each with when its next reports are due."""
    with database.read() as connection:
        ahead = organisations.schedules(connection)
        found = organisations.listed(connection)
    return [(one, [next_one for next_one in ahead if next_one.organisation == one.name]) for one in found]


def remove_organisation(database: Database, name: str, *, actor: str) -> None:
    """Forget an organisation and its people; its past reports stay on record. ReportError when there is none.

    Planned reports of it are not made, and letters that wait are skipped when their turn comes; one that is going
    over the wire arrives. Under the same name it can be made again, and no day is told of twice.
    """
    with database.write() as connection:
        _organisation(connection, name)
        organisations.end_schedules(connection, name)
        report_runs.miss_all(connection, name, storable(f"the organisation was removed by {actor}"))
        organisations.remove(connection, name)


def organisation(database: Database, name: str) -> Organisation:
    """Return an organisation; ReportError when there is none."""
    with database.read() as connection:
        return _organisation(connection, name, lock=False)


def release(database: Database, address: str) -> None:
    """Let reports go to an address again that was suppressed; ReportError when it was not."""
    with database.write() as connection:
        if not organisations.release(connection, address.lower()):
            raise ReportError(f"{shown(address)} is not suppressed")


def told(database: Database, recipient_id: int, kind: str) -> Told | None:
    """Return what somebody who wants to leave a series is told about it; None: there is no such person any more."""
    with database.read() as connection:
        found = organisations.by_id(connection, recipient_id) if kind in KINDS else None
    return Told(found.organisation, found.address, found.wants(kind)) if found else None


def subscribe(
    database: Database, recipient_id: int, kind: str, *, wanted: bool, actor: str, now: datetime | None = None
) -> bool:
    """Have a person get a series of reports, or no more; saying so twice changes nothing. False: no such person."""
    with database.write() as connection:
        found = organisations.by_id(connection, recipient_id) if kind in KINDS else None
        if found is None:
            return False
        mine = _organisation(connection, found.organisation)
        if found.wants(kind) is not wanted:
            at = now or moment(connection)
            said = {"changed_at": at, "changed_by": actor}
            organisations.change_person(connection, found.id, **{kind: wanted}, **said)
            _reschedule(connection, mine, at)
    return True


def hours(people: Collection[Recipient], organisation: Organisation, kind: str) -> list[Hour]:
    """Return when each who wants reports of a kind gets them, by their own clock."""
    return [
        Hour(one.zone or organisation.zone, organisation.hour if one.hour is None else one.hour)
        for one in people
        if one.wants(kind)
    ]


def reader_of(person: Recipient, mine: Organisation) -> Reader:
    """Return how somebody reads reports."""
    return Reader(
        id=person.id,
        address=person.address,
        name=person.name,
        locale=person.locale or mine.locale,
        zone=person.zone or mine.zone,
        sees_agents=MANAGER in person.roles,
        sees_billing=BILLING in person.roles,
    )


def check_zone(name: str) -> str:
    """Return the name of a time zone, or raise ReportError."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ReportError(f"no time zone is called {shown(name)}; give one like Europe/Lisbon or UTC") from error
    return name


def check_locale(name: str) -> str:
    """Return a locale, or raise ReportError; whether numbers can be written that way is the writer's affair."""
    if not _LOCALE.fullmatch(name):
        raise ReportError(f"{shown(name)} is no locale; give a language, or one with its country, like de or pt_BR")
    return name


def _reschedule(connection: sa.Connection, mine: Organisation, now: datetime) -> None:
    """Say anew when the next report of each kind is due. The organisation is locked."""
    people = organisations.people(connection, [mine.name])
    before = {one.kind: one for one in organisations.schedules(connection) if one.organisation == mine.name}
    last = report_runs.last_days(connection, [mine.name])
    for kind in KINDS:
        readers = hours(people, mine, kind)
        if kind != WEEKLY and not readers:
            # The weekly one is made for nobody, too: the next one compares itself with it.
            organisations.unschedule(connection, mine.name, kind)
            continue
        # A report that was due already still is, and the next one is not lost because its hour is over now.
        ahead = before.get(kind)
        since, owed = (min(ahead.next_at, now), ahead.next_on) if ahead else (now, None)
        on, at = next_day(kind, mine.timetable, readers, since=since, after=last.get((mine.name, kind)), owed=owed)
        organisations.schedule(connection, Schedule(mine.name, kind, on, at))


def _organisation(connection: sa.Connection, name: str, *, lock: bool = True) -> Organisation:
    found = organisations.get(connection, name, lock=lock)
    if found is None:
        raise ReportError(f"there is no organisation {shown(name)}; `tickets organisations set` makes one")
    return found


def _key(address: str) -> str:
    if not is_address(address):
        raise ReportError(f"{shown(address)} is not a plain mail address, name@example.org")
    return address.lower()


def _check_roles(roles: Collection[str]) -> list[str]:
    if strange := sorted(set(roles) - set(ROLES)):
        raise ReportError(f"there is no role {shown(strange[0])}; there are {', '.join(ROLES)}")
    if not roles:
        raise ReportError(f"somebody who gets reports has a role: {', '.join(ROLES)}")
    return [role for role in ROLES if role in roles]


def _or_leave(value: Any, check: Callable[[Any], Any]) -> Any:
    return value if value is LEAVE else check(value)


def _or_none(value: Any, check: Callable[[Any], Any]) -> Any:
    return None if value is None or value == "" else _or_leave(value, check)
