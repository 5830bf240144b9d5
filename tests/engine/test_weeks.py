"""A report is due at a local hour, once a week, wherever its organisation is: 2026 in all zones of the world."""

import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ticket_system import digests, recipients
from ticket_system.reports import weeks
from ticket_system.reports.weeks import Hour, Timetable
from ticket_system.storage.database import Database
from ticket_system.storage.report_tables import organisations, report_runs, report_schedules

ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
WEEK = timedelta(days=7)
#: All workers are away on this Monday, from eight in the morning to seven in the evening in London.
OUTAGE = (datetime(2026, 6, 15, 7, tzinfo=UTC), datetime(2026, 6, 15, 18, tzinfo=UTC))


def tick_after(moment: datetime) -> datetime:
    """The next quarter of an hour, when somebody looks; in the outage nobody does."""
    tick = NEW_YEAR - QUARTER * ((NEW_YEAR - moment) // QUARTER)
    return OUTAGE[1] if OUTAGE[0] <= tick < OUTAGE[1] else tick


@pytest.mark.timeout(300)
def test_a_year_in_all_zones_has_one_report_a_week_at_nine_local_time_and_an_outage_sends_late_once() -> None:
    assert len(ZONES) > 400
    with Database(":memory:") as database:
        database.upgrade()
        for zone in ZONES:
            recipients.set_organisation(database, zone, zone=zone, now=NEW_YEAR)
        planned: dict[str, list[tuple[datetime, date]]] = defaultdict(list)
        seen = 0
        while True:
            with database.read() as connection:
                tick = tick_after(connection.execute(sa.select(sa.func.min(report_schedules.c.next_at))).scalar_one())
            if tick >= datetime(2026, 12, 31, tzinfo=UTC):
                break
            while any(digests.plan(database, now=tick)):
                pass
            # Whoever looks twice, or beside another one, plans nothing more.
            assert digests.plan(database, now=tick) == (0, 0)
            with database.read() as connection:
                new = connection.execute(sa.select(report_runs).where(report_runs.c.id > seen)).all()
            for run in new:
                planned[run.organisation].append((tick, run.sent_on))
                assert run.state == "planned"
            seen = max(run.id for run in new)
    assert set(planned) == set(ZONES)
    late = 0
    for zone, found in planned.items():
        days = [day for _, day in found]
        assert len(found) == 52, zone
        assert all(day.weekday() == 0 for day in days)
        assert days == [days[0] + number * WEEK for number in range(52)]
        for tick, day in found:
            local = tick.astimezone(ZoneInfo(zone))
            if tick == OUTAGE[1] and local.hour != 9:
                late += 1
                assert local.date() == day or local.date() - day == timedelta(days=1)
            else:
                # Zones that are not whole hours from UTC are found at the next quarter: all are on one.
                assert (local.date(), local.hour, local.minute) == (day, 9, 0), zone
    assert 150 < late < 500, "most of the world had its Monday morning then"


def test_both_changes_of_the_clock_leave_the_hour_alone() -> None:
    timetable = Timetable("Europe/Berlin")
    found = [weeks.due_at(day, timetable) for day in (date(2026, 3, 23), date(2026, 3, 30), date(2026, 10, 26))]
    assert [moment.hour for moment in found] == [8, 7, 8]
    covers = weeks.period("weekly", date(2026, 3, 30), "Europe/Berlin")
    assert covers.ends_at - covers.starts_at == WEEK - timedelta(hours=1)


def test_an_hour_that_is_skipped_is_the_one_that_follows_and_one_that_comes_twice_is_the_first() -> None:
    assert weeks.instant(date(2026, 3, 29), 2, "Europe/Berlin") == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert weeks.instant(date(2026, 10, 25), 2, "Europe/Berlin") == datetime(2026, 10, 25, 0, tzinfo=UTC)
    # Midnight itself is skipped; the day begins at one.
    assert weeks.instant(date(2026, 4, 24), 0, "Africa/Cairo") == datetime(2026, 4, 23, 22, tzinfo=UTC)


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(1990, 1, 1), date(2037, 1, 1)),
    kind=st.sampled_from(("weekly", "daily")),
)
def test_periods_follow_each_other_without_a_gap(zone: str, day: date, kind: str) -> None:
    first, second = weeks.period(kind, day, zone), weeks.period(kind, day + weeks.step(kind), zone)
    assert first.ends_at == second.starts_at
    assert first.ends_on + timedelta(days=1) == second.starts_on
    ends = weeks.week_ends(day, zone)
    assert len(ends) == 8
    assert [at for at, _ in ends] == sorted({at for at, _ in ends})
    assert ends[-1] == (weeks.period("weekly", day, zone).ends_at, day - timedelta(days=1))


@given(
    zone=st.sampled_from(ZONES),
    theirs=st.sampled_from(ZONES),
    weekday=st.integers(0, 6),
    hour=st.integers(0, 23),
    day=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
)
def test_a_reader_gets_it_at_their_own_hour_but_never_before_the_week_is_over(
    zone: str, theirs: str, weekday: int, hour: int, day: date
) -> None:
    timetable = Timetable(zone, weekday, 9)
    for sent_on in islice(weeks.days_from("weekly", timetable, day), 3):
        assert sent_on.weekday() == weekday
        due = weeks.due_at(sent_on, timetable, Hour(theirs, hour))
        over = weeks.period("weekly", sent_on, zone).ends_at
        assert due >= over
        assert due == over or due == weeks.instant(sent_on, hour, theirs)
        both = [Hour(zone, 9), Hour(theirs, hour)]
        assert weeks.first_due(sent_on, timetable, both) == min(weeks.due_at(sent_on, timetable, one) for one in both)


@pytest.mark.parametrize("seed", range(12))
def test_however_often_place_and_hour_change_no_day_is_told_of_twice_and_none_is_missed(seed: int) -> None:
    luck, now, told = random.Random(seed), NEW_YEAR, Counter[date]()
    places = ("Pacific/Auckland", "Europe/Berlin", "America/Los_Angeles", "Pacific/Apia")
    with Database(":memory:") as database:
        database.upgrade()
        recipients.set_organisation(database, "acme", zone="UTC", now=now)
        for looks in [*(luck.randrange(40) for _ in range(6)), 80]:
            for _ in range(looks):
                now += timedelta(hours=11)
                digests.plan(database, now=now)
            zone, weekday, hour = luck.choice(places), luck.randrange(7), luck.randrange(24)
            recipients.set_organisation(database, "acme", zone=zone, weekday=weekday, hour=hour, now=now)
        runs = [run for run, _ in digests.runs(database, limit=1000)]
    for run in runs:
        covers = weeks.period("weekly", run.sent_on, run.zone)
        told.update(covers.starts_on + timedelta(days=number) for number in range(7))
    assert len(runs) > 4
    assert max(told.values()) == 1
    assert {run.state for run in runs} == {"planned"}, "nothing is late for those who look twice a day"


def test_an_hour_that_is_over_when_it_is_set_is_due_at_once() -> None:
    monday = datetime(2026, 11, 23, 10, tzinfo=UTC)
    with Database(":memory:") as database:
        database.upgrade()
        recipients.set_organisation(database, "acme", hour=12, now=monday - WEEK / 7)
        recipients.set_organisation(database, "acme", hour=9, now=monday)
        assert digests.plan(database, now=monday) == (1, 0)
        recipients.set_organisation(database, "acme", hour=11, now=monday)
        assert digests.plan(database, now=monday + WEEK / 7) == (0, 0)


def test_a_zone_that_nobody_knows_any_more_stops_no_report() -> None:
    monday = datetime(2026, 11, 23, 9, tzinfo=UTC)
    with Database(":memory:") as database:
        database.upgrade()
        for name in ("acme", "beta"):
            recipients.set_organisation(database, name, now=monday - WEEK / 7)
        with database.write() as connection:
            connection.execute(
                sa.update(organisations).where(organisations.c.name == "acme").values(zone="Mars/Olympus")
            )
        assert digests.plan(database, now=monday) == (2, 0)
        assert digests.plan(database, now=monday + WEEK) == (2, 0)
