"""What a policy file may say, key by key, and still not mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

from ticket_system.errors import shown
from ticket_system.sla.calendars import AROUND_THE_CLOCK, LONGEST_CLOSURE, Calendar
from ticket_system.sla.policies import BUILT_IN_RECIPIENTS, Level, TargetRule
from ticket_system.sla.policy_forms import (
    WEEKDAYS,
    CalendarForm,
    FileForm,
    LevelForm,
    PolicyForm,
    TargetForm,
    WarningForm,
)
from ticket_system.tickets import PRIORITY_LABELS

Keys = tuple[str | int, ...]


class Problem(NamedTuple):
    """Where something is wrong, and what was expected."""

    where: Keys
    said: str


def near(value: str, known: Iterable[str]) -> str:
    """Return the end of a message that offers near misses, if there are any."""
    offered = get_close_matches(value, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(offered)}?" if offered else ""


def of_hours(where: Keys, form: CalendarForm) -> Iterator[Problem]:
    """Find opening hours that overlap, around the end of the week too."""
    day, week = timedelta(days=1), timedelta(days=7)
    spans = [
        (number * day + one.opens, number * day + one.closes, name)
        for number, name in enumerate(WEEKDAYS)
        for one in getattr(form.hours, name)
    ]
    if not spans:
        yield Problem((*where, "hours"), "expected at least one weekday with opening hours")
        return
    spans.sort()
    first = spans[0]
    for (_, closes, name), (opens, _, other) in pairwise([*spans, (first[0] + week, first[1] + week, first[2])]):
        if opens < closes:
            yield Problem((*where, "hours"), f"the hours of {name} and {other} overlap; expected them apart")


def of_file(form: FileForm) -> Iterator[Problem]:
    """Find recipients that nobody named, and policies that would never be picked."""
    known = {*BUILT_IN_RECIPIENTS, *form.recipients}
    for number, one in enumerate(form.recipients):
        if one in {"mail", *BUILT_IN_RECIPIENTS} or any(sign in one for sign in ":@/"):
            expected = "expected a name of your own, without : @ or /"
            yield Problem(("recipients", number), f"{shown(one)} means something already; {expected}")
    for name, policy in form.policies.items():
        for place, one in _named(("policies", name), policy):
            if one not in known and "@" not in one:
                expected = f"a name from `recipients`, an e-mail address, or one of {', '.join(BUILT_IN_RECIPIENTS)}"
                yield Problem(place, f"{shown(one)} is nobody; expected {expected}{near(one, known)}")
    ordered = sorted(form.policies.items(), key=lambda item: (item[1].rank, item[0]))
    first = next((name for name, one in ordered if not any(one.match.model_dump().values())), None)
    if first is None:
        expected = "a last one without `match`, which may say `no_sla = true`"
        yield Problem(("policies",), f"no policy takes every ticket; expected {expected}")
        return
    names = [name for name, _ in ordered]
    for name in names[names.index(first) + 1 :]:
        yield Problem(("policies", name), f"it is never picked: {first!r} comes first and takes every ticket")


def _named(where: Keys, policy: PolicyForm) -> Iterator[tuple[Keys, str]]:
    for number, warning in enumerate(policy.warnings):
        yield from (((*where, "warnings", number, "notify"), one) for one in warning.notify)
    for number, level in enumerate(policy.levels):
        yield from (((*where, "chain", number, "notify"), one) for one in level.notify)
        if level.webhook is not None:
            yield (*where, "chain", number, "webhook"), level.webhook


def of_policy(where: Keys, form: PolicyForm) -> Iterator[Problem]:
    """Find promises, warnings and levels that contradict each other."""
    targets = form.targets.given()
    if form.no_sla and (targets or form.warnings or form.levels):
        yield Problem((*where, "no_sla"), "it promises nothing, so expected no targets, warnings or chain beside it")
    if not form.no_sla and not targets:
        yield Problem((*where, "targets"), "expected at least one target, or `no_sla = true`")
    for number, warning in enumerate(form.warnings):
        yield from _of_warning((*where, "warnings", number), warning, targets)
    for number, level in enumerate(form.levels):
        yield from _of_level((*where, "chain", number), level, targets)
    for number, later in enumerate(form.levels):
        for earlier in form.levels[:number]:
            if _out_of_order(earlier, later, set(targets)):
                said = "it comes before a level above it; expected levels in order of time"
                yield Problem((*where, "chain", number), said)
                break


def _out_of_order(earlier: LevelForm, later: LevelForm, targets: set[str]) -> bool:
    """Working and real time cannot be compared, but before and after can."""
    if not set(earlier.targets or targets) & set(later.targets or targets):
        return False
    first, second = ((one.after or 0) - (one.before or 0) for one in (earlier, later))
    return second < first and (earlier.time == later.time or second < 0 <= first or second <= 0 < first)


def of_target(
    where: Keys, form: TargetForm, rule: TargetRule, calendars: Mapping[str, Calendar], now: datetime
) -> Iterator[Problem]:
    """Find promises longer than a calendar opens."""
    calendar = calendars.get(form.calendar, AROUND_THE_CLOCK)
    if calendar is AROUND_THE_CLOCK:
        return
    opens = calendar.between(now, now + LONGEST_CLOSURE)
    for priority, seconds in rule.seconds.items():
        if timedelta(seconds=seconds) > opens:
            yield Problem(
                (*where, "within"),
                f"{PRIORITY_LABELS[priority]} is longer than the {opens // timedelta(hours=1)} hours "
                f"that {form.calendar!r} opens in {LONGEST_CLOSURE.days} days",
            )


def _of_warning(where: Keys, form: WarningForm, targets: Mapping[str, TargetForm]) -> Iterator[Problem]:
    if (form.at is None) == (form.before is None):
        yield Problem(where, 'expected either `at`, such as "80%", or `before`, such as "30m"')
    yield from _of_targets(where, form.targets, targets)


def _of_level(where: Keys, form: LevelForm, targets: Mapping[str, TargetForm]) -> Iterator[Problem]:
    if (form.before is None) == (form.after is None):
        yield Problem(where, 'expected either `before` or `after`, such as "30m"; `after = "0m"` is at the due instant')
    if not form.notify and not level_of(form).acts:
        yield Problem(where, "it tells nobody and does nothing; expected `notify` or an action")
    if form.retarget and not form.raise_priority:
        yield Problem(
            (*where, "retarget"), "it moves the deadline to that of a raised priority; expected `raise_priority` too"
        )
    if (form.repeat_every is None) != (form.max_repeats == 0):
        yield Problem(where, "expected `repeat_every` and `max_repeats` together")
    yield from _of_targets(where, form.targets, targets)


def _of_targets(where: Keys, named: Iterable[str], targets: Mapping[str, TargetForm]) -> Iterator[Problem]:
    for name in named:
        if name not in targets:
            yield Problem((*where, "targets"), f"the policy promises no {name}; expected one of {', '.join(targets)}")


def level_of(form: LevelForm) -> Level:
    """Return the level that a form describes."""
    return Level(
        offset_seconds=(form.after or 0) - (form.before or 0),
        working_time=form.time == "working",
        notify=tuple(form.notify),
        raise_priority=form.raise_priority,
        retarget=form.retarget,
        reassign_to=form.reassign_to,
        tag=form.tag,
        webhook=form.webhook,
        repeat_seconds=form.repeat_every,
        max_repeats=form.max_repeats,
        targets=frozenset(form.targets),
    )
