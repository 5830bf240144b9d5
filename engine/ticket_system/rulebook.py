"""Which rules a clock runs under: those in force when it started, for as long as it runs (rule 18)."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import DEFAULT_POLICY, NO_SLA, Policy
from ticket_system.sla.terms import Terms, TermsOf, terms_for, terms_of, under
from ticket_system.storage import rules

#: How long a program may go on with the rules it knows after others were put in force elsewhere, in seconds.
REFRESH_SECONDS = 5.0


class Rulebook:
    """The rules of a database, read once a version. Safe to share between threads."""

    def __init__(self, built_in: Policy = DEFAULT_POLICY) -> None:
        self.built_in = built_in
        self._books: dict[int | None, PolicyBook] = {None: PolicyBook((built_in,))}
        self._current: int | None = None
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Look for newer rules the next time they are needed."""
        self._fresh_until = 0.0

    def current(self, connection: sa.Connection) -> tuple[int | None, PolicyBook]:
        """Return the rules in force, and their version; None: those built in."""
        if time.monotonic() >= self._fresh_until:
            newest = rules.newest(connection)
            with self._lock:
                self._current, self._fresh_until = newest, time.monotonic() + REFRESH_SECONDS
        return self._current, self.book(connection, self._current)

    def book(self, connection: sa.Connection, version: int | None) -> PolicyBook:
        """Return the rules of a version."""
        found = self._books.get(version)
        if found is None:
            found = PolicyBook.from_json(rules.text(connection, version or 0))
            with self._lock:
                self._books[version] = found
        return found

    def of(self, connection: sa.Connection, clock: Clock) -> Terms:
        """Return what a clock runs under."""
        return terms_of(self.book(connection, clock.rules), clock)

    def within(self, connection: sa.Connection) -> Within:
        """Return what the course of a clock asks for the rules (`sla.terms.Rules`)."""
        return Within(self, connection)

    def told(self, connection: sa.Connection) -> TermsOf:
        """Return what a replay of histories asks, for every version there is."""
        for version in rules.versions(connection):
            self.book(connection, version)
        books = dict(self._books)

        def told(target: str, name: str, version: int | None) -> Terms:
            if version is None:
                return built_in(target, name, version)
            book = books[version]
            policy = next((one for one in book.policies if one.name == name), NO_SLA)
            return terms_for(book, version, policy, target)

        built_in = under(self.built_in)
        return told


class Within(NamedTuple):
    """The rules of a database, as one transaction reads them."""

    rulebook: Rulebook
    connection: sa.Connection

    def in_force(self) -> tuple[int | None, PolicyBook]:
        """Return the rules in force, and their version; None: those built in."""
        return self.rulebook.current(self.connection)

    def of_version(self, version: int | None) -> PolicyBook:
        """Return the rules of a version."""
        return self.rulebook.book(self.connection, version)
