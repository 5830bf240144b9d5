"""Which rules a clock runs under: those in force when it started, for as long as it runs (rule 18)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ticket_system.errors import PolicyError
from ticket_system.sla import terms as told_terms
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar
from ticket_system.sla.clocks import Clock
from ticket_system.sla.policies import DEFAULT_POLICY, NO_SLA, Facts, Policy
from ticket_system.sla.terms import TermsOf
from ticket_system.storage import rules
from ticket_system.tickets import Ticket

#: How long a program may go on with the rules it knows after others were put in force elsewhere, in seconds.
REFRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What one clock runs under."""

    version: int | None
    policy: Policy
    calendar: Calendar
    #: Promised seconds of open time, by priority; one that is missing is not promised.
    seconds: Mapping[int, int]
    pausing: frozenset[str]


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

    def promises(self, connection: sa.Connection, ticket: Ticket) -> dict[str, Terms]:
        """Return what is promised for a ticket as it stands, by target; nothing for "no SLA" (rule 17)."""
        version, book = self.current(connection)
        policy = book.pick(Facts.of(ticket))
        return {target: terms for target in policy.targets if (terms := self._terms(version, book, policy, target))}

    def of(self, connection: sa.Connection, clock: Clock) -> Terms:
        """Return what a clock runs under."""
        book = self.book(connection, clock.rules)
        # The rules built in are one policy, which another program may have called by another name.
        named = (one for one in book.policies if clock.rules is None or one.name == clock.policy)
        terms = self._terms(clock.rules, book, next(named, NO_SLA), clock.target)
        if terms is None:
            raise PolicyError(f"version {clock.rules} of the rules promises no {clock.target} under {clock.policy!r}")
        return terms

    def chosen_anew(self, connection: sa.Connection, clock: Clock, ticket: Ticket) -> Terms | None:
        """Return what the rules that a clock started with promise for its ticket as it is now; None: nothing."""
        book = self.book(connection, clock.rules)
        return self._terms(clock.rules, book, book.pick(Facts.of(ticket)), clock.target)

    def told(self, connection: sa.Connection) -> TermsOf:
        """Return what a replay of histories asks, for every version there is."""
        for version in rules.versions(connection):
            self.book(connection, version)
        books = dict(self._books)

        def told(target: str, name: str, version: int | None) -> told_terms.Terms:
            if version is None:
                return built_in(target, name, version)
            book = books[version]
            policy = next((one for one in book.policies if one.name == name), NO_SLA)
            rule, calendar = policy.targets.get(target), book.calendar(policy, target)
            return told_terms.Terms(
                policy.name,
                None if calendar == AROUND_THE_CLOCK else calendar,
                rule.pausing if rule else frozenset(),
                policy.hours,
                policy.reopen,
                policy.without_response,
            )

        built_in = told_terms.under(self.built_in)
        return told

    def _terms(self, version: int | None, book: PolicyBook, policy: Policy, target: str) -> Terms | None:
        rule = policy.targets.get(target)
        if rule is None:
            return None
        return Terms(version, policy, book.calendars[rule.calendar], rule.seconds, rule.pausing)
