"""What may stand in a policy file, key by key. Pure.

Durations: `90m`, `4h`, `1h 30m`, `PT4H`; and, for targets, `2bd`, two business days of the target's calendar. A plain
"day" is refused: it could be 24 hours or the hours of one day (rule 4).
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ticket_system.billing.usage import KINDS, METERED
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Hours
from ticket_system.sla.clocks import TARGETS
from ticket_system.sla.plans import GRACE_HOURS
from ticket_system.sla.policies import ASSIGNEE_OR_DESK
from ticket_system.tickets import MAX_HOURS, PRIORITY_LABELS, STATUS_FLOW

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LABELS = {label: number for number, label in PRIORITY_LABELS.items()}
#: A key of a TOML table is text, even where it looks like a number.
_PRIORITIES = _LABELS | {str(number): number for number in PRIORITY_LABELS}
_DURATION = re.compile(r"(?:(\d+)bd)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?")
_LONGEST = 10 * 366 * 86_400


class Duration(NamedTuple):
    """A length of time: business days of a calendar, and seconds beside them."""

    business_days: int
    seconds: int


def _duration(value: object) -> Duration:
    expected = 'expected a duration such as "90m", "4h" or "1h 30m"'
    if not isinstance(value, str):
        raise ValueError(expected)  # noqa: TRY004 -- pydantic collects value errors
    text = value.strip().lower()
    found = _DURATION.fullmatch(text.removeprefix("pt") if text.startswith("pt") else text)
    if found is None or not any(found.groups()):
        if re.fullmatch(r"p?\d+\s*d(ays?)?", text):
            raise ValueError(f'{expected}; a day is either 24 hours, "24h", or the hours of one business day, "1bd"')
        raise ValueError(expected)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    duration = Duration(days, hours * 3600 + minutes * 60 + seconds)
    if duration.seconds > _LONGEST or duration.business_days > 3660:  # noqa: PLR2004 -- ten years
        raise ValueError("expected at most ten years")
    return duration


def _positive(duration: Duration) -> Duration:
    if not any(duration):
        raise ValueError("expected more than nothing")
    return duration


def _seconds(value: object) -> int:
    duration = _duration(value)
    if duration.business_days:
        raise ValueError('expected hours, minutes and seconds; business days ("bd") are for targets')
    return duration.seconds


def _priority(value: object) -> int:
    if isinstance(value, str) and value in _PRIORITIES:
        return _PRIORITIES[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in PRIORITY_LABELS:
        return value
    raise ValueError(f"expected one of {', '.join(_LABELS)}, or 1 to {len(_LABELS)}")


def _each_once(value: object) -> object:
    named = [_PRIORITIES.get(key) for key in value if key in _PRIORITIES] if isinstance(value, dict) else []
    if len(set(named)) < len(named):
        raise ValueError("expected each priority once; one is named by its number too")
    return value


def _status(value: str) -> str:
    if value not in STATUS_FLOW:
        raise ValueError(f"expected one of {', '.join(STATUS_FLOW)}")
    return value


def _kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}")
    return value


def _percent(value: object) -> int:
    found = re.fullmatch(r"(\d{1,2})\s*%", value.strip()) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError('expected a share of the target from "1%" to "99%"')
    return int(found[1])


def _time_of_day(text: str) -> time:
    return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 -- a time on the wall


def _interval(value: object) -> Hours:
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004, TRY301 -- said below
        opens, closes = (time() if one.strip() == "24:00" else _time_of_day(one.strip()) for one in value.split("-"))
    except ValueError:
        raise ValueError('expected hours such as "09:00-17:00"; "22:00-06:00" ends the next day') from None
    return Hours.of(opens, closes)


def _weekdays(value: Any) -> Any:
    """Spell out `mon-fri`; what is no weekday stays, to be refused by name."""
    if not isinstance(value, dict):
        return value
    days: dict[str, Any] = {}
    for key, hours in value.items():
        first, _, last = str(key).lower().partition("-")
        if first in WEEKDAYS and (last or first) in WEEKDAYS:
            begin, length = WEEKDAYS.index(first), (WEEKDAYS.index(last or first) - WEEKDAYS.index(first)) % 7 + 1
            names = [WEEKDAYS[(begin + number) % 7] for number in range(length)]
        else:
            names = [key]
        for name in names:
            days[name] = [*days.get(name, []), *(hours if isinstance(hours, list) else [hours])]
    return days


def _own_date(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d\d-\d\d", value):
        try:
            return date.fromisoformat(f"2000-{value}").strftime("%m-%d")
        except ValueError:
            raise ValueError("expected a day of the year, month first") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError('expected a date such as 2026-12-24, or "12-24" for every year')


Promise = Annotated[Duration, BeforeValidator(_duration), AfterValidator(_positive)]
Seconds = Annotated[int, BeforeValidator(_seconds)]
PriorityKey = Annotated[int, BeforeValidator(_priority)]
StatusName = Annotated[str, AfterValidator(_status)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = list[Name]
UsageKind = Annotated[str, AfterValidator(_kind)]
Target = Literal["first_response", "next_response", "resolution"]
Intervals = list[Annotated[Hours, BeforeValidator(_interval)]]


class Form(BaseModel):
    """Nothing but the keys that are named."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class WeekForm(Form):
    """Open hours by weekday."""

    mon: Intervals = []
    tue: Intervals = []
    wed: Intervals = []
    thu: Intervals = []
    fri: Intervals = []
    sat: Intervals = []
    sun: Intervals = []


class HolidaysForm(Form):
    """Public holidays."""

    country: Name
    subdivision: Name | None = None


class DayOffForm(Form):
    """An own day off."""

    date: Annotated[Any, AfterValidator(_own_date)]
    name: Name = "day off"


class CalendarForm(Form):
    """A calendar."""

    zone: Name
    hours: Annotated[WeekForm, BeforeValidator(_weekdays)]
    holidays: HolidaysForm | None = None
    days_off: list[DayOffForm] = []
    icalendar: Annotated[Names, BeforeValidator(lambda one: one if isinstance(one, list) else [one])] = []


class MatchForm(Form):
    """The tickets that a policy is for."""

    priorities: list[PriorityKey] = []
    customers: Names = []
    plans: Names = []
    tags: Names = []
    groups: Names = []


class TargetForm(Form):
    """One promise."""

    within: Annotated[dict[PriorityKey, Promise], Field(min_length=1), BeforeValidator(_each_once)]
    calendar: Name = AROUND_THE_CLOCK.name
    pausing: list[StatusName] | None = None


class TargetsForm(Form):
    """The promises."""

    first_response: TargetForm | None = None
    next_response: TargetForm | None = None
    resolution: TargetForm | None = None

    def given(self) -> dict[str, TargetForm]:
        """Return those that are there."""
        return {name: form for name in TARGETS if (form := getattr(self, name)) is not None}


class WarningForm(Form):
    """A warning."""

    at: Annotated[int, BeforeValidator(_percent)] | None = None
    before: Seconds | None = None
    notify: Annotated[Names, Field(min_length=1)] = [ASSIGNEE_OR_DESK]
    targets: list[Target] = []


class LevelForm(Form):
    """A level of the escalation chain."""

    before: Seconds | None = None
    after: Seconds | None = None
    time: Literal["working", "real"] = "working"
    notify: Names = []
    raise_priority: bool = False
    retarget: bool = False
    reassign_to: Name | None = None
    tag: Name | None = None
    webhook: Name | None = None
    repeat_every: Annotated[Seconds, Field(ge=60)] | None = None
    max_repeats: Annotated[int, Field(ge=0, le=100)] = 0
    targets: list[Target] = []


class PolicyForm(Form):
    """A policy."""

    rank: Annotated[int, Field(ge=0, lt=1_000_000)] = 1000
    match: MatchForm = MatchForm()
    targets: TargetsForm = TargetsForm()
    reopen: Literal["resume", "restart", "first_close"] = "resume"
    without_response: Literal["met", "cancelled"] = "met"
    warnings: list[WarningForm] = []
    #: None: nothing is said of it, and the chain built in is meant.
    chain: list[LevelForm] | None = None
    ack_expires: Annotated[Seconds, Field(ge=60)] | None = None
    no_sla: bool = False

    @property
    def levels(self) -> list[LevelForm]:
        """The levels that are written down."""
        return self.chain or []


class PlanForm(Form):
    """A plan."""

    prices: Names = []
    products: Names = []
    hours: Annotated[int, Field(ge=1, le=MAX_HOURS)] | None = None
    critical: Literal["metered", "invoice_item", "none"] = METERED
    cancelled: Literal["replan", "keep"] = "replan"


class BillingForm(Form):
    """What usage is called where it is billed, and what it costs in the smallest unit of the currency."""

    currency: Annotated[str, Field(pattern="^[a-z]{3}$")] = "eur"
    meters: dict[UsageKind, Name] = {}
    amounts: dict[UsageKind, Annotated[int, Field(ge=0, le=10**8)]] = {}
    grace: Seconds = GRACE_HOURS * 3600


class FileForm(Form):
    """The whole file."""

    enforce_from: datetime | None = None
    storm_cap: Annotated[int, Field(ge=1)] = 25
    recipients: Names = []
    calendars: dict[Name, CalendarForm] = {}
    policies: Annotated[dict[Name, PolicyForm], Field(min_length=1)]
    plans: dict[Name, PlanForm] = {}
    billing: BillingForm = BillingForm()
