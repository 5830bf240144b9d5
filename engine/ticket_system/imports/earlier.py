"""Tickets from a SQLite file that the earlier library wrote, into any database. The file is only read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from ticket_system.errors import ImportFailed
from ticket_system.imports.summary import ImportSummary, Progress
from ticket_system.storage import events, legacy, legacy_upgrade, tickets
from ticket_system.storage.legacy import Earlier
from ticket_system.system import TicketSystem
from ticket_system.tickets import utc_now


def import_legacy(system: TicketSystem, path: str | Path, *, progress: Progress | None = None) -> ImportSummary:
    """Import a file of the earlier library, as opening it in place would; ImportFailed when it is not one."""
    path = Path(path)
    summary = ImportSummary()
    with closing(legacy.open_to_read(path)) as source:
        if not legacy.is_legacy(source):
            raise ImportFailed(f"{path} was not written by the earlier library: its tables are others")
        legacy_upgrade.require_intact(source, path)
        total = legacy.count(source)
        for batch in legacy_upgrade.batches(legacy.read(source, now=utc_now())):
            with system.database.write() as connection:
                _store(connection, batch, summary)
            if progress:
                progress(min(summary.read, total), total)
    return summary


def _store(connection: sa.Connection, batch: list[Earlier], summary: ImportSummary) -> None:
    here = tickets.exists(connection, [one.ticket_id for one in batch])
    told = events.taken(connection, [event.key for one in batch if not one.ticket for event in one.events if event.key])
    fresh: list[Earlier] = []
    for one in batch:
        summary.read += one.ticket is not None or one.trouble is not None
        trouble = one.trouble or _unstorable(one)
        if trouble:
            summary.fail(None, f"ticket {one.ticket_id!r}: {trouble}")
        elif one.ticket is None:
            one.events = [event for event in one.events if event.key not in told]
            fresh.append(one)
        elif one.ticket_id in here:
            summary.present += 1
        else:
            fresh.append(one)
    try:
        with connection.begin_nested():
            legacy_upgrade.store(connection, fresh)
        _count(fresh, summary)
    except exc.IntegrityError:
        # One of them is in the way of all; one at a time it can be named.
        for one in fresh:
            _store_one(connection, one, summary)


def _store_one(connection: sa.Connection, one: Earlier, summary: ImportSummary) -> None:
    try:
        with connection.begin_nested():
            legacy_upgrade.store(connection, [one])
        _count([one], summary)
    except exc.IntegrityError:
        summary.fail(None, f"ticket {one.ticket_id!r}: one of its comments has an id that is taken here")


def _count(stored: list[Earlier], summary: ImportSummary) -> None:
    summary.added += sum(one.ticket is not None for one in stored)
    summary.events += sum(event.kind in {"legacy", "legacy_comment"} for one in stored for event in one.events)


def _unstorable(one: Earlier) -> str | None:
    """PostgreSQL stores no NUL, in whatever column."""
    texts: list[object] = [one.ticket_id, *(event.note for event in one.events), *(event.new for event in one.events)]
    if one.ticket:
        texts += [one.ticket.title, one.ticket.description, one.ticket.requester, one.ticket.assignee, one.ticket.tags]
    texts += [text for comment in one.comments for text in (comment.id, comment.author, comment.body)]
    found = any("\x00" in text for text in texts if isinstance(text, str | list))
    return "its text holds a NUL character, which no database stores" if found else None
