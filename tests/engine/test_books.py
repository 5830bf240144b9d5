"""Which policy a ticket gets, as text and back, and what differs.

Numbers in brackets are those of the rules that the engine's clock follows.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_system import Ticket
from ticket_system.errors import PolicyError
from ticket_system.sla.books import (
    DEFAULT_BOOK,
    PolicyBook,
    calendar_from_json,
    calendar_to_json,
    difference,
    fingerprint,
    policy_from_json,
    policy_to_json,
)
from ticket_system.sla.calendars import AROUND_THE_CLOCK, Calendar, Hours
from ticket_system.sla.clocks import FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION, TARGETS
from ticket_system.sla.days_off import DayOff, DaysOff
from ticket_system.sla.policies import DEFAULT_POLICY, NO_SLA, Facts, Level, Match, Policy, TargetRule, Warn

OFFICE = Calendar(
    "office",
    ZoneInfo("Europe/Berlin"),
    dict.fromkeys(range(5), (Hours.of(time(9), time(12)), Hours.of(time(13), time(17)))),
    DaysOff("DE", "BE", (DayOff(date(2026, 7, 3), "move"), DayOff.every_year(12, 24, "eve"))),
)

words = st.sampled_from(("gold", "silver", "späte Schicht", "a b", 'q"uote'))
some = st.frozensets(words, max_size=2)
targets = st.frozensets(st.sampled_from(TARGETS), max_size=2)
seconds = st.integers(1, 10_000_000)
policies = st.builds(
    Policy,
    words,
    rank=st.integers(0, 9),
    version=st.integers(1, 9),
    match=st.builds(Match, st.frozensets(st.integers(1, 4)), some, some, some, some),
    targets=st.dictionaries(
        st.sampled_from(TARGETS),
        st.builds(
            TargetRule,
            st.dictionaries(st.integers(1, 4), seconds),
            st.sampled_from((AROUND_THE_CLOCK.name, OFFICE.name)),
            st.frozensets(st.sampled_from(("on_hold", "review"))),
        ),
    ),
    reopen=st.sampled_from(("resume", "restart", "first_close")),
    without_response=st.sampled_from(("met", "cancelled")),
    warnings=st.lists(
        st.builds(Warn, st.integers(1, 99), targets=targets) | st.builds(Warn, st.none(), seconds), max_size=2
    ).map(tuple),
    chain=st.lists(
        st.builds(
            Level,
            st.integers(-9999, 9999),
            st.booleans(),
            st.lists(words, max_size=2).map(tuple),
            st.booleans(),
            reassign_to=st.none() | words,
            webhook=st.none() | words,
            repeat_seconds=st.none() | seconds,
            targets=targets,
        ),
        max_size=3,
    ).map(tuple),
    ack_expires_seconds=st.none() | seconds,
    no_sla=st.booleans(),
)
books = st.builds(
    PolicyBook,
    st.lists(policies, max_size=3, unique_by=lambda policy: policy.name).map(tuple),
    st.just({"office": OFFICE}),
    st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    st.none() | st.integers(1, 99),
)


@settings(max_examples=60, deadline=None)
@given(books)
def test_a_book_is_the_same_after_a_round_trip_and_so_is_its_text(book: PolicyBook) -> None:
    text = book.to_json()
    again = PolicyBook.from_json(text)
    assert again == book
    assert hash(again) == hash(book)
    assert again.to_json() == text
    assert difference(book, again) == []
    for policy in book.policies:
        assert policy_from_json(policy_to_json(policy)) == policy


@settings(max_examples=60, deadline=None)
@given(books, books)
def test_books_that_differ_differ_in_a_line(one: PolicyBook, other: PolicyBook) -> None:
    same = replace(other, policies=tuple(replace(policy, version=1) for policy in other.policies)) == replace(
        one, policies=tuple(replace(policy, version=1) for policy in one.policies)
    )
    assert (difference(one, other) == []) is same
    assert all(line.isprintable() for line in difference(one, other))


def test_a_version_number_is_no_part_of_what_a_policy_says() -> None:
    """(18)"""
    assert fingerprint(replace(DEFAULT_POLICY, version=7)) == fingerprint(DEFAULT_POLICY)
    assert fingerprint(replace(DEFAULT_POLICY, rank=7)) != fingerprint(DEFAULT_POLICY)


def test_a_calendar_keeps_its_days_off_through_its_text() -> None:
    again = calendar_from_json("office", calendar_to_json(OFFICE))
    assert again == OFFICE
    start = datetime(2026, 12, 23, 15, tzinfo=UTC)
    assert again.add(start, timedelta(hours=2)) == OFFICE.add(start, timedelta(hours=2))
    assert calendar_from_json(AROUND_THE_CLOCK.name, "{}") is AROUND_THE_CLOCK


def test_days_off_from_code_cannot_be_written_down() -> None:
    def mine(_year: int) -> Mapping[date, str]:
        return {}

    with pytest.raises(PolicyError, match="'office' takes its days off from code"):
        calendar_to_json(replace(OFFICE, days_off=mine))


def test_text_that_is_no_book_is_refused() -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicyBook.from_json('{"policies": 3}')


def test_the_first_by_rank_then_name_that_matches_wins_and_else_there_is_no_sla() -> None:
    """(17)"""
    gold = Policy("gold", rank=1, match=Match(plans=frozenset({"gold"})))
    urgent = Policy("urgent", rank=2, match=Match(priorities=frozenset({1, 2}), tags=frozenset({"vip", "press"})))
    acme = Policy("acme", rank=2, match=Match(customers=frozenset({"acme"}), groups=frozenset({"ops"})))
    book = PolicyBook((urgent, gold, acme))
    assert [policy.name for policy in book.policies] == ["gold", "acme", "urgent"]
    vip = frozenset({"vip", "other"})
    assert book.pick(Facts(1, plan="gold", tags=vip)) == gold
    assert book.pick(Facts(1, "acme", "silver", "ops", vip)) == acme, "equal ranks: by name"
    assert book.pick(Facts(1, "acme", tags=vip)) == urgent, "every condition has to hold"
    assert book.pick(Facts(3, tags=vip)) == NO_SLA
    assert book.fields_matched() == {"plan", "priority", "tags", "customer", "group"}
    assert PolicyBook((gold,)).fields_matched() == {"plan"}
    assert PolicyBook().fields_matched() == frozenset()
    ticket = Ticket("It is broken", "", "ada", priority=2, tags=["press"])
    assert book.pick(Facts.of(ticket)) == urgent


def test_the_default_book_is_the_contracts_table_around_the_clock() -> None:
    policy = DEFAULT_BOOK.pick(Facts(3))
    assert policy == DEFAULT_POLICY
    hours = [4, 24, 72, 168]
    assert [policy.target(RESOLUTION, priority) for priority in (1, 2, 3, 4)] == [timedelta(hours=one) for one in hours]
    assert policy.target(FIRST_RESPONSE, 1) is policy.target(NEXT_RESPONSE, 1) is None
    assert DEFAULT_BOOK.calendar(policy, RESOLUTION) is AROUND_THE_CLOCK
    ((number, level),) = policy.chain_of(RESOLUTION)
    assert (number, level.offset_seconds, level.raise_priority, level.retarget) == (1, 0, True, False)
    assert level.notify == ("assignee-or-desk",)


def test_no_sla_promises_nothing() -> None:
    """(17)"""
    assert Policy("x", no_sla=True).targets == {} == dict(NO_SLA.hours)
    assert NO_SLA.pausing == frozenset()


@pytest.mark.parametrize(
    ("warn", "hours", "left"),
    (
        (Warn(80), 10, 2),
        (Warn(seconds_before=3600), 10, 1),
        (Warn(seconds_before=36_000), 10, None),
        (Warn(seconds_before=99_000), 10, None),
    ),
)
def test_a_warning_comes_when_so_much_open_time_is_left(warn: Warn, hours: int, left: int | None) -> None:
    """(21)"""
    assert warn.left(timedelta(hours=hours)) == (None if left is None else timedelta(hours=left))


def test_warnings_and_levels_keep_their_number_when_some_are_for_other_targets() -> None:
    only = frozenset({FIRST_RESPONSE})
    policy = Policy(warnings=(Warn(50, targets=only), Warn(80)), chain=(Level(tag="a", targets=only), Level(tag="b")))
    assert [number for number, _ in policy.warnings_of(RESOLUTION)] == [2]
    assert [number for number, _ in policy.chain_of(RESOLUTION)] == [2]
    assert [number for number, _ in policy.chain_of(FIRST_RESPONSE)] == [1, 2]


def test_what_differs_is_said_in_words() -> None:
    rule = DEFAULT_POLICY.targets[RESOLUTION]
    sooner = replace(rule, seconds={**rule.seconds, 1: 5400}, pausing=frozenset())
    new = PolicyBook(
        (replace(DEFAULT_POLICY, targets={RESOLUTION: sooner}, ack_expires_seconds=60),), {"office": OFFICE}
    )
    assert difference(DEFAULT_BOOK, new) == [
        "calendar office: new",
        "policy default ack_expires_seconds: nothing → 1m",
        "policy default targets resolution pausing: on_hold → nothing",
        "policy default targets resolution seconds 1: 4h → 1h 30m",
    ]
