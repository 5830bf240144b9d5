"""Everything operational about a job, as one table; and the only place where jobs meet Celery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

import structlog
from celery import Celery
from celery.app.task import Context, Task
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from ticket_system.errors import StorageUnavailable
from ticket_tasks import names
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.carrying import carry
from ticket_tasks.errors import TooEarly
from ticket_tasks.intake import park_message, replay_parked, take_wish
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.payloads import WISHES
from ticket_tasks.reports import make_reports, send_reports
from ticket_tasks.subscriptions import sync_subscriptions
from ticket_tasks.toolbox import Toolbox
from ticket_tasks.turns import in_turn, life_of, slot_in
from ticket_tasks.upkeep import audit_clocks, prune
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
    Job(replay_parked, names.REPLAY_PARKED, names.INTAKE, soft_limit=60, hard_limit=90, every=30),
    *(
        Job(partial(take_wish, name=name), name, names.INTAKE, soft_limit=30, hard_limit=60, carries=PAYLOAD)
        for name in WISHES
    ),
    Job(
        park_message,
        names.PARK_MESSAGE,
        names.INTAKE,
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
    Job(prune, names.PRUNE, names.REPORTS, soft_limit=120, hard_limit=180, every=3600),
)

BY_NAME: Mapping[str, Job] = {job.name: job for job in JOBS}

#: How long the broker leaves a message to a worker before it hands it to another one. Longer than any job may run, or a
#: second copy would start while the first still runs; the rest is for clocks of two machines that differ.
VISIBILITY_SECONDS = max(job.hard_limit for job in JOBS) + 30

#: A tick older than this is dropped: after an outage one fresh tick does the work of all the missed ones. Not shorter,
#: however often a job ticks: expiry compares the clocks of two machines, and one some seconds fast would drop all.
TICK_EXPIRES_SECONDS = 10

_LEASE_MARGIN_SECONDS = 15
#: For a moment of too little memory to pass; waits for its process are part of what VISIBILITY_SECONDS has to cover.
_KILLED_WAIT_SECONDS = 10


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


#: Is told each job's name and what it came to, after it came to it; None: it was somebody else's turn.
Observer: TypeAlias = Callable[[str, object], None]


def register(app: Celery, toolbox: Callable[[], Toolbox], observe: Observer = lambda _job, _outcome: None) -> None:
    """Make a task of every job. `toolbox` is called when a job runs, in the process it runs in."""
    for job in JOBS:
        _register(app, job, toolbox, observe)


def _register(app: Celery, job: Job, toolbox: Callable[[], Toolbox], observe: Observer) -> None:
    def task(self: Task[..., Any], /, *args: object, **carried: object) -> None:
        if job.carries:
            outcome = carry(self, job.run, job.carries, toolbox, args, carried)
        else:
            outcome = _tick(job, toolbox, self.request)
        observe(job.name, outcome)
        if job.nudges and outcome is not None and outcome.found:
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


def _tick(job: Job, toolbox: Callable[[], Toolbox], request: Context) -> Any:
    """Do a job of the schedule, where it is nobody else's turn."""
    slot = slot_in(request.headers)
    try:
        tools = toolbox()
        return in_turn(
            job.name,
            slot,
            tools.database,
            lambda: job.run(tools),
            # After its hard limit nothing of it is left.
            lease=timedelta(seconds=job.hard_limit + _LEASE_MARGIN_SECONDS),
            again_after=max(life_of(slot, request.expires), timedelta(seconds=TICK_EXPIRES_SECONDS)),
        )
    except (StorageUnavailable, SoftTimeLimitExceeded) as error:
        # The next tick is the retry.
        is_late = isinstance(error, SoftTimeLimitExceeded)
        log.warning("job.skipped", error=f"it took longer than {job.soft_limit} s" if is_late else str(error))
        raise


def _nudge(app: Celery, jobs: tuple[str, ...]) -> None:
    """Send ticks out of turn, now that everything is committed. A lost one costs latency, nothing else."""
    for name in jobs:
        try:
            app.send_task(name, queue=BY_NAME[name].queue, expires=TICK_EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            log.warning("nudge.lost", job=name, error=str(error))


def _expires(interval: float | None) -> float:
    return max(TICK_EXPIRES_SECONDS, 1.5 * (interval or 0))
