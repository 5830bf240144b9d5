"""Whoever uses the desk meanwhile: a service that opens tickets through `TicketClient`, in a process of its own.

`python -m tests.chaos.load FOLDER BROKER SEED MINUTES RATE`. What it calls, and when, follows from seed, minutes and
rate. Each call is a line in FOLDER/calls.jsonl before it is made, and another one after it.
"""

import heapq
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import IO, Any

from tests.chaos.plan import Options
from ticket_tasks import TicketClient

CALLS, OUTGOING = "calls.jsonl", "outgoing.db"
CUSTOMERS = ("acme", "globex", "initech")
_AGENTS = ("ada@example.org", "grace@example.org", "linus@example.org")
#: Older than an hour and what it takes until an hour is sealed, so that all of it is billed within the run; and spread
#: over so many hours, because an hour has sixty batches.
_HOURS = (4, 27)
_REPEATED = 0.06
_SOON_SECONDS = 15
#: Nobody opens a ticket in the future: less than the fewest hours.
_LONGEST_LEAD_SECONDS = 3.5 * 3600
#: Calls that wait for their broker at the same moment, while the others go on.
_THREADS = 6
_FLUSH_SECONDS = 1200.0


@dataclass(order=True, frozen=True, slots=True)
class Call:
    """One call: when, since the load began, and with what. A repeated one has the key of the first."""

    second: float
    n: int
    call: str = field(compare=False)
    ticket_id: str = field(compare=False)
    key: str = field(compare=False)
    given: dict[str, Any] = field(compare=False)
    #: Of a new ticket: how far ahead its deadline lies when the call is made.
    lead_seconds: float | None = field(default=None, compare=False)


def calls(options: Options) -> Iterator[Call]:
    """What is called, in order."""
    lot = Random(f"load {options.seed}")
    ahead: list[Call] = []
    number = 0
    for ticket in range(int(options.seconds * options.rate)):
        second = ticket / options.rate
        while ahead and ahead[0].second <= second:
            yield heapq.heappop(ahead)
        for call in _life(lot, f"c{options.seed}-{ticket}", second, options.seconds - second):
            for again in (0.0, lot.uniform(0.5, 20))[: 1 + (lot.random() < _REPEATED)]:
                made = (call.call, call.ticket_id, call.key, call.given, call.lead_seconds)
                heapq.heappush(ahead, Call(min(call.second + again, options.seconds), number, *made))
                number += 1
    while ahead:
        yield heapq.heappop(ahead)


def _life(lot: Random, ticket_id: str, second: float, left: float) -> Iterator[Call]:
    """A ticket, and what becomes of it in the seconds that are left."""
    # A third kind falls due long after the load has ended: while the fleet comes to rest, nothing new is due.
    after_it_all = min(left + lot.uniform(1800, 5400), _LONGEST_LEAD_SECONDS)
    lead = lot.choices((lot.uniform(4, _SOON_SECONDS), -lot.uniform(1, 3600), after_it_all), (70, 15, 15))[0]
    customer = lot.choice((*CUSTOMERS, *CUSTOMERS, *CUSTOMERS, None))
    given = {
        "title": f"Printer {ticket_id} prints stars",
        "description": "On every page, since this morning.",
        "requester": f"reader-{lot.randrange(40)}@example.com",
        "priority": lot.choices((1, 2, 3, 4), (15, 30, 35, 20))[0],
        "sla_hours": lot.randint(*_HOURS),
        "assignee": lot.choice((None, *_AGENTS)),
        "customer": customer,
        # Named, or the hours of what the customer has bought would take the place of these.
        "plan": "as agreed" if customer else None,
    }
    yield Call(second, 0, "open", ticket_id, ticket_id, given, round(lead, 3))
    if lot.random() < 0.2:
        comment = {"author": lot.choice(_AGENTS), "body": "It does not stop.", "is_internal": lot.random() < 0.3}
        yield Call(second + lot.uniform(0.2, 6), 0, "comment", ticket_id, f"{ticket_id}/comment", comment)
    if lot.random() < 0.25:
        begins = second + lot.uniform(0.5, 2)
        # Before the deadline or behind it, as far as anybody can say now.
        is_in_time = lot.random() < 0.6 or lead > _SOON_SECONDS
        ends = begins + (lot.uniform(0.5, 2) if is_in_time else max(lead, 0) + lot.uniform(1, 5))
        for status, at in (("in_progress", begins), ("resolved", ends)):
            yield Call(at, 0, "status", ticket_id, f"{ticket_id}/{status}", {"status": status, "author": "ada"})


class Caller:
    """Makes calls, and writes them down."""

    def __init__(self, client: TicketClient, file: IO[str]) -> None:
        self._client, self._file = client, file
        self._turn = threading.Lock()
        #: The moments that were given with the first call under a key: repeated, it is the same call.
        self._moments: dict[str, datetime] = {}

    def make(self, call: Call) -> None:
        """Make one call."""
        sent_at = datetime.now(UTC)
        with self._turn:
            moment = self._moments.setdefault(call.key, self._moment(call, sent_at))
        named = "created_at" if call.call == "open" else "at"
        given = {**call.given, named: moment}
        self._write(call, "begun", given, sent_at)
        try:
            match call.call:
                case "open":
                    self._client.open_ticket(ticket_id=call.ticket_id, key=call.key, **given)
                case "comment":
                    self._client.add_comment(call.ticket_id, key=call.key, **given)
                case _:
                    self._client.set_status(call.ticket_id, key=call.key, **given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is written down, and the load goes on
            self._write(call, "failed", given, sent_at, f"{type(error).__name__}: {error}")
        else:
            self._write(call, "returned", given, sent_at)

    @staticmethod
    def _moment(call: Call, now: datetime) -> datetime:
        if call.lead_seconds is None:
            return now
        return now + timedelta(seconds=call.lead_seconds) - timedelta(hours=call.given["sla_hours"])

    def _write(
        self, call: Call, phase: str, given: dict[str, Any], sent_at: datetime, error: str | None = None
    ) -> None:
        line = {
            "n": call.n,
            "call": call.call,
            "phase": phase,
            "key": call.key,
            "ticket_id": call.ticket_id,
            "at": datetime.now(UTC).isoformat(),
            "sent_at": sent_at.isoformat(),
            "given": {name: one.isoformat() if isinstance(one, datetime) else one for name, one in given.items()},
            "error": error,
        }
        with self._turn:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def main() -> int:
    """Make the calls, then wait until the workers have confirmed all of them; 1: they have not."""
    folder, broker = Path(sys.argv[1]), sys.argv[2]
    options = Options(seed=int(sys.argv[3]), minutes=float(sys.argv[4]), rate=float(sys.argv[5]))
    with (
        (folder / CALLS).open("a", encoding="utf-8") as file,
        TicketClient(broker, timeout_seconds=1.0, journal=folder / OUTGOING) as client,
    ):
        caller, began = Caller(client, file), time.monotonic()
        with ThreadPoolExecutor(_THREADS) as pool:
            made = []
            for call in calls(options):
                time.sleep(max(began + call.second - time.monotonic(), 0))
                made.append(pool.submit(caller.make, call))
        for one in made:
            one.result()
        print(json.dumps({"event": "load.made", "calls": len(made)}), flush=True)
        left = client.flush(_FLUSH_SECONDS)
        print(json.dumps({"event": "load.confirmed", "unconfirmed": left}), flush=True)
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
