"""The programs that read deploy/ in earnest: where they are, and what they said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
#: Unpacked there, Debian packages need no root.
_UNPACKED: Final = ROOT / "build/tools/root"
_PACKAGES: Final = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}


class Wrong(Exception):
    """A check found something; its text says what."""


class Absent(Exception):
    """A check could not be made; its text says what is missing."""


def program(name: str) -> str:
    """Return the path of a program: of this environment, of the machine, or unpacked before; or raise Absent."""
    places = [Path(sys.executable).parent, *os.get_exec_path(), _UNPACKED / "usr/bin"]
    found = shutil.which(name, path=os.pathsep.join(str(place) for place in places))
    if found is None:
        raise Absent(f"{name} is not installed")
    return found


def fetch_missing() -> None:
    """Download and unpack what Debian has, where apt is; whatever goes wrong, the check says that it was skipped."""
    for name, package in _PACKAGES.items():
        try:
            program(name)
        except Absent:
            _UNPACKED.mkdir(parents=True, exist_ok=True)
            for command in (["apt-get", "download", "-qq", package], ["sh", "-c", f"dpkg -x {package}_*.deb root"]):
                if shutil.which(command[0]):
                    subprocess.run(command, cwd=_UNPACKED.parent, check=False, capture_output=True)


def run(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Run a program and return what it said on stdout and stderr; raise Wrong when it finds fault."""
    words = [program(str(command[0])), *(str(word) for word in command[1:])]
    done = subprocess.run(
        words, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise Wrong((done.stdout + done.stderr).strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout, done.stderr
