"""A copy of the rooms with a bug planted in it, and what has to be said for Python to take that copy."""

import os
import shutil
from pathlib import Path

from tests.planted.bugs import BUGS, ROOMS, ROOT, Bug


def named(name: str) -> Bug:
    """The bug of that name."""
    return next(bug for bug in BUGS if bug.name == name)


def table() -> str:
    """The bugs and what catches each, as README.md shows them."""
    lines = ["| Bug | What it does | Caught by |", "|---|---|---|"]
    for bug in BUGS:
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in bug.caught_by)
        lines.append(f"| {bug.name} | {bug.what} | {tests} |")
    return "\n".join(lines)


def plant(folder: Path, bug: Bug | None = None) -> str:
    """Copy the rooms into a folder, with a bug or as they are; returns the PYTHONPATH under which the copy is meant."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for words in bug.words if bug else ():
        path = folder / words.path
        text = path.read_text("utf-8")
        assert text.count(words.old) == 1, (
            f"{bug and bug.name}: {words.path} holds {text.count(words.old)} times {words.old!r}"
        )
        path.write_text(text.replace(words.old, words.new), "utf-8")
    return os.pathsep.join(str(folder / room) for room in ROOMS)
