"""How something is measured: a call by itself, and two ways of doing the same in turns, so that noise meets both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_Way = TypeVar("_Way")


def milliseconds(work: Callable[[], object], *, times: int = 1) -> float:
    """Return the median time of one call."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def per_second(work: Callable[[], int]) -> float:
    """Return how many things one call did a second."""
    began = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - began)


def in_turns(ways: Sequence[_Way], rounds: int) -> Iterator[tuple[int, _Way]]:
    """Go through all ways in each round, forth and back: each is first as often as the other."""
    for number in range(rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            yield number, way
