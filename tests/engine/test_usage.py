"""What becomes of a delivery, row by row; and how usage is cut into what is billed as one line. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from ticket_system.billing import course, deliveries
from ticket_system.billing.deliveries import Answer, Delivery, Said, State
from ticket_system.billing.money import money
from ticket_system.billing.usage import (
    HOUR,
    MINUTE,
    Window,
    batch_id,
    credited_at,
    hour_of,
    minute_of,
    mode,
    stamp,
    windows,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=90)
#: Of many attempts, the first that may have arrived.
EARLIER = NOON - HOUR


def moment(hour: int, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second, microsecond=microsecond)


def a_delivery(**changes: object) -> Delivery:
    one = Delivery(1, "b", 1, "tickets:b:g1", "metered", 3, NOON - 2 * HOUR, next_attempt_at=NOON)
    return replace(one, **changes)  # type: ignore[arg-type]


def under_way(*, again: bool = False, **changes: object) -> Delivery:
    """One that was begun just now; for the second time, if `again`, and the first may have arrived."""
    attempts, first = (2, EARLIER) if again else (1, NOON)
    mine = {"state": State.SENDING, "attempts": attempts, "first_attempt_at": first, "last_attempt_at": NOON}
    return a_delivery(**mine | {"next_attempt_at": NOON + LEASE} | changes)


def answered(one: Delivery, answer: Answer, *, luck: float = 1.0, **said: object) -> Delivery:
    return course.answered(one, Said(answer, **said), NOON, luck)  # type: ignore[arg-type]


# --- windows and minutes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "wanted"),
    (
        ((), ((12, 0), (13, 0))),
        (((12, 20),), ((12, 0), (12, 20), (13, 0))),
        (((12, 40), (12, 20), (12, 20)), ((12, 0), (12, 20), (12, 40), (13, 0))),
        (((12, 0), (13, 0), (11, 59), (13, 1)), ((12, 0), (13, 0))),
    ),
)
def test_an_hour_is_cut_where_billing_periods_end(
    edges: tuple[tuple[int, int], ...], wanted: tuple[tuple[int, int], ...]
) -> None:
    found = windows(NOON, (moment(*edge) for edge in edges))
    ends = [moment(*edge) for edge in wanted]
    assert found == [Window(start, end) for start, end in pairwise(ends)]


def test_the_hour_that_a_zone_lives_twice_is_two_hours_here() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    both = [one.astimezone(UTC) for one in (first, first.replace(fold=1))]
    assert [hour_of(one).hour for one in both] == [0, 1]
    edges = [datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1).astimezone(UTC)]
    assert [len(windows(hour_of(one), edges)) for one in both] == [1, 2]


def test_a_month_ends_between_two_windows() -> None:
    end = datetime(2026, 3, 1, tzinfo=UTC)
    before, after = end - timedelta(microseconds=1), end
    [last], [first] = windows(hour_of(before), [end]), windows(hour_of(after), [end])
    assert (last.holds(before), last.holds(after), first.holds(after)) == (True, False, True)
    assert last.end == first.start == end


@pytest.mark.parametrize(
    ("start", "end", "first", "number"),
    (
        (moment(12), moment(13), moment(12), 60),
        (moment(12, 0, 1), moment(13), moment(12, 1), 59),
        (moment(12, 0, 0, 1), moment(13), moment(12, 1), 59),
        (moment(12), moment(12, 20, 30), moment(12), 20),
        (moment(12, 20, 30), moment(13), moment(12, 21), 39),
        (moment(12, 20, 30), moment(12, 22), moment(12, 21), 1),
        # None lies wholly inside: its own beginning, once.
        (moment(12, 20, 30), moment(12, 21, 59), moment(12, 20, 30), 1),
        (moment(12, 20, 10), moment(12, 20, 20), moment(12, 20, 10), 1),
    ),
)
def test_a_window_has_as_many_stamps_as_whole_minutes(
    start: datetime, end: datetime, first: datetime, number: int
) -> None:
    window, taken = Window(start, end), set[datetime]()
    while (at := stamp(window, taken)) is not None:
        assert window.holds(at)
        assert number == 1 or window.end >= at + MINUTE
        taken.add(at)
    assert (min(taken), len(taken)) == (first, number)


def test_the_first_minute_that_is_free_is_taken() -> None:
    window = Window(NOON, NOON + HOUR)
    assert stamp(window, {NOON, NOON + 2 * MINUTE}) == NOON + MINUTE
    assert stamp(window, {NOON + number * MINUTE for number in range(59)}) == NOON + 59 * MINUTE
    assert stamp(window, {NOON + number * MINUTE for number in range(60)}) is None
    assert minute_of(NOON + timedelta(seconds=59, microseconds=9)) == NOON


def test_a_batch_is_named_by_what_it_is() -> None:
    here, there = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
    name = batch_id(here, "test", "acme", "tickets_opened", NOON.isoformat(), "0")
    assert name == "b347c72b-f4fd-5b76-b00f-dea3b666689b", "known where it was sent, so it never changes"
    others = {
        batch_id(there, "test", "acme", "tickets_opened", NOON.isoformat(), "0"),
        batch_id(here, "live", "acme", "tickets_opened", NOON.isoformat(), "0"),
        batch_id(here, "test", "acme", "tickets_opened", NOON.isoformat(), "1"),
    }
    assert len(others | {name}) == 4
    assert deliveries.identifier(name, 12) == f"tickets:{name}:g12"
    assert len(deliveries.identifier(name, 12)) <= 100
    assert (mode(True), mode(False)) == ("live", "test")


def test_a_credit_belongs_to_the_period_of_its_fact_while_that_is_open() -> None:
    june = Window(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
    assert credited_at(NOON, [june], june.end - timedelta(microseconds=1)) == NOON
    assert credited_at(NOON, [june], june.end) == june.end
    assert credited_at(june.start - MINUTE, [june], NOON) == NOON, "a fact of no known period"
    assert credited_at(NOON, [], NOON + timedelta(days=27)) == NOON
    assert credited_at(NOON, [], NOON + timedelta(days=28)) == NOON + timedelta(days=28)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    ((1500, "eur", "15.00 EUR"), (-5, "usd", "-0.05 USD"), (123_456, "jpy", "123,456 JPY"), (1500, "bhd", "1.500 BHD")),
)
def test_money_is_written_as_its_currency_is(amount: int, currency: str, text: str) -> None:
    assert money(amount, currency) == text


# --- before a call -------------------------------------------------------------------------------------------------


def test_a_call_is_begun_on_record() -> None:
    one = course.begun(a_delivery(), NOON, LEASE)
    assert one == under_way()
    again = course.begun(one, NOON + HOUR, LEASE)
    assert (again.attempts, again.first_attempt_at, again.last_attempt_at) == (2, NOON, NOON + HOUR)
    assert (again.idempotency_key, again.identifier) == (one.idempotency_key, one.identifier)
    assert (one.may_have_arrived_before, again.may_have_arrived_before) == (False, True)


@pytest.mark.parametrize(
    ("hours", "state"), ((22.99, State.SENDING), (23, State.UNKNOWN), (30, State.UNKNOWN), (1000, State.UNKNOWN))
)
def test_it_is_repeated_for_less_than_a_day_after_it_may_have_arrived(hours: float, state: State) -> None:
    now = NOON + timedelta(hours=hours)
    one = course.begun(under_way(), now, LEASE)
    assert one.state == state
    if state is State.UNKNOWN:
        assert one.attempts == 1, "nobody sent it"
        assert one.next_attempt_at == max(now, NOON + course.LOOK_AFTER)


def test_what_surely_never_arrived_is_tried_for_as_long_as_it_is_taken() -> None:
    one = a_delivery(event_at=NOON - course.OLDEST + MINUTE)
    assert course.begun(one, NOON, LEASE).state == State.SENDING
    late = course.begun(one, NOON + MINUTE, LEASE)
    assert (late.state, late.error, late.next_attempt_at) == (State.EXPIRED, course.TOO_OLD, None)
    assert course.begun(replace(one, route="invoice_item"), NOON + MINUTE, LEASE).state == State.SENDING
    arrived = replace(one, first_attempt_at=NOON, last_attempt_at=NOON)
    assert course.begun(arrived, NOON + MINUTE, LEASE).state == State.UNKNOWN, "it may be there: nobody gives it up"


def test_what_is_too_late_for_its_invoice_is_looked_for_if_it_may_be_there() -> None:
    assert (course.too_late(a_delivery(), NOON).state, course.too_late(a_delivery(), NOON).error) == (
        State.EXPIRED,
        course.FINAL,
    )
    assert course.too_late(under_way(), NOON).state == State.UNKNOWN


# --- after a call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", (False, True))
@pytest.mark.parametrize(("answer", "by"), ((Answer.ACCEPTED, "response"), (Answer.DUPLICATE, "duplicate")))
def test_what_is_there_is_accepted(answer: Answer, by: str, *, again: bool) -> None:
    one = answered(under_way(again=again, error="before", absent_since=NOON), answer, request_id="req", made="ii_1")
    assert (one.state, one.confirmed_by, one.next_attempt_at) == (State.ACCEPTED, by, None)
    assert (one.error, one.absent_since, one.request_id) == (None, None, "req")
    assert one.made == ("ii_1" if answer is Answer.ACCEPTED else None)


@pytest.mark.parametrize("route", ("metered", "invoice_item"))
@pytest.mark.parametrize(
    ("answer", "metered", "item"),
    (
        (Answer.LOST, 0, 0),
        (Answer.FAILED, 1, 0),
        (Answer.THROTTLED, 0, 0),
        (Answer.LOCKED, 1, 1),
        (Answer.TOO_EARLY, 1, 1),
    ),
)
def test_the_key_is_changed_where_it_would_repeat_a_failure(
    answer: Answer, metered: int, item: int, route: str
) -> None:
    """An invoice item has nothing but its key: it is changed only where nothing was done for certain."""
    for again in (False, True):
        one = answered(under_way(again=again, route=route), answer)
        assert one.epoch == (metered if route == "metered" else item)
        assert one.identifier == "tickets:b:g1"
        surely_not = answer in {Answer.THROTTLED, Answer.LOCKED, Answer.TOO_EARLY}
        if surely_not and not again:
            assert (one.state, one.first_attempt_at) == (State.SEALED, None)
        else:
            assert (one.state, one.first_attempt_at) == (State.SENDING, EARLIER if again else NOON)
        assert one.next_attempt_at == NOON + course.backoff(one.attempts, 1.0)


def test_who_is_not_known_spends_no_attempt() -> None:
    one = answered(under_way(), Answer.UNAUTHORIZED, http=401, message="who?")
    assert (one.state, one.attempts, one.first_attempt_at, one.next_attempt_at) == (State.SEALED, 0, None, NOON)
    one = answered(under_way(again=True), Answer.UNAUTHORIZED)
    assert (one.state, one.attempts, one.first_attempt_at) == (State.SENDING, 1, EARLIER)


@pytest.mark.parametrize(
    ("answer", "first", "later"),
    (
        (Answer.REFUSED, State.REJECTED, State.UNKNOWN),
        (Answer.TOO_OLD, State.EXPIRED, State.UNKNOWN),
        (Answer.MISMATCH, State.REJECTED, State.REJECTED),
    ),
)
def test_a_refusal_is_believed_where_nothing_can_have_arrived_before(
    answer: Answer, first: State, later: State
) -> None:
    one = answered(under_way(), answer, http=400, code="c", message="m")
    assert (one.state, one.refused_at, one.next_attempt_at) == (first, NOON, None)
    assert (one.error_http, one.error_code, one.error) == (400, "c", "m")
    one = answered(under_way(again=True), answer)
    assert (one.state, one.refused_at) == (later, NOON)
    assert one.next_attempt_at == (NOON + course.LOOK_AFTER if later is State.UNKNOWN else None)
