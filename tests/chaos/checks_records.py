"""What a run left behind, read for the checks: the journals of its folder, and the database it ended with.

Nothing of the project is imported here, nor in any other module of the checker: whoever counts must not share a mistake
with whoever is counted.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row

Row: TypeAlias = dict[str, Any]

#: What falls due this shortly before the end, while the fleet is being stopped, need not have been done.
GRACE = timedelta(seconds=10)


@dataclass
class Tally:
    """One kind of thing: how many there should be, how many there are, and each that is not as it should be."""

    expected: int = 0
    found: int = 0
    #: Not due yet when the run ended: neither expected nor missed.
    waiting: int = 0
    lost: list[Row] = field(default_factory=list)
    doubled: list[Row] = field(default_factory=list)
    #: Nobody can know, by design, and a command shows it to people.
    uncertain: list[Row] = field(default_factory=list)
    unexpected: list[Row] = field(default_factory=list)

    def lose(self, name: object, why: str) -> None:
        """It should be there, and is not."""
        self.lost.append({"id": str(name), "why": why})

    def double(self, name: object, why: str) -> None:
        """It is there more than once."""
        self.doubled.append({"id": str(name), "why": why})

    def doubt(self, name: object, why: str) -> None:
        """Nobody can know, and it is shown."""
        self.uncertain.append({"id": str(name), "why": why})

    def wonder(self, name: object, why: str) -> None:
        """It is wrong in another way."""
        self.unexpected.append({"id": str(name), "why": why})

    def count(self, name: object, number: int, *, lost: str, doubled: str) -> bool:
        """Expect it exactly once; tells whether it is there."""
        self.expected += 1
        self.found += number > 0
        if number == 0:
            self.lose(name, lost)
        if number > 1:
            self.double(name, f"{doubled}: {number} times")
        return number > 0


@dataclass
class Call:
    """What the load asked for under one key, however often it asked."""

    kind: str
    key: str
    ticket_id: str
    given: Row
    #: At least one call came back, so that it must have been done.
    returned: bool = False


@dataclass(frozen=True)
class Letter:
    """One letter that the mail server took responsibility for, whether or not it lived to say so."""

    name: str
    recipients: tuple[str, ...]
    is_report: bool
    answered: bool


@dataclass
class Run:
    """All that is known about a run."""

    database: psycopg.Connection[Row]
    calls: dict[str, list[Call]]
    letters: dict[str, list[Letter]]
    stripe: Row | None
    orders: Row
    ends_at: datetime

    @property
    def plans(self) -> dict[str, str | None]:
        """What customers of ours have bought in the end."""
        of_customers = {one["name"]: one["plan"] for one in self.orders.get("customers", []) if "plan" in one}
        by_name: dict[str, str | None] = self.orders.get("plans", {})
        return of_customers | by_name

    def rows(self, query: str) -> list[Row]:
        """What a query finds."""
        return self.database.execute(query.encode()).fetchall()


@contextmanager
def opened(folder: Path, dsn: str) -> Iterator[Run]:
    """A run as it stands in its folder and its database, which is only read, as of one moment."""
    stripe, orders = _whole(folder / "stripe.json"), _whole(folder / "orders.json")
    with psycopg.connect(dsn.replace("postgresql+psycopg:", "postgresql:"), row_factory=dict_row) as database:
        database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        database.read_only = True
        database.execute("SET TimeZone TO 'UTC'")
        yield Run(
            database=database,
            calls=_calls(_lines(folder / "calls.jsonl")),
            letters=_letters(_lines(folder / "letters.jsonl")),
            stripe=stripe,
            orders=orders or {},
            ends_at=_end(database) - GRACE,
        )


def moment(text: str) -> datetime:
    """Read an instant of a journal."""
    return datetime.fromisoformat(text)


def _end(database: psycopg.Connection[Row]) -> datetime:
    """The last sign of life: a fleet that was stopped cannot have found what fell due after it."""
    [row] = database.execute("SELECT coalesce(max(finished_at), now()) AS at FROM job_runs").fetchall()
    at: datetime = row["at"]
    return at


def _calls(lines: list[Row]) -> dict[str, list[Call]]:
    """By kind; the lines of one call have its number, the calls of one wish its key."""
    numbered: dict[int, list[Row]] = defaultdict(list)
    for line in lines:
        numbered[line["n"]].append(line)
    found: dict[tuple[str, str], Call] = {}
    for mine in numbered.values():
        ticket_id = next((line["ticket_id"] for line in mine if line.get("ticket_id")), "")
        key = next((line["key"] for line in mine if line.get("key")), ticket_id)
        given: Row = next((line["given"] for line in mine if line.get("given")), {})
        kind = mine[0]["call"]
        call = found.setdefault((kind, key), Call(kind, key, ticket_id, given))
        call.ticket_id = call.ticket_id or ticket_id
        call.returned |= any(line["phase"] == "returned" for line in mine)
    calls: dict[str, list[Call]] = {"open": [], "comment": [], "status": []}
    for call in found.values():
        calls[call.kind].append(call)
    return calls


def _letters(lines: list[Row]) -> dict[str, list[Letter]]:
    """By the name before the @ of their Message-ID."""
    found: dict[str, list[Letter]] = defaultdict(list)
    for line in lines:
        headers = {name.lower() for name in line.get("headers") or {}}
        name = (line.get("message_id") or "").strip("<> ").partition("@")[0]
        found[name].append(Letter(name, tuple(line["recipients"]), "list-id" in headers, bool(line["answered"])))
    return found


def _lines(path: Path) -> list[Row]:
    """A journal, without what was torn: whoever was killed in the middle of a line never told anybody of it."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    return [found for line in whole.split("\n") if (found := _line(line)) is not None]


def _line(text: str) -> Row | None:
    """One line; behind what was torn, whoever came next went on in the same line."""
    for begin in re.finditer(r'\{"', text):
        with suppress(json.JSONDecodeError):
            found: Row = json.loads(text[begin.start() :])
            return found
    return None


def _whole(path: Path) -> Row | None:
    found: Row | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found
