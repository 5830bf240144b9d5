"""Everything operational about a job, as one table; and the only place where jobs meet Celery."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from celery import Celery
from celery.app.task import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from ticket_system.errors import StorageUnavailable
from ticket_tasks import names
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.errors import TooEarly
from ticket_tasks.intake import park, park_message, replay_parked, take_wish
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.payloads import WISHES
from ticket_tasks.reports import make_reports, send_reports
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.upkeep import audit_clocks
from ticket_tasks.usage import reconcile_usage, report_usage

log = structlog.stdlib.get_logger(__name__)


PAYLOAD = frozenset({"payload"})


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table."""

    run: Callable[..., Any]
    name: str
    queue: str
    #: Seconds until the job is asked to stop, and until its process is killed. The longest decides how long the message
    #: of a killed worker lies idle, see VISIBILITY_SECONDS.
    soft_limit: int
    hard_limit: int
    #: Seconds between two ticks unless the settings say otherwise; None: not on the schedule.
    every: float | None = None
    #: Sent when a run found something, so that what follows does not wait for its own tick.
    nudges: tuple[str, ...] = ()
    #: What its message carries. A tick carries nothing, and is repeated by the next one; a message that carries
    #: something is the only copy, and is tried again.
    carries: frozenset[str] = frozenset()


JOBS = (
    Job(
        scan_breaches,
        names.SCAN_BREACHES,
        names.CLOCK,
        soft_limit=45,
        hard_limit=60,
        every=1,
        nudges=(names.DELIVER_OUTBOX,),
    ),
    Job(deliver_outbox, names.DELIVER_OUTBOX, names.DESK, soft_limit=180, hard_limit=240, every=5),
    Job(audit_clocks, names.AUDIT_CLOCKS, names.DESK, soft_limit=60, hard_limit=90, every=600),
    Job(replay_parked, names.REPLAY_PARKED, names.DESK, soft_limit=60, hard_limit=90, every=30),
    *(
        Job(partial(take_wish, name=name), name, names.DESK, soft_limit=30, hard_limit=60, carries=PAYLOAD)
        for name in WISHES
    ),
    Job(
        park_message,
        names.PARK_MESSAGE,
        names.DESK,
        soft_limit=30,
        hard_limit=60,
        carries=frozenset({"name", "body", "reason"}),
    ),
    Job(report_usage, names.REPORT_USAGE, names.MONEY, soft_limit=120, hard_limit=180, every=30),
    Job(reconcile_usage, names.RECONCILE_USAGE, names.MONEY, soft_limit=120, hard_limit=180, every=300),
    Job(sync_subscriptions, names.SYNC_SUBSCRIPTIONS, names.MONEY, soft_limit=120, hard_limit=180, every=30),
    Job(
        make_reports,
        names.MAKE_REPORTS,
        names.REPORTS,
        soft_limit=180,
        hard_limit=240,
        every=60,
        nudges=(names.SEND_REPORTS,),
    ),
    Job(send_reports, names.SEND_REPORTS, names.REPORTS, soft_limit=180, hard_limit=240, every=60),
)

BY_NAME: Mapping[str, Job] = {job.name: job for job in JOBS}

#: How long the broker leaves a message to a worker before it hands it to another one. Longer than any job may run, or a
#: second copy would start while the first still runs; the rest is for clocks of two machines that differ.
VISIBILITY_SECONDS = max(job.hard_limit for job in JOBS) + 30

#: A tick older than this is dropped: after an outage one fresh tick does the work of all the missed ones. Not shorter,
#: however often a job ticks: expiry compares the clocks of two machines, and one some seconds fast would drop all.
TICK_EXPIRES_SECONDS = 10

_LONGEST_WAIT_SECONDS = 60
_FOREVER = 10**9
#: For a moment of too little memory to pass; waits for its process are part of what VISIBILITY_SECONDS has to cover.
_KILLED_WAIT_SECONDS = 10
#: So often a message is tried that fails by itself; and one that is about something not there yet, about a minute long.
_TRIES = 3
_EARLY_TRIES = 6


def routes() -> dict[str, dict[str, str]]:
    """Return which queue each job's messages go to."""
    return {job.name: {"queue": job.queue} for job in JOBS}


def schedule(every: Mapping[str, float] | None = None) -> dict[str, dict[str, Any]]:
    """Return the beat schedule; `every` changes intervals by job name."""
    every = every or {}
    return {
        job.name: {
            "task": job.name,
            "schedule": every.get(job.name, job.every),
            "options": {"queue": job.queue, "expires": _expires(every.get(job.name, job.every))},
        }
        for job in JOBS
        if job.every is not None
    }


def register(app: Celery, toolbox: Callable[[], Toolbox]) -> None:
    """Make a task of every job. `toolbox` is called when a job runs, in the process it runs in."""
    for job in JOBS:
        _register(app, job, toolbox)


def _register(app: Celery, job: Job, toolbox: Callable[[], Toolbox]) -> None:
    def task(self: Task[..., Any], /, *args: object, **carried: object) -> None:
        run = _carry if job.carries else _tick
        outcome = run(self, job, toolbox, args, carried)
        if job.nudges and outcome.found:
            _nudge(app, job.nudges)

    task.__doc__ = (job.run.func if isinstance(job.run, partial) else job.run).__doc__
    app.task(
        bind=True,
        name=job.name,
        shared=False,
        soft_time_limit=job.soft_limit,
        time_limit=job.hard_limit,
        # Celery repeats what a killed process held, and counts that together with our own repeats in bad weather, which
        # may be many: it would drop the only copy. So it repeats without end, and we count.
        max_retries=None if job.carries else 0,
        retry_on_worker_lost=bool(job.carries),
        default_retry_delay=_KILLED_WAIT_SECONDS,
        # A tick that always takes too long would come back without end. What carries something is the only copy, and
        # comes back until it gets through.
        acks_on_timeout=not job.carries,
        # Logged as a fact, without a traceback.
        throws=(StorageUnavailable, SoftTimeLimitExceeded, TooEarly),
    )(task)


def _tick(
    _task: Task[..., Any], job: Job, toolbox: Callable[[], Toolbox], _args: object, carried: dict[str, Any]
) -> Any:
    """Run a job of the schedule."""
    try:
        return job.run(toolbox(), **carried)
    except (StorageUnavailable, SoftTimeLimitExceeded) as error:
        # The next tick is the retry.
        is_late = isinstance(error, SoftTimeLimitExceeded)
        log.warning("job.skipped", error=f"it took longer than {job.soft_limit} s" if is_late else str(error))
        raise


def _carry(
    task: Task[..., Any], job: Job, toolbox: Callable[[], Toolbox], args: tuple[object, ...], carried: dict[str, Any]
) -> Any:
    """Run a job whose message is the only copy: bad weather is waited for, what fails by itself ends up parked."""
    tries, waits = (number if isinstance(number := carried.pop(name, 0), int) else 0 for name in ("tries", "waits"))
    #: What repeated it besides was the end of its process.
    kills = task.request.retries - tries - waits
    try:
        if kills >= _TRIES:
            held = carried.get("payload", carried)
            return park(toolbox(), job.name, held, f"its process was killed {kills} times")
        return _attempt(job, toolbox(), args, carried, tries)
    except StorageUnavailable as error:
        wait = _wait_seconds(waits)
        log.warning("job.postponed", error=str(error), wait_seconds=round(wait, 1))
        raise _again(task, error, {**carried, "tries": tries, "waits": waits + 1}, wait) from error
    except (_Later, SoftTimeLimitExceeded) as later:
        wait = _wait_seconds(tries)
        raise _again(task, later, {**carried, "tries": tries + 1, "waits": waits}, wait) from later


def _attempt(job: Job, toolbox: Toolbox, args: tuple[object, ...], carried: dict[str, Any], tries: int) -> Any:
    payload = carried.get("payload")
    if args or carried.keys() - job.carries:
        shape = {"args": list(args), "kwargs": carried}
        return park(
            toolbox, job.name, shape, f"expected the keywords {', '.join(sorted(job.carries))}, and nothing else"
        )
    try:
        return job.run(toolbox, **carried)
    except StorageUnavailable:
        raise
    except TooEarly as error:
        if tries < _EARLY_TRIES:
            log.info("job.early", error=str(error), tries=tries + 1)
            raise _Later(str(error)) from error
        return park(toolbox, job.name, payload, str(error))
    except Exception as error:
        # A bug, or a poison: it stops nothing of what lies behind it, and is not lost.
        log.exception("job.failed", tries=tries + 1)
        if tries + 1 < _TRIES:
            raise _Later(type(error).__name__) from error
        return park(toolbox, job.name, payload, f"it failed {_TRIES} times: {type(error).__name__}")


class _Later(Exception):
    """The same message is to be tried again."""


def _again(task: Task[..., Any], error: Exception, carried: dict[str, Any], wait: float) -> Exception:
    """Put a message back for later; returns what a task raises then."""
    try:
        return task.retry(exc=error, kwargs=carried, countdown=wait, max_retries=_FOREVER, throw=False)
    except Reject as rejected:
        # The broker is away as well. Celery would drop the message, which is the only copy.
        return Reject(str(rejected), requeue=True)


def _nudge(app: Celery, jobs: tuple[str, ...]) -> None:
    """Send ticks out of turn, now that everything is committed. A lost one costs latency, nothing else."""
    for name in jobs:
        try:
            app.send_task(name, queue=BY_NAME[name].queue, expires=TICK_EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            log.warning("nudge.lost", job=name, error=str(error))


def _expires(interval: float | None) -> float:
    return max(TICK_EXPIRES_SECONDS, 1.5 * (interval or 0))


def _wait_seconds(retries: int) -> float:
    """Return a wait that doubles up to a minute, spread so that waiting messages do not come back all at once."""
    longest = min(2.0 ** min(retries, 10), _LONGEST_WAIT_SECONDS)
    return longest * (0.5 + secrets.randbelow(501) / 1000)
