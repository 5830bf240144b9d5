"""Days off by country, by hand and from iCalendar files, each with its name."""

import pickle
from datetime import date
from pathlib import Path

import pytest

from ticket_system.errors import PolicyError
from ticket_system.sla.days_off import DayOff, DaysOff, check_country, read_icalendar

ICALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//tests//
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20251224
DTEND;VALUE=DATE:20260102
RRULE:FREQ=YEARLY
SUMMARY:Works holiday
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;VALUE=DATE:20200101
RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH
EXDATE;VALUE=DATE:20271125
SUMMARY:Thanksgiving
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART:20260304T100000Z
DTEND:20260304T110000Z
SUMMARY:A meeting closes nothing
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTART;VALUE=DATE:20260501
STATUS:CANCELLED
SUMMARY:Called off
END:VEVENT
BEGIN:VEVENT
UID:5
DTSTART;VALUE=DATE:20260601
DURATION:P2D
SUMMARY:Moving house
END:VEVENT
END:VCALENDAR
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "works.ics"
    file.write_text(text.replace("\n", "\r\n"))
    return file


def test_public_holidays_of_a_country_and_of_a_part_of_it() -> None:
    germany, bavaria = DaysOff("DE")(2026), DaysOff("DE", "BY")(2026)
    assert germany[date(2026, 10, 3)] == "German Unity Day"
    assert set(bavaria) - set(germany) == {date(2026, 1, 6), date(2026, 6, 4), date(2026, 11, 1)}
    assert date(2021, 12, 31) in DaysOff("US")(2021), "New Year's Day of 2022 is a Saturday, kept on the Friday before"


def test_own_days_once_or_every_year() -> None:
    off = DaysOff(
        own=(DayOff(date(2026, 7, 3), "move"), DayOff.every_year(2, 29, "leap"), DayOff.every_year(12, 24, "eve"))
    )
    assert dict(off(2026)) == {date(2026, 7, 3): "move", date(2026, 12, 24): "eve"}
    assert dict(off(2028)) == {date(2028, 2, 29): "leap", date(2028, 12, 24): "eve"}
    assert dict(off(1900)) == {date(1900, 12, 24): "eve"}
    assert off(2028) is off(2028), "worked out once"


def test_an_icalendar_file_closes_its_all_day_events(tmp_path: Path) -> None:
    off = DaysOff(own=read_icalendar(written(tmp_path, ICALENDAR)))
    works = {date(2026, 12, day) for day in range(24, 32)} | {date(2026, 1, 1)}
    assert set(off(2026)) == works | {date(2026, 6, 1), date(2026, 6, 2), date(2026, 11, 26)}
    assert off(2026)[date(2026, 11, 26)] == "Thanksgiving"
    assert date(2026, 1, 2) not in off(2026), "the end is the day after"
    assert date(2027, 11, 25) not in off(2027), "named as an exception"
    assert {day for day in off(2025) if day.month < 11} == set(), "nothing before it began"


def test_what_is_merged_keeps_every_day_and_compares_and_pickles() -> None:
    off = DaysOff("DE", own=(DayOff.every_year(12, 24, "eve"),))
    assert set(off(2026)) == set(DaysOff("DE")(2026)) | {date(2026, 12, 24)}
    assert pickle.loads(pickle.dumps(off)) == off == DaysOff("DE", None, (DayOff.every_year(12, 24, "eve"),))
    assert hash(off) != hash(DaysOff("DE"))


@pytest.mark.parametrize(
    ("country", "subdivision", "said"),
    (
        ("Germany", None, r"country: .* for 'Germany'; expected a code such as DE or US; did you mean DE\?"),
        ("XX", None, "country: no public holidays are known for 'XX'"),
        ("DE", "by", r"subdivision: 'by' is not a part of DE; expected one of Augsburg, .*; did you mean BY"),
        ("MC", "X", "subdivision: 'X' is not a part of MC; expected none"),
    ),
)
def test_an_unknown_country_or_part_is_refused_with_near_matches(
    country: str, subdivision: str | None, said: str
) -> None:
    with pytest.raises(PolicyError, match=said):
        check_country(country, subdivision)
    with pytest.raises(PolicyError, match=said):
        DaysOff(country, subdivision)


def test_a_part_without_its_country_is_refused() -> None:
    with pytest.raises(PolicyError, match="subdivision: 'BY' needs a country"):
        DaysOff(subdivision="BY")


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("nonsense", "is not an iCalendar file"),
        ("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nEND:VCALENDAR\n", "holds no all-day event"),
        (ICALENDAR.replace("RRULE:FREQ=YEARLY\n", "RRULE:FREQ=NEVER\n"), "is not an iCalendar file"),
    ),
)
def test_an_unusable_icalendar_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        read_icalendar(written(tmp_path, text))


def test_a_missing_icalendar_file_is_refused_with_near_matches(tmp_path: Path) -> None:
    written(tmp_path, ICALENDAR)
    with pytest.raises(PolicyError, match=r"icalendar: cannot read .*work\.ics: No such file.*did you mean works\.ics"):
        read_icalendar(tmp_path / "work.ics")
