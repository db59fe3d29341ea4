"""Small two-column tables, for a terminal and for a notebook."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence


class SmallTable:
    """What shows itself as a small table, in a terminal and in a notebook."""

    __slots__ = ()
    _side: Literal["left", "right"] = "right"
    """Where the values stand in a notebook."""

    def _title(self) -> str:
        raise NotImplementedError

    def _lines(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self._lines())

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._lines(), self._side)


def as_text(lines: Sequence[tuple[str, str]]) -> str:
    """Return the pairs as aligned lines of up to 80 letters.

    A value without a name stands below the others, over the whole width.
    """
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(
        textwrap.fill(
            value, 80, initial_indent=f"{name:<{width}}", subsequent_indent=" " * width
        )
        if name
        else "\n" + textwrap.fill(value, 80)
        for name, value in lines
    )


def as_html(
    title: str,
    lines: Sequence[tuple[str, str]],
    side: Literal["left", "right"] = "right",
) -> str:
    """Return a table without a style of its own, so that it follows the notebook's."""
    rows = "".join(
        "<tr><th style='text-align:left;vertical-align:top;white-space:nowrap'>"
        f"{html.escape(name)}</th><td style='text-align:{side};white-space:normal'>"
        f"{html.escape(value)}</td></tr>"
        for name, value in lines
    )
    caption = f"<caption style='text-align:left'>{html.escape(title)}</caption>"
    return f"<table>{caption}{rows}</table>"


def dollars(known: float, unpriced: int) -> str:
    """Return a cost in words: what is known of it, and how much is not.

    >>> dollars(0.01234, 0), dollars(0.0, 3), dollars(1.5, 1)
    ('$0.01234', 'unknown price', 'at least $1.50 (1 request has no known price)')
    """
    amount = f"${known:,.2f}" if known >= 1 else f"${known:.4g}"
    if not unpriced:
        return amount
    if not known:
        return "unknown price"
    sent = "1 request has" if unpriced == 1 else f"{unpriced:,} requests have"
    return f"at least {amount} ({sent} no known price)"


def short(number: float) -> str:
    """Return a number in at most three digits and a letter.

    >>> short(999), short(1234), short(5_600_000)
    ('999', '1.23k', '5.6M')
    """
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
