"""The environment in which the neighbours live: build/peers/venv, from a locked list, made when it is first wanted."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
LOCKED = ROOT / "deploy" / "locks" / "peers.txt"
FOLDER = ROOT / "build" / "peers"


class PeersUnavailable(Exception):
    """They cannot be installed here; the text says why."""


def python_of_peers() -> Path:
    """Return the Python that has them; it takes a minute when the locked list is new, and nothing otherwise."""
    venv, made_from = FOLDER / "venv", FOLDER / "locked"
    python = venv / "bin" / "python"
    # The note is written last: an environment that was left half made is made again.
    if made_from.exists() and made_from.read_text() == LOCKED.read_text():
        return python
    FOLDER.mkdir(parents=True, exist_ok=True)
    made_from.unlink(missing_ok=True)
    print(f"  making an environment for the neighbours from {LOCKED.name}, a minute", file=sys.stderr)
    # Our own pip fills it: one less to be made there.
    make = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)]
    fill = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    fill += ["install", "--quiet", "--only-binary=:all:", "--require-hashes", "--requirement", str(LOCKED)]
    try:
        for command in (make, fill):
            subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        raise PeersUnavailable(said[-1] if said else str(error)) from error
    shutil.copyfile(LOCKED, made_from)
    return python
