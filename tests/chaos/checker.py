"""Who counts after a chaos run: what was asked for, what is stored, what left the house; lost, doubled, uncertain.

`python -m tests.chaos.checker FOLDER DSN` reads the journals of a run's folder and the database it ended with, and
prints a table, or JSON with `--json`. It ends with 0 where nothing is lost, doubled or wrong in another way, else 1.

It shares nothing with what it judges: no module of the project is imported, the SQL is its own, slow and plain, and
what left the house is read from the journals of whoever took it.

FOLDER holds `calls.jsonl` (what the load asked for), `letters.jsonl` (what the mail server took), `stripe.json` (the
journal of the double), and `orders.json`, of which two parts are read:

    reports    [{"organisation", "kind", "due_at", "recipients": [address, …]}, …]
    customers  [{"name", "plan": what it has bought in the end, or null}, …]; or `plans`, by name
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.checks_clocks import check_deadlines
from tests.chaos.checks_letters import check_post
from tests.chaos.checks_money import check_bills, check_plans
from tests.chaos.checks_records import Run, opened
from tests.chaos.checks_tickets import check_comments, check_statuses, check_tickets

_WRONG = ("lost", "doubled", "unexpected")
_LISTED = 20


def check(folder: Path, dsn: str) -> dict[str, Any]:
    """Count a run that has come to rest: by subject, and how long breaches lay unseen; `passed` sums it up."""
    with opened(folder, dsn) as run:
        deadlines = check_deadlines(run)
        notices, digests = check_post(run)
        tallies = {
            "tickets": check_tickets(run),
            "comments": check_comments(run),
            "status changes": check_statuses(run),
            "breaches": deadlines.breaches,
            "escalations": deadlines.escalations,
            "raises": deadlines.raises,
            "notifications": notices,
            "bills": check_bills(run),
            "digests": digests,
            "plans": check_plans(run),
        }
        for subject in _caused(run):
            if not tallies[subject].expected + tallies[subject].waiting:
                tallies[subject].wonder("the run", "it has caused some, and none were expected: nothing is proven")
        subjects = {name: asdict(tally) for name, tally in tallies.items()}
        return {
            "passed": not any(subject[kind] for subject in subjects.values() for kind in _WRONG),
            "ends_at": run.ends_at.isoformat(),
            "subjects": subjects,
            "seconds_unseen": _spread(deadlines.unseen),
        }


def _caused(run: Run) -> list[str]:
    """What the journals alone say must have happened."""
    opened = [call.given for call in run.calls["open"] if call.returned]
    caused = {
        "tickets": opened,
        "comments": [call for call in run.calls["comment"] if call.returned],
        "status changes": [call for call in run.calls["status"] if call.returned],
        "bills": run.stripe and run.stripe["events"],
        "plans": run.plans,
    }
    return [subject for subject, calls in caused.items() if calls]


def _spread(seconds: Sequence[float]) -> dict[str, float | int]:
    if not seconds:
        return {"breaches": 0}
    inline = sorted(seconds)
    return {
        "breaches": len(inline),
        "p50": round(inline[len(inline) // 2], 3),
        "p99": round(inline[min(len(inline) * 99 // 100, len(inline) - 1)], 3),
        "max": round(inline[-1], 3),
    }


def table(found: dict[str, Any]) -> str:
    """The counts of a run as a person reads them, and each thing that is not as it should be."""
    columns = ("expected", "found", "waiting", "lost", "doubled", "uncertain", "unexpected")
    lines = [f"{'':16}" + "".join(f"{column:>12}" for column in columns)]
    for name, subject in found["subjects"].items():
        cells = (subject[column] if isinstance(subject[column], int) else len(subject[column]) for column in columns)
        lines.append(f"{name:16}" + "".join(f"{cell:>12,}" for cell in cells))
    unseen = found["seconds_unseen"]
    if unseen["breaches"]:
        lines += [
            "",
            "breaches lay unseen for {p50} s (half), {p99} s (99 of 100), {max} s (the longest)".format(**unseen),
        ]
    for name, subject in found["subjects"].items():
        for kind in _WRONG:
            lines += [f"{kind}: {name}: {one['id']}: {one['why']}" for one in subject[kind][:_LISTED]]
            if len(subject[kind]) > _LISTED:
                lines.append(f"{kind}: {name}: and {len(subject[kind]) - _LISTED:,} more")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Check a run that is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the journals of the run lie")
    parser.add_argument("dsn", help="the database that it ended with")
    parser.add_argument("--json", action="store_true", help="everything, for a program")
    given = parser.parse_args(words)
    found = check(given.folder, given.dsn)
    print(json.dumps(found, indent=2, default=str) if given.json else table(found))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
