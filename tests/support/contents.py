"""What a database holds, and a way to make any one statement fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ticket_system.storage import tables
from ticket_system.storage.database import Database


class Sabotage(Exception):
    """Raised in the middle of a transaction, on purpose."""


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order that two databases share."""
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in tables.metadata.sorted_tables
        }


def rows_of(database: Database, table: sa.Table, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    """The rows of one table by column name, in the order of its key."""
    query = sa.select(table).where(*where).order_by(*table.primary_key.columns)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


@contextmanager
def failing_at(database: Database, number: int) -> Iterator[list[str]]:
    """Make the statement of that number fail before it runs; yields those that came so far."""
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("BEGIN"):
            return
        statements.append(statement)
        if len(statements) == number:
            raise Sabotage(statement)

    event.listen(database.engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", count)
