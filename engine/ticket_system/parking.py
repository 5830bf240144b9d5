"""Where messages lie that nobody could understand or finish, until a person has them tried again, or drops them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

from sqlalchemy.exc import IntegrityError

from ticket_system.errors import ParkingError
from ticket_system.storage import parking
from ticket_system.storage.database import Database
from ticket_system.storage.moments import moment
from ticket_system.storage.parking import OPEN, Parked
from ticket_system.tickets import check_name, storable

__all__ = ["OPEN", "STATES", "Parked", "count", "drop", "due", "finish", "get", "listed", "park", "replay"]

STATES = (*OPEN, "replayed", "dropped")
#: A longer one is cut, and cannot be tried again: nothing that we take in is as long.
MAX_BODY = 2_000_000
_MAX_NAME = 200
_MAX_REASON = 1000


def park(database: Database, name: str, body: str, reason: str) -> int:
    """Keep a message with the reason; the same one again is counted, not kept twice. Returns its number."""
    body = storable(body)
    if len(body) > MAX_BODY:
        reason = f"{reason} (cut: it is {len(body):,} characters long, and cannot be tried again)"
        body = body[:MAX_BODY]
    name = storable(name)[:_MAX_NAME]
    with database.write() as connection:
        now = moment(connection)
        return parking.park(connection, _fingerprint(name, body), name, body, storable(reason)[:_MAX_REASON], now)


def listed(database: Database, *, states: Collection[str] = OPEN, limit: int = 100) -> list[Parked]:
    """Return messages in these states, the oldest first."""
    with database.read() as connection:
        return parking.some(connection, tuple(states), limit)


def get(database: Database, number: int) -> Parked:
    """Return one message, or raise ParkingError."""
    with database.read() as connection:
        return _known(parking.get(connection, number), number)


def count(database: Database) -> int:
    """Count the messages that wait for a person."""
    with database.read() as connection:
        return parking.count(connection)


def replay(database: Database, number: int, *, body: str | None = None, by: str = "system") -> None:
    """Have a message tried again, as it came or as somebody mended it; a worker does so within half a minute.

    Its key makes that harmless where it was done after all. ParkingError for a body that is no JSON, and for a message
    that was settled.
    """
    check_name("author", by)
    with database.write() as connection:
        found = _known(parking.get(connection, number), number)
        if found.state not in OPEN:
            raise ParkingError(f"message {number} was {found.state} by {found.settled_by}; nothing is left to be tried")
        if body is not None:
            body = storable(body)
        try:
            json.loads(found.body if body is None else body)
        except ValueError as error:
            raise ParkingError(f"message {number} is no JSON ({error}); mend it: --body FILE") from error
        if body is not None:
            try:
                with connection.begin_nested():
                    parking.rewrite(connection, number, _fingerprint(found.name, body), body)
            except IntegrityError as error:
                raise ParkingError(f"message {number}: the mended one lies here already, as another") from error
        parking.settle(connection, number, "due", by, moment(connection))


def drop(database: Database, number: int, *, by: str = "system") -> None:
    """Give a message up; it stays on record. ParkingError where it was settled before."""
    check_name("author", by)
    with database.write() as connection:
        found = _known(parking.get(connection, number), number)
        if found.state not in OPEN:
            raise ParkingError(f"message {number} was {found.state} by {found.settled_by} already")
        parking.settle(connection, number, "dropped", by, moment(connection))


def due(database: Database, *, limit: int = 100) -> list[Parked]:
    """Return the messages that somebody wants tried again."""
    with database.read() as connection:
        return parking.some(connection, ("due",), limit)


def finish(database: Database, number: int) -> None:
    """Say that a message that was tried again was understood; one that was parked anew is left alone."""
    with database.write() as connection:
        parking.finish(connection, number, moment(connection))


def _known(found: Parked | None, number: int) -> Parked:
    if found is None:
        raise ParkingError(f"no parked message has the number {number}; `tickets parked list` shows them")
    return found


def _fingerprint(name: str, body: str) -> str:
    return hashlib.sha256(f"{name}\n{body}".encode()).hexdigest()
