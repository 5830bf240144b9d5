from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from ticket_worker.schedules import seconds_to_next, slot_at

moments = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - the zone comes after it
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.just(UTC),
)
intervals = st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=1))


def test_a_scan_is_due_at_whole_seconds_and_a_report_at_whole_minutes() -> None:
    now = datetime(2026, 3, 1, 9, 0, 59, 999_999, tzinfo=UTC)
    assert slot_at(now, timedelta(seconds=1)) == datetime(2026, 3, 1, 9, 0, 59, tzinfo=UTC)
    assert slot_at(now, timedelta(minutes=1)) == datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    assert slot_at(now, timedelta(days=1)) == datetime(2026, 3, 1, tzinfo=UTC)
    assert slot_at(now, timedelta(seconds=0.25)) == datetime(2026, 3, 1, 9, 0, 59, 750_000, tzinfo=UTC)
    assert seconds_to_next(now, timedelta(minutes=1)) == 0.000001


@given(now=moments, every=intervals)
def test_a_slot_is_due_and_the_next_one_is_not(now: datetime, every: timedelta) -> None:
    slot = slot_at(now, every)
    assert slot <= now < slot + every
    assert slot_at(slot, every) == slot
    assert slot_at(slot + every, every) == slot + every
    assert 0 < seconds_to_next(now, every) <= every.total_seconds()


@given(now=moments, every=intervals, offset=st.integers(min_value=-14, max_value=14))
def test_the_zone_of_a_clock_changes_nothing(now: datetime, every: timedelta, offset: int) -> None:
    assert slot_at(now.astimezone(timezone(timedelta(hours=offset))), every) == slot_at(now, every)


@given(now=moments, every=intervals, later=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2)))
def test_slots_follow_the_clock_in_whole_intervals(now: datetime, every: timedelta, later: timedelta) -> None:
    distance = slot_at(now + later, every) - slot_at(now, every)
    assert distance % every == timedelta(0)
    assert abs(distance - later) < every


def test_an_interval_too_short_to_count_is_no_error() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert slot_at(now, timedelta(0)) == now
