"""A process of the fleet whose clock is wrong: `python -m tests.chaos.skewed SECONDS worker --queues …`."""

import sys
import time

import time_machine


def main() -> None:
    """Travel, and be `ticket-worker` there: its children are forked from it, and are where it is."""
    offset = float(sys.argv.pop(1))
    # Before anything of the fleet is imported, so that nobody keeps the right clock.
    time_machine.travel(time.time() + offset, tick=True).start()
    from ticket_worker.__main__ import main as ticket_worker  # noqa: PLC0415 - see above

    ticket_worker()


if __name__ == "__main__":
    main()
