from typing import Any

import pytest
from celery import Celery
from celery.app.task import Task
from celery.exceptions import Reject, Retry, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from ticket_system import parking
from ticket_system.errors import StorageUnavailable
from ticket_system.monitor import Sweep
from ticket_tasks import carrying, names, registry
from ticket_tasks.toolbox import Toolbox


@pytest.fixture
def app(toolbox: Toolbox) -> Celery:
    return an_app(lambda: toolbox)


def an_app(toolbox: Any) -> Celery:
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    registry.register(app, toolbox)
    return app


def out_of_reach() -> Toolbox:
    raise StorageUnavailable("nothing listens there")


def run(app: Celery, name: str, **carried: object) -> None:
    task: Task[..., Any] = app.tasks[name]
    task(**carried)


@pytest.mark.parametrize("job", registry.JOBS, ids=lambda job: job.name)
def test_every_job_ends_well_before_its_message_comes_back(job: registry.Job) -> None:
    assert job.soft_limit < job.hard_limit <= registry.VISIBILITY_SECONDS - 30
    assert job.queue in {queue.name for queue in names.QUEUES}
    assert set(job.nudges) <= set(registry.BY_NAME)
    assert job.run.__doc__


@pytest.mark.parametrize("job", registry.JOBS, ids=lambda job: job.name)
def test_a_task_carries_its_row_of_the_table(app: Celery, job: registry.Job) -> None:
    task = app.tasks[job.name]
    assert (task.soft_time_limit, task.time_limit) == (job.soft_limit, job.hard_limit)


def test_the_scan_has_the_clock_to_itself() -> None:
    on_time = {job.name for job in registry.JOBS if job.queue == names.CLOCK}
    assert on_time == {names.SCAN_BREACHES}


def test_every_tick_expires_and_says_where_it_goes() -> None:
    schedule = registry.schedule({names.SCAN_BREACHES: 0.5, names.DELIVER_OUTBOX: 60})
    assert schedule[names.SCAN_BREACHES]["schedule"] == 0.5
    assert schedule[names.SCAN_BREACHES]["options"] == {"queue": names.CLOCK, "expires": 10}
    assert schedule[names.DELIVER_OUTBOX]["options"]["expires"] == 90
    assert names.OPEN_TICKET not in schedule


def test_a_scan_that_found_something_nudges_what_follows(
    app: Celery, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(app, "send_task", lambda name, **_: sent.append(name))
    run(app, names.SCAN_BREACHES)
    assert sent == []
    toolbox.system.create_ticket(a_ticket_due_in(-5))
    run(app, names.SCAN_BREACHES)
    assert sent == [names.DELIVER_OUTBOX]


def test_a_lost_nudge_changes_nothing(app: Celery, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(app, "send_task", unreachable)
    toolbox.system.create_ticket(a_ticket_due_in(-5))
    with capture_logs() as lines:
        run(app, names.SCAN_BREACHES)
    assert [line["event"] for line in lines].count("nudge.lost") == 1


def test_a_tick_without_a_database_fails_in_one_line_and_is_not_repeated() -> None:
    with capture_logs() as lines, pytest.raises(StorageUnavailable):
        run(an_app(out_of_reach), names.SCAN_BREACHES)
    assert [(line["event"], line["error"]) for line in lines] == [("job.skipped", "nothing listens there")]


def test_a_message_that_carries_something_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    app = an_app(out_of_reach)
    asked: dict[str, Any] = {}

    def retry(_self: object, **how: Any) -> Retry:
        asked.update(how)
        return Retry()

    monkeypatch.setattr(type(app.tasks[names.OPEN_TICKET]), "retry", retry)
    with pytest.raises(Retry):
        run(app, names.OPEN_TICKET, payload={})
    assert 0.5 <= asked["countdown"] <= 1
    assert asked["max_retries"] > 1_000_000


@pytest.mark.parametrize("carries", (False, True), ids=("a tick", "the only copy"))
def test_a_job_that_takes_too_long_is_repeated_by_what_would_repeat_it_anyway(
    monkeypatch: pytest.MonkeyPatch, carries: bool
) -> None:
    def too_slow() -> Toolbox:
        raise SoftTimeLimitExceeded

    app = an_app(too_slow)
    name = names.OPEN_TICKET if carries else names.SCAN_BREACHES
    monkeypatch.setattr(type(app.tasks[name]), "retry", lambda *_, **__: Retry())
    with capture_logs() as lines, pytest.raises(Retry if carries else SoftTimeLimitExceeded):
        run(app, name, **({"payload": {}} if carries else {}))
    told = [(line["event"], line["error"]) for line in lines]
    assert told == ([] if carries else [("job.skipped", "it took longer than 45 s")])


def test_the_only_copy_stays_in_the_broker_where_no_second_can_be_enqueued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Celery would drop it: the database is away, and the broker as well."""
    app = an_app(out_of_reach)

    def retry(*_: object, **__: object) -> Retry:
        raise Reject(OperationalError("gone"), requeue=False)

    monkeypatch.setattr(type(app.tasks[names.OPEN_TICKET]), "retry", retry)
    with pytest.raises(Reject) as caught:
        run(app, names.OPEN_TICKET, payload={})
    assert vars(caught.value)["requeue"] is True


@pytest.mark.parametrize("job", registry.JOBS, ids=lambda job: job.name)
def test_only_a_tick_is_dropped_when_its_process_has_to_be_killed(app: Celery, job: registry.Job) -> None:
    task: Any = app.tasks[job.name]
    assert task.acks_on_timeout is not job.carries


WISH = {
    "ticket_id": "t",
    "title": "Printer prints stars",
    "description": "On every page.",
    "requester": "ada",
}


def test_a_wish_outlasts_any_number_of_waits_for_the_database(app: Celery, toolbox: Toolbox) -> None:
    assert app.tasks[names.OPEN_TICKET].max_retries is None
    app.tasks[names.OPEN_TICKET].apply(kwargs={"payload": WISH, "waits": 50, "tries": 1}, retries=53)
    assert toolbox.system.get_ticket("t") is not None
    assert parking.listed(toolbox.database) == []


def test_a_wish_that_kills_its_process_again_and_again_is_parked(app: Celery, toolbox: Toolbox) -> None:
    app.tasks[names.OPEN_TICKET].apply(kwargs={"payload": WISH, "waits": 50}, retries=53)
    assert toolbox.system.get_ticket("t") is None
    (parked,) = parking.listed(toolbox.database)
    assert (parked.name, parked.reason) == (names.OPEN_TICKET, "its process was killed 3 times")


def test_waits_double_up_to_a_minute() -> None:
    assert all(30 <= carrying.wait_seconds(retries) <= 60 for retries in (6, 7, 100, 10_000))


def test_what_a_job_came_to_is_told_once_it_came_to_it(toolbox: Toolbox) -> None:
    told: list[tuple[str, object]] = []
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    registry.register(app, lambda: toolbox, lambda job, outcome: told.append((job, outcome)))
    app.tasks[names.SCAN_BREACHES].apply(throw=True)
    [(job, outcome)] = told
    assert job == names.SCAN_BREACHES
    assert isinstance(outcome, Sweep)


def test_of_a_job_that_came_to_nothing_nothing_is_told() -> None:
    app = Celery(set_as_current=False, broker="memory://", task_ignore_result=True)
    registry.register(app, out_of_reach, lambda *_: pytest.fail("nothing came of it"))
    with pytest.raises(StorageUnavailable):
        app.tasks[names.SCAN_BREACHES].apply(throw=True)
