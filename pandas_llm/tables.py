"""Small two-column tables, for a terminal and for a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_text(lines: Sequence[tuple[str, str]]) -> str:
    """Give aligned lines.

    Examples
    --------
    >>> print(as_text([("rows", "2"), ("cost", "$1")]))
    rows  2
    cost  $1
    """
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def as_html(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """Give a table without a style of its own, so that it follows the notebook's."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:right'>{html.escape(value)}</td></tr>"
        for name, value in lines
    )
    caption = f"<caption style='text-align:left'>{html.escape(title)}</caption>"
    return f"<table>{caption}{rows}</table>"
