"""What it costs to write the letters of a report, against filling in the same template alone; and the memory it takes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.results import Results

LETTERS = 100
_MIB = 1024


def letters(results: Results) -> None:
    """Measure in a process of its own, so that its peak of memory is that of this work alone."""
    found = subprocess.run([sys.executable, "-m", __name__], check=True, capture_output=True, text=True)
    told = json.loads(found.stdout)
    results.add(
        "letters of a report written and put into MIME",
        told["letters"],
        "a second",
        told["pages"],
        over="the template alone",
    )
    results.add("peak memory of a process that did it", told["peak"], "MiB", told["before"], over="before")


def main() -> None:
    """Write letters, and the floor in turns; print what was measured."""
    before = _peak()
    from ticket_system.reports.contents import Weekly  # noqa: PLC0415
    from ticket_tasks.digest import chart, letter, samples  # noqa: PLC0415
    from ticket_tasks.digest.page import text  # noqa: PLC0415
    from ticket_tasks.digest.weekly import weekly_page  # noqa: PLC0415
    from ticket_tasks.toolbox import Stationery  # noqa: PLC0415
    from ticket_worker.message import Sender, as_bytes  # noqa: PLC0415

    content, reader = samples.sample("full")
    if not isinstance(content, Weekly):
        raise TypeError("a full sample is a week")
    picture, sender, paper = chart.draw(content), Sender("tickets@example.org"), Stationery()
    view = weekly_page(content, reader, paper, None)
    facts = {name: getattr(view, name) for name in view.__slots__} | {"picture": chart.NAME}

    def ours() -> None:
        written = letter.write(content, reader, paper, key="k", at=content.as_of, picture=picture, unsubscribe_url=None)
        as_bytes(written, sender)

    def floor() -> None:
        text("weekly.html", **facts)

    rates: dict[str, list[float]] = {"letters": [], "pages": []}
    for _ in range(5):
        for name, act in (("letters", ours), ("pages", floor)):
            rates[name].append(_rate(act))
    peak = _peak()
    print(
        json.dumps({name: statistics.median(found) for name, found in rates.items()} | {"peak": peak, "before": before})
    )


def _peak() -> float:
    """Return the most memory this process ever held, in MiB; not what `getrusage` says, which counts its parent in."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / _MIB


def _rate(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(LETTERS):
        act()
    return LETTERS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
