"""Reads `sla.toml` into a book of policies. Whatever is wrong with it is said at once, with line and key. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ValidationError

from ticket_system.errors import PolicyError, shown
from ticket_system.sla.books import PolicyBook
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar, none_off
from ticket_system.sla.clocks import TARGETS
from ticket_system.sla.days_off import DayOff, DaysOff, read_icalendar
from ticket_system.sla.plan_sense import billing_of, of_plans, plans_of, policies_of
from ticket_system.sla.policies import DEFAULT_CHAIN, Match, Policy, TargetRule, Warn, default_pausing
from ticket_system.sla.policy_forms import WEEKDAYS, CalendarForm, FileForm, PolicyForm, TargetForm
from ticket_system.sla.policy_sense import Keys, Problem, level_of, near, of_file, of_hours, of_policy, of_target
from ticket_system.tickets import PRIORITY_LABELS, STATUS_FLOW, as_utc

#: What pydantic calls a kind of value, in the words of a TOML file.
_EXPECTED = {
    "bool_type": "true or false",
    "datetime_type": "a date and time such as 2026-01-01T00:00:00Z",
    "dict_type": "a table",
    "int_type": "a whole number",
    "list_type": "a list, in brackets",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "string_too_short": "some text",
    "string_type": "text, in quotes",
    "too_short": "at least one",
}
#: The longest list of problems that helps anybody.
_MOST_SAID = 30


def example() -> str:
    """Return the commented example that ships with the package."""
    return (files("ticket_system.sla") / "example.toml").read_text(encoding="utf-8")


def read(file: Path, *, now: datetime) -> PolicyBook:
    """Return the policies of a file, or raise one PolicyError that lists every problem in it."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{file}: is not UTF-8 text") from error
    return parse(text, name=str(file), folder=file.parent, now=now)


def parse(text: str, *, now: datetime, name: str = "sla.toml", folder: Path = Path()) -> PolicyBook:
    """Return the policies of a text; iCalendar files are looked for in the folder. Calendars must open after now."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}: is not TOML: {error}") from error
    try:
        form = FileForm.model_validate(data)
    except ValidationError as error:
        problems = [_said(one["loc"], one["type"], one["msg"], one["input"]) for one in error.errors()]
        raise _refused(name, text, problems) from error
    reading = _Reading(form, folder, now)
    book = reading.book()
    if reading.problems:
        raise _refused(name, text, reading.problems)
    return book


@dataclass
class _Reading:
    """A form on its way to a book, with the problems met."""

    form: FileForm
    folder: Path
    now: datetime
    problems: list[Problem] = field(default_factory=list)
    calendars: dict[str, Calendar] = field(default_factory=lambda: {AROUND_THE_CLOCK.name: AROUND_THE_CLOCK})

    def book(self) -> PolicyBook:
        for name, form in self.form.calendars.items():
            self._calendar(("calendars", name), name, form)
        policies = [self._policy(("policies", name), name, form) for name, form in self.form.policies.items()]
        self.problems += of_file(self.form)
        plans = plans_of(self.form)
        self.problems += of_plans(self.form, plans, policies)
        enforce_from = self.form.enforce_from
        return PolicyBook(
            (*policies, *policies_of(plans, policies)),
            self.calendars,
            enforce_from and as_utc(enforce_from),
            self.form.storm_cap,
            plans,
            billing_of(self.form),
        )

    def _calendar(self, where: Keys, name: str, form: CalendarForm) -> None:
        self.problems += (found := list(of_hours(where, form)))
        if name == AROUND_THE_CLOCK.name:
            found.append(Problem(where, "this calendar is built in; expected another name"))
        if form.zone not in available_timezones():
            said = f"{shown(form.zone)} is no time zone; expected one such as Europe/Berlin"
            found.append(Problem((*where, "zone"), said + near(form.zone, available_timezones())))
        off = self._days_off(where, form)
        hours = {number: tuple(sorted(getattr(form.hours, day))) for number, day in enumerate(WEEKDAYS)}
        calendar = Calendar(
            name,
            ZoneInfo("UTC") if found else ZoneInfo(form.zone),
            {day: shifts for day, shifts in hours.items() if shifts},
            none_off if off == DaysOff() else off,
        )
        try:
            calendar.check(self.now)
        except PolicyError as error:
            found.append(Problem(where, str(error)))
        self.problems += [one for one in found if one not in self.problems]
        # Known by name even if it is wrong, so that nobody is told it is missing; not asked for anything.
        self.calendars[name] = AROUND_THE_CLOCK if found else calendar

    def _days_off(self, where: Keys, form: CalendarForm) -> DaysOff:
        own = [
            DayOff.every_year(int(one.date[:2]), int(one.date[3:]), one.name)
            if isinstance(one.date, str)
            else DayOff(one.date, one.name)
            for one in form.days_off
        ]
        for file in form.icalendar:
            try:
                own += read_icalendar(self.folder / file)
            except PolicyError as error:
                self.problems.append(Problem((*where, "icalendar"), str(error).removeprefix("icalendar: ")))
        country, subdivision = (form.holidays.country, form.holidays.subdivision) if form.holidays else (None, None)
        try:
            return DaysOff(country, subdivision, tuple(sorted(own)))
        except PolicyError as error:
            key, _, said = str(error).partition(": ")
            self.problems.append(Problem((*where, "holidays", key), said))
            return DaysOff()

    def _policy(self, where: Keys, name: str, form: PolicyForm) -> Policy:
        rules = {
            target: self._target((*where, "targets", target), target, one)
            for target, one in form.targets.given().items()
        }
        match = form.match
        policy = Policy(
            name,
            rank=form.rank,
            match=Match(
                frozenset(match.priorities),
                frozenset(match.customers),
                frozenset(match.plans),
                frozenset(match.tags),
                frozenset(match.groups),
            ),
            targets=rules,
            reopen=form.reopen,
            without_response=form.without_response,
            warnings=tuple(
                Warn(one.at, one.before, tuple(one.notify), frozenset(one.targets)) for one in form.warnings
            ),
            chain=DEFAULT_CHAIN if form.chain is None and not form.no_sla else tuple(map(level_of, form.levels)),
            ack_expires_seconds=form.ack_expires,
            no_sla=form.no_sla,
        )
        self.problems += of_policy(where, form)
        if not form.no_sla:
            self.problems += self._too_long(where, form, policy)
        return policy

    def _target(self, where: Keys, target: str, form: TargetForm) -> TargetRule:
        calendar = self.calendars.get(form.calendar)
        if calendar is None:
            said = f"no calendar is called {shown(form.calendar)}; expected one of {', '.join(self.calendars)}"
            self.problems.append(Problem((*where, "calendar"), said + near(form.calendar, self.calendars)))
            calendar = AROUND_THE_CLOCK
        day = int(calendar.business_day().total_seconds())
        seconds = {priority: one.business_days * day + one.seconds for priority, one in form.within.items()}
        pausing = default_pausing(target) if form.pausing is None else frozenset(form.pausing)
        return TargetRule(seconds, form.calendar, pausing)

    def _too_long(self, where: Keys, form: PolicyForm, policy: Policy) -> Iterator[Problem]:
        for target, one in form.targets.given().items():
            yield from of_target((*where, "targets", target), one, policy.targets[target], self.calendars, self.now)
        for number, warning in enumerate(policy.warnings):
            if (warning.percent is None) == (warning.seconds_before is None):
                continue
            lengths = [
                length
                for target, rule in policy.targets.items()
                if not warning.targets or target in warning.targets
                for length in map(rule.target, rule.seconds)
            ]
            if lengths and not any(length and warning.left(length) for length in lengths):
                yield Problem((*where, "warnings", number), "it would warn before the clock starts; expected it later")


def _said(where: Keys, kind: str, message: str, given: Any) -> Problem:
    """Say what pydantic found in the words of this file."""
    key = str(where[-1]) if where else ""
    # Keys of a table are marked by pydantic with a step of their own.
    where = tuple(part for part in where if part != "[key]")
    if kind == "extra_forbidden":
        known = _keys_at(where[:-1])
        return Problem(where, f"there is no such key; expected one of {', '.join(known)}{near(key, known)}")
    if kind == "missing":
        return Problem(where, "it is missing")
    said = _EXPECTED.get(kind, message.removeprefix("Value error, ").removeprefix("Input should be "))
    said = said if said.startswith("expected") else f"expected {said[:1].lower()}{said[1:]}"
    close = near(given, [*STATUS_FLOW, *PRIORITY_LABELS.values(), *TARGETS]) if isinstance(given, str) else ""
    held = "" if isinstance(given, dict | list) else f", not {shown(given)}"
    return Problem(where, said + held + close)


def _keys_at(where: Keys) -> list[str]:
    """Return the keys that a table of the file may have."""
    kind: Any = FileForm
    for part in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _form_in(kind.model_fields[str(part)].annotation) if str(part) in kind.model_fields else kind
    return list(kind.model_fields)


def _form_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _form_in(one)) is not None), None)


def _refused(name: str, text: str, problems: list[Problem]) -> PolicyError:
    lines = []
    for where, said in dict.fromkeys(problems):
        line = _line(text, where)
        lines.append(f"{name}{f':{line}' if line else ''}: {'.'.join(_shown_keys(where)) or 'the file'}: {said}")
    more = [f"and {len(lines) - _MOST_SAID} more"] if len(lines) > _MOST_SAID else []
    return PolicyError("\n".join([*lines[:_MOST_SAID], *more]))


def _shown_keys(where: Keys) -> Iterator[str]:
    for part in where:
        yield str(part + 1) if isinstance(part, int) else part if re.fullmatch(r"[\w-]+", part) else f'"{part}"'


def _line(text: str, where: Keys) -> int | None:
    """Return the line in which a key, or the nearest table around it, stands."""
    header: Keys = ()
    counted: dict[Keys, int] = {}
    best, found = 0, None
    for number, line in enumerate(text.splitlines(), 1):
        if table := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            header = tuple(_keys(table[2]))
            if table[1] == "[[":
                counted[header] = counted.get(header, -1) + 1
                header = (*header, counted[header])
            here = header
        elif key := re.match(r"""\s*((?:[\w.-]+|"[^"]*"|'[^']*')+)\s*=""", line):
            here = (*header, *_keys(key[1]))
        else:
            continue
        shared = min(len(here), len(where))
        # A table that has no line of its own is where its first part stands.
        if shared > best and here[:shared] == where[:shared]:
            best, found = shared, number
    return found


def _keys(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted)]
