"""Runs `escalate_tickets` once for each line it reads, and says how long it took; started by the neighbours' own Python.

One process for all of them: what it takes to start Python and Django is nobody's figure.
"""

import sys
import time

import django
from django.core.management import call_command


def main() -> None:
    """Make the tables, then wait for lines."""
    django.setup()
    call_command("migrate", verbosity=0, skip_checks=True)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        call_command("escalate_tickets", skip_checks=True)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
