import subprocess
import sys
from typing import Any

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS
from celery.beat import Scheduler, Service
from kombu.transport.redis import Channel

from ticket_tasks import carrying, names, registry
from ticket_worker.app import celery_settings, create_app
from ticket_worker.settings import Settings, read_settings
from ticket_worker.ticker import Ticker


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://127.0.0.1:1/0")
    return read_settings()


@pytest.fixture
def app(settings: Settings) -> Celery:
    return create_app(settings)


def test_celery_knows_every_setting(settings: Settings) -> None:
    assert set(celery_settings(settings)) <= set(DEFAULTS)


def test_the_transport_knows_every_option(settings: Settings) -> None:
    known = set(Channel.from_transport_options) | {"visibility_timeout"}
    assert set(celery_settings(settings)["broker_transport_options"]) <= known


def test_no_job_outlives_the_visibility_of_its_message(settings: Settings) -> None:
    timeout = celery_settings(settings)["broker_transport_options"]["visibility_timeout"]
    assert max(job.hard_limit for job in registry.JOBS) < timeout
    # What waits for its time lies with a worker too.
    carriers = [job for job in registry.JOBS if job.carries]
    assert max(job.hard_limit for job in carriers) + carrying.LONGEST_WAIT_SECONDS < timeout


def test_what_a_killed_worker_held_comes_back_within_five_minutes(settings: Settings) -> None:
    options = celery_settings(settings)["broker_transport_options"]
    assert options["visibility_timeout"] + options["unacked_restore_interval"] + options["unacked_mutex_expire"] <= 310


def test_memory_is_bounded_unless_told_otherwise(settings: Settings) -> None:
    assert celery_settings(settings)["worker_max_memory_per_child"] == 512 * 1024
    without = settings.model_copy(update={"child_memory_mb": 0})
    assert celery_settings(without)["worker_max_memory_per_child"] is None


def test_a_task_for_a_queue_that_nobody_works_on_cannot_be_sent(app: Celery) -> None:
    with pytest.raises(Exception, match="typo"):
        app.send_task(names.SCAN_BREACHES, queue="typo")


def test_every_job_goes_to_its_own_queue(app: Celery) -> None:
    for job in registry.JOBS:
        route: dict[str, Any] = app.amqp.router.route({}, job.name)
        assert route["queue"].name == job.queue


def test_the_schedule_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TICKETS_SCAN_INTERVAL_SECONDS", "0.25")
    app = create_app(read_settings())
    assert app.conf.beat_schedule[names.SCAN_BREACHES]["schedule"] == 0.25


def test_the_shipped_beat_has_a_lock_in_postgresql_and_none_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://127.0.0.1:1/0")
    embedded = a_scheduler()
    assert isinstance(embedded, Ticker)
    assert embedded._lock is None
    monkeypatch.setenv("TICKETS_DATABASE_URL", "postgresql://u:hush@pooler/tickets")
    locked = a_scheduler()
    assert isinstance(locked, Ticker)
    assert locked._lock is not None
    assert locked._lock._url.host == "pooler"
    assert not locked._reaches_broker()
    monkeypatch.setenv("TICKETS_BEAT_DATABASE_URL", "postgresql://u:hush@database/tickets")
    direct = a_scheduler()
    assert isinstance(direct, Ticker)
    assert direct._lock is not None
    assert direct._lock._url.host == "database"
    monkeypatch.setenv("TICKETS_BEAT", "plain")
    plain = a_scheduler()
    assert isinstance(plain, Ticker)
    assert plain._lock is None


def a_scheduler() -> Scheduler:
    """What beat would tick with, connected to nothing."""
    app = create_app(read_settings())
    made: Scheduler = Service(app, scheduler_cls=app.conf.beat_scheduler).get_scheduler(lazy=True)
    return made


def test_redbeat_is_set_up_so_that_it_takes_over_within_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TICKETS_BEAT", "RedBeat")
    conf = create_app(read_settings()).conf
    assert conf.beat_scheduler == "ticket_worker.redbeat_ticker:RedBeatTicker"
    assert conf.redbeat_lock_timeout >= 5 * conf.beat_max_loop_interval
    assert conf.redbeat_lock_timeout <= 30
    assert conf.redbeat_redis_url == "redis://127.0.0.1:1/0"


def test_two_apps_live_side_by_side(settings: Settings) -> None:
    assert set(create_app(settings).tasks) == set(create_app(settings).tasks)


def test_the_module_is_a_target_for_celery_and_needs_no_settings_to_be_imported() -> None:
    code = (
        "import ticket_worker.app as target; import billiard.common as common;"
        "assert common.REMAP_SIGTERM == 'SIGQUIT'; assert 'app' not in vars(target);"
        "import os; os.environ['TICKETS_REDIS_URL'] = 'redis://127.0.0.1:1/0';"
        "assert target.app.main == 'tickets'; assert target.app is target.app"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
