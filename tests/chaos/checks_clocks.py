"""Deadlines: which passed, which were kept, and what followed from each that passed.

The rules are those built in: a resolution within so many hours of the opening, around the clock; at the deadline one
level, which raises the priority by one step, leaves one comment and tells one place. The load puts nothing on hold.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from tests.chaos.checks_records import Row, Run, Tally

_CLOCKS = """
    SELECT tickets.id, tickets.priority,
           tickets.created_at + tickets.sla_hours * interval '1 hour' AS deadline,
           (SELECT min(events.recorded_at) FROM events
            WHERE events.ticket_id = tickets.id AND events.kind = 'created') AS stored_at,
           (SELECT min(events.at) FROM events
            WHERE events.ticket_id = tickets.id AND events.kind = 'status'
            AND events.new IN ('resolved', 'closed', 'cancelled')) AS done_at,
           EXISTS (SELECT FROM events
                   WHERE events.ticket_id = tickets.id
                   AND events.kind IN ('priority', 'classified', 'repromised')) AS promised_anew,
           clocks.ticket_id IS NOT NULL AS has_clock,
           clocks.due_at, clocks.state, clocks.breached_at, clocks.detected_at
    FROM tickets
    LEFT JOIN clocks ON clocks.ticket_id = tickets.id AND clocks.target = 'resolution' AND clocks.cycle = 1
"""
_EVENTS = """
    SELECT ticket_id, kind, at, recorded_at, key, old, new FROM events
    WHERE kind IN ('breached', 'escalated', 'warned', 'collapsed')
"""
_REMARKS = "SELECT ticket_id, body FROM comments WHERE author = 'system' AND body LIKE 'Escalated:%'"


class Deadlines(NamedTuple):
    """What is counted about them, and how long each breach lay unseen, in seconds."""

    breaches: Tally
    escalations: Tally
    raises: Tally
    unseen: list[float]


def check_deadlines(run: Run) -> Deadlines:
    """Every deadline that passed before the end and was not kept: one breach, one escalation, one raise."""
    found = Deadlines(Tally(), Tally(), Tally(), [])
    given = {call.ticket_id: call.given.get("priority") for call in run.calls["open"]}
    events: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in run.rows(_EVENTS):
        events[row["ticket_id"]][row["kind"]].append(row)
    remarks: dict[str, list[str]] = defaultdict(list)
    for row in run.rows(_REMARKS):
        remarks[row["ticket_id"]].append(row["body"])
    for clock in run.rows(_CLOCKS):
        mine = events[clock["id"]]
        if clock["promised_anew"]:
            # Its deadline was moved, as when a subscription ends: what it is now is not for this arithmetic to say.
            found.breaches.waiting += 1
            continue
        _check_promise(found.breaches, clock)
        if is_broken(clock, run.ends_at):
            _check_breach(found, clock, mine["breached"])
            _check_escalation(found.escalations, clock, mine["escalated"])
            _check_raise(found.raises, clock, given.get(clock["id"]), mine["escalated"], remarks[clock["id"]])
        else:
            found.breaches.waiting += clock["done_at"] is None
            _check_kept(found, clock, mine, remarks[clock["id"]])
        for kind in ("warned", "collapsed"):
            if mine[kind]:
                found.escalations.wonder(clock["id"], f"{len(mine[kind])} events {kind}: the rules built in have none")
    return found


def is_broken(clock: Row, ends_at: datetime) -> bool:
    """Tell whether a deadline passed before the end and before anybody was done; done at the deadline is in time."""
    deadline, done_at = clock["deadline"], clock["done_at"]
    return bool(deadline < ends_at and (done_at is None or done_at > deadline))


def _check_promise(tally: Tally, clock: Row) -> None:
    if not clock["has_clock"]:
        tally.lose(clock["id"], "it has no clock")
    elif clock["due_at"] is not None and clock["due_at"] != clock["deadline"]:
        tally.wonder(clock["id"], f"it is due at {clock['due_at']}; opening and hours make {clock['deadline']}")


def _check_breach(found: Deadlines, clock: Row, events: list[Row]) -> None:
    tally, name, deadline = found.breaches, clock["id"], clock["deadline"]
    tally.count(name, len(events), lost=f"its deadline {deadline} passed unseen", doubled="its breach is on record")
    for event in events:
        if event["at"] != deadline:
            tally.wonder(name, f"its breach is on record for {event['at']}, its deadline was {deadline}")
        if event["recorded_at"] < deadline:
            tally.wonder(name, f"its breach was found at {event['recorded_at']}, before its deadline {deadline}")
    if not events or not clock["has_clock"]:
        return
    if clock["state"] != "breached" or clock["breached_at"] != deadline:
        tally.wonder(name, f"its clock is {clock['state']}, breached at {clock['breached_at']}, not at {deadline}")
    elif clock["detected_at"] is None or clock["detected_at"] < deadline:
        tally.wonder(name, f"its clock says that it was found at {clock['detected_at']}, before {deadline}")
    else:
        since = max(deadline, clock["stored_at"] or deadline)
        found.unseen.append(max((clock["detected_at"] - since).total_seconds(), 0.0))


def _check_escalation(tally: Tally, clock: Row, events: list[Row]) -> None:
    tally.count(clock["id"], len(events), lost="its deadline passed and nobody was called", doubled="it was escalated")
    for event in events:
        if event["key"] != f"{clock['id']}/resolution/1/escalated/1/0":
            tally.wonder(clock["id"], f"an escalation of another name: {event['key']}")
        if event["recorded_at"] < clock["deadline"]:
            tally.wonder(clock["id"], f"escalated at {event['recorded_at']}, before its deadline {clock['deadline']}")


def _check_raise(tally: Tally, clock: Row, given: int | None, events: list[Row], remarks: list[str]) -> None:
    """Check one comment, and one step up from what was asked for; 1 is the highest there is."""
    tally.count(clock["id"], len(remarks), lost="no comment says that it was raised", doubled="a comment says so")
    before = given or (int(events[0]["old"]) if events and events[0]["old"] else None)
    if before is None:
        return
    wanted = max(before - 1, 1)
    if clock["priority"] > wanted:
        tally.lose(clock["id"], f"it was opened with priority {before} and still has {clock['priority']}")
    if clock["priority"] < wanted:
        tally.double(clock["id"], f"it was opened with priority {before} and has {clock['priority']}: raised again")


def _check_kept(found: Deadlines, clock: Row, mine: dict[str, list[Row]], remarks: list[str]) -> None:
    """Whoever was in time is not called late; near the end a breach may be on record, after its deadline."""
    in_time = clock["done_at"] is not None and clock["done_at"] <= clock["deadline"]
    early = [event for event in mine["breached"] if event["recorded_at"] < clock["deadline"]]
    if mine["breached"] and (in_time or early):
        why = "it was done in time" if in_time else f"its deadline is {clock['deadline']}"
        found.breaches.wonder(clock["id"], f"a breach is on record, and {why}")
    if clock["state"] == "breached" and not mine["breached"]:
        found.breaches.wonder(clock["id"], "its clock says breached, and no event does")
    if not mine["breached"] and mine["escalated"]:
        found.escalations.wonder(clock["id"], "it was escalated without a breach")
    if not mine["breached"] and remarks:
        found.raises.wonder(clock["id"], "a comment says that it was raised, without a breach")
    if clock["state"] == "running" and clock["done_at"] is not None:
        found.breaches.wonder(clock["id"], "it is done, and its clock still runs")
    if len(mine["breached"]) > 1:
        found.breaches.double(clock["id"], f"its breach is on record {len(mine['breached'])} times")
