"""Files of the earlier library: recognised, read, and told in the terms of this one.

That library kept one row per ticket and a thin `sla_history`. What it never wrote down (pauses that are over, who did
what) is not made up; what it did write is kept, word for word where it has no place of its own.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ticket_system.errors import DamagedFile, StorageUnavailable
from ticket_system.sla import clocks as clock_rules
from ticket_system.sla.clocks import Clock, ClockState
from ticket_system.sla.policies import DEFAULT_POLICY
from ticket_system.storage import events
from ticket_system.storage.events import Event
from ticket_system.tickets import DEFAULT_SLA, STATUS_FLOW, Comment, Ticket, as_utc, check_status, check_whole

#: The tables that make a file one of the earlier library's, each with exactly these columns.
TABLES: dict[str, tuple[str, ...]] = {
    "tickets": (
        "id", "title", "description", "requester", "priority", "status", "assignee", "sla_hours", "tags",
        "created_at", "updated_at", "resolved_at",
    ),
    "comments": ("id", "ticket_id", "author", "body", "is_internal", "created_at"),
    "sla_history": ("id", "ticket_id", "event", "occurred_at", "sla_hours", "was_breached"),
}  # fmt: skip

_KEYS = {"tickets": "id", "comments": "ticket_id", "sla_history": "ticket_id"}
_TIMES = {"tickets": "id", "comments": "created_at", "sla_history": "occurred_at"}
# "status→on_hold", "status_changed_to_resolved", "resolved -> closed": the last status named is where it went.
_STATUS_WORD = re.compile(r"(?<![a-z])(" + "|".join(STATUS_FLOW) + r")(?![a-z])")
_IDS = uuid.UUID("7f3c1f0e-5f0b-4f0a-9a44-3d6f6b1f2c11")

Row: TypeAlias = dict[str, str | None]


@dataclass(slots=True)
class Earlier:
    """One ticket of the earlier library with all that belongs to it, ready to be stored.

    Without `ticket` these are comments and history of a ticket that is gone; they are kept as events. With `trouble`
    nothing could be made of it without losing something.
    """

    ticket_id: str
    ticket: Ticket | None = None
    clock: Clock | None = None
    comments: list[Comment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    trouble: str | None = None


class _Tagged(NamedTuple):
    key: bytes
    table: str
    row: Row


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a SQLite file without ever writing to it; DamagedFile or StorageUnavailable when that cannot be."""
    if not path.is_file():
        raise StorageUnavailable(f"{path}: there is no such file")
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        raise StorageUnavailable(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise DamagedFile(f"{path} is not a SQLite file, or it is damaged") from error
    return connection


def is_legacy(connection: sqlite3.Connection) -> bool:
    """Tell whether the earlier library wrote this database."""
    found = {table: {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")} for table in TABLES}
    return all(found[table] == set(columns) for table, columns in TABLES.items())


def count(connection: sqlite3.Connection) -> int:
    """Count the tickets of a file of the earlier library."""
    (number,) = connection.execute("SELECT count(*) FROM tickets").fetchone()
    return int(number)


def read(connection: sqlite3.Connection, *, now: datetime, prefix: str = "") -> Iterator[Earlier]:
    """Go through all tickets, and what is left of others, by id, in constant memory.

    `prefix` stands before the names of the tables. Deadlines that have passed by `now` are breaches found `now`.
    """
    (codec,) = connection.execute("PRAGMA encoding").fetchone()
    streams = [_rows(connection, table, prefix, codec) for table in ("tickets", "comments", "sla_history")]
    # All three come sorted by the ticket's id, and merge keeps the order of the streams for equal ids.
    for key, group in groupby(heapq.merge(*streams, key=lambda tagged: tagged.key), lambda tagged: tagged.key):
        rows: dict[str, list[Row]] = {table: [] for table in TABLES}
        for _, table, row in group:
            rows[table].append(row)
        ticket_id = key.decode(codec, "replace")
        try:
            yield _convert(ticket_id, rows, now) if rows["tickets"] else _stray(ticket_id, rows, now)
        except (ValueError, OverflowError) as error:
            yield Earlier(ticket_id, trouble=str(error))


def _rows(connection: sqlite3.Connection, table: str, prefix: str, codec: str) -> Iterator[_Tagged]:
    """Read a table by ticket. As bytes: ids may be numbers or text, and text that is not text must not stop us here."""
    columns = TABLES[table]
    values = ", ".join(f"CAST({column} AS BLOB)" for column in columns)
    key = f"COALESCE(CAST({_KEYS[table]} AS BLOB), x'')"
    query = f"SELECT {key}, {values} FROM {prefix}{table} ORDER BY 1, {_TIMES[table]}, rowid"  # noqa: S608 - our names
    for found, *row in connection.execute(query):
        yield _Tagged(found, table, dict(zip(columns, (_text(value, codec) for value in row), strict=True)))


def _text(value: bytes | None, codec: str) -> str | None:
    # Bytes that are no text stay recognisable, and are refused where they would have to be stored.
    return None if value is None else value.decode(codec, "surrogateescape")


def _convert(ticket_id: str, rows: dict[str, list[Row]], now: datetime) -> Earlier:
    row, *more = rows["tickets"]
    if not ticket_id:
        raise ValueError("a ticket has no id")
    if more:
        raise ValueError("several tickets have this id")
    _require_text(rows)
    history = rows["sla_history"]
    created_at = _moment("created_at", row["created_at"])
    updated_at = _moment("updated_at", row["updated_at"] or row["created_at"])
    status = check_status(row["status"])
    priority = check_whole("priority", _whole("priority", row["priority"]), 1, 4)
    ticket = Ticket(
        id=ticket_id,
        title=row["title"] or "",
        description=row["description"] or "",
        requester=row["requester"] or "",
        priority=priority,
        status=status,
        assignee=row["assignee"] or None,
        sla_hours=_whole("sla_hours", row["sla_hours"]) if row["sla_hours"] else DEFAULT_SLA[priority],
        created_at=created_at,
        updated_at=updated_at,
        tags=[tag for tag in (row["tags"] or "").split(",") if tag],
    )
    stored = _moment("resolved_at", row["resolved_at"]) if row["resolved_at"] else None
    moves = _moves(ticket, stored, history, now)
    if status in {"resolved", "closed"}:
        ticket.resolved_at = moves[0].at
    clock, breach = _replay(ticket, moves, now)
    ticket.clock = clock
    opened = replace(ticket, status="open")
    told = [events.opened(opened), *(_history(ticket_id, one, created_at) for one in history), *moves, *breach]
    if stored and stored not in {move.at for move in moves}:
        told.append(Event(ticket_id, stored, "legacy", "system", new="resolved_at", note=f"status {status}"))
    comments = [_comment(ticket_id, one, created_at) for one in rows["comments"]]
    return Earlier(ticket_id, ticket, clock, comments, told)


def _moves(ticket: Ticket, stored: datetime | None, history: list[Row], now: datetime) -> list[Event]:
    """Sum up how a ticket came to its status, from the best evidence there is."""

    def since(status: str, otherwise: datetime) -> datetime:
        seen = [row for row in history if _target(row["event"]) == status and row["occurred_at"]]
        return _moment("occurred_at", seen[-1]["occurred_at"]) if seen else otherwise

    def moved(at: datetime, old: str, new: str) -> Event:
        return Event(ticket.id, at, "status", "system", old, new, "as the earlier library left it")

    if ticket.status == "open":
        return []
    if ticket.status in {"resolved", "closed"}:
        # Closing overwrote resolved_at; the history still knows when the work was done.
        done = since("resolved", stored or ticket.updated_at)
        moves = [moved(done, "open", "resolved")]
        if ticket.status == "closed":
            closed = max(done, since("closed", stored or ticket.updated_at))
            moves.append(moved(closed, "resolved", "closed"))
        return moves
    return [moved(min(now, since(ticket.status, ticket.updated_at)), "open", ticket.status)]


def _target(event: str | None) -> str | None:
    words = _STATUS_WORD.findall((event or "").lower())
    return words[-1] if words else None


def _replay(ticket: Ticket, moves: list[Event], now: datetime) -> tuple[Clock, list[Event]]:
    """Run the clock through the moves; what is overdue is a breach found now, which wakes nobody up."""
    clock = clock_rules.start(ticket.id, ticket.created_at, timedelta(hours=ticket.sla_hours))
    for move in moves:
        clock = clock_rules.follow(clock, move.old or "", move.new or "", pausing=DEFAULT_POLICY.pausing, now=move.at)
    if clock.stopped_at is None:
        clock = clock_rules.settle(clock, now)
        if clock.state is ClockState.BREACHED:
            clock = replace(clock, detected_at=now, next_check_at=None)
    if clock.breached_at is None:
        return clock, []
    key = events.key(ticket.id, clock.target, clock.cycle, "breached")
    note = f"{clock.target} {clock.cause}"
    return clock, [Event(ticket.id, clock.breached_at, "breached", "system", "running", "breached", note, key)]


def _history(ticket_id: str, row: Row, otherwise: datetime, *, key: str | None = None) -> Event:
    at, doubt = _moment_or("occurred_at", row["occurred_at"], otherwise)
    note = f"row {row['id']}, sla_hours {row['sla_hours']}, was_breached {row['was_breached']}{doubt}"
    return Event(ticket_id, at, "legacy", "system", new=row["event"], note=note, key=key)


def _comment(ticket_id: str, row: Row, otherwise: datetime) -> Comment:
    at, _ = _moment_or("created_at", row["created_at"], otherwise)
    return Comment(ticket_id, row["author"] or "", row["body"] or "", _row_id(row), at, is_internal=_is_internal(row))


def _stray(ticket_id: str, rows: dict[str, list[Row]], now: datetime) -> Earlier:
    """Keep what was said about a ticket that is not there: as events under its id."""
    _require_text(rows)
    told = [_history(ticket_id, row, now, key=f"legacy/{_row_id(row)}") for row in rows["sla_history"]]
    for row in rows["comments"]:
        at, doubt = _moment_or("created_at", row["created_at"], now)
        seen_by = "internal" if _is_internal(row) else "public"
        key = f"legacy_comment/{_row_id(row)}"
        body = f"{row['body'] or ''}{doubt}"
        told.append(Event(ticket_id, at, "legacy_comment", row["author"] or "", None, seen_by, body, key))
    return Earlier(ticket_id, events=told)


def _row_id(row: Row) -> str:
    return row["id"] or str(uuid.uuid5(_IDS, repr(sorted(row.items()))))


def _is_internal(row: Row) -> bool:
    return (row["is_internal"] or "0").strip().lower() not in {"0", "false", ""}


def _moment(what: str, text: str | None) -> datetime:
    try:
        return as_utc(datetime.fromisoformat((text or "").strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"{what} must be an ISO 8601 time, not {text!r}") from None


def _moment_or(what: str, text: str | None, otherwise: datetime) -> tuple[datetime, str]:
    """Read a time that decides nothing; an unreadable one is kept as a remark."""
    try:
        return _moment(what, text), ""
    except ValueError:
        return otherwise, f", {what} {text!r}"


def _whole(what: str, text: str | None) -> int:
    try:
        number = float(text or "")
    except ValueError:
        number = 0.5
    if not number.is_integer():
        raise ValueError(f"{what} must be a whole number, not {text!r}")
    return int(number)


def _require_text(rows: dict[str, list[Row]]) -> None:
    for table, found in rows.items():
        for row in found:
            for column, value in row.items():
                if value is not None and _has_bytes(value):
                    raise ValueError(f"{column} in {table} is not text: {value[:40]!r}")


def _has_bytes(value: str) -> bool:
    return not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)


def strays(found: Iterable[Earlier]) -> int:
    """Count the comments and history rows whose ticket is gone."""
    return sum(len(one.events) for one in found if one.ticket is None)
