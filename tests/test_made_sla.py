"""The comparison with verdicts that a ServiceNow log recorded finds what is in the log, and says what is not."""

import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import made_sla
from tests.benchmarks.fitting import Fit, balanced, best_hours, separation

HEADER = (
    "number,incident_state,opened_at,sys_updated_at,priority,caller_id,made_sla,sys_created_at,contact_type,"
    "reassignment_count,reopen_count,sys_mod_count"
)
#: Number, priority, hours to Resolved, hours to Closed: kept when closed within 20 hours; solving did not stop it.
INCIDENTS = (
    ("INC1", "3 - Moderate", 1, 10), ("INC2", "3 - Moderate", 1, 11), ("INC3", "3 - Moderate", 2, 19),
    ("INC4", "3 - Moderate", 2, 20), ("INC5", "3 - Moderate", 1, 22), ("INC6", "3 - Moderate", 1, 21),
    ("INC7", "3 - Moderate", 2, 23), ("INC8", "3 - Moderate", 1, 23), ("INC9", "2 - High", 1, 22),
    ("INC10", "2 - High", 1, 22),
)  # fmt: skip
#: Where the real log is; unless it is named, its test is left out.
LOG = os.environ.get("TICKETS_TEST_SERVICENOW_LOG")


def a_log(tmp_path: Path, *more: str) -> Path:
    rows = [HEADER]
    for number, priority, resolved, closed in INCIDENTS:
        for state, hours in (("Active", 0), ("Resolved", resolved), ("Closed", closed)):
            made = state != "Closed" or closed <= 20
            at = f"{1 + hours // 24:02}-06-2016 {hours % 24:02}:00"
            rows.append(f"{number},{state},01-06-2016 00:00,{at},{priority},Ann,{str(made).upper()},?,Phone,0,0,1")
    path = tmp_path / "log.csv"
    path.write_text("\n".join((*rows, *more, "")), encoding="utf-8")
    return path


def told(path: Path) -> dict[str, Any]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert made_sla.main([str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is printed of the made-up log."""
    return told(a_log(tmp_path_factory.mktemp("log")))


def test_it_finds_the_promise_behind_the_verdicts(found: dict[str, Any]) -> None:
    assert found["best"]["stops_at"] == "Closed"
    assert found["best"]["calendar"] == "around the clock"
    assert found["best"]["agreement_pct"] == {"all": 100.0, "fitted_half": 100.0, "other_half": 100.0}
    high, moderate = found["priorities"]
    assert (moderate["hours"], moderate["as_good_hours"]) == (20, "20 to 20")
    assert (moderate["made_sla"], moderate["ours"]) == ({"true": 4, "false": 4}, {"met": 4, "breached": 4})
    assert (moderate["always_true_pct"], moderate["balanced_accuracy_pct"]) == (50.0, 100.0)
    assert (high["as_good_hours"], high["balanced_accuracy_pct"]) == ("up to 21", None)
    assert found["disagreements"] == found["import_differs_from_search"] == found["unread"] == []


def test_it_says_what_told_the_verdicts_apart(found: dict[str, Any]) -> None:
    reasons = found["reasons"]
    assert reasons["turned_false_at"] == {"Resolved → Closed": 6}
    assert reasons["one_verdict_only"] == {"2": "false"}
    assert reasons["distinguishing"][0]["separation"] == 1.0
    by_figure = {one["figure"]: one["separation"] for one in reasons["distinguishing"]}
    assert (by_figure["hours opened → closed"], by_figure["reassignment_count"]) == (1.0, 0.5)
    assert len(reasons["solved_soon_but_false"]["incidents"]) == 6
    assert reasons["solved_soon_but_false"]["explained_by_the_best_policy"] == 6


def test_people_get_tables_and_a_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = a_log(tmp_path, "INC11,Active,01-06-2016 00:00,01-06-2016 00:00,3 - Moderate,Ann,maybe,?,Phone,0,0,1")
    assert made_sla.main([str(log)]) == 1
    shown = capsys.readouterr().out
    assert "Best of" in shown
    assert "line 32: made_sla must be TRUE or FALSE, not 'MAYBE'" in shown


def test_no_such_log_is_an_error_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made_sla.main([str(tmp_path / "nowhere.csv")]) == 2
    assert "nowhere.csv cannot be read" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text(HEADER.replace("made_sla", "verdict") + "\n", encoding="utf-8")
    assert made_sla.main([str(tmp_path / "other.csv")]) == 2
    assert "has no column made_sla" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("judged", "expected"),
    (
        ([(10, True), (20, False)], Fit(14, 10, 19, 2)),
        ([(10, True), (20, True)], Fit(20, 20, None, 2)),
        ([(10, False), (20, False)], Fit(5, None, 9, 2)),
        ([(9.5, True), (30, False), (31, True), (33, False)], Fit(19, 10, 29, 3)),
    ),
)
def test_the_hours_that_fit_and_those_as_good(judged: list[tuple[float, bool]], expected: Fit) -> None:
    assert best_hours(judged) == expected


def test_what_always_saying_true_is_worth() -> None:
    assert balanced([(True, True)] * 9 + [(False, True)]) == 0.5
    assert balanced([(True, True)] * 9) is None
    assert (separation([1, 2], [3, 4]), separation([3], [3]), separation([1], [])) == (1.0, 0.5, None)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not LOG, reason="TICKETS_TEST_SERVICENOW_LOG names no log")
def test_the_real_log_is_judged_to_the_closing_without_pauses() -> None:
    found = told(Path(str(LOG)))
    assert (found["best"]["stops_at"], found["best"]["paused_by"]) == ("Closed", "none")
    assert found["best"]["agreement_pct"]["other_half"] > 99
    assert found["whole_log_agreement_pct"] == 100.0
    assert found["import_differs_from_search"] == []
