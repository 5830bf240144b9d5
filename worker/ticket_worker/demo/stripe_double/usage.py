"""Meter events: what is taken, what is refused at once or later, and what the summaries say."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ticket_worker.demo.stripe_double.answers import Json, Refusal, malformed, missing, unfit
from ticket_worker.demo.stripe_double.forms import Params
from ticket_worker.demo.stripe_double.shapes import iso, page
from ticket_worker.demo.stripe_double.things import Meter, MeterEvent, moment, unix
from ticket_worker.demo.stripe_double.world import Rejection, World, one_of

LONGEST_IDENTIFIER = 100
OLDEST = timedelta(days=35)
NEWEST = timedelta(minutes=5)
CANCELLABLE = timedelta(hours=24)
_MOST_DIGITS = 15
_WHOLE = re.compile(r"-?\d+")
_REPORT_WINDOW = timedelta(seconds=10)
_GRAINS = {None: (60, "minute"), "hour": (3600, "hour"), "day": (86400, "day")}


def check_form(params: Params) -> None:
    """Refuse what is no meter event at all; nothing of this is kept under an Idempotency-Key."""
    identifier = params.get("identifier")
    if identifier is not None and not 0 < len(identifier) <= LONGEST_IDENTIFIER:
        raise malformed(f"Identifier is longer than {LONGEST_IDENTIFIER} characters.", "string_too_long", "identifier")
    payload = params["payload"]
    if not isinstance(payload, dict):
        raise malformed("Invalid object: payload", "parameter_invalid_type", "payload")
    for key in ("stripe_customer_id", "value"):
        if not payload.get(key):
            raise malformed(f"Missing required payload key: {key}.", "parameter_missing", f"payload[{key}]")
    if not _WHOLE.fullmatch(payload["value"]):
        raise malformed("The value is not a whole number.", "parameter_invalid_integer", "payload[value]")
    if len(payload["value"].lstrip("-")) > _MOST_DIGITS:
        raise malformed("The value has too many digits.", "parameter_invalid_integer", "payload[value]")


def take(world: World, params: Params, *, livemode: bool) -> Json:
    """Take one meter event, or refuse what it says."""
    now, rules, payload = world.now(), world.rules, params["payload"]
    event = MeterEvent(
        identifier=params.get("identifier") or world.new_id("mev"),
        event_name=params["event_name"],
        customer=payload["stripe_customer_id"],
        value=int(payload["value"]),
        timestamp=moment(params["timestamp"]) if "timestamp" in params else now,
        received_at=now,
        livemode=livemode,
    )
    _check_time(event, now)
    later = _found_later(
        rules.meters_are_checked_later,
        "no_meter",
        lambda: world.meter_named(event.event_name, livemode=livemode),
    ) or _found_later(
        rules.customers_are_checked_later,
        "meter_event_customer_not_found",
        lambda: world.customer(event.customer, livemode=livemode, param="payload[stripe_customer_id]"),
    )
    other = world.identified.get((livemode, event.identifier))
    if other and now - other.received_at < rules.identifier_window:
        wording = rules.duplicate_wording.format(identifier=event.identifier)
        raise Refusal(400, wording, headers={"stripe-should-retry": "false"}, is_content=True)
    event.is_unbilled = any(
        invoice.finalized_at and invoice.customer == event.customer and invoice.start <= event.timestamp < invoice.end
        for invoice in world.invoices.values()
    )
    world.usage.append(event)
    world.identified[livemode, event.identifier] = event
    rejection = Rejection(lambda _: True, later, is_sampled=True) if later else None
    for known in [rejection] if rejection else world.rejections:
        if event.counts and known.which(event):
            reject(world, [event], known)
    return event.json()


def _found_later(is_later: bool, code: str, look: Callable[[], object]) -> str | None:  # noqa: FBT001 - a rule's value
    """Return the code of a flaw that is found after the answer; raise what is found before it."""
    try:
        look()
    except Refusal:
        if not is_later:
            raise
        return code
    return None


def _check_time(event: MeterEvent, now: datetime) -> None:
    if event.timestamp < now - OLDEST:
        raise unfit(
            f"The event timestamp cannot be more than {OLDEST.days} days in the past.",
            "timestamp_too_far_in_past",
            "timestamp",
        )
    if event.timestamp > now + NEWEST:
        raise unfit(
            "The event timestamp cannot be more than 5 minutes in the future.", "timestamp_in_future", "timestamp"
        )


def reject(world: World, events: list[MeterEvent], rejection: Rejection) -> None:
    """Take events back that were answered with 200, and say so in one report for each meter."""
    by_meter: dict[tuple[str, bool], list[MeterEvent]] = {}
    for event in events:
        event.rejected = rejection.code
        by_meter.setdefault((event.event_name, event.livemode), []).append(event)
    for (name, livemode), rejected in by_meter.items():
        meters = [m for m in world.meters.values() if (m.event_name, m.livemode) == (name, livemode)]
        data = _report(world.now(), rejected, rejection)
        if not meters:
            world.emit_thin("v1.billing.meter.no_meter_found", data, livemode=livemode)
            continue
        related = {"id": meters[0].id, "type": "billing.meter", "url": f"/v1/billing/meters/{meters[0].id}"}
        world.emit_thin("v1.billing.meter.error_report_triggered", data, livemode=livemode, related=related)


def _report(now: datetime, rejected: list[MeterEvent], rejection: Rejection) -> Json:
    samples = [
        {"error_message": f"Rejected: {rejection.code}.", "request": {"identifier": event.identifier}}
        for event in rejected
        if rejection.is_sampled
    ]
    kind = {"code": rejection.code, "error_count": len(rejected), "sample_errors": samples}
    return {
        "developer_message_summary": f"There are {len(rejected)} invalid meter events.",
        "reason": {"error_count": len(rejected), "error_types": [kind]},
        "validation_start": iso(now - _REPORT_WINDOW),
        "validation_end": iso(now),
    }


def adjust(world: World, params: Params, *, livemode: bool) -> Json:
    """Cancel one event, within a day of its receipt."""
    identifier = params.get("cancel", {}).get("identifier")
    if params["type"] != "cancel" or not identifier:
        raise malformed("Name the event to cancel.", "parameter_missing", "cancel[identifier]")
    world.meter_named(params["event_name"], livemode=livemode)
    found = [
        event
        for event in world.usage
        if (event.identifier, event.event_name, event.livemode) == (identifier, params["event_name"], livemode)
    ]
    if not found:
        raise missing("meter event", identifier, param="cancel[identifier]")
    if world.now() - found[-1].received_at > CANCELLABLE:
        raise unfit("The event was received more than 24 hours ago.", "event_too_old", "cancel[identifier]")
    found[-1].is_cancelled = True
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": params["event_name"],
        "livemode": livemode,
        "status": "pending",
        "type": "cancel",
    }


def summaries(world: World, meter_id: str, params: Params, *, livemode: bool) -> Json:
    """What was used, as far as it is known by now; the newest window first, those without an event left out."""
    meter = one_of(world.meters, "meter", meter_id, livemode=livemode)
    one_of(world.customers, "customer", params["customer"], livemode=livemode, param="customer")
    start, end, grain = params["start_time"], params["end_time"], params.get("value_grouping_window")
    if grain not in _GRAINS:
        raise malformed(f"Invalid value_grouping_window: {grain}", "parameter_invalid", "value_grouping_window")
    width, name = _GRAINS[grain]
    for param, bound in (("start_time", start), ("end_time", end)):
        if bound % width:
            raise malformed(f"{param} must align with {name} boundaries.", "parameter_invalid", param)
    if start >= end:
        raise malformed("start_time must be before end_time.", "parameter_invalid", "start_time")
    known = _known(world, meter, params["customer"], start, end)
    windows: dict[int, float] = {}
    for event in known:
        at = start if grain is None else unix(event.timestamp) // width * width
        windows[at] = windows.get(at, 0.0) + event.value
    if not windows and world.rules.lists_empty_summaries:
        windows[start] = 0.0
    listed: list[dict[str, Any]] = [
        {
            "id": f"mtrusg_{meter.id}_{at}",
            "object": "billing.meter_event_summary",
            "aggregated_value": windows[at],
            "end_time": end if grain is None else at + width,
            "livemode": livemode,
            "meter": meter.id,
            "start_time": at,
        }
        for at in sorted(windows, reverse=True)
    ]
    return page(listed, params, f"/v1/billing/meters/{meter.id}/event_summaries")


def _known(world: World, meter: Meter, customer: str, start: int, end: int) -> list[MeterEvent]:
    shown_before = world.now() - world.rules.summary_lag
    return [
        event
        for event in world.usage
        if event.counts
        and (event.event_name, event.customer, event.livemode) == (meter.event_name, customer, meter.livemode)
        and start <= unix(event.timestamp) < end
        and event.received_at <= shown_before
    ]
