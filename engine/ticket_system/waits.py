"""How long to wait before something that failed is tried again. Pure."""

from __future__ import annotations

import random
from datetime import timedelta


def backoff(attempts: int, *, first_seconds: float, longest_seconds: float) -> timedelta:
    """Return a wait after so many attempts: doubling, with jitter so that many do not come back at once."""
    longest = min(first_seconds * 2 ** min(max(attempts - 1, 0), 30), longest_seconds)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - nothing secret
