"""Plots of the report, as SVG that takes its colours from the page around it."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _FLOOR = 48, 8, 26, HEIGHT - 36
"""Where the bars stand."""
BLUE, RED, AMBER, VIOLET = "#3b82c4", "#d1495b", "#d08a1d", "#8a63b8"
"""Legible on white and on black; shape and legend differ as well."""
_FAINT = 0.18
_LETTER = 7
"""The width of a letter at most."""


class Marks(NamedTuple):
    """What is marked over a plot: a name, a colour, and a share of each bucket."""

    name: str
    colour: str
    shares: Sequence[float]
    """0 to 1: how much of the bucket."""
    band: bool
    """A band behind the bars, or a tick above them."""


def bars(  # noqa: PLR0913 - all that a plot shows
    heights: Sequence[float],
    ticks: Sequence[tuple[float, str]],
    *,
    across: str,
    up: str,
    titles: Sequence[str],
    marks: Sequence[Marks] = (),
    whole: bool = False,
) -> str:
    """Draw bars side by side; a tick is (bars to its left, text), a title a bar's.

    With `whole` heights are counts, and the axis has no fractions of one.
    """
    wide = (WIDTH - _LEFT - _RIGHT) / max(1, len(heights))
    top, rows = scale(max(heights, default=0.0))
    if whole and top < rows:
        top = rows = math.ceil(top)
    parts = [_grid(top, rows)]
    for mark in marks:
        parts += _marks(mark, wide)
    for at, (height, title) in enumerate(zip(heights, titles, strict=True)):
        if height > 0:
            y = max(1.0, (_FLOOR - _TOP) * height / top)
            parts.append(
                f'<rect x="{_LEFT + at * wide:.1f}" y="{_FLOOR - y:.1f}" '
                f'width="{max(0.5, wide - (wide > 4)):.1f}" height="{y:.1f}" '  # noqa: PLR2004
                f'fill="{BLUE}"><title>{html.escape(title)}</title></rect>'
            )
    for place, text in ticks:
        x = _LEFT + place * wide
        # a label in the middle of its tick would be cut at the right edge
        anchor = "end" if x + _LETTER * len(text) / 2 > WIDTH else "middle"
        parts.append(_text(min(x, WIDTH), _FLOOR + 14, text, anchor))
    parts.append(_text(WIDTH - _RIGHT, HEIGHT - 6, across, "end"))
    parts.append(_text(0, 11, up, "start"))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{html.escape(f"{up}, by {across}")}" '
        'style="max-width:100%;height:auto;display:block" '
        'font-family="system-ui,sans-serif" font-size="11">' + "".join(parts) + "</svg>"
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Return the names of a plot's colours."""
    return " ".join(
        f'<span style="white-space:nowrap;margin-right:1em"><span style="'
        f'display:inline-block;width:.8em;height:.8em;background:{colour}"></span> '
        f"{html.escape(name)}</span>"
        for name, colour in entries
    )


def _grid(top: float, rows: int) -> str:
    lines = []
    for row in range(rows + 1):
        y = _FLOOR - (_FLOOR - _TOP) * row / rows
        lines.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="currentColor" stroke-opacity="{0.5 if row == 0 else _FAINT}"/>'
            + _text(_LEFT - 6, y + 4, f"{top * row / rows:,.4g}", "end")
        )
    return "".join(lines)


def _marks(mark: Marks, wide: float) -> list[str]:
    shapes, title = [], f"<title>{html.escape(mark.name)}</title>"
    for at, share in enumerate(mark.shares):
        x = _LEFT + at * wide
        if share > 0 and mark.band:
            shapes.append(
                f'<rect x="{x:.1f}" y="{_TOP}" width="{wide:.2f}" '
                f'height="{_FLOOR - _TOP}" shape-rendering="crispEdges" '
                f'fill="{mark.colour}" '
                f'fill-opacity="{0.12 + 0.3 * min(1.0, share):.2f}">{title}</rect>'
            )
        elif share > 0:
            shapes.append(
                f'<path d="M{x + wide / 2 - 4:.1f} {_TOP - 9}h8l-4 7z" '
                f'fill="{mark.colour}">{title}</path>'
            )
    return shapes


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'fill-opacity="0.75">{html.escape(text)}</text>'
    )


def scale(most: float) -> tuple[float, int]:
    """Return a round top and the number of steps to it.

    >>> scale(37.0)
    (40.0, 4)
    """
    if most <= 0:
        return 1.0, 1
    step = 10.0 ** math.floor(math.log10(most / 3))
    step = next(step * by for by in (1, 2, 5, 10) if most / (step * by) <= 5)  # noqa: PLR2004
    rows = math.ceil(most / step)
    return step * rows, rows
