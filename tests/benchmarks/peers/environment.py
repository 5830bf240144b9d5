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
    print(f"  making {venv.relative_to(ROOT)} from {LOCKED.relative_to(ROOT)}, a minute", file=sys.stderr)
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--only-binary=:all:"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True, capture_output=True, text=True)
        subprocess.run(
            [python, *pip, "--require-hashes", "--requirement", LOCKED], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        said = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        raise PeersUnavailable(said[-1] if said else str(error)) from error
    shutil.copyfile(LOCKED, made_from)
    return python
