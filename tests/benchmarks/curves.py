"""Draws figures over the number of tickets stored: a picture for each subject, and the same in the terminal.

A curve is named after its picture and its line: `idle tick, ours` and `idle tick, select 1` are two lines of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import plotext

mpl.use("Agg")  # no window, wherever this runs
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

#: In which unit the values of a picture are.
UNITS = {"idle tick": "ms", "detection latency": "s"}
_MARKS = "●○+*"
#: Told apart by those who see no colours, too: by line and mark.
_STYLES = (("#0b5fa5", "-", "o"), ("#c4501b", "--", "s"), ("#3d7a34", ":", "^"), ("#7a4b9a", "-.", "D"))

Curves = Mapping[str, Mapping[int, float]]


def pictures(curves: Curves) -> dict[str, dict[str, Mapping[int, float]]]:
    """Sort curves by picture, then line."""
    found: dict[str, dict[str, Mapping[int, float]]] = {}
    for name, points in curves.items():
        picture, _, line = name.partition(", ")
        found.setdefault(picture, {})[line or picture] = dict(sorted(points.items()))
    return found


def draw(curves: Curves, folder: Path) -> list[Path]:
    """Write a PNG for each picture; returns their names."""
    written = []
    for picture, lines in pictures(curves).items():
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        for (line, points), (colour, dashes, mark) in zip(lines.items(), _STYLES * len(lines), strict=False):
            axes.plot(
                list(points), list(points.values()), label=line, color=colour, linestyle=dashes, marker=mark, lw=2
            )
        sizes = sorted({size for points in lines.values() for size in points})
        axes.set(xscale="log", xlabel="tickets stored", ylabel=UNITS.get(picture, ""))
        axes.set_title(f"{picture.capitalize()} by the number of tickets stored", loc="left", fontweight="bold")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(bottom=0, top=1.25 * max(value for points in lines.values() for value in points.values()))
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=len(lines), loc="upper left")
        folder.mkdir(parents=True, exist_ok=True)
        written.append(folder / f"bench-{picture.replace(' ', '-')}.png")
        figure.savefig(written[-1], dpi=150)
        plt.close(figure)
    return written


def show(curves: Curves, width: int) -> str:
    """Return all pictures as text, at most so many columns wide."""
    shown, canvas = [], plotext.figure
    for picture, lines in pictures(curves).items():
        canvas.clear()
        canvas.plot_size(min(width, 100), 14)
        sizes = sorted({size for points in lines.values() for size in points})
        keys = []
        for (line, points), mark in zip(lines.items(), _MARKS * len(lines), strict=False):
            # Evenly spaced: sizes grow tenfold.
            one = canvas.signal([sizes.index(size) for size in points], list(points.values()), marker=mark)
            one.lines()
            canvas.draw(one)
            keys.append(f"{mark} {line}")
        canvas.ruler("x").ticks(list(range(len(sizes))), [f"{size:,}" for size in sizes])
        canvas.ruler("y").lim(0, 1.25 * max(value for points in lines.values() for value in points.values()))
        title = f"{picture}, {UNITS.get(picture, '')} by tickets stored:  {'   '.join(keys)}"
        shown.append(f"{title}\n{plotext.uncolorize(canvas.build().string())}")
    return "\n".join(shown)
