"""`python -m ticket_worker.demo.stripe_double`: the double as a process of its own, until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import threading

from ticket_worker.demo.stripe_double import TEST_KEY, StripeDouble, running_double


def main() -> None:
    """Serve a double, and say where."""
    parser = argparse.ArgumentParser(prog="python -m ticket_worker.demo.stripe_double", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; this machine only, unless told")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--key", action="append", help=f"a valid test key, several times over; {TEST_KEY} unless told")
    arguments = parser.parse_args()
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    keys = {key: key.startswith(("sk_live_", "rk_live_")) for key in arguments.key} if arguments.key else None
    with running_double(StripeDouble(keys=keys), arguments.host, arguments.port) as running:
        print(running.url, flush=True)  # noqa: T201 - whoever started it reads this line
        told_to_stop.wait()


if __name__ == "__main__":
    main()
