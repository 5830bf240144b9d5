import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.__main__ import main
from tests.chaos.errands import errands
from tests.chaos.load import calls
from tests.chaos.plan import BREATH_SECONDS, FIRST_SECONDS, KINDS, LAST_SECONDS, Options, plan

SEEDS = range(60)


def test_the_same_seed_and_options_make_the_same_plan_the_same_load_and_the_same_errands() -> None:
    for seed in SEEDS:
        once, again = Options(seed, minutes=3), Options(seed, minutes=3)
        assert plan(once) == plan(again)
        assert list(calls(once)) == list(calls(again))
        assert errands(once) == errands(again)


def test_another_seed_makes_others() -> None:
    assert len({tuple((one.kind, one.second) for one in plan(Options(seed))) for seed in SEEDS}) == len(SEEDS)
    assert len({next(calls(Options(seed))).given["sla_hours"] for seed in SEEDS}) > 1


@pytest.mark.parametrize("minutes", (10, 15, 60))
def test_in_ten_minutes_every_kind_happens(minutes: float) -> None:
    for seed in SEEDS:
        assert {one.kind for one in plan(Options(seed, minutes))} == set(KINDS), seed


@pytest.mark.parametrize("minutes", (0.2, 0.5, 1, 3, 10))
def test_everything_is_mended_before_the_load_ends(minutes: float) -> None:
    for seed in SEEDS:
        made = plan(Options(seed, minutes))
        assert all(FIRST_SECONDS <= one.second <= one.ends <= minutes * 60 - LAST_SECONDS + 0.1 for one in made)
        assert made == sorted(made, key=lambda one: one.second)


def test_no_target_is_disturbed_twice_at_a_time() -> None:
    for seed in SEEDS:
        made = plan(Options(seed))
        for target in {one.target for one in made}:
            mine = [one for one in made if one.target == target]
            # Both are rounded.
            assert all(later.second >= earlier.ends + BREATH_SECONDS - 0.2 for earlier, later in pairwise(mine))


def test_disturbances_overlap() -> None:
    made = plan(Options(1))
    assert any(later.second < earlier.ends for earlier, later in pairwise(made))


def test_what_is_left_out_does_not_happen_and_changes_neither_load_nor_errands() -> None:
    all_of_it = Options(5)
    some = replace(all_of_it, without=frozenset({"kill_broker", "wrong_clock"}))
    assert {one.kind for one in plan(some)} == set(KINDS) - some.without
    assert list(calls(some)) == list(calls(all_of_it))
    assert plan(replace(all_of_it, without=frozenset(KINDS))) == []


def test_the_command_names_all_that_it_takes_to_repeat_a_run() -> None:
    options = Options(7, minutes=2.5, rate=3, without=frozenset({"kill_mail", "full_disk"}))
    assert options.command() == (
        'make chaos ARGS="--minutes 2.5 --seed 7 --rate 3 --without full_disk --without kill_mail"'
    )


def test_the_plan_of_a_seed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--seed", "7", "--minutes", "2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "seed 7, 2 minutes, 6 tickets a second"
    assert [line.split()[2] for line in lines] == [one.kind for one in plan(Options(7, 2))]


@pytest.mark.parametrize(
    "words", (["--minutes", "0"], ["--minutes", "nan"], ["--rate", "-1"], ["--without", "peace"], ["--seed", "x"])
)
def test_a_command_that_makes_no_sense_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_folder_with_anything_else_in_it_is_not_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    assert main(["--keep", str(tmp_path), "--out", str(tmp_path / "chaos.json")]) == 2
    assert "something else than a run" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_every_disturbance_can_be_written_down() -> None:
    for one in plan(Options(3)):
        assert json.loads(json.dumps(one.detail)) == one.detail
