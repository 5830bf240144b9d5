import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Task
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from ticket_system import runs
from ticket_system.errors import StorageUnavailable
from ticket_tasks import names, registry, turns
from ticket_tasks.toolbox import Toolbox

SLOT = datetime(2026, 3, 1, 9, 0, 5, tzinfo=UTC)
LEASE = timedelta(seconds=75)


class Weather:
    """A job that finds something, or meets what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.times, self.found = error, 0, 3

    def __call__(self) -> "Weather":
        self.times += 1
        if self.error:
            raise self.error
        return self


def in_turn(toolbox: Toolbox, run: Weather, slot: datetime | None = SLOT) -> Any:
    return turns.in_turn("tickets.job", slot, toolbox.database, run, lease=LEASE, again_after=timedelta(seconds=10))


@pytest.fixture
def outcomes() -> Any:
    """What was told to whoever counts."""
    told: list[tuple[str, str]] = []

    def note(job: str, outcome: str, **_: object) -> None:
        told.append((job, outcome))

    turns.slot_settled.connect(note)
    yield told
    turns.slot_settled.disconnect(note)


def a_run(toolbox: Toolbox) -> runs.JobRun:
    [run] = runs.newest(toolbox.database, "tickets.job")
    return run


def test_a_tick_that_came_twice_is_done_once(toolbox: Toolbox, outcomes: list[tuple[str, str]]) -> None:
    run = Weather()
    with capture_logs() as lines:
        assert in_turn(toolbox, run) is run
        assert in_turn(toolbox, run) is None
    assert run.times == 1
    assert [(line["event"], line["log_level"]) for line in lines] == [("tick.taken", "debug"), ("tick.passed", "debug")]
    assert outcomes == [("tickets.job", "taken"), ("tickets.job", "passed")]
    row = a_run(toolbox)
    assert (row.state, row.found) == ("done", True)
    assert row.taken_by.startswith(socket.gethostname())


def test_a_message_without_a_slot_runs_in_any_case(toolbox: Toolbox, outcomes: list[tuple[str, str]]) -> None:
    run = Weather()
    assert in_turn(toolbox, run, None) is run
    assert in_turn(toolbox, run, None) is run
    assert (runs.newest(toolbox.database, "tickets.job"), outcomes) == ([], [])


def test_what_failed_is_written_down_without_what_somebody_may_have_written(
    toolbox: Toolbox, outcomes: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match="secret"):
        in_turn(toolbox, Weather(ValueError("the customer's secret")))
    row = a_run(toolbox)
    assert (row.state, row.error) == ("failed", "ValueError")
    assert outcomes == [("tickets.job", "taken"), ("tickets.job", "failed")]


def test_our_own_words_about_the_weather_are_written_down(toolbox: Toolbox) -> None:
    with pytest.raises(StorageUnavailable):
        in_turn(toolbox, Weather(StorageUnavailable("the disk is full")))
    assert a_run(toolbox).error == "the disk is full"


def test_what_is_done_but_cannot_be_written_down_is_done(toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> bool:
        raise StorageUnavailable("nothing listens there")

    monkeypatch.setattr(runs, "done", gone)
    run = Weather()
    with capture_logs() as lines:
        assert in_turn(toolbox, run) is run
    assert [line["event"] for line in lines][-1] == "tick.unrecorded"


def test_a_run_that_outlived_its_lease_says_so(toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Weather):
        def __call__(self) -> Weather:
            later = datetime.now(UTC) + 2 * LEASE
            assert runs.claim(toolbox.database, "tickets.job", SLOT, by="other", lease=LEASE, now=later)
            return self

    with capture_logs() as lines:
        in_turn(toolbox, Slow())
    assert [line["event"] for line in lines][-1] == "tick.overrun"
    assert a_run(toolbox).taken_by == "other"


@pytest.mark.parametrize(
    ("headers", "slot"),
    (
        ({names.SLOT_HEADER: SLOT.isoformat()}, SLOT),
        ({names.SLOT_HEADER: "2026-03-01T10:00:05+01:00"}, SLOT),
        ({names.SLOT_HEADER: "2026-03-01T09:00:05"}, None),
        ({names.SLOT_HEADER: "soon"}, None),
        ({names.SLOT_HEADER: 5}, None),
        ({}, None),
        (None, None),
    ),
)
def test_a_slot_that_cannot_be_read_is_none(headers: object, slot: datetime | None) -> None:
    assert turns.slot_in(headers) == slot


@pytest.mark.parametrize(
    ("expires", "seconds"),
    (("2026-03-01T09:00:15+00:00", 10), (SLOT + timedelta(hours=1), 3600), (None, 0), ("soon", 0), (60, 0)),
)
def test_a_tick_lives_as_long_as_beat_let_it(expires: object, seconds: int) -> None:
    assert turns.life_of(SLOT, expires) == timedelta(seconds=seconds)
    assert turns.life_of(None, expires) == timedelta(0)


def deliver(app: Celery, name: str, slot: datetime, expires: datetime | None = None) -> None:
    """Run a task as a worker does with a message of beat."""
    task: Task[..., Any] = app.tasks[name]
    task.push_request(headers={names.SLOT_HEADER: slot.isoformat()}, expires=expires.isoformat() if expires else None)
    try:
        task.run()
    finally:
        task.pop_request()


def test_a_job_of_the_schedule_takes_its_tick(toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    registry.register(app, lambda: toolbox)
    nudged: list[str] = []
    monkeypatch.setattr(app, "send_task", lambda name, **_: nudged.append(name))
    toolbox.system.create_ticket(a_ticket_due_in(-5))
    for _ in range(2):
        deliver(app, names.SCAN_BREACHES, SLOT)
    [run] = runs.newest(toolbox.database, names.SCAN_BREACHES, 5)
    assert (run.slot, run.state, run.found, run.attempts) == (SLOT, "done", True, 1)
    job = registry.BY_NAME[names.SCAN_BREACHES]
    assert run.lease_until - run.taken_at > timedelta(seconds=job.hard_limit)
    assert nudged == [names.DELIVER_OUTBOX]


def test_whoever_begins_to_tick_in_a_long_interval_repeats_nothing(toolbox: Toolbox) -> None:
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    registry.register(app, lambda: toolbox)
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    slot, before = now - 0.9 * hour, now - 0.8 * hour
    lease = timedelta(minutes=1)
    assert runs.claim(toolbox.database, names.SCAN_BREACHES, slot, by="before", lease=lease, now=before)
    assert runs.done(toolbox.database, names.SCAN_BREACHES, slot, by="before", now=before)
    deliver(app, names.SCAN_BREACHES, slot, expires=now + 1.5 * hour)
    [run] = runs.newest(toolbox.database, names.SCAN_BREACHES)
    assert run.taken_by == "before"


def test_a_lease_outlives_every_job_and_ends_before_its_message_comes_back() -> None:
    for job in registry.JOBS:
        assert job.hard_limit < job.hard_limit + registry._LEASE_MARGIN_SECONDS < 600
