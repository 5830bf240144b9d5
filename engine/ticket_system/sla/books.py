"""All policies and calendars in force together: which policy a ticket gets, as stable text, and compared. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from ticket_system.errors import PolicyError
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar, Hours, none_off
from ticket_system.sla.days_off import DayOff, DaysOff
from ticket_system.sla.mappings import Frozen
from ticket_system.sla.plans import DEFAULT_BILLING, Billing, Plan
from ticket_system.sla.policies import DEFAULT_POLICY, NO_SLA, Facts, Policy

T = TypeVar("T")


@dataclass(frozen=True)
class PolicyBook:
    """The policies in order of their rank, and the calendars they name."""

    policies: tuple[Policy, ...] = (DEFAULT_POLICY,)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    #: Tickets created before raise no alarms (23).
    enforce_from: datetime | None = None
    #: So many alarms to one recipient in one sweep go out one by one, more of them as one message (23); None: always.
    storm_cap: int | None = None
    #: What customers may have bought, by name; empty: nobody buys a promise here.
    plans: Mapping[str, Plan] = field(default_factory=dict)
    billing: Billing = DEFAULT_BILLING

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", Frozen(self.plans))
        object.__setattr__(self, "policies", tuple(sorted(self.policies, key=lambda one: (one.rank, one.name))))
        object.__setattr__(self, "calendars", Frozen({AROUND_THE_CLOCK.name: AROUND_THE_CLOCK, **self.calendars}))

    def pick(self, facts: Facts) -> Policy:
        """Return the first policy that takes the ticket, by rank, then name; NO_SLA when none does (17)."""
        return next((policy for policy in self.policies if policy.match.takes(facts)), NO_SLA)

    def fields_matched(self) -> frozenset[str]:
        """Return the fields whose change is a reason to pick again, as `Facts` names them (17)."""
        return frozenset().union(*(policy.match.fields() for policy in self.policies))

    def calendar(self, policy: Policy, target: str) -> Calendar:
        """Return the calendar on which a policy counts a target."""
        rule = policy.targets.get(target)
        return self.calendars[rule.calendar] if rule else AROUND_THE_CLOCK

    def to_json(self) -> str:
        """Return all of it as text; equal books give equal text."""
        own = {name: one for name, one in self.calendars.items() if one != AROUND_THE_CLOCK}
        return _text(
            {
                "calendars": {name: _calendar_form(one) for name, one in own.items()},
                "enforce_from": _plain(self.enforce_from),
                "policies": _plain(self.policies),
                "storm_cap": self.storm_cap,
            }
            # Said only where there is something to say: rules that were stored before read the same.
            | ({"plans": _plain(self.plans)} if self.plans else {})
            | ({"billing": _plain(self.billing)} if self.billing != DEFAULT_BILLING else {})
        )

    @classmethod
    def from_json(cls, text: str) -> PolicyBook:
        """Read what `to_json` wrote."""
        form = _read(_BOOK, text)
        calendars = {name: calendar_from(name, one) for name, one in form.calendars.items()}
        return cls(form.policies, calendars, form.enforce_from, form.storm_cap, form.plans, form.billing)


DEFAULT_BOOK = PolicyBook()


def policy_to_json(policy: Policy) -> str:
    """Return a policy as text; equal policies give equal text."""
    return _text(_plain(policy))


def policy_from_json(text: str) -> Policy:
    """Read what `policy_to_json` wrote."""
    return _read(_POLICY, text)


def fingerprint(policy: Policy) -> str:
    """Return what is the same as long as a policy says the same, whatever its version number."""
    return hashlib.sha256(policy_to_json(replace(policy, version=0)).encode()).hexdigest()


def calendar_to_json(calendar: Calendar) -> str:
    """Return a calendar as text, with the days off of its iCalendar files written out as rules."""
    return _text(_calendar_form(calendar))


def calendar_from_json(name: str, text: str) -> Calendar:
    """Read what `calendar_to_json` wrote."""
    return AROUND_THE_CLOCK if name == AROUND_THE_CLOCK.name else calendar_from(name, _read(_CALENDAR, text))


def difference(old: PolicyBook, new: PolicyBook) -> list[str]:
    """Return what differs, a line each, in the order of the text; nothing when both promise the same."""
    return list(_differences("", _compared(old), _compared(new)))


@dataclass(frozen=True)
class CalendarForm:
    """A calendar as it is written down; hours by weekday from 0, Monday, in seconds since midnight."""

    zone: str
    hours: dict[int, list[tuple[int, int]]]
    country: str | None = None
    subdivision: str | None = None
    own: tuple[DayOff, ...] = ()


@dataclass(frozen=True)
class _BookForm:
    policies: tuple[Policy, ...]
    calendars: dict[str, CalendarForm]
    enforce_from: datetime | None = None
    storm_cap: int | None = None
    plans: dict[str, Plan] = field(default_factory=dict)
    billing: Billing = DEFAULT_BILLING


_BOOK = TypeAdapter(_BookForm)
_POLICY = TypeAdapter(Policy)
_CALENDAR = TypeAdapter(CalendarForm)


def calendar_from(name: str, form: CalendarForm) -> Calendar:
    """Return the calendar that a form describes."""
    hours = {
        day: tuple(Hours(timedelta(seconds=opens), timedelta(seconds=closes)) for opens, closes in shifts)
        for day, shifts in form.hours.items()
    }
    off = DaysOff(form.country, form.subdivision, form.own)
    return Calendar(name, ZoneInfo(form.zone), hours, none_off if off == DaysOff() else off)


def _calendar_form(calendar: Calendar) -> dict[str, Any]:
    hours = {
        day: [(int(one.opens.total_seconds()), int(one.closes.total_seconds())) for one in shifts]
        for day, shifts in calendar.hours.items()
    }
    off = calendar.days_off if isinstance(calendar.days_off, DaysOff) else DaysOff()
    if off == DaysOff() and calendar.days_off is not none_off:
        raise PolicyError(f"the calendar {calendar.name!r} takes its days off from code, which cannot be written down")
    form: dict[str, Any] = _plain(CalendarForm(calendar.zone.key, hours, off.country, off.subdivision, off.own))
    return form


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.init}
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def _text(form: Any) -> str:
    return json.dumps(form, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _read(kind: TypeAdapter[T], text: str) -> T:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise PolicyError(f"stored policies cannot be read: {error}") from error


def _compared(book: PolicyBook) -> dict[str, Any]:
    form: dict[str, Any] = json.loads(book.to_json())
    policies = {policy.pop("name"): policy for policy in form.pop("policies")}
    for policy in policies.values():
        del policy["version"]
    plans = {"plan": form.pop("plans")} if "plans" in form else {}
    return {"policy": policies, "calendar": form.pop("calendars"), **plans, **form}


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{path} {key}".strip()
            if key not in old:
                yield f"{where}: new" if isinstance(new[key], dict) else f"{where}: new, {_said(key, new[key])}"
            elif key not in new:
                yield f"{where}: gone" if isinstance(old[key], dict) else f"{where}: gone, was {_said(key, old[key])}"
            else:
                yield from _differences(where, old[key], new[key])
        return
    if isinstance(old, list) and isinstance(new, list) and any(isinstance(one, dict) for one in (*old, *new)):
        numbered = [{str(number): one for number, one in enumerate(many, 1)} for many in (old, new)]
        yield from _differences(path, *numbered)
        return
    key = path.rsplit(" ", 2)[-2 if path[-1:].isdigit() else -1]
    yield f"{path}: {_said(key, old)} → {_said(key, new)}"


def _said(key: str, value: Any) -> str:
    """A value as a person writes it; seconds as hours and minutes."""
    if isinstance(value, int) and not isinstance(value, bool) and "seconds" in key:
        hours, rest = divmod(abs(value), 3600)
        minutes, seconds = divmod(rest, 60)
        parts = [f"{part}{unit}" for part, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if part]
        return ("-" if value < 0 else "") + (" ".join(parts) or "0")
    if value is None or value in ([], {}):
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
