"""How well the engine's verdicts agree with those that a ServiceNow log recorded in `made_sla`, and why not better.

The log does not say under which promises it was judged. Candidates are tried: calendars, pauses, starts, stops, and
hours by priority, which are fitted on the incidents with even numbers and checked on the others. The best one is then
put in force and the log is imported under it: what is compared in the end are verdicts out of the engine's database.
Exit codes: 0 well, 1 rows that cannot be used, 2 no such log.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.benchmarks.agreement import fit
from ticket_system.errors import ImportFailed


def _table(title: str, columns: dict[str, str], rows: list[list[Any]]) -> Table:
    """Draw a table; a column's letter says where its cells stand."""
    drawn = Table(title=title, title_justify="left")
    for column, side in columns.items():
        drawn.add_column(column, justify="right" if side == "r" else "left")
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    return drawn


def _priorities(told: dict[str, Any]) -> Table:
    columns = dict.fromkeys(
        ("priority", "incidents", "true", "false", "met", "breached", "agree %", "fitted half %", "other half %",
         "always true %", "balanced %", "hours", "as good", "on the whole log"), "r"
    )  # fmt: skip
    rows = [
        [one["priority"], one["incidents"], *one["made_sla"].values(), *one["ours"].values(),
         *one["agreement_pct"].values(), one["always_true_pct"], one["balanced_accuracy_pct"], one["hours"],
         one["as_good_hours"], one["as_good_on_the_whole_log"]]
        for one in told["priorities"]
    ]  # fmt: skip
    return _table("made_sla as recorded, beside the engine's verdicts under the best policy", columns, rows)


def _choices(told: dict[str, Any]) -> Table:
    columns = {"": "l", "answer": "l", "fitted half %": "r", "other half %": "r", "hours by priority": "l"}
    rows, before = [], ""
    for one in told["choices"]:
        hours = ", ".join(f"{priority}: {span}" for priority, span in one["hours"].items())
        asked = "" if one["question"] == before else one["question"]
        rows.append([asked, one["answer"], one["fitted_half_pct"], one["other_half_pct"], hours])
        before = one["question"]
    return _table("What each choice costs, everything else being free", columns, rows)


def _figures(told: dict[str, Any]) -> Table:
    columns = {"figure": "l"} | dict.fromkeys(
        ("separation", "median, true", "median, false", "highest, true", "lowest, false"), "r"
    )
    title = "What tells false from true (1 or 0: always; 0.5: nothing), in priorities that have both"
    return _table(title, columns, [list(one.values()) for one in told["reasons"]["distinguishing"]])


def _sentences(told: dict[str, Any]) -> list[str]:
    best, reasons, tied = told["best"], told["reasons"], told["as_good_on_the_fitted_half"]
    soon = reasons["solved_soon_but_false"]
    turned = ", ".join(f"{where} ({count})" for where, count in reasons["turned_false_at"].items())
    policy = f"{best['calendar']}, from {best['starts_at']} to {best['stops_at']}, paused by: {best['paused_by']}"
    said = [f"Best of {told['candidates']:,} policies: {policy}."]
    said.append(
        f"It agrees on {best['agreement_pct']['all']} % ({best['agreement_pct']['other_half']} % of the half it was not "
        f"fitted to; {told['whole_log_agreement_pct']} % if its hours are fitted to the whole log); the rules built in "
        f"on {told['shipped_rules_agreement_pct']['all']} %, 'always true' on {told['always_true_pct']} %."
    )
    said.append(
        f"{tied['candidates']:,} policies do as well on the fitted half; on the other {tied['other_half_pct'][0]} to "
        f"{tied['other_half_pct'][-1]} %. The log cannot choose between them."
    )
    said.append("Confusion: " + ", ".join(f"{name}: {count}" for name, count in told["confusion"].items()) + ".")
    said.append(f"The verdict became false at: {turned or 'never'}.")
    said.append(
        f"Solved within {soon['within_hours']:g} hours and false all the same: {len(soon['incidents'])}; the best policy "
        f"explains {soon['explained_by_the_best_policy']}, the best that stops at Resolved "
        f"{soon['explained_by_the_best_that_stops_at_resolved']}."
    )
    said += [
        f"Priority {priority} has the verdict {verdict} only: its hours can be bounded by this log, not known."
        for priority, verdict in reasons["one_verdict_only"].items()
    ]
    if len(reasons["contact_types"]) == 1:
        said.append(f"contact_type is {next(iter(reasons['contact_types']))} throughout, and explains nothing.")
    if told["import_differs_from_search"]:
        said.append(
            "Breached on the way under another priority, or reopened after its verdict, and so not as the search has"
            f" it: {', '.join(told['import_differs_from_search'])}."
        )
    if not told["disagreements"]:
        said.append("No verdict is left unexplained.")
    return said


def show(told: dict[str, Any], console: Console) -> None:
    """Print the comparison for people."""
    console.print(_priorities(told))
    for sentence in _sentences(told):
        console.print(sentence, markup=False, highlight=False)
    console.print(_choices(told))
    console.print(_figures(told))
    for one in told["disagreements"]:
        console.print(f"{one['number']}, priority {one['priority']}, made_sla {one['made_sla']}: {one['why']}")
    for row in told["unread"]:
        console.print(f"line {row['line']}: {row['reason']}", markup=False, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Compare, and print; the exit code says whether every row could be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, metavar="FILE", help="a ServiceNow incident log with a column made_sla")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
            bar = bars.add_task("trying calendars", total=None)
            told = fit(options.log, lambda done, total: bars.update(bar, completed=done, total=total))
    except ImportFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(told, Console(width=None if sys.stdout.isatty() else 160))
    return 1 if told["unread"] else 0


if __name__ == "__main__":
    sys.exit(main())
