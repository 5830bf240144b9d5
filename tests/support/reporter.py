"""A worker that reports usage once and dies at a point that it is told: `python -m tests.support.reporter POINT`."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

from ticket_system import ledger
from ticket_system.billing import course
from ticket_tasks import usage
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.lifecycle import build_toolbox
from ticket_worker.settings import read_settings

LEASE_SECONDS = float(os.environ.get("TRIAL_LEASE_SECONDS", "6"))

POINTS = (
    "before the seal is committed",
    "after the seal",
    "before the intent is committed",
    "after the intent",
    "after it was accepted",
    "before the outcome is committed",
    "after the outcome",
)


def die(*_: object, **__: object) -> NoReturn:
    """End as a process ends whose power is cut."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("this is never reached")


def and_die(real: Callable[..., Any]) -> Callable[..., Any]:
    """Do it, then die."""

    def done(*arguments: Any, **more: Any) -> NoReturn:
        real(*arguments, **more)
        die()

    return done


def arm(point: str) -> None:
    """Make this process die at a point."""
    match POINTS.index(point):
        case 0:
            ledger._seal = and_die(ledger._seal)
        case 1:
            usage._seal = and_die(usage._seal)
        case 2:
            course.begun = and_die(course.begun)
        case 3:
            StripeMeter.send = die  # type: ignore[method-assign]
        case 4:
            StripeMeter.send = and_die(StripeMeter.send)  # type: ignore[method-assign]
        case 5:
            course.answered = and_die(course.answered)
        case _:
            ledger.settle = and_die(ledger.settle)


def main() -> None:
    """Report once, or until dead."""
    # What a dead worker held is taken up by the next one, without a test waiting long. Longer than a call may take,
    # with time to spare, as in a fleet, or two calls would be under way where the machine holds its breath.
    ledger.LEASE = timedelta(seconds=LEASE_SECONDS)
    if len(sys.argv) > 1:
        arm(sys.argv[1])
    toolbox = build_toolbox(read_settings())
    with toolbox.database:
        usage.report_usage(toolbox)


if __name__ == "__main__":
    main()
