"""The arithmetic of reports, by itself."""

import statistics
from datetime import UTC, datetime, timedelta
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticket_system.reports.arithmetic import (
    SHARES,
    Counted,
    Crossing,
    Happened,
    Standing,
    age_bounds,
    ages,
    attainment,
    kept,
    loads,
    percent,
    percentile,
    points,
    projected,
    week_before,
)
from ticket_system.reports.contents import Age, Kept, Load, Totals

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EDGES = [MONDAY, MONDAY + 7 * DAY]


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=60))
def test_percentiles_are_those_of_statistics(values: list[float]) -> None:
    placed = dict(enumerate(sorted(values)))
    p50, p90 = (percentile(placed, len(values), share) for share in SHARES)
    assert p50 == pytest.approx(statistics.median(values))
    assert p90 == pytest.approx(statistics.quantiles(values, n=10, method="inclusive")[8])


@given(st.integers(1, 500))
def test_a_percentile_needs_no_values_but_the_two_around_it(count: int) -> None:
    for share in SHARES:
        place = floor((count - 1) * share / 100)
        near = {one: float(one) for one in (place, place + 1) if one < count}
        assert percentile(near, count, share) == pytest.approx((count - 1) * share / 100)


def test_what_is_active_now_with_all_that_happened_since_undone_is_the_backlog_of_then() -> None:
    standing = [Standing("ada", 0, 0, 5), Standing(None, 0, 1, 2), Standing("ada", 0, 2, 1)]
    crossings = [
        Crossing(0, 1, returned=False, moves=3),  # there before the week, done in it
        Crossing(0, 2, returned=False, moves=4),  # done after it
        Crossing(0, 2, returned=True, moves=1),
        Crossing(1, 1, returned=True, moves=7),  # opened, done and reopened in the week
        Crossing(2, 2, returned=False, moves=9),  # nothing of it was there yet
    ]
    happened = Happened(EDGES, {0: 100, 1: 9, 2: 20}, crossings, standing)
    assert happened.backlog(EDGES[1]) == 5 + 2 + 4 - 1
    assert happened.backlog(EDGES[0]) == 5 + 3 + 4 - 1
    assert happened.opened(*EDGES) == 9
    assert happened.reopened(*EDGES) == 7


def test_a_history_that_was_never_whole_comes_to_nothing_and_not_to_less() -> None:
    happened = Happened(EDGES, {}, [Crossing(0, 2, returned=True, moves=3)], [Standing(None, 0, 0, 1)])
    assert happened.backlog(EDGES[1]) == 0


def test_a_week_begins_seven_local_days_before_its_end() -> None:
    """In Berlin summer time began on the 29th of March."""
    assert week_before(datetime(2026, 3, 29, 22, tzinfo=UTC), "Europe/Berlin") == datetime(2026, 3, 22, 23, tzinfo=UTC)
    assert week_before(datetime(2026, 3, 30, tzinfo=UTC), "UTC") == datetime(2026, 3, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "first"), ((0, 0), (2.999, 0), (3, 3), (7.999, 3), (8, 8), (30.999, 8), (31, 31), (900, 31))
)
def test_an_age_is_counted_in_whole_days(days: float, first: int) -> None:
    created_at = MONDAY - days * DAY
    bucket = sum(at <= created_at for at in age_bounds(MONDAY))
    [age] = [one for one in ages([Standing(None, bucket, 0, 4)]) if one.tickets]
    assert (age.from_days, age.tickets) == (first, 4)


def test_every_age_is_told_whether_there_is_any_or_not() -> None:
    assert ages([]) == tuple(
        Age(from_days=first, to_days=last, tickets=0) for first, last in ((0, 2), (3, 7), (8, 30), (31, None))
    )


def test_promises_are_told_by_target_then_priority() -> None:
    counted = [
        Counted("resolution", 2, None, "met", 3),
        Counted("resolution", 1, "ada", "breached", 1),
        Counted("resolution", 1, "grace", "breached", 2),
        Counted("first_response", 4, None, "waived", 1),
        Counted("resolution", 2, None, "cancelled", 5),
    ]
    told = kept(counted, ("first_response", "resolution"))
    assert told == (
        Kept(target="first_response", priority=4, waived=1),
        Kept(target="resolution", priority=1, breached=3),
        Kept(target="resolution", priority=2, met=3, cancelled=5),
    )
    assert [one.attainment for one in told] == [None, 0.0, 1.0]


def test_the_busiest_agent_comes_first_and_a_kept_promise_is_no_load() -> None:
    counted = [
        Counted("resolution", 1, "ada", "breached", 2),
        Counted("resolution", 1, "alan", "waived", 2),
        Counted("resolution", 1, None, "met", 9),
    ]
    standing = [Standing("ada", 0, 0, 1), Standing("ada", 2, 1, 1), Standing(None, 0, 0, 7), Standing("bob", 0, 0, 2)]
    assert loads(standing, {"bob": 3, "grace": 1}, counted) == (
        Load(agent=None, open=7),
        Load(agent="bob", open=2, solved=3),
        Load(agent="ada", open=2, breached=2),
        Load(agent="grace", solved=1),
    )


def test_counts_change_in_percent_and_rates_in_points() -> None:
    now, before = Totals(met=9, breached=1), Totals(met=8, breached=2)
    assert points(attainment(now), attainment(before)) == pytest.approx(10)
    assert attainment(Totals()) is None
    assert (percent(6, 4), percent(0, 4), percent(4, 0)) == (50, -100, None)
    assert (points(0.5, None), points(None, 0.5)) == (None, None)


@pytest.mark.parametrize(
    ("used", "gone", "expected"),
    ((10, 3, 100), (0, 3, 0), (10, 30, 10), (10, 45, 10), (10, 0.9, None), (7, 1, 210), (1, 29, 1)),
)
def test_usage_goes_on_at_its_pace(used: int, gone: float, expected: int | None) -> None:
    assert projected(used, MONDAY, MONDAY + 30 * DAY, MONDAY + gone * DAY) == expected


def test_usage_without_an_end_is_not_projected() -> None:
    assert projected(10, MONDAY, None, MONDAY + 20 * DAY) is None
