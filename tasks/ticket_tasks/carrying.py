"""Messages that are the only copy of what they carry: bad weather is waited for, and what fails by itself is parked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

import structlog
from celery.app.task import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from ticket_system.errors import StorageUnavailable
from ticket_tasks.errors import TooEarly
from ticket_tasks.intake import park
from ticket_tasks.toolbox import Toolbox

log = structlog.stdlib.get_logger(__name__)

#: So often a message is tried that fails by itself; and one that is about something not there yet, about a minute long.
TRIES = 3
_EARLY_TRIES = 6
LONGEST_WAIT_SECONDS = 60
_FOREVER = 10**9
#: The keywords in which a message that comes back says how often it failed by itself, and how often it met bad weather.
_TRIED, _WAITED = "tries", "waits"


class _Later(Exception):
    """The same message is to be tried again."""


def carry(
    task: Task[..., Any],
    job: Callable[..., Any],
    expected: Collection[str],
    toolbox: Callable[[], Toolbox],
    args: tuple[object, ...],
    carried: dict[str, Any],
) -> Any:
    """Run the job of a message, and return what it does; raises what makes Celery bring the message back."""
    tries, waits = (number if isinstance(number := carried.pop(name, 0), int) else 0 for name in (_TRIED, _WAITED))
    #: What repeated it besides was the end of its process.
    kills = task.request.retries - tries - waits
    try:
        if kills >= TRIES:
            held = carried.get("payload", carried)
            return park(toolbox(), task.name, held, f"its process was killed {kills} times")
        return _attempt(task.name, job, expected, toolbox(), args, carried, tries)
    except StorageUnavailable as error:
        wait = wait_seconds(waits)
        log.warning("job.postponed", error=str(error), wait_seconds=round(wait, 1))
        raise _again(task, error, carried, tries, waits + 1, wait) from error
    except (_Later, SoftTimeLimitExceeded) as later:
        raise _again(task, later, carried, tries + 1, waits, wait_seconds(tries)) from later


def wait_seconds(retries: int) -> float:
    """Return a wait that doubles up to a minute, spread so that waiting messages do not come back all at once."""
    longest = min(2.0 ** min(retries, 10), LONGEST_WAIT_SECONDS)
    return longest * (0.5 + secrets.randbelow(501) / 1000)


def _attempt(
    name: str,
    job: Callable[..., Any],
    expected: Collection[str],
    toolbox: Toolbox,
    args: tuple[object, ...],
    carried: dict[str, Any],
    tries: int,
) -> Any:
    if args or carried.keys() - set(expected):
        shape = {"args": list(args), "kwargs": carried}
        return park(toolbox, name, shape, f"expected the keywords {', '.join(sorted(expected))}, and nothing else")
    try:
        return job(toolbox, **carried)
    except StorageUnavailable:
        raise
    except TooEarly as error:
        if tries < _EARLY_TRIES:
            log.info("job.early", error=str(error), tries=tries + 1)
            raise _Later(str(error)) from error
        return park(toolbox, name, carried.get("payload"), str(error))
    except Exception as error:
        # A bug, or a poison: it stops nothing of what lies behind it, and is not lost.
        log.exception("job.failed", tries=tries + 1)
        if tries + 1 < TRIES:
            raise _Later(type(error).__name__) from error
        return park(toolbox, name, carried.get("payload"), f"it failed {TRIES} times: {type(error).__name__}")


def _again(
    task: Task[..., Any], error: Exception, carried: dict[str, Any], tries: int, waits: int, wait: float
) -> Exception:
    """Put a message back for later; returns what a task raises then."""
    kwargs = {**carried, _TRIED: tries, _WAITED: waits}
    try:
        return task.retry(exc=error, kwargs=kwargs, countdown=wait, max_retries=_FOREVER, throw=False)
    except Reject as rejected:
        # The broker is away as well. Celery would drop the message, which is the only copy.
        return Reject(str(rejected), requeue=True)
