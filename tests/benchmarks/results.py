"""Figures by name, each beside its floor of the same run: a table for people, a file for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psutil
from rich.table import Table

#: One measurement, or several of which the median counts.
Samples: TypeAlias = float | Sequence[float]
#: What must hold: ("≥", 0.8) or ("≤", 1.5).
Wanted: TypeAlias = tuple[str, float]


@dataclass(frozen=True)
class Figure:
    """A measurement, what it is compared with, and what must hold of it."""

    unit: str
    value: float
    #: Least and greatest of the samples.
    spread: tuple[float, float]
    floor: float | None = None
    floor_spread: tuple[float, float] | None = None
    #: What the floor is, in a few words.
    over: str = ""
    #: Value over floor; of a figure without a floor there is none, and what is wanted is wanted of the value.
    ratio: float | None = None
    wanted: Wanted | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it is what it must be."""
        if self.wanted is None:
            return True
        sign, bound = self.wanted
        one = self.value if self.ratio is None else self.ratio
        return one >= bound if sign == "≥" else one <= bound


@dataclass
class Results:
    """What a run found."""

    figures: dict[str, Figure] = field(default_factory=dict)
    #: Each of these fails the run.
    missed: list[str] = field(default_factory=list)
    #: Points of curves: for each curve its values by number of tickets stored.
    curves: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: Samples,
        unit: str,
        floor: Samples,
        *,
        over: str = "raw SQL",
        wanted: Wanted | None = None,
        in_pairs: bool = False,
    ) -> None:
        """Keep a figure beside its floor; `wanted` is what the ratio must be.

        In pairs: sample by sample they were measured next to each other, and the ratio is the median of theirs.
        """
        (ours, spread), (least, floor_spread) = _summed(value), _summed(floor)
        ratio = ours / least
        if in_pairs and isinstance(value, Sequence) and isinstance(floor, Sequence):
            ratio = statistics.median(one / other for one, other in zip(value, floor, strict=True))
        self._keep(name, Figure(unit, ours, spread, least, floor_spread, over, ratio, wanted))

    def bound(self, name: str, value: Samples, unit: str, *, wanted: Wanted | None = None) -> None:
        """Keep a figure that has no floor; `wanted` is what it must be itself."""
        ours, spread = _summed(value)
        self._keep(name, Figure(unit, ours, spread, wanted=wanted))

    def point(self, curve: str, stored: int, value: float) -> None:
        """Keep a point of a curve over the number of tickets stored."""
        self.curves.setdefault(curve, {})[stored] = value

    def _keep(self, name: str, figure: Figure) -> None:
        self.figures[name] = figure
        told = f"{figure.ratio:.2f} of {figure.over}" if figure.ratio is not None else ""
        if not figure.is_kept and figure.wanted:
            told = f"{told}  missed".strip()
            one = figure.value if figure.ratio is None else figure.ratio
            self.missed.append(f"{name}: {one:.2f}, wanted {figure.wanted[0]} {figure.wanted[1]}")
        print(f"  {name:<58} {figure.value:>12,.3f} {figure.unit:<10} {told}", file=sys.stderr)

    def table(self) -> Table:
        """Return the figures as a table for people."""
        table = Table("figure", "unit", title="Each beside its floor, in the same run")
        for column in ("ours", "least to most", "floor", "ratio", "wanted"):
            table.add_column(column, justify="right")
        for name, one in self.figures.items():
            style = "" if one.is_kept else "red"
            table.add_row(
                name,
                one.unit,
                _shown(one.value),
                f"{_shown(one.spread[0])} to {_shown(one.spread[1])}",
                "" if one.floor is None else f"{_shown(one.floor)} ({one.over})",
                "" if one.ratio is None else f"{one.ratio:.2f}",
                f"{one.wanted[0]} {one.wanted[1]}" if one.wanted else "",
                style=style,
            )
        return table

    def write(self, target: Path, **about: object) -> None:
        """Write everything, with the date and the machine's size, for programs."""
        told: dict[str, Any] = {
            "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z",
            "machine": machine(),
            **about,
            "figures": {name: asdict(one) for name, one in self.figures.items()},
            "curves": self.curves,
            "missed": self.missed,
        }
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """Return the size of the machine: what may be told of it, no more."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


def _summed(samples: Samples) -> tuple[float, tuple[float, float]]:
    many = list(samples) if isinstance(samples, Iterable) else [samples]
    return statistics.median(many), (min(many), max(many))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"
