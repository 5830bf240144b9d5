"""What the load asked for: tickets, comments, and moves along the status flow; each stored once."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tests.chaos.checks_records import Row, Run, Tally, moment

_TICKETS = """
    SELECT tickets.id, tickets.title, tickets.requester, tickets.created_at, tickets.sla_hours, tickets.status,
           (SELECT count(*) FROM events WHERE events.ticket_id = tickets.id AND events.kind = 'created') AS created
    FROM tickets
"""
_STRAYS = """
    SELECT DISTINCT events.ticket_id FROM events
    WHERE NOT EXISTS (SELECT FROM tickets WHERE tickets.id = events.ticket_id)
"""
_PARKED = "SELECT id, name, reason, state FROM parked WHERE state IN ('waiting', 'due')"
_COMMENTS = """
    SELECT comments.id, comments.ticket_id, comments.author, comments.body,
           (SELECT count(*) FROM events
            WHERE events.ticket_id = comments.ticket_id AND events.kind = 'commented'
            AND events.note = comments.id) AS told
    FROM comments
"""
_MOVES = "SELECT ticket_id, old, new FROM events WHERE kind = 'status' ORDER BY id"


def check_tickets(run: Run) -> Tally:
    """Every ticket whose opening was confirmed is there once; one whose opening failed may be."""
    tally, stored = Tally(), {row["id"]: row for row in run.rows(_TICKETS)}
    asked: dict[str, list[Row]] = defaultdict(list)
    for call in run.calls["open"]:
        asked[call.ticket_id].append(call.given)
    sure = {call.ticket_id for call in run.calls["open"] if call.returned}
    for ticket_id in sure:
        if (row := stored.get(ticket_id)) is None:
            tally.expected += 1
            tally.lose(ticket_id, "its opening was confirmed, and it is not stored")
        else:
            told = row["created"]
            tally.count(ticket_id, told, lost="it is stored without the event of its opening", doubled="it was opened")
    for ticket_id, row in stored.items():
        if ticket_id not in asked:
            tally.wonder(ticket_id, "nobody opened it")
            continue
        if ticket_id not in sure and row["created"] != 1:
            tally.wonder(ticket_id, f"{row['created']} events of its opening, which nobody confirmed")
        for why in _differs(row, asked[ticket_id]):
            tally.wonder(ticket_id, why)
    _check_strays(tally, run)
    if not sure:
        tally.wonder("the load", "it opened nothing: the run proves nothing")
    return tally


def _check_strays(tally: Tally, run: Run) -> None:
    for row in run.rows(_STRAYS):
        tally.wonder(row["ticket_id"], "it has a history, and is not stored")
    for row in run.rows(_PARKED):
        tally.wonder(f"message {row['id']} ({row['name']})", f"parked: {row['reason']}")


def _differs(row: Row, asked: list[Row]) -> list[str]:
    """What the stored ticket says that nobody asked for."""
    problems = [
        f"its {name} is {row[name]!r}, which nobody gave it"
        for name in ("title", "requester")
        if all(given.get(name) not in {None, row[name]} for given in asked)
    ]
    given_at = {moment(given["created_at"]) for given in asked if given.get("created_at")}
    if given_at and row["created_at"] not in given_at:
        problems.append(f"it was created at {row['created_at']}, and was asked for at {min(given_at)}")
    # What a customer has bought may name the hours, unless a plan was named: then they are as they were asked for.
    hours = {
        given["sla_hours"]
        for given in asked
        if given.get("sla_hours") and (given.get("plan") or not given.get("customer"))
    }
    if hours and row["sla_hours"] not in hours:
        problems.append(f"it promises {row['sla_hours']} hours, and {min(hours)} were asked for")
    return problems


def check_comments(run: Run) -> Tally:
    """Every comment that was confirmed is there once, with its event. What the system says is counted elsewhere."""
    tally = Tally()
    sure: Counter[tuple[str, str, str]] = Counter()
    most: Counter[tuple[str, str, str]] = Counter()
    for call in run.calls["comment"]:
        what = (call.ticket_id, call.given["author"], call.given["body"])
        sure[what] += call.returned
        most[what] += 1
    for call in run.calls["status"]:
        if call.given.get("note"):
            most[call.ticket_id, call.given.get("author", "system"), call.given["note"]] += 1
    stored: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in run.rows(_COMMENTS):
        if row["author"] != "system":
            stored[row["ticket_id"], row["author"], row["body"]].append(row)
    tally.expected = sum(sure.values())
    for what in sure.keys() | stored.keys():
        _check_comment(tally, f"{what[0]} by {what[1]}: {what[2][:60]}", stored[what], sure[what], most[what])
    return tally


def _check_comment(tally: Tally, name: str, rows: list[Row], sure: int, most: int) -> None:
    tally.found += min(len(rows), sure)
    if len(rows) < sure:
        tally.lose(name, f"{sure} were confirmed, {len(rows)} are stored")
    if most == 0:
        tally.wonder(name, "nobody wrote it")
    elif len(rows) > most:
        tally.double(name, f"{most} were written, {len(rows)} are stored")
        return
    for row in rows:
        if sure and row["told"] == 0:
            tally.lose(name, f"the comment {row['id']} is stored without its event")
        if row["told"] > 1:
            tally.double(name, f"the comment {row['id']} is told of by {row['told']} events")


def check_statuses(run: Run) -> Tally:
    """Every move that was confirmed happened once; a ticket's moves form one chain that ends where it stands."""
    tally = Tally()
    moves: dict[str, list[Row]] = defaultdict(list)
    for row in run.rows(_MOVES):
        moves[row["ticket_id"]].append(row)
    sure: set[tuple[str, str]] = set()
    most: Counter[tuple[str, str]] = Counter()
    for call in run.calls["status"]:
        what = (call.ticket_id, call.given["status"])
        most[what] += 1
        if call.returned:
            sure.add(what)
    happened = Counter((ticket_id, row["new"]) for ticket_id, mine in moves.items() for row in mine)
    tally.expected, tally.found = len(sure), len(sure & happened.keys())
    for what in sure - happened.keys():
        tally.lose(" → ".join(what), "it was confirmed, and never happened")
    for what, times in happened.items():
        if most[what] == 0:
            tally.wonder(" → ".join(what), "nobody asked for it")
        elif times > most[what]:
            tally.double(" → ".join(what), f"it was asked for {most[what]} times and happened {times} times")
    for row in run.rows(_TICKETS):
        _check_chain(tally, row, moves[row["id"]])
    return tally


def _check_chain(tally: Tally, ticket: Row, moves: list[Row]) -> None:
    for before, after in pairwise(moves):
        if (after["old"], after["new"]) == (before["old"], before["new"]):
            tally.double(f"{ticket['id']} → {after['new']}", "the same move twice in a row")
        elif after["old"] != before["new"]:
            tally.wonder(ticket["id"], f"it moved to {before['new']}, and then on from {after['old']}")
    if moves and moves[-1]["new"] != ticket["status"]:
        tally.wonder(ticket["id"], f"it stands at {ticket['status']}, and its last move was to {moves[-1]['new']}")
