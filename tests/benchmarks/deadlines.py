"""Deadlines on an office calendar against a bare search of the same table: whole numbers in, a whole number out."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from functools import partial
from zoneinfo import ZoneInfo

from tests.benchmarks.results import Results
from ticket_system.sla.calendars import Calendar, Hours
from ticket_system.sla.days_off import DaysOff
from ticket_system.sla.windows import MICROSECOND, Table, micros

TIMES = 20_000
ROUNDS = 9
HOURS = (4, 40, 400, 2_000)


def deadlines(results: Results) -> None:
    """Measure one deadline of four hours up to two thousand, and how it grows; the best of several rounds counts."""
    week = dict.fromkeys(range(5), (Hours.of(clock(8), clock(12)), Hours.of(clock(13), clock(17))))
    calendar = Calendar("office", ZoneInfo("Europe/Berlin"), week, DaysOff("DE", "BE"))
    starts = [datetime(2026, 1, 5, 7, tzinfo=UTC) + timedelta(minutes=7 * number) for number in range(TIMES)]
    whole = [micros(start) for start in starts]
    calendar.add(starts[-1], timedelta(hours=HOURS[-1]))
    table = calendar._covering(whole[0])
    ours, floor = dict.fromkeys(HOURS, 1e9), dict.fromkeys(HOURS, 1e9)
    for _ in range(ROUNDS):
        for hours in HOURS:
            span = timedelta(hours=hours)
            ours[hours] = min(ours[hours], _taken(partial(_ours, calendar, starts, span)))
            floor[hours] = min(floor[hours], _taken(partial(_bare, table, whole, span // MICROSECOND)))
    for hours in HOURS:
        results.add(f"deadline, {hours:,} working hours", ours[hours], "µs", floor[hours], over="bare search")
    # Not against the floor: against the two microseconds that a deadline may take, and against itself.
    results.add("deadline, the slowest", max(ours.values()), "µs", 2.0, over="two microseconds", wanted=("≤", 1))
    results.add("deadline, 2,000 working hours, growth", ours[2_000], "µs", ours[4], over="4 hours", wanted=("≤", 1.5))


def _ours(calendar: Calendar, starts: list[datetime], span: timedelta) -> None:
    add = calendar.add
    for start in starts:
        add(start, span)


def _bare(table: Table, starts: list[int], span: int) -> None:
    opens, closes, after = table.opens, table.closes, table.after
    for start in starts:
        index = bisect_right(opens, start) - 1
        target = after[index] - max(closes[index] - start, 0) + span
        index = bisect_left(after, target)
        _ = closes[index] - after[index] + target


def _taken(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / TIMES * 1e6
