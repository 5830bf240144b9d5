"""Stands in for the checker until it is there."""

from pathlib import Path
from typing import Any


def check(folder: Path, dsn: str) -> dict[str, Any]:
    """Count nothing."""
    return {"passed": True, "subjects": {}, "stand_in": True}
