"""The verb that says whether the jobs of a fleet are done, and since when not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from ticket_system.commands.terminal import (
    DEFAULT_DATABASE,
    DatabaseOption,
    JsonOption,
    ZoneOption,
    at,
    open_system,
    say,
    say_json,
    table,
    zone_of,
)

if TYPE_CHECKING:
    from ticket_system.runs import JobState

_MINUTE = 60


def jobs(timezone: ZoneOption = "", database: DatabaseOption = DEFAULT_DATABASE, as_json: JsonOption = False) -> None:
    """Show when each job of the fleet was last done; leaves with 1 when one is overdue.

    A job is overdue when it was not done for three of its usual intervals and ten seconds. The interval is what its
    last ticks were apart. Failures, and runs whose process was killed, are those of the last day.
    """
    from ticket_system import runs

    zone = zone_of(timezone)
    with open_system(database) as system:
        found = runs.overview(system.database)
    if as_json:
        say_json([_plain(one) for one in found])
    elif not found:
        say("No job has run yet. A fleet with a beat leaves a trace here; `ticket-worker scan` does not.")
    else:
        table(
            ("job", "last done", "ago", "every", "failed", "killed", "last failure", ""),
            [
                (
                    one.job,
                    at(one.last_done, zone) if one.last_done else "never",
                    _short(one.age),
                    _short(one.interval),
                    str(one.failed or ""),
                    str(one.killed or ""),
                    f"{at(one.last_failed, zone)}: {one.error}" if one.last_failed else "",
                    "overdue" if one.is_overdue else "",
                )
                for one in found
            ],
            styles=["bold red" if one.is_overdue else "" for one in found],
        )
    if any(one.is_overdue for one in found):
        raise typer.Exit(1)


def _plain(state: JobState) -> dict[str, Any]:
    return {
        "job": state.job,
        "last_done": state.last_done.isoformat() if state.last_done else None,
        "age_seconds": _seconds(state.age),
        "interval_seconds": _seconds(state.interval),
        "is_overdue": state.is_overdue,
        "failed": state.failed,
        "killed": state.killed,
        "last_failed": state.last_failed.isoformat() if state.last_failed else None,
        "error": state.error,
    }


def _seconds(length: timedelta | None) -> float | None:
    return round(length.total_seconds(), 3) if length is not None else None


def _short(length: timedelta | None) -> str:
    """Write a length to the second, or to the fraction where that is all there is."""
    if length is None:
        return ""
    if length < timedelta(seconds=_MINUTE):
        return f"{length.total_seconds():.3g} s"
    minutes, seconds = divmod(round(length.total_seconds()), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
