"""What is billed: what happened is counted once by the other side; and what customers have bought.

Three accounts are compared: what the load asked for, what the ledger says, and what the other side counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from tests.chaos.checks_records import Row, Run, Tally

#: After the end of its hour, what was used is put into a batch; a little more for the batch to be made.
SEALED_AFTER = timedelta(minutes=12)
#: An hour has so many minutes, and each batch has one of its own.
MINUTES = 60
OPENED, CRITICAL = "ticket_opened", "critical_ticket"
#: Shown by a command, with what is to be done.
SHOWN = ("unknown", "rejected", "rejected_async", "disputed", "expired")
COUNTED = ("accepted", "verified")
UNDER_WAY = ("sealed", "sending")
OVER = ("absent", "replaced", "voided")

_TICKETS = """
    SELECT tickets.id, tickets.customer,
           EXISTS (SELECT FROM events
                   WHERE events.ticket_id = tickets.id AND events.kind = 'escalated' AND events.new = '1'
                   AND events.old = '2') AS became_critical
    FROM tickets WHERE tickets.customer IS NOT NULL
"""
_FACTS = """
    SELECT key, kind, ticket_id, customer, occurred_at, quantity, route, batch_id, forgiven_at FROM usage_facts
"""
_CUSTOMERS = "SELECT name, stripe_customer, plan FROM customers"
_BATCHES = """
    SELECT usage_batches.id, usage_batches.customer, usage_batches.kind, usage_batches.route, usage_batches.event_name,
           usage_batches.window_start, usage_batches.quantity, usage_batches.sealed_at,
           (SELECT coalesce(sum(usage_facts.quantity), 0) FROM usage_facts
            WHERE usage_facts.batch_id = usage_batches.id) AS held
    FROM usage_batches
"""
_DELIVERIES = """
    SELECT batch_id, generation, identifier, state, error FROM usage_deliveries ORDER BY batch_id, generation
"""
_INBOX = "SELECT id, type, state, error, received_at FROM stripe_events WHERE state NOT IN ('handled', 'ignored')"


def check_bills(run: Run) -> Tally:
    """Every ticket of a customer, and every critical one, is counted once by whoever bills, or shown as open."""
    tally, linked = Tally(), {row["name"]: row["stripe_customer"] for row in run.rows(_CUSTOMERS)}
    facts = run.rows(_FACTS)
    _check_facts(tally, run, facts)
    if run.stripe is None:
        return tally
    batches = {row["id"]: row for row in run.rows(_BATCHES)}
    billable = [fact for fact in facts if fact["customer"] in linked and fact["route"] != "none"]
    full = _full_hours(batches)
    owed: Counter[tuple[str, str]] = Counter()
    open_still: Counter[tuple[str, str]] = Counter()
    for fact in billable:
        lane = (linked[fact["customer"]], _meter(batches, fact["kind"]))
        if fact["batch_id"] is not None:
            batch = batches[fact["batch_id"]]
            if batch["route"] == "metered":
                owed[lane] += fact["quantity"]
            tally.expected += 1
        elif fact["occurred_at"].replace(minute=0, second=0, microsecond=0) in full[fact["customer"], fact["kind"]]:
            tally.doubt(fact["key"], "the minutes of its hour are used up: shown among what is not billed yet")
        elif _is_over(fact["occurred_at"], run.ends_at):
            tally.expected += 1
            tally.lose(fact["key"], "its hour is over, and it lies in no batch")
        else:
            tally.waiting += 1
    known = _check_batches(tally, run, batches, linked, open_still)
    _check_sums(tally, run.stripe, owed, open_still)
    for event in _counting(run.stripe):
        if event["identifier"] not in known:
            tally.wonder(event["identifier"], f"{event['value']} of {event['customer']} counted, and nobody sent it")
    return tally


def _check_facts(tally: Tally, run: Run, facts: list[Row]) -> None:
    """Every ticket of a customer is a fact, and every critical one another."""
    given = {call.ticket_id: call.given for call in run.calls["open"]}
    there = Counter((fact["kind"], fact["ticket_id"]) for fact in facts if fact["quantity"] == 1)
    wanted: set[tuple[str, str]] = set()
    for ticket in run.rows(_TICKETS):
        wanted.add((OPENED, ticket["id"]))
        if given.get(ticket["id"], {}).get("priority") == 1 or ticket["became_critical"]:
            wanted.add((CRITICAL, ticket["id"]))
    for what in wanted | there.keys():
        name, times = "/".join(what), there[what]
        if times == 0:
            tally.lose(name, "it happened, and the ledger has no fact of it")
        elif what not in wanted:
            tally.wonder(name, "the ledger has a fact of it, and it did not happen")
        elif times > 1:
            tally.double(name, f"{times} facts of it")
    for fact in facts:
        if fact["quantity"] != 1 or fact["forgiven_at"] is not None:
            tally.wonder(fact["key"], "it was forgiven or credited, which nobody asked for")


def _check_batches(
    tally: Tally,
    run: Run,
    batches: dict[str, Row],
    linked: dict[str, str],
    open_still: Counter[tuple[str, str]],
) -> set[str]:
    """Compare each batch with what was counted of it, under whatever name; returns the names that were sent."""
    stripe, deliveries = run.stripe or {}, run.rows(_DELIVERIES)
    events: dict[str, list[Row]] = defaultdict(list)
    for event in _counting(stripe):
        events[event["identifier"]].append(event)
    items: dict[str, list[Row]] = defaultdict(list)
    for item in stripe.get("invoice_items", []):
        items[item["metadata"].get("ticket_batch", "")].append(item)
    of_batch: dict[str, list[Row]] = defaultdict(list)
    for row in deliveries:
        of_batch[row["batch_id"]].append(row)
    for batch in batches.values():
        mine = of_batch[batch["id"]]
        is_item = batch["route"] == "invoice_item"
        counted = items[batch["id"]] if is_item else [one for row in mine for one in events[row["identifier"]]]
        name = f"batch {batch['id']} ({batch['quantity']} of {batch['kind']}, {batch['customer']})"
        is_new = batch["sealed_at"] >= run.ends_at and mine and mine[-1]["state"] in UNDER_WAY
        if is_new:
            tally.expected -= batch["quantity"]
            tally.waiting += batch["quantity"]
        else:
            _check_batch(tally, name, batch, mine, counted, is_item=is_item)
        if not is_item and mine and (is_new or mine[-1]["state"] in SHOWN) and not counted:
            open_still[linked[batch["customer"]], batch["event_name"]] += batch["quantity"]
    return {row["identifier"] for row in deliveries}


def _check_batch(
    tally: Tally, name: str, batch: Row, deliveries: list[Row], counted: list[Row], *, is_item: bool
) -> None:
    if batch["held"] != batch["quantity"]:
        tally.wonder(name, f"{batch['held']} facts lie in it")
    if len(counted) > 1:
        tally.double(name, f"it is counted {len(counted)} times")
    if not deliveries:
        tally.lose(name, "there is no delivery of it")
        return
    newest, value = deliveries[-1], counted[0]["quantity" if is_item else "value"] if counted else 0
    if counted:
        tally.found += batch["quantity"]
        if value != batch["quantity"]:
            tally.wonder(name, f"{value} are counted")
    state = newest["state"]
    if state in COUNTED and not counted:
        tally.lose(name, f"the ledger says {state}, and it is not counted")
    elif state in SHOWN:
        tally.doubt(name, f"{state}: {newest['error'] or 'no error'} (counted: {value})")
    elif state in OVER and counted:
        tally.wonder(name, f"the ledger says {state}, and it is counted")
    elif state in UNDER_WAY:
        tally.wonder(name, f"{state} in the end ({newest['error'] or 'no error'}; counted: {value})")


def _check_sums(
    tally: Tally, stripe: Row, owed: Counter[tuple[str, str]], open_still: Counter[tuple[str, str]]
) -> None:
    """Compare by customer and meter, whatever batches and names say."""
    sums: Counter[tuple[str, str]] = Counter()
    for event in _counting(stripe):
        sums[event["customer"], event["event_name"]] += event["value"]
    for lane in owed.keys() | sums.keys():
        name, most = " ".join(lane), owed[lane]
        if sums[lane] > most:
            tally.double(name, f"{sums[lane]} are counted, {most} happened")
        elif sums[lane] < most - open_still[lane]:
            tally.lose(name, f"{sums[lane]} are counted, {most} happened, {open_still[lane]} are shown as open")


def _counting(stripe: Row) -> list[Row]:
    return [event for event in stripe["events"] if event.get("rejected") is None and not event.get("is_cancelled")]


def _meter(batches: dict[str, Row], kind: str) -> str:
    """By what the ledger calls it; all batches of a kind go to one meter."""
    names = {row["event_name"] for row in batches.values() if row["kind"] == kind and row["route"] == "metered"}
    return min(names, default=kind)


def _is_over(occurred_at: datetime, ends_at: datetime) -> bool:
    return occurred_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1) + SEALED_AFTER < ends_at


def _full_hours(batches: dict[str, Row]) -> dict[tuple[str, str], set[datetime]]:
    """By customer and kind: the hours with a batch for every minute."""
    used: Counter[tuple[str, str, datetime]] = Counter()
    for row in batches.values():
        used[row["customer"], row["kind"], row["window_start"].replace(minute=0, second=0, microsecond=0)] += 1
    found: dict[tuple[str, str], set[datetime]] = defaultdict(set)
    for (customer, kind, hour), times in used.items():
        if times >= MINUTES:
            found[customer, kind].add(hour)
    return found


def check_plans(run: Run) -> Tally:
    """Every customer has in the end what the other side says that it bought; every event that came was seen to."""
    tally, ours = Tally(), {row["name"]: row["plan"] for row in run.rows(_CUSTOMERS)}
    for name, plan in run.plans.items():
        tally.expected += 1
        if name not in ours:
            tally.lose(name, "no such customer is linked")
        elif ours[name] != plan:
            tally.lose(name, f"it has bought {plan!r}, and stands at {ours[name]!r}")
        else:
            tally.found += 1
    for row in run.rows(_INBOX):
        if row["state"] == "new" and row["received_at"] >= run.ends_at:
            tally.waiting += 1
        else:
            why = f"an event {row['type']} is {row['state']} in the end ({row['error'] or 'no error'})"
            tally.wonder(row["id"], why)
    return tally
