"""Reports on their way: one delivery to each person, sent at most once.

    pending ──claim──► claimed ──begin──► in_data ──► sent
       ▲                  │                  ├──────► failed      refused, or too late
       └── postpone ──────┴──────────────────┴──────► uncertain   it may have arrived; nobody knows
                          └─────────────────────────► skipped     left, suppressed, nothing to tell

`begin` is committed just before the text goes over the wire: a lease that runs out before it is taken up again; after
it nobody can know, so the delivery is shown and never repeated by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ticket_system.errors import ReportError
from ticket_system.recipients import reader_of
from ticket_system.reports.contents import Daily, Weekly, from_json
from ticket_system.reports.readers import Reader, told_to
from ticket_system.reports.weeks import CATCH_UP
from ticket_system.storage import organisations, report_deliveries, report_runs
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.report_deliveries import STATES, STUCK, ReportDelivery
from ticket_system.storage.report_runs import Run
from ticket_system.tickets import storable
from ticket_system.waits import backoff

__all__ = ["STATES", "STUCK", "Occasion", "ReportDelivery", "Skip"]

_MAX_ANSWER = 500
_FIRST_WAIT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 3600.0
_HELD = ("claimed", "in_data")
_TOO_LATE = f"not sent within {CATCH_UP.total_seconds() / 3600:.0f} hours after it was due"


class Occasion(NamedTuple):
    """All that a report to one person is written from."""

    run: Run
    content: Weekly | Daily
    picture: bytes | None
    reader: Reader


class Skip(NamedTuple):
    """Why a report is not sent to somebody after all."""

    reason: str


def claim(
    database: Database, *, limit: int = 10, lease_seconds: float = 120, now: datetime | None = None
) -> list[ReportDelivery]:
    """Take deliveries that are due; they are ours until the lease runs out."""
    with database.write() as connection:
        at = now or moment(connection)
        report_deliveries.give_up_lost(connection, at)
        until = at + timedelta(seconds=lease_seconds)
        return report_deliveries.claim(connection, lease=str(uuid.uuid4()), until=until, now=at, limit=limit)


def occasion(database: Database, delivery: ReportDelivery) -> Occasion | Skip:
    """Return what a report is written from, or why it is not sent: whoever left meanwhile gets none."""
    with database.read() as connection:
        run, frozen = report_runs.get(connection, delivery.run_id), report_runs.frozen(connection, delivery.run_id)
        if run is None or frozen is None:
            return Skip("there is no such report any more")
        mine = organisations.get(connection, run.organisation)
        person = organisations.person(connection, run.organisation, delivery.key)
        reasons = organisations.suppressed(connection, [delivery.key])
    if mine is None or person is None:
        return Skip(f"no longer among the people of {run.organisation}")
    if not person.wants(run.kind):
        return Skip(f"wants no {run.kind} report any more")
    if reasons:
        return Skip(f"suppressed: {reasons[delivery.key]}")
    return Occasion(
        run,
        told_to(from_json(frozen[0]), person.roles, [person.address, person.name]),
        frozen[1],
        reader_of(person, mine),
    )


def begin(database: Database, delivery: ReportDelivery, *, lease_seconds: float, now: datetime | None = None) -> bool:
    """Commit that the report is about to be handed over. False: the lease was lost, and it must not be sent."""
    with database.write() as connection:
        until = (now or moment(connection)) + timedelta(seconds=lease_seconds)
        return _move(connection, delivery, ("claimed",), "in_data", next_attempt_at=until)


def sent(database: Database, delivery: ReportDelivery, answer: str, *, now: datetime | None = None) -> bool:
    """Record that the mail server took responsibility for it."""
    return _finish(database, delivery, "sent", answer, now)


def failed(
    database: Database,
    delivery: ReportDelivery,
    error: str,
    *,
    suppress: bool = False,
    now: datetime | None = None,
) -> bool:
    """Set a delivery aside for a person; with `suppress` no report goes to that address any more."""
    if suppress:
        with database.write() as connection:
            at = now or moment(connection)
            organisations.suppress(connection, delivery.key, storable(error[:_MAX_ANSWER]), at)
    return _finish(database, delivery, "failed", error, now)


def uncertain(database: Database, delivery: ReportDelivery, error: str, *, now: datetime | None = None) -> bool:
    """Record that the report may or may not have arrived; a person decides."""
    return _finish(database, delivery, "uncertain", error, now)


def skip(database: Database, delivery: ReportDelivery, reason: str, *, now: datetime | None = None) -> bool:
    """Record why it is not sent."""
    return _finish(database, delivery, "skipped", reason, now)


def postpone(
    database: Database, delivery: ReportDelivery, error: str, *, wait_seconds: float = 0, now: datetime | None = None
) -> datetime | Literal[False] | None:
    """Try again later, after a wait that doubles; None: it would be too late then, and it has failed.

    False: the lease was lost, and whoever has it now says what becomes of the delivery.
    """
    with database.write() as connection:
        wait = backoff(delivery.attempts, first_seconds=_FIRST_WAIT_SECONDS, longest_seconds=_LONGEST_WAIT_SECONDS)
        again = (now or moment(connection)) + max(wait, timedelta(seconds=min(wait_seconds, _LONGEST_WAIT_SECONDS)))
        if again - delivery.due_at <= CATCH_UP:
            answer = storable(error[:_MAX_ANSWER])
            is_mine = _move(connection, delivery, _HELD, "pending", next_attempt_at=again, lease=None, answer=answer)
            return again if is_mine else False
    return None if _finish(database, delivery, "failed", f"{_TOO_LATE}; {error}", now) else False


def put_back(database: Database, deliveries: Sequence[ReportDelivery]) -> int:
    """Give back deliveries of one claim that were not begun: due again at once, the attempt not counted."""
    if not deliveries:
        return 0
    with database.write() as connection:
        ids = [one.id for one in deliveries]
        return report_deliveries.release(connection, ids, holder=deliveries[0].lease or "")


def listed(
    database: Database, states: Sequence[str] | None = STUCK, *, limit: int = 100, run_id: int | None = None
) -> list[tuple[ReportDelivery, str, str]]:
    """Return deliveries in these states (None: in all), oldest first, with the organisation and the kind."""
    with database.read() as connection:
        return report_deliveries.listed(connection, states, limit, run_id)


def outstanding(database: Database) -> dict[str, int]:
    """Count the deliveries that wait or are stuck, by state."""
    with database.read() as connection:
        return report_deliveries.count(connection)


def resolve(database: Database, delivery_id: int, *, arrived: bool, actor: str, now: datetime | None = None) -> None:
    """Say what became of a delivery that is stuck: it arrived, or it is let go."""
    with database.write() as connection:
        at, one = now or moment(connection), _stuck(connection, delivery_id)
        said = f"{'arrived' if arrived else 'let go'}, says {actor}; before: {one.state}, {one.answer}"
        report_deliveries.settle(
            connection, one.id, state="sent" if arrived else "skipped", answer=storable(said[:_MAX_ANSWER]),
            finished_at=at,
        )  # fmt: skip


def resend(database: Database, delivery_id: int, *, now: datetime | None = None) -> None:
    """Send a stuck delivery again at the next tick, the same bytes: whoever has it already may drop the second."""
    with database.write() as connection:
        at, one = now or moment(connection), _stuck(connection, delivery_id)
        again = {"state": "pending", "attempts": 0, "next_attempt_at": at, "due_at": at, "finished_at": None}
        report_deliveries.settle(connection, one.id, **again)


def _finish(database: Database, delivery: ReportDelivery, state: str, answer: str, now: datetime | None) -> bool:
    with database.write() as connection:
        told = {"answer": storable(answer[:_MAX_ANSWER]), "finished_at": now or moment(connection)}
        return _move(connection, delivery, _HELD, state, next_attempt_at=None, lease=None, **told)


def _move(
    connection: sa.Connection, delivery: ReportDelivery, held: tuple[str, ...], state: str, **values: Any
) -> bool:
    holder = delivery.lease or ""
    return report_deliveries.move(connection, delivery.id, holder=holder, held=held, state=state, **values)


def _stuck(connection: sa.Connection, delivery_id: int) -> ReportDelivery:
    one = report_deliveries.get(connection, delivery_id, lock=True)
    if one is None:
        raise ReportError(f"there is no delivery {delivery_id}; `tickets digest list` shows those that are stuck")
    if one.state not in STUCK:
        raise ReportError(f"delivery {delivery_id} is {one.state}: nothing is to be decided about it")
    return one
