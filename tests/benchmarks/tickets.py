"""What people do with tickets, a transaction each, against the same statements by hand through the bare driver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tests.benchmarks import bare, ticket_floors
from tests.benchmarks.results import Results
from tests.benchmarks.turns import in_turns, milliseconds, per_second
from ticket_system import Ticket, TicketSystem
from ticket_system.storage.database import Database

#: As much of a queue as a person looks at.
HEAD = 50
WEEK = 7
WHOS = ("ours", "raw")


def opening_and_moving(database: Database, results: Results, number: int, rounds: int) -> None:
    """Measure tickets opened, started on and resolved, each call by call, in turns with the floor."""
    system = TicketSystem(database)
    rates: dict[tuple[str, str], list[float]] = {}
    with bare.opened(database) as (connection, mark):
        acts: dict[str, tuple[Callable[..., Any], ...]] = {
            "ours": (
                lambda title: system.create_ticket(Ticket(title, "It is broken", "ada")).id,
                lambda ticket_id: system.update_status(ticket_id, "in_progress"),
                lambda ticket_id: system.update_status(ticket_id, "resolved"),
            ),
            "raw": tuple(
                partial(act, connection, mark)
                for act in (ticket_floors.create, ticket_floors.start, ticket_floors.resolve)
            ),
        }
        for turn, who in in_turns(WHOS, rounds + 1):
            opened: list[str] = [f"Ticket {one}" for one in range(number)]
            for name, act in zip(("create_ticket", "started on", "resolved"), acts[who], strict=True):
                found: list[Any] = []
                rate = per_second(partial(_each, act, opened, found))
                if name == "create_ticket":
                    opened = found
                if turn:  # the first warms up
                    rates.setdefault((name, who), []).append(rate)
    for name, told in (
        ("create_ticket", "create_ticket"),
        ("started on", "update_status, started on"),
        ("resolved", "update_status, resolved"),
    ):
        ours, raw = rates[name, "ours"], rates[name, "raw"]
        results.add(f"{database.dialect}: {told}", ours, "a second", raw, in_pairs=True)


def _each(act: Callable[[str], Any], of: list[str], into: list[Any]) -> int:
    into.extend(act(one) for one in of)
    return len(of)


def looking(database: Database, results: Results, rounds: int) -> None:
    """Measure the head of the queue and the report of a week, in turns with the floor; both must say the same."""
    system = TicketSystem(database)
    with bare.opened(database) as (connection, mark):

        def report_by_hand() -> dict[str, Any]:
            now = datetime.now(UTC)
            return ticket_floors.report(connection, mark, now - timedelta(days=WEEK), now)

        works: dict[str, dict[str, Callable[[], Any]]] = {
            f"get_queue, the first {HEAD}": {
                "ours": lambda: system.get_queue(limit=HEAD),
                "raw": lambda: ticket_floors.queue(connection, mark, HEAD),
            },
            f"generate_report, {WEEK} days": {
                "ours": lambda: system.generate_report(days=WEEK),
                "raw": report_by_hand,
            },
        }
        if [ticket.id for ticket in system.get_queue(limit=HEAD)] != ticket_floors.queue(connection, mark, HEAD):
            results.missed.append(f"{database.dialect}: the queue and its floor differ")
        # A week ends now, and of millions of tickets some leave it every second: ours lies between two looks by hand.
        before, told, after = report_by_hand(), system.generate_report(days=WEEK), report_by_hand()
        for mine, its in (("total_opened", "opened"), ("currently_open", "active")):
            if not min(before[its], after[its]) <= told[mine] <= max(before[its], after[its]):
                results.missed.append(f"{database.dialect}: the report and its floor differ in {its}")
        for name, each in works.items():
            taken: dict[str, list[float]] = {who: [] for who in WHOS}
            for turn, who in in_turns(WHOS, rounds + 1):
                value = milliseconds(each[who], times=1 if "report" in name else 5)  # one takes seconds
                if turn:
                    taken[who].append(value)
            results.add(f"{database.dialect}: {name}", taken["ours"], "ms", taken["raw"], in_pairs=True)
