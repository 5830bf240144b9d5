"""Working time against a slow, obvious oracle that looks at the clock on the wall minute by minute.

Numbers in brackets are those of the rules that the engine's clock follows.
"""

import copy
import pickle
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ticket_system.errors import PolicyError
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar, Hours, none_off

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # changes at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # skipped 30 December 2011
    "Pacific/Kwajalein",  # skipped 21 August 1993
    "Asia/Kathmandu",  # +05:45
    "Africa/Casablanca",  # changes twice around Ramadan, to and from what it calls winter time
)
#: Days around which something happens in one of the zones.
ODD_DAYS = (
    date(2011, 12, 29),
    date(2024, 2, 28),
    date(2026, 3, 8),
    date(2026, 3, 28),
    date(2026, 4, 4),
    date(2026, 9, 5),
    date(2026, 10, 3),
    date(2026, 10, 24),
    date(2026, 10, 31),
    date(2026, 12, 31),
    date(1993, 8, 20),
    date(2028, 2, 28),
)
HOLIDAYS = {day + DAY: "a day off" for day in ODD_DAYS[::2]}


def holidays(year: int) -> Mapping[date, str]:
    return {day: name for day, name in HOLIDAYS.items() if day.year == year}


def shift(opens: str, closes: str) -> Hours:
    return Hours.of(time.fromisoformat(opens), time.fromisoformat(closes))


OFFICE = {day: (shift("09:00", "12:30"), shift("13:00", "17:00")) for day in range(5)}
NIGHTS = dict.fromkeys(range(7), (shift("22:00", "06:00"),))
SUNDAYS = {6: (shift("00:00", "04:00"),)}
ALWAYS = dict.fromkeys(range(7), (shift("00:00", "00:00"),))
ODD_WEEK = {0: (shift("01:30", "02:15"), shift("23:00", "23:30")), 6: NIGHTS[0]}
WEEKS: tuple[Mapping[int, tuple[Hours, ...]], ...] = (OFFICE, NIGHTS, SUNDAYS, ALWAYS, ODD_WEEK)

# Made once, and so extended from all sides while the tests run.
calendars = st.sampled_from(
    [
        Calendar(f"{zone} {number}", ZoneInfo(zone), week, off)
        for zone in ZONES
        for number, week in enumerate(WEEKS)
        for off in (holidays, none_off)
    ]
)
COUNTED = [Calendar("24x7", ZoneInfo(zone), ALWAYS) for zone in ZONES]
odd_instants = st.builds(
    lambda day, minutes: datetime(day.year, day.month, day.day, tzinfo=UTC) + minutes * MINUTE,
    st.sampled_from(ODD_DAYS),
    st.integers(-1440, 4 * 1440),
)
instants = odd_instants | st.timedeltas(timedelta(0), timedelta(days=17_500)).map(
    lambda gone: datetime(1990, 1, 1, tzinfo=UTC) + gone
)


def shows_open(calendar: Calendar, at: datetime) -> bool:
    """The oracle: is the clock on the wall within the hours of today, or of a shift that began yesterday?"""
    wall = at.astimezone(calendar.zone).replace(tzinfo=UTC)
    for day in (wall.date(), wall.date() - DAY):
        if day not in calendar.days_off(day.year):
            since = wall - datetime(day.year, day.month, day.day, tzinfo=UTC)
            if any(hours.opens <= since < hours.closes for hours in calendar.hours.get(day.weekday(), ())):
                return True
    return False


def walked(calendar: Calendar, start: datetime, end: datetime) -> timedelta:
    """Open time by walking: every change of these calendars and zones falls on a whole minute."""
    gone, at = timedelta(0), start
    while at < end:
        after = min(at.replace(second=0, microsecond=0) + MINUTE, end)
        if shows_open(calendar, at):
            gone += after - at
        at = after
    return gone


@settings(max_examples=40, deadline=None)
@given(calendars, odd_instants, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_open_time_is_what_a_walk_over_the_wall_clock_finds(
    calendar: Calendar, start: datetime, length: timedelta
) -> None:
    """(1, 3)"""
    end = start + length
    assert calendar.between(start, end) == walked(calendar, start, end)
    assert calendar.between(end, start) == -calendar.between(start, end)
    assert calendar.is_open(start) == shows_open(calendar, start)
    windows = calendar.windows(start, end)
    assert sum((closes - opens for opens, closes in windows), timedelta(0)) == calendar.between(start, end)
    assert all(calendar.is_open(opens) and calendar.is_open(closes - TICK) for opens, closes in windows)


@settings(max_examples=25, deadline=None)
@given(calendars, odd_instants, st.integers(1, 20 * 60))
def test_a_deadline_is_the_first_minute_at_which_the_walk_has_used_up_the_target(
    calendar: Calendar, start: datetime, minutes: int
) -> None:
    """(2)"""
    due = calendar.add(start, minutes * MINUTE)
    if due - start > timedelta(days=8):
        start, minutes = due - timedelta(days=4), calendar.between(due - timedelta(days=4), due) // MINUTE
    assert walked(calendar, start, due) == minutes * MINUTE
    assert minutes == 0 or shows_open(calendar, due - MINUTE), "not later than it must be"


@settings(max_examples=150, deadline=None)
@given(calendars, instants, st.timedeltas(TICK, timedelta(days=900)))
@example(Calendar("", ZoneInfo("Pacific/Apia"), NIGHTS), datetime(2011, 12, 30, 9, 59, tzinfo=UTC), 10 * HOUR)
def test_measuring_undoes_adding_and_subtracting_inverts_it(
    calendar: Calendar, start: datetime, target: timedelta
) -> None:
    """(2)"""
    due = calendar.add(start, target)
    assert calendar.between(start, due) == target
    assert calendar.between(start, due - TICK) == target - TICK, "the earliest such instant (2)"
    back = calendar.subtract(due, target)
    assert calendar.between(back, due) == target
    assert calendar.between(back + TICK, due) == target - TICK, "the latest such instant"
    assert back == calendar.next_opening(start)
    assert calendar.add(due, -target) == back
    assert calendar.subtract(start, -target) == due


@settings(max_examples=100, deadline=None)
@given(calendars, st.lists(instants, min_size=2, max_size=2), st.timedeltas(timedelta(0), timedelta(days=90)))
def test_what_starts_earlier_or_is_shorter_is_never_due_later(
    calendar: Calendar, starts: list[datetime], target: timedelta
) -> None:
    """(2)"""
    first, second = sorted(starts)
    assert calendar.add(first, target) <= calendar.add(second, target)
    assert calendar.add(first, target) <= calendar.add(first, target + TICK)
    assert calendar.subtract(first, target) <= calendar.subtract(second, target)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(COUNTED), instants, instants, st.timedeltas(timedelta(days=-5000), timedelta(days=5000)))
def test_always_open_is_wall_time_with_a_table_and_without(
    counted: Calendar, start: datetime, end: datetime, span: timedelta
) -> None:
    """(1)"""
    for calendar in (counted, AROUND_THE_CLOCK):
        assert calendar.add(start, span) == start + span
        assert calendar.subtract(start, span) == start - span
        assert calendar.between(start, end) == end - start
        assert calendar.is_open(start)
        assert calendar.next_opening(start) == start
        assert calendar.windows(start, end) == ([(start, end)] if start < end else [])
        assert calendar.hours_of(start.date()) == calendar.business_day() == DAY


@pytest.mark.parametrize("zone", ZONES)
def test_over_years_open_time_is_the_sum_of_the_days_there_were(zone: str) -> None:
    """(1, 3): by another way than a table of windows: office hours lie clear of every change of these zones."""
    calendar = Calendar("years", ZoneInfo(zone), OFFICE, holidays)
    start, end = (datetime(year, 1, 1, tzinfo=calendar.zone).astimezone(UTC) for year in (1992, 2032))
    noons = {(start + hours * HOUR).astimezone(calendar.zone).date() for hours in range(0, (end - start) // HOUR, 6)}
    there_were = sorted(day for day in noons if 1992 <= day.year < 2032)
    skipped = {"Pacific/Apia": {date(2011, 12, 30)}, "Pacific/Kwajalein": {date(1993, 8, 21)}}.get(zone, set())
    assert skipped.isdisjoint(there_were)
    assert len(there_were) == (date(2032, 1, 1) - date(1992, 1, 1)).days - len(skipped), "leap days and all"
    total = sum((7.5 * HOUR for day in there_were if day.weekday() < 5 and day not in HOLIDAYS), timedelta(0))
    assert calendar.between(start, end) == total
    assert calendar.add(start, total) == calendar.windows(end - 9 * DAY, end)[-1][1]
    assert calendar.subtract(end, total) == calendar.windows(start, start + 9 * DAY)[0][0]


BERLIN = ZoneInfo("Europe/Berlin")
BERLIN_OFFICE = Calendar("office", BERLIN, dict.fromkeys(range(5), (shift("09:00", "17:00"),)))


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def test_used_up_at_closing_time_is_due_at_closing_time_and_a_tick_more_is_tomorrow() -> None:
    """(2)"""
    start, closing = berlin("2026-03-04 15:00"), berlin("2026-03-04 17:00")
    assert BERLIN_OFFICE.add(start, 2 * HOUR) == closing
    assert BERLIN_OFFICE.add(start, 2 * HOUR + TICK) == berlin("2026-03-05 09:00") + TICK
    assert BERLIN_OFFICE.add(closing, TICK) == berlin("2026-03-05 09:00") + TICK
    assert not BERLIN_OFFICE.is_open(closing)
    assert BERLIN_OFFICE.is_open(berlin("2026-03-05 09:00"))
    assert BERLIN_OFFICE.next_opening(closing) == berlin("2026-03-05 09:00")
    assert BERLIN_OFFICE.add(closing, timedelta(0)) == closing


@pytest.mark.parametrize(
    ("zone", "hours", "day", "length"),
    (
        ("Europe/Berlin", ("00:00", "04:00"), date(2026, 3, 29), 3 * HOUR),
        ("Europe/Berlin", ("00:00", "04:00"), date(2026, 10, 25), 5 * HOUR),
        ("Europe/Berlin", ("02:00", "03:00"), date(2026, 3, 29), timedelta(0)),
        ("Europe/Berlin", ("02:00", "03:00"), date(2026, 10, 25), 2 * HOUR),
        ("Australia/Lord_Howe", ("00:00", "04:00"), date(2026, 4, 5), 4.5 * HOUR),
        ("Australia/Lord_Howe", ("00:00", "04:00"), date(2026, 10, 4), 3.5 * HOUR),
        ("Pacific/Apia", ("09:00", "17:00"), date(2011, 12, 30), timedelta(0)),
        ("Pacific/Apia", ("22:00", "06:00"), date(2011, 12, 29), 8 * HOUR),  # its end is on the 31st
        ("Pacific/Kwajalein", ("09:00", "17:00"), date(1993, 8, 21), timedelta(0)),
        ("America/Santiago", ("22:00", "06:00"), date(2026, 9, 5), 7 * HOUR),
        ("America/Santiago", ("22:00", "06:00"), date(2026, 4, 4), 9 * HOUR),
    ),
)
def test_a_missing_hour_shortens_the_day_and_a_repeated_one_counts_twice(
    zone: str, hours: tuple[str, str], day: date, length: timedelta
) -> None:
    """(3)"""
    calendar = Calendar("a week", ZoneInfo(zone), dict.fromkeys(range(7), (shift(*hours),)))
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    found = [
        closes - opens
        for opens, closes in calendar.windows(noon - 3 * DAY, noon + 3 * DAY)
        if opens.astimezone(calendar.zone).date() == day
    ]
    assert sum(found, timedelta(0)) == length


def test_an_overnight_shift_belongs_to_the_day_it_starts_on() -> None:
    """(3)"""
    nights = Calendar("nights", BERLIN, {4: (shift("22:00", "06:00"),)}, lambda _: {date(2026, 3, 13): "Friday off"})
    assert nights.is_open(berlin("2026-03-07 05:59"))
    assert not nights.is_open(berlin("2026-03-07 06:00"))
    assert not nights.is_open(berlin("2026-03-14 05:59")), "Friday's night is off, Saturday's rest of it too"
    assert nights.hours_of(date(2026, 3, 6)) == 8 * HOUR
    assert nights.hours_of(date(2026, 3, 13)) == timedelta(0)


def test_one_business_day_is_the_usual_hours_of_a_day() -> None:
    """(4)"""
    assert BERLIN_OFFICE.business_day() == 8 * HOUR
    assert Calendar("", BERLIN, {**OFFICE, 4: (shift("09:00", "12:00"),)}).business_day() == 7.5 * HOUR
    assert Calendar("", BERLIN, {0: (shift("09:00", "12:00"),), 1: NIGHTS[0]}).business_day() == 8 * HOUR
    assert Calendar("", BERLIN, {}).business_day() == timedelta(0)


def test_a_calendar_that_never_opens_is_refused() -> None:
    """(3)"""
    now = datetime(2026, 3, 4, tzinfo=UTC)
    BERLIN_OFFICE.check(now)
    AROUND_THE_CLOCK.check(now)
    for closed in (
        Calendar("never", BERLIN, {}),
        Calendar("empty", BERLIN, {0: ()}),
        Calendar("off", BERLIN, {6: NIGHTS[6]}, lambda year: {date(year, 1, 1) + n * DAY: "" for n in range(365)}),
    ):
        with pytest.raises(PolicyError, match=f"'{closed.name}' has no open time within 400 days"):
            closed.check(now)
    with pytest.raises(PolicyError, match="has no open time in 3 years"):
        Calendar("never", BERLIN, {}).add(now, HOUR)
    with pytest.raises(PolicyError, match="does not reach beyond the years 2 to 9998"):
        BERLIN_OFFICE.is_open(datetime(9999, 3, 4, tzinfo=UTC))


def test_shifts_that_touch_or_overlap_count_once() -> None:
    calendar = Calendar("", BERLIN, {0: (shift("09:00", "12:00"), shift("11:00", "13:00"), shift("13:00", "14:00"))})
    monday = berlin("2026-03-02 00:00")
    assert calendar.windows(monday, monday + DAY) == [(monday + 9 * HOUR, monday + 14 * HOUR)]


def test_answers_come_in_utc_whatever_the_question_was_in() -> None:
    start = berlin("2026-03-04 15:00")
    for calendar in (BERLIN_OFFICE, AROUND_THE_CLOCK):
        answers = (calendar.add(start, HOUR), calendar.add(start, timedelta(0)), calendar.subtract(start, HOUR))
        assert all(answer.tzinfo is UTC for answer in (*answers, calendar.next_opening(start)))


def test_calendars_compare_hash_and_pickle_by_what_they_say() -> None:
    twin = Calendar("office", ZoneInfo("Europe/Berlin"), {day: [shift("09:00", "17:00")] for day in range(5)})  # type: ignore[misc]
    twin.add(berlin("2026-03-04 15:00"), HOUR)
    assert twin == BERLIN_OFFICE
    assert hash(twin) == hash(BERLIN_OFFICE)
    assert pickle.loads(pickle.dumps(twin)) == copy.deepcopy(twin) == twin
    assert pickle.loads(pickle.dumps(AROUND_THE_CLOCK)) == AROUND_THE_CLOCK != BERLIN_OFFICE
    assert Calendar("office", BERLIN, {}, holidays) != Calendar("office", BERLIN, {})


def test_many_threads_may_extend_one_calendar() -> None:
    shared = Calendar("shared", BERLIN, OFFICE, holidays)
    alone = Calendar("alone", BERLIN, OFFICE, holidays)
    start = datetime(2026, 3, 4, 12, tzinfo=UTC)
    spans = [timedelta(hours=hours) for hours in (4, 90_000, 400, 40_000, 12, 2_000)]
    years = [timedelta(days=365 * year) for year in (-30, 12, -7, 40, 3, -2)]
    expected = [[alone.add(start + year, span) for span in spans] for year in years]
    found: list[list[datetime]] = [[] for _ in years]
    together = threading.Barrier(len(years))

    def ask(which: int) -> None:
        together.wait()
        found[which] = [shared.add(start + years[which], span) for span in spans]

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(len(years))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected
