"""`make chaos`, for half a minute: a fleet is disturbed, comes to rest, and an independent checker counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.plan import Options, plan

ROOT = Path(__file__).parents[2]
#: Messages are doubled, the mail server is killed, and a beat. What a killed worker holds would be waited for.
OPTIONS = Options(seed=2925, minutes=0.5, rate=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_half_a_minute_of_chaos_loses_and_doubles_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, folder = tmp_path / "chaos.json", tmp_path / "run"
    words = ["--minutes", "0.5", "--seed", "2925", "--rate", "2", "--keep", str(folder), "--out", str(out)]
    # A time that is longer than what a run takes of itself to give up.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=840,
        env={name: value for name, value in os.environ.items() if not name.startswith("TICKETS_")},
    )
    assert ended.returncode == 0, f"{ended.stdout[-6000:]}\n{ended.stderr[-3000:]}"
    found = json.loads(out.read_text("utf-8"))
    assert (found["is_well"], found["not_at_rest"], found["failures"]) == (True, {}, [])
    assert (found["options"]["seed"], found["command"]) == (OPTIONS.seed, OPTIONS.command())
    ahead = plan(OPTIONS)
    assert len(ahead) >= 3
    done = [line for line in found["done"] if line["kind"] != "ended_by_itself"]
    assert [(line["kind"], line["target"]) for line in done] == [(one.kind, one.target) for one in ahead]
    assert found["messages_doubled"] > 0
    subjects = found["counts"]["subjects"]
    for subject in ("tickets", "comments", "status changes", "breaches", "escalations", "bills", "digests", "plans"):
        assert subjects[subject]["found"] == subjects[subject]["expected"] > 0, subject
    notices = subjects["notifications"]
    assert notices["found"] + len(notices["uncertain"]) >= notices["expected"] > 0
    assert not any(one[state] for one in subjects.values() for state in ("lost", "doubled", "unexpected"))
    for name in ("calls.jsonl", "letters.jsonl", "stripe.json", "orders.json", "done.jsonl", "fleet.log"):
        assert (folder / name).stat().st_size > 0, name
    assert not left_behind(folder)
    with capsys.disabled():
        print("\n  half a minute of chaos:", ", ".join(f"{one['found']} {name}" for name, one in subjects.items()))


def left_behind(folder: Path) -> list[str]:
    """Processes that still know the folder of the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder) in path.read_bytes().decode(errors="replace"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found
