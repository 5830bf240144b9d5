from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError
from celery.schedules import schedule
from structlog.testing import capture_logs

from tests.support.valkey import forget_everything
from ticket_tasks import names
from ticket_tasks.names import SLOT_HEADER
from ticket_worker import pulse, ticker
from ticket_worker.app import celery_settings
from ticket_worker.settings import read_settings
from ticket_worker.ticker import _UNREAD, Ticker, queue_length

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock(datetime):
    """A clock that somebody sets."""

    shows = NOON

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.shows.astimezone(tz)

    @classmethod
    def goes(cls, seconds: float) -> None:
        cls.shows += timedelta(seconds=seconds)


class Lock:
    """A lock that does as it is told."""

    def __init__(self) -> None:
        self.is_free, self.is_kept, self.stuck, self.error = True, True, False, None
        self.asked: list[str] = []

    def take(self) -> bool:
        return self.is_free

    def keep(self, *, fit: bool = True) -> bool:
        self.asked.append("keep" if fit else "keep, not fit")
        return self.is_kept

    def is_stuck(self) -> bool:
        return self.stuck

    def evict(self) -> bool:
        self.asked.append("evict")
        self.is_free = True
        return True

    def release(self) -> None:
        self.asked.append("release")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Clock]]:
    monkeypatch.setattr(ticker, "datetime", Clock)
    yield Clock
    Clock.shows = NOON


@pytest.fixture
def sent() -> list[tuple[str, datetime]]:
    """Which ticks were sent: the job, and the slot that its message carries."""
    return []


@pytest.fixture
def a_ticker(
    monkeypatch: pytest.MonkeyPatch, clock: type[Clock], sent: list[tuple[str, datetime]]
) -> Callable[..., Ticker]:
    def make(**named: Any) -> Ticker:
        app = Celery(set_as_current=False, broker="memory://")
        app.conf.beat_schedule = {
            "scan": {"task": "scan", "schedule": 1.0, "options": {"expires": 10}},
            "report": {"task": "report", "schedule": 60.0},
        }
        made = Ticker(app, **named)

        def apply_async(entry: ScheduleEntry, **_: object) -> None:
            sent.append((str(entry.name), datetime.fromisoformat((entry.options or {})["headers"][SLOT_HEADER])))

        monkeypatch.setattr(made, "apply_async", apply_async)
        return made

    return make


def ticked(one: Ticker) -> float:
    """Let it tick until it has nothing more to do; returns how long it wants to rest."""
    for _ in range(10):
        if (rest := one.tick()) > 0:
            return rest
    raise AssertionError("it never rests")


def test_a_broker_that_is_away_costs_one_line_and_its_return_another(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    one = Ticker(app, lazy=True)
    entry = ScheduleEntry(name="tick", task="tick", schedule=schedule(1), app=app)
    is_away = True

    def apply_async(*_: object, **__: object) -> None:
        if is_away:
            raise SchedulingError("nothing listens there")

    monkeypatch.setattr(one, "apply_async", apply_async)
    before = pulse.ticks["tick"]
    with capture_logs() as lines:
        for _ in range(3):
            one.apply_entry(entry)
        is_away = False
        for _ in range(3):
            one.apply_entry(entry)
    told: list[Any] = [line["event"] for line in lines]
    assert told == ["tick.lost", "tick.resumed"]
    assert pulse.ticks["tick"] == before + 3


def test_whoever_begins_to_tick_sends_the_newest_slot_of_each_and_no_backlog(
    a_ticker: Callable[..., Ticker], clock: type[Clock], sent: list[tuple[str, datetime]]
) -> None:
    clock.goes(30.4)
    one = a_ticker()
    assert ticked(one) == pytest.approx(0.6)
    assert sent == [("scan", NOON + timedelta(seconds=30)), ("report", NOON)]


def test_ticks_stand_at_whole_intervals_however_late_they_are_sent(
    a_ticker: Callable[..., Ticker], clock: type[Clock], sent: list[tuple[str, datetime]]
) -> None:
    one = a_ticker()
    ticked(one)
    for late in (1.003, 0.999, 1.2, 0.9):
        clock.goes(late)
        ticked(one)
    assert [slot for name, slot in sent if name == "scan"] == [NOON + timedelta(seconds=number) for number in range(5)]


def test_a_pause_costs_the_missed_ticks_and_brings_one(
    a_ticker: Callable[..., Ticker], clock: type[Clock], sent: list[tuple[str, datetime]]
) -> None:
    one = a_ticker()
    ticked(one)
    sent.clear()
    clock.goes(30.5)
    ticked(one)
    assert sent == [("scan", NOON + timedelta(seconds=30))]


def test_a_clock_that_is_set_back_goes_on_ticking(
    a_ticker: Callable[..., Ticker], clock: type[Clock], sent: list[tuple[str, datetime]]
) -> None:
    one = a_ticker()
    ticked(one)
    sent.clear()
    clock.goes(-3600)
    assert ticked(one) == 1
    clock.goes(1)
    ticked(one)
    back = NOON - timedelta(hours=1)
    assert sent == [("scan", back), ("report", back), ("scan", back + timedelta(seconds=1))]


def test_an_entry_keeps_its_options(a_ticker: Callable[..., Ticker]) -> None:
    entry = a_ticker().schedule["scan"]
    marked = ticker.with_slot(entry, NOON)
    assert marked.options == {"expires": 10, "headers": {SLOT_HEADER: "2026-03-01T12:00:00+00:00"}}
    assert entry.options == {"expires": 10}


def test_only_the_holder_of_the_lock_ticks(
    a_ticker: Callable[..., Ticker], clock: type[Clock], sent: list[tuple[str, datetime]]
) -> None:
    lock = Lock()
    lock.is_free = False
    one = a_ticker(lock=lock)
    with capture_logs() as lines:
        for _ in range(3):
            assert one.tick() == 1
            clock.goes(1)
        assert (sent, pulse.is_leading()) == ([], False)
        lock.is_free = True
        ticked(one)
        assert (len(sent), pulse.is_leading()) == (2, True)
        lock.is_kept = lock.is_free = False
        clock.goes(1)
        for _ in range(3):
            assert one.tick() == 1
        assert (len(sent), pulse.is_leading()) == (2, False)
        lock.is_kept = lock.is_free = True
        ticked(one)
        assert len(sent) == 4
    assert [line["event"] for line in lines] == [
        "beat.standing_by",
        "beat.leading",
        "beat.lost",
        "beat.standing_by",
        "beat.leading",
    ]


def test_a_database_that_is_away_is_said_once(a_ticker: Callable[..., Ticker]) -> None:
    lock = Lock()
    lock.is_free, lock.error = False, "nothing listens there"  # type: ignore[assignment]
    one = a_ticker(lock=lock)
    with capture_logs() as lines:
        for _ in range(3):
            one.tick()
    assert [(line["event"], line["error"]) for line in lines] == [("beat.lost", "nothing listens there")]


@pytest.mark.parametrize("reaches_broker", (True, False))
def test_a_stuck_leader_is_put_out_by_one_that_reaches_the_broker(
    a_ticker: Callable[..., Ticker], reaches_broker: bool, sent: list[tuple[str, datetime]]
) -> None:
    lock = Lock()
    lock.is_free, lock.stuck = False, True
    one = a_ticker(lock=lock, reaches_broker=lambda: reaches_broker)
    rest = one.tick()
    assert (lock.asked == ["evict"]) is reaches_broker
    assert (rest < 0.1) is reaches_broker, "it comes before whoever was put out"
    ticked(one)
    assert bool(sent) is reaches_broker


def test_whoever_lost_the_lock_lets_others_come_first(a_ticker: Callable[..., Ticker], clock: type[Clock]) -> None:
    lock = Lock()
    lock.is_free, lock.stuck = False, True
    one = a_ticker(lock=lock)
    one.tick()
    ticked(one)
    assert pulse.is_leading()
    lock.is_kept, lock.is_free = False, True
    clock.goes(1)
    assert one.tick() == 1
    assert not pulse.is_leading()


def test_a_leader_that_is_cut_off_from_the_broker_makes_room(
    a_ticker: Callable[..., Ticker], clock: type[Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock()
    one = a_ticker(lock=lock)

    def apply_async(*_: object, **__: object) -> None:
        raise SchedulingError("nothing listens there")

    monkeypatch.setattr(one, "apply_async", apply_async)
    ticked(one)
    assert set(lock.asked) == {"keep"}
    monkeypatch.setattr(ticker, "_CUT_OFF_SECONDS", 0.0)
    ticked(one)
    assert lock.asked[-1] == "keep, not fit"


def test_a_beat_that_ends_gives_the_lock_back(a_ticker: Callable[..., Ticker]) -> None:
    lock = Lock()
    one = a_ticker(lock=lock)
    ticked(one)
    one.close()
    assert lock.asked[-1] == "release"
    assert not pulse.is_leading()


def test_ticks_that_nobody_takes_are_not_piled_up(redis_url: str) -> None:
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.update(celery_settings(read_settings(redis_url=redis_url)))
    made = Ticker(app, lazy=True)
    entry = ScheduleEntry(name="tick", task="tick", schedule=schedule(1), app=app, options={"queue": names.CLOCK})
    with capture_logs() as lines:
        for _ in range(_UNREAD + 20):
            made.apply_entry(entry, producer=made.producer)
        assert queue_length(made.producer, names.CLOCK) == _UNREAD
        forget_everything(redis_url)
        made.apply_entry(entry, producer=made.producer)
    assert queue_length(made.producer, names.CLOCK) == 1
    assert [line["event"] for line in lines] == ["ticks.withheld", "ticks.sent_again"]
    app.close()
