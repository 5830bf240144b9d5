"""The curve of a report: eight weeks of backlog, and what came in. Drawn once for all who read it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import structlog

from ticket_system.reports.contents import Weekly
from ticket_tasks.digest.page import text

log = structlog.stdlib.get_logger(__name__)

#: What a page calls it.
NAME = "backlog"
WIDTH, HEIGHT = 480, 220
#: For sharp lines where pixels are small.
_SCALE = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 56, 30


@dataclass(frozen=True, slots=True)
class Point:
    """One week: where its column stands, how high its bar is, where the curve passes."""

    x: float
    bar_y: float
    bar_height: float
    y: float
    label: str
    value: str
    #: Whether there is room for its name and its figure.
    is_named: bool


def draw(content: Weekly) -> bytes | None:
    """Return the picture as PNG; None where it cannot be drawn: a report goes out without it."""
    if not content.weeks:
        return None
    try:
        import resvg_py  # noqa: PLC0415 - an extra

        with as_file(files("ticket_tasks.digest") / "fonts" / "DejaVuSans.ttf") as font:
            # Without a font of ours all text would be missing, and nothing would say so.
            png = resvg_py.svg_to_bytes(
                svg_string=svg(content), font_files=[str(font)], skip_system_fonts=True, zoom=_SCALE
            )
    except Exception as error:  # noqa: BLE001 - whatever it is, the figures matter more
        log.warning("chart.omitted", organisation=content.organisation, error=str(error) or type(error).__name__)
        return None
    return bytes(png)


def svg(content: Weekly) -> str:
    """Return the drawing: numbers and dates alone, nothing that anybody wrote."""
    points = _points(content)
    return text("chart.svg", width=WIDTH, height=HEIGHT, points=points, base=HEIGHT - _BOTTOM, bar=_bar(len(points)))


def _bar(number: int) -> float:
    return (WIDTH - _LEFT - _RIGHT) / number * 0.5


def _points(content: Weekly) -> list[Point]:
    column = (WIDTH - _LEFT - _RIGHT) / len(content.weeks)
    tallest = max(max(one.opened, one.backlog) for one in content.weeks) or 1
    reach = HEIGHT - _TOP - _BOTTOM
    last = len(content.weeks) - 1
    return [
        Point(
            x=round(_LEFT + column * (number + 0.5), 2),
            bar_y=round(HEIGHT - _BOTTOM - reach * one.opened / tallest, 2),
            bar_height=round(reach * one.opened / tallest, 2),
            y=round(HEIGHT - _BOTTOM - reach * one.backlog / tallest, 2),
            # Not by a locale: one picture for all.
            label=f"{one.ends_on.day} {_MONTHS[one.ends_on.month - 1]}",
            value=_short(one.backlog),
            is_named=(last - number) % 2 == 0,
        )
        for number, one in enumerate(content.weeks)
    ]


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _short(number: int) -> str:
    """Write a figure in a few letters: 950, 12k, 3.4M."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= 10 * size:
            return f"{number // size}{unit}"
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + unit
    return str(number)
