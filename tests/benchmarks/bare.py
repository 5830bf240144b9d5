"""The databases without any of our code: the drivers alone, as durable and as checked as we open them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from ticket_system.storage.database import Database


def postgresql(database: Database) -> psycopg.Connection:
    """Open the same PostgreSQL database."""
    return psycopg.connect(
        database.url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )


def sqlite(database: Database) -> sqlite3.Connection:
    """Open the same SQLite file."""
    connection = sqlite3.connect(database.url.database or "", isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def opened(database: Database) -> Iterator[tuple[psycopg.Connection | sqlite3.Connection, str]]:
    """Open either; the second is how its driver marks a parameter."""
    if database.dialect == "postgresql":
        with postgresql(database) as connection:
            yield connection, "%s"
    else:
        with closing(sqlite(database)) as file:
            yield file, "?"
