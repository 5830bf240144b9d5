"""Steps, which are what stored rules do; and alarms, which are what of it is still to come for one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ticket_system.sla.alarms import Alarm, Step
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import Level
from ticket_system.storage.tables import Instant, alarms, step_notices, steps

_CLOCK = ("ticket_id", "target", "cycle")


class Raised(NamedTuple):
    """An alarm that was raised and told, and has more to do than a sweep can."""

    target: str
    cycle: int
    step_id: int
    repeat: int


def add_steps(connection: sa.Connection, version: int, found: Iterable[tuple[str, Step, Sequence[str]]]) -> None:
    """Store what the policies of a version do: policy, step, and where its notices go."""
    for policy, step, destinations in found:
        level = step.does if isinstance(step.does, Level) else Level()
        row = {
            "rules": version,
            "policy": policy,
            "kind": step.kind,
            "number": step.number,
            "raises": level.raise_priority and not level.retarget,
            "by_hand": bool(level.reassign_to or level.tag or level.retarget),
        }
        step_id = connection.execute(sa.insert(steps).values(row).returning(steps.c.id)).scalar_one()
        if destinations:
            rows = [{"step_id": step_id, "destination": one} for one in dict.fromkeys(destinations)]
            connection.execute(sa.insert(step_notices), rows)


def ids_of(connection: sa.Connection, version: int) -> dict[tuple[str, str, int], int]:
    """Return the numbers under which the steps of a version are stored, by policy, kind and place."""
    return {
        (policy, kind, number): step_id for step_id, policy, kind, number in connection.execute(_IDS, {"v": version})
    }


def insert(connection: sa.Connection, found: Sequence[Alarm]) -> None:
    """Store alarms that are to come."""
    if found:
        connection.execute(_INSERT, [one._asdict() for one in found])


def of_clock(connection: sa.Connection, clock: Clock) -> list[Alarm]:
    """Return what is still to come for a clock, the next first."""
    return [Alarm(*row) for row in connection.execute(_OF_CLOCK, _key(clock))]


def of_ticket(connection: sa.Connection, ticket_id: str) -> list[Alarm]:
    """Return what is still to come for a ticket, the next first."""
    return [Alarm(*row) for row in connection.execute(_OF_TICKET, {"ticket_id": ticket_id})]


def forget(connection: sa.Connection, clock: Clock) -> None:
    """Take what is still to come off the list; what was raised and has to be finished by hand stays."""
    connection.execute(_FORGET, _key(clock))


def pull(connection: sa.Connection, clock: Clock, step_id: int, repeat: int, at: datetime) -> None:
    """Bring an alarm forward."""
    which = _key(clock) | {"the_step": step_id, "the_repeat": repeat, "new_at": at}
    connection.execute(_PULL, which)


def raised(connection: sa.Connection, ticket_id: str) -> list[Raised]:
    """Return what is to be finished by hand for a ticket, in the order of its clocks and of its chain."""
    return [Raised(*row) for row in connection.execute(_RAISED, {"ticket_id": ticket_id})]


def finish(connection: sa.Connection, ticket_id: str, done: Raised) -> None:
    """Take a finished one off the list."""
    gone = sa.delete(alarms).where(alarms.c.ticket_id == ticket_id, alarms.c.raised_at.is_not(None))
    connection.execute(gone.where(*[alarms.c[name] == value for name, value in done._asdict().items()]))


def to_finish(connection: sa.Connection, limit: int) -> list[str]:
    """Return tickets for which something is to be finished by hand."""
    return list(connection.scalars(_TO_FINISH, {"limit": limit}))


def _key(clock: Clock) -> dict[str, Any]:
    return {"the_ticket": clock.ticket_id, "the_target": clock.target, "the_cycle": clock.cycle}


_IDS = sa.select(steps.c.id, steps.c.policy, steps.c.kind, steps.c.number).where(steps.c.rules == sa.bindparam("v"))
_INSERT = sa.insert(alarms)
_FIELDS = [alarms.c[name] for name in Alarm._fields]
_ORDER = [alarms.c.at, *[alarms.c[name] for name in (*_CLOCK, "step_id", "repeat")]]
_THIS_CLOCK = [
    alarms.c.ticket_id == sa.bindparam("the_ticket"),
    alarms.c.target == sa.bindparam("the_target"),
    alarms.c.cycle == sa.bindparam("the_cycle"),
    alarms.c.raised_at.is_(None),
]
_OF_CLOCK = sa.select(*_FIELDS).where(*_THIS_CLOCK).order_by(*_ORDER)
_OF_TICKET = (
    sa.select(*_FIELDS)
    .where(alarms.c.ticket_id == sa.bindparam("ticket_id"), alarms.c.raised_at.is_(None))
    .order_by(*_ORDER)
)
_FORGET = sa.delete(alarms).where(*_THIS_CLOCK)
_PULL = (
    sa.update(alarms)
    .where(*_THIS_CLOCK, alarms.c.step_id == sa.bindparam("the_step"), alarms.c.repeat == sa.bindparam("the_repeat"))
    .values(at=sa.bindparam("new_at", type_=Instant))
)
_RAISED = (
    sa.select(*[alarms.c[name] for name in Raised._fields])
    .where(alarms.c.ticket_id == sa.bindparam("ticket_id"), alarms.c.raised_at.is_not(None))
    .order_by(alarms.c.target, alarms.c.cycle, alarms.c.step_id, alarms.c.repeat)
)
_TO_FINISH = (
    sa.select(alarms.c.ticket_id)
    .where(alarms.c.raised_at.is_not(None))
    .group_by(alarms.c.ticket_id)
    .limit(sa.bindparam("limit"))
)
