"""A plugin of a pytest that runs against a copy: it fails the run where the rooms came from anywhere else."""

import os
import sys
from pathlib import Path

import pytest

FOLDER = "PLANTED_IN"
PACKAGES = ("ticket_system", "ticket_tasks", "ticket_worker")


def pytest_collection_finish() -> None:
    folder = Path(os.environ[FOLDER])
    astray = [
        name
        for name, module in sys.modules.items()
        if name.partition(".")[0] in PACKAGES and not Path(module.__file__ or "").is_relative_to(folder)
    ]
    if astray or "ticket_system" not in sys.modules:
        pytest.exit(f"not from {folder}: {', '.join(astray) or 'ticket_system'}", returncode=99)
