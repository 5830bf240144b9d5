"""Any sequence of faults: nothing is counted twice, nothing is lost, whatever the rules are put through.

Deliveries go their course by the very functions that the ledger stores by, against a model of the other side at its
worst: an identifier is known for 24 hours and no second longer, so is a key, failures are kept under it, and what was
taken is counted late. Each rule is also taken away, and then the same histories over-bill, lose, or stall for a day.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from ticket_system.billing import course, deliveries
from ticket_system.billing.deliveries import COUNTED, Answer, Delivery, Said, State

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LEASE = timedelta(seconds=90)
RUNS = int(os.environ.get("TICKETS_HISTORIES", "20000"))
#: What may befall a call, and how often against each other.
FAULTS = {
    "none": 10, "throttled": 1, "locked": 1, "error before": 2, "error after": 2, "lost before": 2, "lost after": 2,
    "killed before": 1, "killed after": 1,
}  # fmt: skip


@dataclass
class Other:
    """Whoever counts, with the least that its documentation promises."""

    lag: timedelta
    is_worded_otherwise: bool
    taken: list[tuple[str, int, datetime]] = field(default_factory=list)
    kept: dict[str, tuple[Answer, datetime]] = field(default_factory=dict)

    def answers(self, one: Delivery, now: datetime, fault: str) -> Answer | None:
        """What comes back; None: nothing does."""
        if fault in {"lost before", "killed before"}:
            return None
        if fault == "throttled":
            return Answer.THROTTLED
        found = self.kept.get(one.idempotency_key)
        if found is None or found[1] <= now - DAY:
            found = (self._works(one, now, fault), now)
            self.kept[one.idempotency_key] = found
        return None if fault in {"lost after", "killed after"} else found[0]

    def _works(self, one: Delivery, now: datetime, fault: str) -> Answer:
        if fault == "error before":
            return Answer.FAILED
        if fault == "locked":
            return Answer.LOCKED
        if any(name == one.identifier and at > now - DAY for name, _, at in self.taken):
            return Answer.REFUSED if self.is_worded_otherwise else Answer.DUPLICATE
        self.taken.append((one.identifier, one.quantity, now))
        return Answer.FAILED if fault == "error after" else Answer.ACCEPTED

    def counts(self, batch: str, now: datetime) -> int:
        """What a look at the minute of a batch shows."""
        return sum(number for name, number, at in self.taken if f":{batch}:" in name and at + self.lag <= now)

    def bills(self, batch: str) -> int:
        """What it comes to in the end."""
        return sum(number for name, number, _ in self.taken if f":{batch}:" in name)


def a_delivery(number: int, quantity: int, now: datetime) -> Delivery:
    batch = f"b{number}"
    return Delivery(
        number, batch, 1, deliveries.identifier(batch, 1), "metered", quantity, now - HOUR, next_attempt_at=now
    )  # fmt: skip


def lives(seed: int) -> str:
    """Live one history; returns what is wrong with its end: nothing, over-billed, lost, or late."""
    rng = Random(seed)
    other = Other(rng.choice((timedelta(0), HOUR / 6, 6 * HOUR, 20 * HOUR)), rng.random() < 0.2)
    now = START
    one = a_delivery(seed, rng.choice((1, 3, -1)), now)
    trouble, has_gaps = rng.choice((HOUR, 12 * HOUR, 30 * HOUR)), rng.random() < 0.4
    for _ in range(400):
        if one.next_attempt_at is None:
            break
        now = max(now, one.next_attempt_at) + timedelta(seconds=rng.randrange(60))
        if has_gaps and rng.random() < 0.15:
            now += timedelta(hours=rng.uniform(20, 80))
        if one.state == State.UNKNOWN:
            one = course.observed(one, other.counts(one.batch_id, now), now)
            if one.state == State.ABSENT:
                name = deliveries.identifier(one.batch_id, one.generation + 1)
                one = replace(a_delivery(seed, one.quantity, now), generation=one.generation + 1, identifier=name)
            continue
        fault = "none" if now > START + trouble else rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        one = sends(one, other, now, fault, rng)
    if abs(other.bills(one.batch_id)) > abs(one.quantity):
        return "over-billed"
    if one.state not in COUNTED or other.bills(one.batch_id) != one.quantity:
        return "lost"
    is_plain = not has_gaps and not other.is_worded_otherwise and trouble < DAY
    # An hour is the longest wait between two attempts.
    return "late" if is_plain and now > START + trouble + 2 * HOUR else ""


def sends(one: Delivery, other: Other, now: datetime, fault: str, rng: Random) -> Delivery:
    """One attempt, as the job makes it: intent, call, outcome; or the process is killed somewhere between."""
    begun = course.begun(one, now, LEASE)
    if begun.state != State.SENDING:
        return begun
    answer = other.answers(begun, now, fault)
    if fault.startswith("killed"):
        return begun
    return course.answered(begun, Said(answer or Answer.LOST), now + timedelta(seconds=1), rng.random())


def wrongs(runs: int) -> Counter[str]:
    """Live many histories; returns what was wrong with how many."""
    return Counter(wrong for seed in range(runs) if (wrong := lives(seed)))


@pytest.mark.timeout(300)
def test_no_history_over_bills_or_loses() -> None:
    """Tens of thousands of histories, each with its own faults, gaps and lag; none waits a day for no reason either."""
    assert wrongs(RUNS) == {}


@contextmanager
def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The course of deliveries with one rule taken out."""
    with monkeypatch.context() as patch:
        real: Callable[..., Delivery] = course.answered
        if rule == "resend for 23 hours":
            patch.setattr(course, "RESEND_FOR", 10_000 * DAY)
        elif rule == "another key after a failure":
            patch.setattr(course, "answered", lambda one, *rest: replace(real(one, *rest), epoch=0))
        elif rule == "absent for 24 hours":
            patch.setattr(course, "ABSENT_FOR", HOUR)
        else:
            patch.setattr(course, "answered", lambda one, said, *rest: real(one, _refused(said), *rest))
        yield


def _refused(said: Said) -> Said:
    return replace(said, answer=Answer.REFUSED) if said.answer is Answer.DUPLICATE else said


@pytest.mark.parametrize(
    ("rule", "follows"),
    (
        ("resend for 23 hours", "over-billed"),
        ("another key after a failure", "late"),
        ("a duplicate is delivered", "late"),
        ("absent for 24 hours", "lost"),
    ),
)
@pytest.mark.timeout(300)
def test_without_a_rule_the_same_histories_fail(rule: str, follows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of the check: it would notice if one of the rules went missing."""
    with without(rule, monkeypatch):
        found = wrongs(3000)
    print(f"without {rule!r}: {dict(found)} of 3000 histories")
    assert found[follows] > 0
