"""What follows from what is counted: evidence counts at once, absence when it lasts. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ticket_system.billing import course, deliveries
from ticket_system.billing.deliveries import Delivery, State

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SENT = 3


def standing(state: str, **changes: object) -> Delivery:
    one = Delivery(1, "b", 1, "tickets:b:g1", "metered", SENT, NOON - timedelta(hours=2), state=state)
    return replace(one, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "total", "after"),
    (
        (State.UNKNOWN, SENT, State.ACCEPTED),
        (State.UNKNOWN, 0, State.UNKNOWN),
        (State.UNKNOWN, 2 * SENT, State.DISPUTED),
        (State.UNKNOWN, 1, State.DISPUTED),
        (State.ACCEPTED, SENT, State.VERIFIED),
        (State.ACCEPTED, 0, State.ACCEPTED),
        (State.ACCEPTED, 1, State.DISPUTED),
        (State.VERIFIED, SENT, State.VERIFIED),
        (State.VERIFIED, 0, State.VERIFIED),
        (State.VERIFIED, 2 * SENT, State.DISPUTED),
        # Refused, and counted all the same.
        (State.REJECTED, SENT, State.VERIFIED),
        (State.REJECTED, 0, State.REJECTED),
        (State.REJECTED, 1, State.DISPUTED),
        (State.REJECTED_ASYNC, SENT, State.VERIFIED),
        (State.REJECTED_ASYNC, 0, State.REJECTED_ASYNC),
        (State.EXPIRED, 0, State.EXPIRED),
        (State.EXPIRED, SENT, State.VERIFIED),
        (State.DISPUTED, SENT, State.VERIFIED),
        (State.DISPUTED, 0, State.DISPUTED),
        (State.DISPUTED, 1, State.DISPUTED),
    ),
)
def test_what_is_counted_tells_at_once(state: State, total: int, after: State) -> None:
    one = course.observed(standing(state), total, NOON)
    assert one.state == after
    if after is State.DISPUTED:
        assert one.found == total
    if after is State.VERIFIED and total == SENT:
        assert (one.found, one.absent_since) == (None, None)
    if state is State.UNKNOWN and total == SENT:
        assert one.confirmed_by == "summary"


@pytest.mark.parametrize(
    ("state", "more", "after"),
    (
        (State.UNKNOWN, {}, State.ABSENT),
        (State.UNKNOWN, {"refused_at": NOON}, State.REJECTED),
        (State.UNKNOWN, {"event_at": NOON - timedelta(days=34)}, State.EXPIRED),
        (State.UNKNOWN, {"event_at": NOON - timedelta(days=34), "route": "invoice_item"}, State.ABSENT),
        (State.ACCEPTED, {}, State.REJECTED_ASYNC),
        (State.VERIFIED, {}, State.REJECTED_ASYNC),
    ),
)
def test_absence_counts_after_a_day_and_not_a_minute_earlier(
    state: State, more: dict[str, object], after: State
) -> None:
    first = course.missed(standing(state, **more), NOON)
    assert (first.state, first.absent_since) == (state, NOON)
    if state is State.UNKNOWN:
        assert first.next_attempt_at == NOON + course.LOOK_AGAIN
    nearly = course.missed(first, NOON + course.ABSENT_FOR - timedelta(minutes=1))
    assert (nearly.state, nearly.absent_since) == (state, NOON)
    one = course.missed(nearly, NOON + course.ABSENT_FOR)
    assert (one.state, one.absent_since) == (after, NOON)


def test_what_turns_up_after_it_was_missed_is_absent_no_more() -> None:
    missed = course.observed(standing(State.ACCEPTED), 0, NOON)
    found = course.observed(missed, SENT, NOON + timedelta(hours=23))
    assert (found.state, found.absent_since) == (State.VERIFIED, None)
    again = course.observed(found, 0, NOON + timedelta(hours=25))
    assert (again.state, again.absent_since) == (State.VERIFIED, NOON + timedelta(hours=25)), "counted from then on"


def test_a_negative_quantity_is_compared_like_any_other() -> None:
    credit = standing(State.UNKNOWN, quantity=-1)
    assert [course.observed(credit, total, NOON).state for total in (-1, 0, 1)] == [
        State.ACCEPTED, State.UNKNOWN, State.DISPUTED,
    ]  # fmt: skip


def test_an_invoice_item_that_is_found_is_verified_and_two_are_one_too_many() -> None:
    item = standing(State.UNKNOWN, route="invoice_item", quantity=1)
    one = course.found_there(item, ["ii_1"], NOON)
    assert (one.state, one.made, one.confirmed_by, one.next_attempt_at) == (State.VERIFIED, "ii_1", "search", None)
    two = course.found_there(item, ["ii_1", "ii_2"], NOON)
    assert (two.state, two.made, two.found) == (State.DISPUTED, "ii_1, ii_2", 2)


@pytest.mark.parametrize(
    ("act", "state"),
    (
        (course.replaced, State.REPLACED),
        (course.carried, State.CARRIED),
        (course.resolved, State.RESOLVED),
        (lambda one: course.thrown_away(one, "no_meter"), State.REJECTED_ASYNC),
    ),
)
def test_what_has_ended_is_not_tried_again(act: object, state: State) -> None:
    one = act(standing(State.REJECTED, next_attempt_at=NOON))  # type: ignore[operator]
    assert (one.state, one.next_attempt_at) == (state, None)


def test_waits_double_up_to_an_hour_and_are_spread() -> None:
    seconds = [course.backoff(attempts, 1.0).total_seconds() for attempts in range(12)]
    assert seconds == [30, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    assert course.backoff(10**6, 1.0) == timedelta(hours=1)
    assert [course.backoff(3, luck).total_seconds() for luck in (0.0, 0.5, 1.0)] == [0, 60, 120]


@pytest.mark.parametrize(("asked", "waits"), ((0, 30), (45, 45), (10**9, 3600)))
def test_who_is_told_to_wait_waits_so_long_and_no_longer_than_an_hour(asked: float, waits: float) -> None:
    one = standing(State.SENDING, attempts=1, first_attempt_at=NOON, last_attempt_at=NOON)
    said = deliveries.Said(deliveries.Answer.THROTTLED, wait_seconds=asked)
    assert course.answered(one, said, NOON, 1.0).next_attempt_at == NOON + timedelta(seconds=waits)


def test_every_state_has_its_place() -> None:
    over = {*deliveries.SUPERSEDED, State.VOIDED, State.CARRIED, State.RESOLVED}
    places = [*deliveries.TO_SEND, State.UNKNOWN, *deliveries.COUNTED, *deliveries.STUCK, *over]
    assert sorted(places) == sorted(State)
