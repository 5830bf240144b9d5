"""Which rules a clock runs under: those in force when it started, for as long as it runs (rule 18)."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.errors import PolicyError
from ticket_system.sla.alarms import BUILT_IN_STEPS, Step, unnumbered
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import (
    ASSIGNEE_OR_DESK,
    BUILT_IN_RECIPIENTS,
    DEFAULT_CHAIN,
    DEFAULT_POLICY,
    NO_SLA,
    Level,
    Policy,
)
from ticket_system.sla.terms import Terms, TermsOf, terms_for, terms_of, under
from ticket_system.storage import alarms, rules
from ticket_system.storage.outbox import GROUP, MAIL

#: How long a program may go on with the rules it knows after others were put in force elsewhere, in seconds.
REFRESH_SECONDS = 5.0


class Rulebook:
    """The rules of a database, read once a version. Safe to share between threads."""

    def __init__(self, built_in: Policy = DEFAULT_POLICY) -> None:
        if built_in.warnings or built_in.chain not in {(), DEFAULT_CHAIN}:
            raise PolicyError(
                f"policy {built_in.name!r}: warnings and chains belong to stored rules; put a book of policies in force"
            )
        self.built_in = built_in
        self._steps: dict[int, dict[str, tuple[Step, ...]]] = {}
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

    def steps(self, connection: sa.Connection, clock: Clock, opened_at: datetime) -> tuple[Step, ...]:
        """Return the warnings and levels of a clock's policy, as pinned (rule 22); none for a ticket too old (23)."""
        version = clock.rules
        if version is None:
            return BUILT_IN_STEPS if self.built_in.chain else ()
        book = self.book(connection, version)
        if book.enforce_from is not None and opened_at < book.enforce_from:
            return ()
        found = self._steps.get(version)
        if found is None:
            ids = alarms.ids_of(connection, version)
            found = {
                policy.name: tuple(
                    replace(step, id=ids[policy.name, step.kind, step.number]) for step in unnumbered(policy)
                )
                for policy in book.policies
            }
            with self._lock:
                self._steps[version] = found
        return found.get(clock.policy, ())

    def add(self, connection: sa.Connection, book: PolicyBook, *, now: datetime, actor: str) -> int:
        """Store rules, with what their warnings and levels do; returns their version."""
        steps = [
            (policy.name, step, [destination(one) for one in told(step)])
            for policy in book.policies
            for step in unnumbered(policy)
        ]
        version = rules.add(connection, book.to_json(), now=now, actor=actor)
        alarms.add_steps(connection, version, steps)
        return version

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


def destination(recipient: str) -> str:
    """Return where the outbox sends what a policy wants told to somebody."""
    if recipient == ASSIGNEE_OR_DESK:
        return MAIL
    if recipient == GROUP:
        return GROUP
    if recipient in BUILT_IN_RECIPIENTS or "@" in recipient:
        return f"{MAIL}:{recipient}"
    if recipient == MAIL or ":" in recipient:
        raise PolicyError(f"nobody can be called {recipient!r}: the name means something else where messages leave")
    return recipient


def told(step: Step) -> tuple[str, ...]:
    """Return whom a step tells, a webhook among them."""
    webhook = step.does.webhook if isinstance(step.does, Level) else None
    return (*step.does.notify, webhook) if webhook else step.does.notify
