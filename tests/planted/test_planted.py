"""A bug of each kind that loses or doubles something is caught by a test: planted in a copy of the rooms, it fails.

Which test catches which bug stands in `bugs`, and in README.md as a table.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.planted import witness
from tests.planted.bugs import BUGS, ROOT, Bug
from tests.planted.planting import plant, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


LOCK_SECONDS = 6


def run(folder: Path, server: str, tests: Iterable[str], bug: Bug | None = None) -> tuple[Counter[str], str]:
    """Run tests of the suite against a copy of the rooms; returns how many came to what, and what was said."""
    rooms, results = folder / "rooms", folder / "results.xml"
    environ = os.environ | {
        "PYTHONPATH": plant(rooms, bug),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Whoever waits for a lock that nobody gives back fails, and does not hang until pytest ends it.
        "PGOPTIONS": f"-c lock_timeout={LOCK_SECONDS}s",
        witness.FOLDER: str(rooms),
        "TICKETS_TEST_DATABASE_URL": server,
    }
    command = [sys.executable, "-m", "pytest", "-p", "tests.planted.witness", "-p", "no:cacheprovider", "-q"]
    # Locks and statements are PostgreSQL's own; what SQLite does instead would only take time.
    command += ["-k", "not sqlite", f"--junit-xml={results}", f"--basetemp={folder / 'tmp'}", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    said = done.stdout[-4000:] + done.stderr[-2000:]
    assert done.returncode in {0, 1}, said
    outcomes: Counter[str] = Counter()
    for case in ET.parse(results).iter("testcase"):
        outcomes[next((part.tag for part in case if part.tag in {"failure", "error", "skipped"}), "passed")] += 1
    return outcomes, said


def test_as_they_are_the_rooms_pass_these_tests(tmp_path: Path, postgres_server: str) -> None:
    """Else a test that fails for another reason would seem to catch a bug."""
    outcomes, said = run(tmp_path, postgres_server, sorted({test for bug in BUGS for test in bug.caught_by}))
    assert set(outcomes) == {"passed"}, said


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, tmp_path: Path, postgres_server: str) -> None:
    outcomes, said = run(tmp_path, postgres_server, bug.caught_by, bug)
    assert outcomes["failure"], said
    assert not outcomes["error"], said


def test_every_bug_has_a_name_of_its_own_and_stands_in_the_table() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert table() in (Path(__file__).parent / "README.md").read_text("utf-8")
