"""Report usage to whoever bills it, and compare what was counted there with what was sent.

A message carries nothing: whoever runs the job reads the ledger, so losing or doubling a message changes nothing. The
order of steps is the ledger's promise: intent committed, call made with no transaction open, outcome committed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ticket_system import ledger, outbox, reconciliation
from ticket_system.billing.course import is_to_be_looked_for
from ticket_system.billing.deliveries import STUCK, Answer, Delivery, State
from ticket_system.ledger import Held, Row
from ticket_system.reconciliation import Comparison
from ticket_tasks.errors import JobError
from ticket_tasks.toolbox import Meter, Toolbox

log = structlog.stdlib.get_logger(__name__)

#: What rests when they do not know us: nothing gets through until a person has looked at the key.
CHANNEL = "stripe"


@dataclass(frozen=True, slots=True)
class Reported:
    """What one run of the report came to."""

    facts: int = 0
    batches: int = 0
    accepted: int = 0
    again: int = 0
    stuck: int = 0
    unknown: int = 0
    #: Whether they refused to know us.
    unauthorized: bool = False

    @property
    def found(self) -> int:
        """How many deliveries were tried."""
        return self.accepted + self.again + self.stuck + self.unknown


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one comparison came to."""

    looked_for: int = 0
    lanes: int = 0
    differences: int = 0

    @property
    def found(self) -> int:
        """How many deliveries turned out not to be what they were taken for."""
        return self.differences


def report_usage(toolbox: Toolbox) -> Reported:
    """Seal what is due into batches and send them, one call at a time for each customer and meter."""
    meter = toolbox.meter
    if meter is None:
        return Reported()
    in_time = _until(toolbox.billing_budget_seconds)
    facts, batches = _seal(toolbox, meter, in_time)
    outcomes: Counter[str] = Counter()
    unauthorized = _rests(toolbox)
    while in_time() and not unauthorized:
        held = ledger.claim(toolbox.database, livemode=meter.livemode)
        if held is None:
            break
        try:
            unauthorized = _send_lane(toolbox, meter, held, in_time, outcomes)
        finally:
            ledger.release(toolbox.database, held)
    reported = Reported(facts, batches, **outcomes, unauthorized=unauthorized)
    tell = log.info if reported.found or reported.batches else log.debug
    tell("usage.reported", facts=facts, batches=batches, **outcomes)
    return reported


def _seal(toolbox: Toolbox, meter: Meter, in_time: Callable[[], bool]) -> tuple[int, int]:
    facts = batches = 0
    while in_time():
        sealed = ledger.seal(toolbox.database, toolbox.system.rules, livemode=meter.livemode)
        facts, batches = facts + sealed.facts, batches + sealed.batches
        if sealed.full:
            log.error("usage.window_full", windows=sealed.full, hint="each has sixty batches; see tickets usage list")
        if not sealed.batches:
            break
    return facts, batches


def _send_lane(toolbox: Toolbox, meter: Meter, held: Held, in_time: Callable[[], bool], outcomes: Counter[str]) -> bool:
    """Send what is due by a lane; tells whether they refused to know us."""
    for row in held.rows:
        if not in_time():
            break
        meter.take_turn()
        after = _looked_for(toolbox, meter, held, row)
        if after is None:
            begun = ledger.begin(toolbox.database, held, row)
            if begun is None:
                continue
            said = meter.send(row, begun)
            after = ledger.settle(toolbox.database, row, begun, said)
            _tell(row, after, said.answer)
            if said.answer is Answer.UNAUTHORIZED:
                until = outbox.rest(toolbox.database, CHANNEL, said.message or "they do not know us", seconds=60)
                log.critical("billing.unauthorized", error=said.message, until=until.isoformat())
                return True
        outcomes[_outcome(after)] += 1
    return False


def _looked_for(toolbox: Toolbox, meter: Meter, held: Held, row: Row) -> Delivery | None:
    """Look whether it is there before it is sent, where nothing would keep it from doubling; None: it is to be sent."""
    if not meter.looks or not is_to_be_looked_for(row.delivery, held.since):
        return None
    try:
        if row.is_item:
            made = meter.items(row)
            after = ledger.adopt(toolbox.database, row, made) if made else row.delivery
        else:
            total = meter.counted(row.lane, reconciliation.minute(row))
            after = reconciliation.observe(toolbox.database, row, total) if total else row.delivery
    except JobError as error:
        ledger.put_off(toolbox.database, row, str(error))
        log.warning("usage.not_looked_for", **_who(row), error=str(error))
        return row.delivery
    if after == row.delivery:
        return None
    _tell(row, after, None)
    return after


def reconcile_usage(toolbox: Toolbox) -> Reconciled:
    """Look for what may have arrived, and compare what was counted with what was sent."""
    meter = toolbox.meter
    if meter is None or not meter.looks or _rests(toolbox):
        return Reconciled()
    in_time = _until(toolbox.billing_budget_seconds)
    looked_for = lanes = differences = 0
    try:
        for row in reconciliation.to_look_for(toolbox.database, livemode=meter.livemode):
            if in_time():
                looked_for += 1
                differences += _look_for(toolbox, meter, row)
        for one in reconciliation.to_compare(toolbox.database, livemode=meter.livemode):
            if in_time():
                lanes += 1
                differences += _compare(toolbox, meter, one)
    except JobError as error:
        # What was not looked at stays due.
        log.warning("usage.not_reconciled", error=str(error))
    done = Reconciled(looked_for, lanes, differences)
    (log.info if looked_for or lanes else log.debug)("usage.reconciled", looked_for=looked_for, lanes=lanes)
    return done


def _look_for(toolbox: Toolbox, meter: Meter, row: Row) -> bool:
    meter.take_turn()
    if row.is_item:
        made = meter.items(row)
        after = ledger.adopt(toolbox.database, row, made) if made else reconciliation.missed(toolbox.database, row)
    else:
        total = meter.counted(row.lane, reconciliation.minute(row))
        after = reconciliation.observe(toolbox.database, row, total)
    if after.state != row.delivery.state:
        _tell(row, after, None)
    return after.state in STUCK


def _compare(toolbox: Toolbox, meter: Meter, one: Comparison) -> int:
    """Compare hour by hour, and minute by minute where an hour differs."""
    meter.take_turn()
    totals = meter.counted_by_hour(one.lane, one.span)
    minutes: dict[int, int] = {}
    for hour in reconciliation.disagreements(one, totals):
        for row in one.rows:
            if hour.holds(row.delivery.event_at) and row.delivery.first_attempt_at is not None:
                meter.take_turn()
                minutes[row.delivery.id] = meter.counted(one.lane, reconciliation.minute(row))
    compared = reconciliation.compare(toolbox.database, one, totals, minutes)
    for difference in compared.differences:
        _tell(difference.row, difference.after, None)
    if compared.surplus:
        log.error(
            "usage.surplus",
            stripe_customer=one.lane.stripe_customer,
            event_name=one.lane.event_name,
            quantity=compared.surplus,
            hint="more is counted than was sent; nothing is changed, a person has to look",
        )
    return len(compared.differences)


def _rests(toolbox: Toolbox) -> bool:
    return ledger.rests(toolbox.database, CHANNEL)


def _until(seconds: float) -> Callable[[], bool]:
    stop_at = time.monotonic() + seconds
    return lambda: time.monotonic() < stop_at


def _outcome(after: Delivery) -> str:
    if after.state in STUCK:
        return "stuck"
    if after.state == State.UNKNOWN:
        return "unknown"
    return "accepted" if after.state in {State.ACCEPTED, State.VERIFIED} else "again"


def _tell(row: Row, after: Delivery, answer: Answer | None) -> None:
    told = {
        **_who(row),
        "delivery_attempt": after.attempts,
        "state": after.state,
        "quantity": after.quantity,
        "answer": answer,
    }
    if after.state in STUCK:
        money = f"{row.money} {row.batch.currency}"
        log.error("usage.stuck", **told, error=after.error, code=after.error_code, found=after.found, at_stake=money)
    elif after.error:
        log.warning("usage.postponed", **told, error=after.error, code=after.error_code)
    else:
        log.info("usage.delivered", **told)


def _who(row: Row) -> dict[str, object]:
    return {
        "delivery": row.delivery.id,
        "identifier": row.delivery.identifier,
        "customer": row.batch.customer,
        "kind": row.batch.kind,
    }
