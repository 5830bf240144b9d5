"""The clock against a slow oracle: whatever happens to a ticket, counting every second comes to the same.

Numbers in brackets are those of the rules that the engine's clock follows.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_system import STATUS_FLOW
from ticket_system.sla.clocks import (
    Clock,
    ClockState,
    follow,
    retarget,
    settle,
    start,
)

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ON_HOLD = frozenset({"on_hold"})
RUNNING, PAUSED, MET, BREACHED, CANCELLED = ClockState


@dataclass
class Oracle:
    """The rules, second by second, with nothing clever: counts paused seconds one by one."""

    target: int
    status: str
    paused: int = 0
    verdict: str = "none"
    breached_at: int | None = None
    stopped_at: int | None = None
    due_then: int | None = None
    #: Seconds that counted towards the target, one by one; and what they came to when it was done.
    counted: int = 0
    worked: int | None = None

    def due(self) -> int:
        return self.due_then if self.due_then is not None else self.target + self.paused

    def look(self, second: int) -> None:
        """Late is: it counts, and the deadline lies before this second."""
        if self.counts() and second > self.due():
            self.breach("deadline", self.due())

    def counts(self) -> bool:
        return self.verdict == "none" and self.status != "on_hold"

    def breach(self, cause: str, when: int) -> None:
        self.due_then = self.due()
        self.verdict, self.breached_at = cause, when

    def act(self, second: int, action: str | int) -> None:
        if isinstance(action, int):
            if self.verdict == "none":
                self.target = action
                if self.due() < second:
                    self.breach("retarget", second)
            return
        if action == "resolved":
            self.stopped_at, self.worked = second, self.counted
            if self.verdict == "none":
                self.verdict = "met"
        if action == "cancelled":
            self.stopped_at, self.worked = second, None
            self.verdict = f"cancelled after {self.verdict}"
        if self.status == "resolved" and action == "open":
            self.stopped_at = self.worked = None
            if self.verdict == "met":
                self.verdict = "none"
        self.status = action

    def pass_a_second(self) -> None:
        if self.verdict in {"none", "met"} and self.status in {"on_hold", "resolved", "closed"}:
            self.paused += 1
        # A breached clock measures how late it is: nothing but being done halts it.
        halts = (
            {"resolved", "closed"} if self.verdict in {"deadline", "retarget"} else {"on_hold", "resolved", "closed"}
        )
        self.counted += self.status not in halts


Step = tuple[int, str | int]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, bool, list[Step], int]:
    """A target, whether it began paused, legal moves and new targets at rising seconds, and when to look at last."""
    target, paused = draw(st.integers(1, 40)), draw(st.booleans())
    status, second, steps = "on_hold" if paused else "open", 0, []
    for _ in range(draw(st.integers(0, 12))):
        second += draw(st.integers(0, 15))
        moves = st.sampled_from(STATUS_FLOW[status]) if STATUS_FLOW[status] else st.nothing()
        action = draw(moves | st.integers(1, 60))
        status = action if isinstance(action, str) else status
        steps.append((second, action))
    return target, paused, steps, second + draw(st.integers(0, 60))


def seconds(number: int) -> datetime:
    return START + timedelta(seconds=number)


def walked(target: int, paused: bool, steps: list[Step], end: int) -> Oracle:
    oracle = Oracle(target, "on_hold" if paused else "open")
    for second in range(end + 1):
        oracle.look(second)
        for when, action in steps:
            if when == second:
                oracle.act(second, action)
        if second < end:
            oracle.pass_a_second()
    return oracle


def followed(target: int, paused: bool, steps: list[Step], end: int, looks: list[int]) -> Clock:
    """The engine's clock after the same history, with a look (a scan) at each of some seconds in between."""
    clock = start("t", START, timedelta(seconds=target), paused=paused)
    status = "on_hold" if paused else "open"
    todo: list[tuple[int, int, str | int | None]] = [(second, 1, action) for second, action in steps]
    todo += [(second, 0, None) for second in looks if second <= end]
    for second, _, action in sorted(todo, key=lambda one: one[:2]):
        if action is None:
            clock = settle(clock, seconds(second))
        elif isinstance(action, int):
            clock = retarget(clock, timedelta(seconds=action), seconds(second))
        else:
            clock = follow(clock, status, action, pausing=ON_HOLD, now=seconds(second))
            status = action
    return settle(clock, seconds(end))


@settings(max_examples=300, deadline=None)
@given(histories())
def test_a_clock_agrees_with_one_that_counts_every_second(history: tuple[int, bool, list[Step], int]) -> None:
    clock, oracle, end = followed(*history, looks=[]), walked(*history), history[-1]
    match oracle.verdict:
        case "none":
            expected = PAUSED if oracle.status == "on_hold" else RUNNING
        case "met":
            expected = MET
        case "deadline" | "retarget":
            expected = BREACHED
            assert clock.cause == oracle.verdict
        case _:
            expected = CANCELLED
            assert oracle.verdict == f"cancelled after {clock.cause or 'none'}"
    assert clock.state is expected
    assert clock.breached_at == (None if oracle.breached_at is None else seconds(oracle.breached_at))
    assert clock.stopped_at == (None if oracle.stopped_at is None else seconds(oracle.stopped_at))
    assert clock.worked == (None if oracle.worked is None else timedelta(seconds=oracle.worked))
    # The deadline of a stopped clock is the one it stopped with; the oracle's goes on while the ticket is away.
    away = end - oracle.stopped_at if oracle.stopped_at is not None and expected is MET else 0
    assert clock.deadline(seconds(end)) == seconds(oracle.due() - away)


@settings(max_examples=300, deadline=None)
@given(histories(), st.lists(st.integers(0, 200), max_size=12))
def test_no_outcome_depends_on_when_somebody_looked(
    history: tuple[int, bool, list[Step], int], looks: list[int]
) -> None:
    """(7)"""
    never, often = followed(*history, looks=[]), followed(*history, looks=looks)
    assert replace(never, detected_at=None, next_check_at=None) == replace(often, detected_at=None, next_check_at=None)
    for clock in (never, often):
        assert (clock.breached_at is None) == (clock.detected_at is None) == (clock.cause is None)
        if clock.breached_at is not None and clock.detected_at is not None:
            assert clock.breached_at <= clock.detected_at


@settings(max_examples=200, deadline=None)
@given(histories())
def test_what_is_written_on_a_clock_fits_its_state(history: tuple[int, bool, list[Step], int]) -> None:
    target, paused, steps, _ = history
    breached = None
    for number in range(len(steps) + 1):
        clock = followed(target, paused, steps[:number], steps[number - 1][0] if number else 0, looks=[])
        assert (clock.due_at is None) == (clock.state is PAUSED)
        assert (clock.remaining is None) == (clock.paused_at is None) == (clock.state is not PAUSED)
        assert clock.remaining is None or clock.remaining >= timedelta(0)
        assert clock.paused_for >= timedelta(0)
        if clock.state is RUNNING:
            assert clock.next_check_at == clock.due_at
            assert clock.due_at == START + timedelta(seconds=clock.target_seconds) + clock.paused_for
        if clock.state in {PAUSED, MET, CANCELLED}:
            assert clock.next_check_at is None
        if breached is not None:
            assert (clock.breached_at, clock.detected_at, clock.cause) == breached, "a breach is permanent (9)"
        if clock.breached_at is not None:
            breached = clock.breached_at, clock.detected_at, clock.cause
