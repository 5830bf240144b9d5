"""A virtual environment as another service has it: the extra `tasks`, and nothing else."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make_client_venv(folder: Path) -> Path:
    """Make one from the locked list and a wheel of this checkout; returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    locked = ROOT / "deploy" / "locks" / "tasks.txt"
    for what in (["--require-hashes", "--requirement", str(locked)], ["--no-deps", str(wheel)]):
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", *what]
        subprocess.run(pip, check=True, capture_output=True, text=True, cwd=folder)
    return python


def installed(python: Path) -> set[str]:
    """The names of the distributions in an environment."""
    script = "from importlib import metadata; print(*(one.name for one in metadata.distributions()))"
    shown = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    return {name.lower().replace("_", "-") for name in shown.split()}
