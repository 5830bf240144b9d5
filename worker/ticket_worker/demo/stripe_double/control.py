"""The double's own endpoints, for a test or a demo in another process: JSON in, JSON out, and no key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from ticket_worker.demo.stripe_double.answers import Json
from ticket_worker.demo.stripe_double.double import StripeDouble
from ticket_worker.demo.stripe_double.events import Delivery, Endpoint
from ticket_worker.demo.stripe_double.faults import Fault, FaultKind
from ticket_worker.demo.stripe_double.invoices import Invoice

PREFIX = "/_double/"

#: Methods of the double that can be called as they are: the path names the method, the body its arguments.
_CALLABLE = frozenset(
    {
        "add_customer",
        "add_key",
        "add_meter",
        "add_price",
        "add_product",
        "archive_meter",
        "cancel",
        "change_plan",
        "close_period",
        "delete_customer",
        "finalize",
        "finalize_invoice",
        "reactivate_meter",
        "reject_async",
        "revoke_key",
        "set_status",
        "stop_rejecting",
        "subscribe",
    }
)
_MOMENTS = frozenset({"start", "end", "next_end"})
_SPANS = frozenset({"identifier_window", "summary_lag"})


class Misuse(Exception):
    """A control call that makes no sense."""


def control(double: StripeDouble, method: str, path: str, body: Json) -> tuple[int, Json]:
    """Answer a control call: its status and its body."""
    name = path.removeprefix(PREFIX).strip("/")
    handler = _HANDLERS.get((method, name))
    try:
        if handler:
            return 200, handler(double, body)
        if method == "POST" and name in _CALLABLE:
            return 200, {"result": _called(double, name, body)}
    except (Misuse, KeyError, TypeError, ValueError) as error:
        return 400, {"error": f"{type(error).__name__}: {error}"}
    return 404, {"error": f"{method} {path}: no such control"}


def _called(double: StripeDouble, name: str, body: Json) -> Any:
    """Call a method of the double: `args` by position, everything else by name."""
    named = {key: _moment(value) if key in _MOMENTS else value for key, value in body.items() if key != "args"}
    result = getattr(double, name)(*body.get("args", ()), **named)
    return result.json() if isinstance(result, Invoice) else result


def _moment(value: Any) -> datetime:
    """Read seconds since 1970, or an ISO text with its offset."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise Misuse(f"{value} has no offset")
    return read


def _journal(double: StripeDouble, _body: Json) -> Json:
    return double.journal.json()


def _plan_faults(double: StripeDouble, body: Json) -> Json:
    """`{"clear": true, "faults": [{"kind": "throttle", "times": 2, "path": "/v1/billing"}, …]}`."""
    if body.get("clear"):
        double.faults.clear()
    # All are read before any is planned.
    planned = [Fault(**(fault | {"kind": FaultKind(fault["kind"])})) for fault in body.get("faults", [])]
    double.faults.add(*planned)
    return {"left": double.faults.left}


def _set_clock(double: StripeDouble, body: Json) -> Json:
    """`{"advance_seconds": 3600}`, `{"at": moment}` to stop the clock there, `{"real": true}` to undo both."""
    if "at" in body:
        at = _moment(body["at"])
        double.set_clock(lambda: at)
    elif body.get("real"):
        double.set_clock(lambda: datetime.now(UTC))
    return {"now": double.advance(timedelta(seconds=body.get("advance_seconds", 0))).isoformat()}


def _set_rules(double: StripeDouble, body: Json) -> Json:
    """Spans of time are given in seconds."""
    known = {field.name for field in fields(double.rules)}
    for name in body:
        if name not in known:
            raise Misuse(f"no such rule: {name}")
    for name, value in body.items():
        setattr(double.rules, name, timedelta(seconds=value) if name in _SPANS else value)
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in asdict(double.rules).items()
    }


def _add_endpoint(double: StripeDouble, body: Json) -> Json:
    """`{"url": …, "secret": …, "is_thin": false, "livemode": false}`."""
    double.postman.endpoints.append(Endpoint(**body))
    return {"endpoints": len(double.postman.endpoints)}


def _list_events(double: StripeDouble, _body: Json) -> Json:
    with double.world.lock:
        return {"events": [event.json() | {"delivered": event.is_delivered} for event in double.world.events]}


def _deliver(double: StripeDouble, body: Json) -> Json:
    """Deliver `ids`, or whatever was not taken yet; the rest of the body says how."""
    ids, how = body.get("ids"), {name: value for name, value in body.items() if name != "ids"}
    made = double.deliver(ids, **how)
    return {"deliveries": [_told(delivery) for delivery in made]}


def _told(delivery: Delivery) -> Json:
    return {"event_id": delivery.event_id, "type": delivery.type, "url": delivery.url, "status": delivery.status}


def _ready(_double: StripeDouble, _body: Json) -> Json:
    return {"ready": True}


_HANDLERS: Mapping[tuple[str, str], Callable[[StripeDouble, Json], Json]] = {
    ("GET", "ready"): _ready,
    ("GET", "journal"): _journal,
    ("GET", "events"): _list_events,
    ("POST", "clock"): _set_clock,
    ("POST", "deliver"): _deliver,
    ("POST", "endpoints"): _add_endpoint,
    ("POST", "faults"): _plan_faults,
    ("POST", "rules"): _set_rules,
}
