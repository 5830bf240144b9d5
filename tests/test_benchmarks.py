"""The benchmarks run, small: every group yields figures, what is missed is told, and curves are drawn."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import bench, curves
from tests.benchmarks.results import Results

SMALL = ("--sizes", "4000,5000", "--due", "60", "--trap", "60", "--lives", "20", "--calls", "4", "--rounds", "1")
# Quick by itself; a machine that does other things may take ten times as long.
pytestmark = pytest.mark.timeout(600)
#: Figures of these are limits by themselves: nothing is beside them.
WITHOUT_FLOOR = re.compile(r"old snapshot (held|gone), idle tick(?!.*growth)")


def run(folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    code = bench.main([*SMALL, "--folder", str(folder), *more])
    return code, json.loads((folder / "bench.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], Path]:
    """One run of what is measured with databases."""
    folder = tmp_path_factory.mktemp("bench")
    groups = [name for name, group in bench.GROUPS.items() if group.of_database is not None]
    return *run(folder, "--only", ",".join(groups)), folder


def test_every_group_yields_figures_of_both_databases_each_beside_its_floor(
    measured: tuple[int, dict[str, Any], Path],
) -> None:
    _, told, _ = measured
    for words in (
        "postgresql: idle tick, 5,000 stored, growth",
        "sqlite: idle tick, 5,000 stored, growth",
        "postgresql: weekly report",
        "postgresql: create_ticket",
        "sqlite: update_status, resolved",
        "postgresql: get_queue",
        "sqlite: generate_report",
        "postgresql: breaches handled, told and escalated",
        "sqlite: breaches handled, warnings and chain on",
        "postgresql: breaches handled by two workers",
        "postgresql: old snapshot held, breaches handled",
        "postgresql: old snapshot held, idle tick after 60 breaches",
        "postgresql: facts sealed",
        "sqlite: audit of 120 events",
        "sqlite: tickets simulated",
    ):
        assert any(name.startswith(words) for name in told["figures"]), words
    for name, figure in told["figures"].items():
        assert figure["value"] > 0, name
        assert figure["spread"][0] <= figure["value"] <= figure["spread"][1], name
        assert (figure["floor"] is None) == bool(WITHOUT_FLOOR.search(name)), name


def test_ours_and_the_floor_did_the_same_work(measured: tuple[int, dict[str, Any], Path]) -> None:
    """What is missed is speed, on a machine that does other things: never that two ways differ in what they say."""
    _, told, _ = measured
    assert [miss for miss in told["missed"] if "wanted" not in miss] == []


def test_the_exit_code_says_whether_anything_was_missed(measured: tuple[int, dict[str, Any], Path]) -> None:
    code, told, _ = measured
    missed = [
        name
        for name, one in told["figures"].items()
        if one["wanted"] and not _holds(one["wanted"], one["value"] if one["ratio"] is None else one["ratio"])
    ]
    assert {miss.split(": ", 2)[1] for miss in told["missed"]} == {name.split(": ")[1] for name in missed}
    assert code == (1 if missed else 0)


def _holds(wanted: tuple[str, float], value: float) -> bool:
    sign, bound = wanted
    return value >= bound if sign == "≥" else value <= bound


def test_curves_are_points_and_a_picture(measured: tuple[int, dict[str, Any], Path]) -> None:
    _, told, folder = measured
    assert set(told["curves"]) == {"idle tick, ours", "idle tick, the look by hand", "idle tick, select 1"}
    assert all(set(points) == {"4000", "5000"} for points in told["curves"].values())
    assert (folder / "bench-idle-tick.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_is_missed_ends_the_run_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(run: bench.Run) -> None:
        run.results.add("reading", 30.0, "ms", 10.0, wanted=("≤", 2))

    def quick(run: bench.Run) -> None:
        run.results.add("reading", 15.0, "ms", 10.0, wanted=("≤", 2))

    for act, expected in ((slow, 1), (quick, 0)):
        monkeypatch.setitem(bench.GROUPS, "letters", bench.Group("a test", alone=act))
        code, told = run(tmp_path, "--only", "letters")
        assert (code, len(told["missed"])) == (expected, expected)
        assert ("missed  reading: 3.00, wanted ≤ 2" in capsys.readouterr().out) == bool(expected)


def test_groups_are_named_and_others_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(bench.GROUPS)
    with pytest.raises(SystemExit) as refused:
        bench.main(["--only", "idle,nothing"])
    assert refused.value.code == 2
    assert "no such group: nothing" in capsys.readouterr().err


def test_a_ratio_in_pairs_is_the_median_of_theirs() -> None:
    """A quiet moment that met only one of the two would else be taken for its merit."""
    results = Results()
    results.add("calls", [10.0, 20.0, 90.0], "a second", [20.0, 40.0, 30.0], in_pairs=True)
    assert results.figures["calls"].ratio == 0.5
    results.add("calls", [10.0, 20.0, 90.0], "a second", [20.0, 40.0, 30.0])
    assert results.figures["calls"].ratio == pytest.approx(20 / 30)


def test_curves_are_shown_in_a_terminal_with_all_their_lines() -> None:
    drawn = {f"idle tick, {line}": {10_000: 0.5, 10_000_000: 0.6} for line in ("ours", "select 1")}
    text = curves.show(drawn | {"detection latency, p50": {10_000: 0.4}}, 80)
    assert "● ours   ○ select 1" in text
    assert "detection latency, s by tickets stored" in text
    assert "10,000,000" in text
    assert max(map(len, text.splitlines())) <= 80
