"""Everything operational about a job, as one table; and the only place where jobs meet Celery."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.app.task import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from ticket_system.errors import StorageUnavailable
from ticket_tasks import names
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.intake import open_ticket
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.reports import make_reports, send_reports
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.upkeep import audit_clocks
from ticket_tasks.usage import reconcile_usage, report_usage

log = structlog.stdlib.get_logger(__name__)


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
    #: A tick is repeated by the next tick. A message that carries something is the only copy, and is tried again.
    carries: bool = False


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
    Job(open_ticket, names.OPEN_TICKET, names.DESK, soft_limit=30, hard_limit=60, carries=True),
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
    def task(self: Task[..., Any], /, **carried: object) -> None:
        try:
            outcome = job.run(toolbox(), **carried)
        except (StorageUnavailable, SoftTimeLimitExceeded) as error:
            if not job.carries:
                # The next tick is the retry.
                log.warning("job.skipped", error=_reason(job, error))
                raise
            raise _postponed(self, error, _reason(job, error)) from error
        if job.nudges and outcome.found:
            _nudge(app, job.nudges)

    task.__doc__ = job.run.__doc__
    app.task(
        bind=True,
        name=job.name,
        shared=False,
        soft_time_limit=job.soft_limit,
        time_limit=job.hard_limit,
        # Counts repeats after a killed process, not after bad weather, which may last as long as it likes.
        max_retries=3 if job.carries else 0,
        retry_on_worker_lost=job.carries,
        # A tick that always takes too long would come back without end. What carries something is the only copy, and
        # comes back until it gets through.
        acks_on_timeout=not job.carries,
        # Logged as a fact, without a traceback.
        throws=(StorageUnavailable, SoftTimeLimitExceeded),
    )(task)


def _postponed(task: Task[..., Any], error: Exception, reason: str) -> Exception:
    """Enqueue a copy of the message for later, and return what tells Celery so."""
    wait = _wait_seconds(task.request.retries)
    log.warning("job.postponed", error=reason, wait_seconds=round(wait, 1))
    try:
        return task.retry(exc=error, countdown=wait, max_retries=_FOREVER, throw=False)
    except Reject as rejected:
        # The broker is away as well. Celery would drop the message, which is the only copy.
        return Reject(str(rejected), requeue=True)


def _reason(job: Job, error: Exception) -> str:
    return f"it took longer than {job.soft_limit} s" if isinstance(error, SoftTimeLimitExceeded) else str(error)


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
