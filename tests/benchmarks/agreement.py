"""The engine's verdicts beside those that a log recorded: how many agree, and what tells apart those that do not."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.benchmarks.fitting import Bench, Candidate, Fit, Result, balanced, best_hours, search, separation, zones
from tests.benchmarks.incident_log import AWAITING, Incident, Reading, course, hours_in, is_finished, read, used
from tests.benchmarks.reimport import verdicts
from ticket_system.errors import ImportFailed
from ticket_system.sla.calendars import AROUND_THE_CLOCK
from ticket_system.sla.policies import DEFAULT_POLICY

#: "Solved in minutes", generously.
_SOON_HOURS = 8.0


class Judged(NamedTuple):
    """An incident, its recorded verdict and ours."""

    incident: Incident
    ours: bool

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.incident.made_sla is self.ours


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None


def _agreement(judged: list[Judged]) -> dict[str, float | None]:
    halves = {"all": judged, "fitted_half": [], "other_half": []}
    for one in judged:
        halves["fitted_half" if one.incident.is_even else "other_half"].append(one)
    return {name: _percent(sum(one.agrees for one in half), len(half)) for name, half in halves.items()}


def _priorities(judged: list[Judged], best: Result, whole: dict[int, Fit]) -> list[dict[str, Any]]:
    rows = []
    for priority, fit in best.fits.items():
        mine = [one for one in judged if one.incident.priority == priority]
        made = sum(one.incident.made_sla for one in mine)
        share = balanced((one.incident.made_sla, one.ours) for one in mine)
        rows.append(
            {
                "priority": priority,
                "incidents": len(mine),
                "made_sla": {"true": made, "false": len(mine) - made},
                "ours": {"met": sum(one.ours for one in mine), "breached": sum(not one.ours for one in mine)},
                "agreement_pct": _agreement(mine),
                "always_true_pct": _percent(made, len(mine)),
                "always_false_pct": _percent(len(mine) - made, len(mine)),
                "balanced_accuracy_pct": None if share is None else round(100 * share, 1),
                "hours": fit.hours,
                "as_good_hours": fit.as_good,
                "as_good_on_the_whole_log": whole[priority].as_good,
            }
        )
    return rows


def _choices(results: list[Result], even: int, odd: int) -> list[dict[str, Any]]:
    """For every choice the log leaves open, the best that can be had with each answer, everything else being free."""
    asked: dict[str, Callable[[Candidate], str]] = {
        "the clock stops at": lambda one: one.reading.end,
        "paused by": lambda one: one.pausing,
        "starts at": lambda one: one.reading.start,
        "hours": lambda one: one.office.hours,
        "zone (summer time)": lambda one: one.office.zone,
        "days off": lambda one: one.office.days_off,
    }
    rows = []
    for question, answer in asked.items():
        best: dict[str, Result] = {}
        for result in results:
            best.setdefault(answer(result.candidate), result)
        rows += [
            {
                "question": question,
                "answer": given,
                "fitted_half_pct": _percent(one.right_even, even),
                "other_half_pct": _percent(one.right_odd, odd),
                "hours": {priority: fit.as_good for priority, fit in one.fits.items()},
            }
            for given, one in best.items()
        ]
    return rows


def _took(incident: Incident, reading: Reading) -> float:
    return used(course(incident, reading), AROUND_THE_CLOCK).total_seconds() / 3600


_TO_RESOLVED = Reading("opened_at", frozenset(), "Resolved, resume")
_TO_CLOSED = Reading("opened_at", frozenset(), "Closed")


def _figures(incident: Incident) -> dict[str, float]:
    resolved, closed = _took(incident, _TO_RESOLVED), _took(incident, _TO_CLOSED)
    waiting = hours_in(incident, AWAITING)
    return {
        "hours opened → resolved": resolved,
        "hours opened → closed": closed,
        "hours resolved → closed": closed - resolved,
        "hours awaiting": waiting,
        "hours not awaiting, → resolved": resolved - waiting,
        **{name: float(count) for name, count in incident.counts.items()},
    }


def _distinguishing(incidents: list[Incident]) -> list[dict[str, Any]]:
    """What is higher where the verdict is false, among priorities that have both verdicts."""
    both = {p for p in (1, 2, 3, 4) if len({one.made_sla for one in incidents if one.priority == p}) > 1}
    rows: dict[str, dict[bool, list[float]]] = {}
    for incident in incidents:
        if incident.priority in both:
            for name, value in _figures(incident).items():
                rows.setdefault(name, {True: [], False: []})[incident.made_sla].append(value)
    found = [
        {
            "figure": name,
            "separation": round(separation(values[True], values[False]) or 0.5, 3),
            "median_true": round(median(values[True]), 1),
            "median_false": round(median(values[False]), 1),
            "highest_true": round(max(values[True]), 1),
            "lowest_false": round(min(values[False]), 1),
        }
        for name, values in rows.items()
    ]
    return sorted(found, key=lambda row: -row["separation"])


def _plainly(incident: Incident) -> dict[str, Any]:
    figures = {name: round(value, 1) for name, value in _figures(incident).items()}
    return {"number": incident.number, "priority": incident.priority, "made_sla": incident.made_sla} | figures


def _why(hours: float, fit: Fit) -> str:
    if (fit.low or 0) < hours <= (fit.high or hours):
        return f"its {hours:.1f} hours lie in the span that the fitted half leaves open, {fit.as_good}"
    return "not explained: nothing in the log says why"


def _reasons(judged: list[Judged], best: Result, at_resolved: Result, took: list[float]) -> dict[str, Any]:
    incidents = [one.incident for one in judged]
    soon = [one for one in judged if not one.incident.made_sla and _took(one.incident, _TO_RESOLVED) <= _SOON_HOURS]
    one_kind = {
        priority: "true" if any(one.made_sla for one in incidents if one.priority == priority) else "false"
        for priority in best.fits
        if len({one.made_sla for one in incidents if one.priority == priority}) == 1
    }
    return {
        "turned_false_at": dict(Counter(one.turned for one in incidents if not one.made_sla)),
        "distinguishing": _distinguishing(incidents),
        "solved_soon_but_false": {
            "within_hours": _SOON_HOURS,
            "incidents": [_plainly(one.incident) for one in soon],
            "explained_by_the_best_policy": sum(one.agrees for one in soon),
            "explained_by_the_best_that_stops_at_resolved": sum(
                hours > at_resolved.fits[one.incident.priority].hours
                for one, hours in zip(judged, took, strict=True)
                if one in soon
            ),
        },
        "one_verdict_only": one_kind,
        "contact_types": dict(Counter(one.contact_type for one in incidents)),
        "unfinished": sum(not is_finished(one) for one in incidents),
    }


def fit(path: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Return the whole comparison, ready for JSON."""
    by_zone = {zone: read(path, ZoneInfo(zone)) for zone in zones()}
    incidents, unread = next(iter(by_zone.values()))
    if not incidents:
        raise ImportFailed(f"{path} holds no incident that can be read")
    bench = Bench({zone: found for zone, (found, _) in by_zone.items()})
    results = search(bench, progress)
    best = results[0]
    even = sum(one.is_even for one in incidents)
    odd = len(incidents) - even
    at_resolved = next(one for one in results if one.candidate.reading.end != "Closed")
    as_good = [one for one in results if one.right_even == best.right_even]
    told = verdicts(path, best.candidate, {priority: fit.hours for priority, fit in best.fits.items()})
    shipped = verdicts(path, None, DEFAULT_POLICY.hours)
    expected = dict(zip((one.number for one in incidents), bench.hours(best.candidate), strict=True))
    judged = [Judged(one, told[one.number]) for one in incidents]
    whole = {
        priority: best_hours([(expected[one.number], one.made_sla) for one in incidents if one.priority == priority])
        for priority in best.fits
    }
    return {
        "incidents": len(incidents),
        "unread": [unread_row._asdict() for unread_row in unread],
        "candidates": len(results),
        "as_good_on_the_fitted_half": {
            "candidates": len(as_good),
            "other_half_pct": sorted({_percent(one.right_odd, odd) or 0.0 for one in as_good}),
        },
        "best": _named(best.candidate) | {"agreement_pct": _agreement(judged)},
        "shipped_rules_agreement_pct": _agreement([Judged(one, shipped[one.number]) for one in incidents]),
        "always_true_pct": _percent(sum(one.made_sla for one in incidents), len(incidents)),
        "whole_log_agreement_pct": _percent(sum(fit.right for fit in whole.values()), len(incidents)),
        "priorities": _priorities(judged, best, whole),
        "confusion": {
            f"made_sla {theirs}, {ours}": sum(
                (one.incident.made_sla, one.ours) == (theirs == "true", ours == "met") for one in judged
            )
            for theirs in ("true", "false")
            for ours in ("met", "breached")
        },
        "import_differs_from_search": [
            one.incident.number
            for one in judged
            if one.ours is not (expected[one.incident.number] <= best.fits[one.incident.priority].hours)
        ],
        "disagreements": [
            _plainly(one.incident) | {"why": _why(expected[one.incident.number], best.fits[one.incident.priority])}
            for one in judged
            if not one.agrees
        ],
        "choices": _choices(results, even, odd),
        "reasons": _reasons(judged, best, at_resolved, bench.hours(at_resolved.candidate)),
    }


def _named(candidate: Candidate) -> dict[str, str]:
    office, reading = candidate.office, candidate.reading
    return {
        "calendar": office.hours,
        "zone": office.zone,
        "days_off": office.days_off,
        "starts_at": reading.start,
        "paused_by": candidate.pausing,
        "stops_at": reading.end,
    }
