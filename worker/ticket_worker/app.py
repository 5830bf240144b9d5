"""The Celery application: `create_app(settings)`, and `app`, the target of `celery -A ticket_worker.app`."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Celery

from ticket_system.storage.database import url_of
from ticket_system.storage.session_lock import SessionLock
from ticket_tasks import names, registry
from ticket_worker.broker import broker_problem
from ticket_worker.guard import guard_channels
from ticket_worker.lifecycle import Workshop, connect_signals
from ticket_worker.refusals import wait_for_refusals
from ticket_worker.settings import Settings, read_settings
from ticket_worker.ticker import Ticker
from ticket_worker.watching import watch


def create_app(settings: Settings) -> Celery:
    """Return a Celery application with every job registered; nothing is connected before it is used."""
    guard_channels()
    wait_for_refusals()
    app = Celery("tickets", broker=settings.broker, set_as_current=False)
    app.conf.update(**celery_settings(settings), **(_redbeat(settings) if settings.beat == "redbeat" else {}))
    workshop = Workshop(settings)
    connect_signals(workshop)
    registry.register(app, workshop.toolbox, watch(app, settings))
    return app


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Return Celery's settings, each with the failure it prevents."""
    return {
        # A message of a format that can carry code would run it.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Results nobody reads fill the broker; what happened stands in the database.
        "task_ignore_result": True,
        # A task sent to a queue with a typing error in its name would wait for ever; with these, sending it fails.
        "task_queues": names.QUEUES,
        "task_routes": registry.routes(),
        "task_default_queue": names.INTAKE,
        "task_create_missing_queues": False,
        # Acknowledged when done: a killed worker's messages come back.
        "task_acks_late": True,
        # A message that kills its process would be put back and kill the next one, without end …
        "task_reject_on_worker_lost": False,
        # … and so would one that always takes too long.
        "task_acks_on_timeout": True,
        # A message that no job understands would be dropped, its content in the log; or end the worker.
        "worker_consumer": "ticket_worker.strays:StrayConsumer",
        # A message fetched ahead waits behind a long job while other workers are idle.
        "worker_prefetch_multiplier": 1,
        # Killed whenever the broker blinks, a delivery would leave letters of which nobody knows whether they went out.
        # Not killed, it runs beside its second copy for a while, which every job here can bear.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # SIGTERM would wait for ever, or cut a letter in half. Longer than a delivery goes on by itself.
        "worker_soft_shutdown_timeout": settings.stop_seconds,
        # Small leaks add up over months …
        "worker_max_tasks_per_child": 10_000,
        # … and large ones over hours: a process that grew beyond this is replaced when its job is done. In kilobytes.
        "worker_max_memory_per_child": settings.child_memory_mb * 1024 or None,
        # Two processes for every core of the host, whatever the container may use.
        "worker_concurrency": settings.concurrency,
        # A worker that starts before its broker would exit, and one that loses it would give up after 100 attempts.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 5,
        "broker_transport_options": {
            # Shorter than the longest job, a second copy starts while the first still runs; longer than it need be,
            # what a killed worker held comes back late.
            "visibility_timeout": registry.VISIBILITY_SECONDS,
            # By default what a dead worker held comes back up to 100 s later than it could …
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            # … and five minutes later, where the dead one was about to look for it.
            "unacked_mutex_expire": 30,
            # A connection that died without a goodbye hangs the worker for good.
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            # In the broker's list of clients nobody knows who is who.
            "client_name": "ticket-worker",
            # Another program on the same Redis database takes our messages, or we take theirs.
            "global_keyprefix": names.KEY_PREFIX,
        },
        # With the broker down, whoever enqueues would be stuck for seconds.
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        "beat_schedule": registry.schedule(
            {
                names.SCAN_BREACHES: settings.scan_interval_seconds,
                names.DELIVER_OUTBOX: settings.deliver_interval_seconds,
                names.REPORT_USAGE: settings.report_interval_seconds,
            }
        ),
        # The default keeps a file with the time of the last tick: with intervals of seconds it says nothing, and it can
        # be damaged or unwritable. Nor does it know of others of its kind.
        "beat_scheduler": _scheduler(settings),
        # Daylight saving would double or drop ticks.
        "timezone": "UTC",
        "enable_utc": True,
        # Celery would replace our handlers and print what it likes, in two shapes.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _scheduler(settings: Settings) -> Any:
    """Return what makes beat's scheduler; nothing is connected before it ticks."""
    if settings.beat == "redbeat":
        return "ticket_worker.redbeat_ticker:RedBeatTicker"
    if settings.beat == "plain":
        return "ticket_worker.ticker:Ticker"
    url = settings.beat_database_url.get_secret_value() if settings.beat_database_url else settings.database
    # A SQLite file belongs to one machine, whose beat is the only one.
    lock = SessionLock(url) if url_of(url).get_backend_name() == "postgresql" else None
    return partial(Ticker, lock=lock, reaches_broker=lambda: broker_problem(settings.broker, timeout_seconds=1) is None)


def _redbeat(settings: Settings) -> dict[str, Any]:
    """Return RedBeat's settings, which Celery does not know; its own would keep a fleet still for half an hour."""
    return {
        "beat_max_loop_interval": 5,
        "redbeat_lock_timeout": 25,
        "redbeat_key_prefix": f"{names.KEY_PREFIX}redbeat:",
        "redbeat_redis_url": settings.broker,
        "redbeat_redis_options": {"socket_timeout": 5, "socket_connect_timeout": 5, "socket_keepalive": True},
    }


def __getattr__(name: str) -> Celery:
    """Make `app` when it is asked for: importing this module needs no settings."""
    if name != "app":
        raise AttributeError(name)
    application = create_app(read_settings())
    globals()["app"] = application
    return application
