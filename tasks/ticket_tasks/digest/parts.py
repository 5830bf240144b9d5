"""The parts that pages are made of: strings that are ready to be read, and nothing to be decided any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote

from ticket_system.reports.contents import DueTicket, LateTicket
from ticket_system.reports.readers import Reader
from ticket_tasks.digest.words import LONGEST_TITLE, Words, plain, priority, target
from ticket_tasks.toolbox import Stationery

#: Whether a change is welcome; said in words and in colour.
Sense: TypeAlias = Literal["better", "worse", "even"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, and how it compares with the week before."""

    label: str
    value: str
    #: ▲ +12%, better
    change: str
    sense: Sense
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One ticket: what it is called, where it is looked at, and the fact that brings it here."""

    title: str
    url: str | None
    #: Each by itself: a name that is written the other way turns nothing around but itself.
    about: tuple[str, ...]
    fact: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a table with a bar: its name, how long the bar is in percent, and the figures."""

    label: str
    width: int
    cells: tuple[str, ...]
    #: What must be known to read it.
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; of the first column the headings are rows' names."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    definition: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Footer:
    """Why this came, how to leave it, and who sent it."""

    why: str
    made: str
    unsubscribe_url: str | None
    unsubscribe_address: str | None
    postal_address: str | None


def late_lines(found: Sequence[LateTicket], words: Words, paper: Stationery) -> tuple[Line, ...]:
    """Write promises that were broken."""
    return tuple(
        Line(
            title=plain(one.title, LONGEST_TITLE),
            url=_url(one.ticket_id, paper),
            about=_about(one, "not done yet" if one.is_running else "done late"),
            fact=f"{words.working(one.over_seconds)} over",
        )
        for one in found
    )


def due_lines(found: Sequence[DueTicket], words: Words, paper: Stationery) -> tuple[Line, ...]:
    """Write promises that fall due soon."""
    return tuple(
        Line(
            title=plain(one.title, LONGEST_TITLE),
            url=_url(one.ticket_id, paper),
            about=_about(one, f"due {words.moment(one.due_at)}"),
            fact=f"{words.working(one.left_seconds)} left",
        )
        for one in found
    )


def footer(why: str, made: str, reader: Reader, paper: Stationery, unsubscribe_url: str | None) -> Footer:
    """Write the end of a page."""
    return Footer(
        why=f"{why} It was sent to {reader.address}.",
        made=made,
        unsubscribe_url=unsubscribe_url,
        unsubscribe_address=paper.unsubscribe_address,
        postal_address=paper.postal_address,
    )


def _about(one: LateTicket | DueTicket, more: str) -> tuple[str, ...]:
    return priority(one.priority), target(one.target), plain(one.assignee or "Unassigned"), more


def _url(ticket_id: str, paper: Stationery) -> str | None:
    return paper.ticket_url.replace("{id}", quote(ticket_id, safe="")) if paper.ticket_url else None
