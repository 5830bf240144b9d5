"""A policy file: what it may say, and that whatever is wrong with it is said with its line, its key and a near miss."""

import tomllib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from ticket_system.errors import PolicyError
from ticket_system.sla import policy_forms
from ticket_system.sla.books import PolicyBook, difference
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Hours
from ticket_system.sla.policies import DEFAULT_CHAIN, Facts, Level, Warn
from ticket_system.sla.policy_file import example, parse, read

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = 3600

SMALL = """
[calendars.office]
zone = "Europe/Berlin"
hours = { mon-fri = "09:00-17:00" }

[policies.standard.targets.resolution]
within = { critical = "4h", low = "2bd" }
calendar = "office"
"""


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse(text, now=NOW, folder=folder)
    return str(caught.value).splitlines()


def test_the_example_loads_and_says_what_it_says() -> None:
    book = parse(example(), now=NOW)
    names = [policy.name for policy in book.policies]
    assert names == ["gold", "night-shift", "internal", "plan free", "plan silver", "standard"]
    assert (book.enforce_from, book.storm_cap) == (datetime(2026, 1, 1, tzinfo=UTC), 20)
    gold = book.pick(Facts(2, plan="gold"))
    assert (gold.name, gold.without_response, gold.ack_expires_seconds) == ("gold", "cancelled", 2 * HOUR)
    assert gold.match.plans == {"gold", "platinum"}
    assert gold.targets["first_response"].pausing == frozenset(), "nothing pauses the first response (12)"
    assert gold.targets["next_response"].pausing == {"on_hold"}
    assert gold.targets["resolution"].pausing == {"on_hold", "review"}
    assert dict(gold.targets["resolution"].seconds) == {1: 4 * HOUR, 2: 9 * HOUR, 3: 27 * HOUR, 4: 90 * HOUR}
    assert gold.target("next_response", 4) is None
    assert gold.warnings[0] == Warn(75)
    assert gold.warnings[1].seconds_before == 1200
    assert gold.chain[0] == Level(-600, notify=("assignee-or-desk",), targets=frozenset({"resolution"}))
    assert (gold.chain[2].working_time, gold.chain[2].repeat_seconds, gold.chain[2].max_repeats) == (False, 1800, 3)
    assert book.pick(Facts(1, group="operations")).name == "night-shift"
    assert book.pick(Facts(3, customer="ourselves", tags=frozenset({"test"}))).no_sla
    assert book.pick(Facts(3)).reopen == "restart"
    office = book.calendar(gold, "resolution")
    assert office.days_off(2026)[date(2026, 7, 3)] == "Moving house"
    assert office.business_day() == timedelta(hours=9)
    assert book.calendars["nights"].hours[6] == (Hours.of(time(22), time(6)),)
    assert book.calendar(book.pick(Facts(3)), "resolution") is AROUND_THE_CLOCK


def test_the_example_survives_its_own_text() -> None:
    book = parse(example(), now=NOW)
    assert PolicyBook.from_json(book.to_json()) == book
    assert difference(book, PolicyBook.from_json(book.to_json())) == []


def test_the_example_shows_every_key_there_is() -> None:
    text = example()
    forms = [form for form in vars(policy_forms).values() if isinstance(form, type)]
    keys = {key for form in forms if issubclass(form, policy_forms.Form) for key in form.model_fields}
    assert {key for key in keys - {*policy_forms.WEEKDAYS} if key not in text} == set()
    assert tomllib.loads(text)["policies"]


def test_a_business_day_is_that_of_the_targets_calendar() -> None:
    """(4)"""
    policy = parse(SMALL, now=NOW).pick(Facts(4))
    assert dict(policy.targets["resolution"].seconds) == {1: 4 * HOUR, 4: 16 * HOUR}
    around = parse(SMALL.replace('calendar = "office"', ""), now=NOW).pick(Facts(4))
    assert around.targets["resolution"].seconds[4] == 48 * HOUR


@pytest.mark.parametrize(
    ("text", "seconds"),
    (("90m", 5400), ("1h 30m", 5400), ("1h30m", 5400), ("PT1H30M", 5400), ("45s", 45), ("1bd 2h", 10 * HOUR)),
)
def test_durations(text: str, seconds: int) -> None:
    assert parse(SMALL.replace("4h", text), now=NOW).policies[0].targets["resolution"].seconds[1] == seconds


@pytest.mark.parametrize("text", ("", "h", "4", "4 hours", "-4h", "0m", "1.5h", "4h 4h", "99999999h"))
def test_what_is_no_duration_is_refused(text: str) -> None:
    (said,) = problems(SMALL.replace("4h", text))
    assert said.startswith("sla.toml:7: policies.standard.targets.resolution.within.critical: expected ")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    (
        ("4h", "2d", 7, 'a day is either 24 hours, "24h", or the hours of one business day, "1bd"'),
        ("critical", "critcal", 7, "not 'critcal'; did you mean critical?"),
        ("within", "witin", 7, "witin: there is no such key; expected one of within, calendar, pausing; did you mean"),
        ('"office"\n', '"ofice"\n', 8, "no calendar is called 'ofice'; expected one of around the clock, office; did"),
        ('"office"\n', '"office"\npausing = ["on_hld"]\n', 9, "not 'on_hld'; did you mean on_hold?"),
        ('"Europe/Berlin"', '"Europe/Berln"', 3, "did you mean Europe/Berlin"),
        ('"09:00-17:00"', '"9 to 5"', 4, 'expected hours such as "09:00-17:00"'),
        ('"09:00-17:00"', '["09:00-17:00", "16:59-18:00"]', 4, "the hours of mon and mon overlap"),
        ('mon-fri = "09:00-17:00"', 'sun = "22:00-06:00", mon = "05:00-09:00"', 4, "the hours of sun and mon overlap"),
        ('mon-fri = "09:00-17:00"', "", 4, "expected at least one weekday with opening hours"),
        ("mon-fri", "mon-fry", 4, "hours.mon-fry: there is no such key; expected one of mon, tue"),
        ("2bd", "400bd", 7, "low is longer than the 2289 hours that 'office' opens in 400 days"),
        ('zone = "Europe/Berlin"', 'zone = "UTC"\nholidays = { country = "Germany" }', 4, "did you mean DE"),
        ('zone = "Europe/Berlin"', 'zone = "UTC"\nicalendar = "x.ics"', 4, "cannot read x.ics"),
        (
            'zone = "Europe/Berlin"',
            'zone = "UTC"\ndays_off = [{ date = "13-01" }]',
            4,
            "a day of the year, month",
        ),
        ('zone = "Europe/Berlin"\n', "", 2, "calendars.office.zone: it is missing"),
        ("[policies.standard.t", "[policies.standard]\nrank = -1\n[policies.standard.t", 7, "rank: expected greater"),
        ("[policies.standard.t", "[policies.standard]\nno_sla = true\n[policies.standard.t", 7, "promises nothing"),
        (
            "[policies.standard.t",
            '[policies.standard]\nmatch = { tags = ["a"] }\n[policies.standard.t',
            6,
            "no policy takes",
        ),
        ("[policies.standard.t", "[policies.a]\nrank = 9999\nno_sla = true\n[policies.standard.t", 6, "never picked"),
        (
            "[calendars.office]",
            'storm_cap = "many"\n[calendars.office]',
            2,
            "expected a whole number, not 'many'",
        ),
        ("[calendars.office]", "enforce_from = 2026-01-01\n[calendars.office]", 2, "expected a date and time such as"),
        ('critical = "4h", low = "2bd"', "", 7, "within: expected at least one"),
        ('{ critical = "4h", low = "2bd" }', "4", 7, "within: expected a table, not 4"),
        ('critical = "4h"', 'critical = "4h", 1 = "5h"', 7, "expected each priority once"),
    ),
)
def test_each_mistake_is_named_with_its_line(old: str, new: str, line: int, said: str) -> None:
    found = problems(SMALL.replace(old, new, 1))
    assert any(one.startswith(f"sla.toml:{line}: ") and said in one for one in found), found


@pytest.mark.parametrize(
    ("level", "said"),
    (
        ('after = "0m"', "it tells nobody and does nothing"),
        ('notify = ["desk"]', "expected either `before` or `after`"),
        ('before = "1m"\nafter = "1m"\nnotify = ["desk"]', "expected either `before` or `after`"),
        ('after = "0m"\nnotify = ["dsek"]', "chain.1.notify: 'dsek' is nobody; "),
        ('after = "0m"\nwebhook = "pager"', "chain.1.webhook: 'pager' is nobody; "),
        ('after = "0m"\ntag = "x"\nretarget = true', "expected `raise_priority` too"),
        ('after = "0m"\ntag = "x"\nmax_repeats = 3', "expected `repeat_every` and `max_repeats` together"),
        ('after = "1bd"\ntag = "x"', "business days"),
        ('after = "0m"\ntag = "x"\ntargets = ["first_response"]', "the policy promises no first_response"),
        ('after = "0m"\ntag = "x"\ntargets = ["first_respose"]', "did you mean first_response"),
        ('after = "1h"\ntag = "x"\n[[policies.standard.chain]]\nafter = "1m"\ntag = "y"', "chain.2: it comes before"),
        (
            'after = "1h"\ntag = "x"\n[[policies.standard.chain]]\nbefore = "1m"\ntime = "real"\ntag = "y"',
            "comes before",
        ),
    ),
)
def test_a_level_that_makes_no_sense_is_refused(level: str, said: str) -> None:
    (found,) = problems(f"{SMALL}\n[[policies.standard.chain]]\n{level}\n")
    assert said in found
    assert int(found.split(":")[1]) >= 10


@pytest.mark.parametrize(
    ("warning", "said"),
    (
        ('notify = ["desk"]', "expected either `at`"),
        ('at = "80%"\nbefore = "1m"', "expected either `at`"),
        ('at = "100%"', 'from "1%" to "99%"'),
        ('at = "80%"\nnotify = []', "notify"),
        ('before = "16h"', "it would warn before the clock starts"),
        ('at = "80%"\nnotify = ["nobody@"]\ntargets = ["next_response"]', "the policy promises no next_response"),
    ),
)
def test_a_warning_that_makes_no_sense_is_refused(warning: str, said: str) -> None:
    (found,) = problems(f"{SMALL}\n[[policies.standard.warnings]]\n{warning}\n")
    assert said in found


def test_every_problem_is_said_at_once() -> None:
    found = problems(SMALL.replace("4h", "x").replace("2bd", "y").replace("mon-fri", "mon-fry"))
    assert len(found) == 3


def test_a_file_is_read_with_the_icalendar_files_beside_it(tmp_path: Path) -> None:
    event = "BEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20260305\r\nSUMMARY:Works\r\nEND:VEVENT\r\n"
    calendar = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{event}END:VCALENDAR\r\n"
    (tmp_path / "works.ics").write_text(calendar, newline="")
    file = tmp_path / "sla.toml"
    file.write_text(SMALL.replace('zone = "Europe', 'icalendar = "works.ics"\nzone = "Europe'))
    book = read(file, now=NOW)
    assert dict(book.calendars["office"].days_off(2026)) == {date(2026, 3, 5): "Works"}
    assert PolicyBook.from_json(book.to_json()) == book


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sla.toml"
    with pytest.raises(PolicyError, match=r"sla\.toml: cannot be read: No such file"):
        read(file, now=NOW)
    file.write_bytes(b"\xff")
    with pytest.raises(PolicyError, match=r"sla\.toml: is not UTF-8"):
        read(file, now=NOW)
    file.write_text("a = ")
    with pytest.raises(PolicyError, match=r"sla\.toml: is not TOML: Invalid"):
        read(file, now=NOW)
    file.write_text("")
    with pytest.raises(PolicyError, match="policies: it is missing"):
        read(file, now=NOW)


TARGET = "[policies.p.targets.resolution]\nwithin = { high = '1h' }\n"


@pytest.mark.parametrize(
    ("text", "chain"),
    (
        (TARGET, DEFAULT_CHAIN),
        (f"[policies.p]\nchain = []\n{TARGET}", ()),
        ("[policies.p]\nno_sla = true\n", ()),
    ),
)
def test_a_policy_that_says_nothing_of_a_chain_has_the_one_built_in(text: str, chain: tuple[Level, ...]) -> None:
    """A breach that nobody hears of has to be asked for."""
    [policy] = parse(text, now=NOW).policies
    assert policy.chain == chain
