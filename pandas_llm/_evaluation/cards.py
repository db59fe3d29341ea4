"""How results show themselves: tables in a terminal, a card in a notebook."""

from __future__ import annotations

import html
import math
import textwrap
from typing import Any, NamedTuple

import pandas as pd

from pandas_llm._display import as_html, as_text
from pandas_llm.redaction import clipped

WIDTH = 80
"""Columns of a terminal."""
_LONG = 24
_ALIGNED = ("display.unicode.east_asian_width", True)
_ROWS = 20
_SIZE, _EDGE = 220, 40
_BLUE = "#3b82c4"


class Part(NamedTuple):
    """A table of a card with its title: words in a frame, or in pairs."""

    title: str
    table: pd.DataFrame | list[tuple[str, str]]

    def text(self) -> str:
        """Return it for a terminal."""
        if isinstance(self.table, list):
            return as_text(self.table)
        with pd.option_context(*_ALIGNED):
            return self.table.to_string(line_width=WIDTH, max_rows=_ROWS)

    def html(self) -> str:
        """Return it for a notebook, in the style of the notebook's own tables."""
        title = f"<p>{html.escape(self.title)}</p>" if self.title else ""
        if isinstance(self.table, list):
            return title + as_html("", self.table)
        return title + self.table.to_html(border=0, max_rows=_ROWS)


class Card:
    """What shows itself as tables, with a picture in a notebook.

    Names of the columns of `summary` are attributes: a number, or a Series where
    there are groups.
    """

    summary: pd.DataFrame
    """One row, or one for each group."""
    remarks: tuple[str, ...]
    """What to know before the figures are passed on."""
    _heading: str
    _grouped: bool

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def _parts(self) -> list[Part]:
        raise NotImplementedError

    def _picture(self) -> str:
        return ""

    def __getattr__(self, name: str) -> Any:
        if name[:1] == "_" or name == "summary" or name not in self.summary.columns:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        figures = self.summary[name]
        return figures if self._grouped else figures.item()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.summary.columns]

    def __repr__(self) -> str:
        lines = textwrap.wrap(self._heading, WIDTH)
        for part in self._parts():
            lines += ["", *([part.title] if part.title else [])]
            lines += part.text().splitlines()
        for remark in self.remarks:
            lines += ["", *textwrap.wrap(remark, WIDTH)]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{html.escape(self._heading)}</b></p>"]
        parts += [part.html() for part in self._parts()]
        parts.append(self._picture())
        parts += [f"<p>{html.escape(remark)}</p>" for remark in self.remarks]
        return f'<div style="text-align:left">{"".join(parts)}</div>'


def words(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as it is shown: short figures, short labels."""
    shown = frame.map(figure).astype(object)
    shown.index = _short(shown.index)
    shown.columns = [str(name).replace("_", " ") for name in _short(shown.columns)]
    if shown.index.nlevels == 1:
        shown.index.name = None
    return shown


def interval(low: float, high: float) -> str:
    """Return a 95 % interval in words.

    >>> interval(0.75, 0.91), interval(float("nan"), 1.0)
    ('0.750 to 0.910', 'NA')
    """
    if math.isnan(low) or math.isnan(high):
        return "NA"
    return f"{figure(low)} to {figure(high)}"


def figure(value: Any) -> str:
    """Return a figure in few digits.

    >>> figure(0.12345), figure(1234567), figure(98765.4), figure(True)
    ('0.123', '1,234,567', '98,765', 'True')
    """
    if not pd.api.types.is_number(value) or pd.api.types.is_bool(value):
        return _label(value)
    if value != value:  # noqa: PLR0124 - NaN of any kind
        return "NA"
    if not isinstance(value, float):
        return f"{value:,}"
    if value and abs(value) < 0.001:  # noqa: PLR2004 - three places would show 0
        return f"{value:.2g}"
    places = ".3f" if abs(value) < 10 else ",.4g" if abs(value) < 1000 else ",.0f"  # noqa: PLR2004
    return format(value, places)


def reliability_picture(bins: pd.DataFrame) -> str:
    """Draw how often rows told with some confidence are right, beside the diagonal."""
    side = _SIZE - _EDGE - 10
    most = max(bins["rows"].max(), 1)

    def place(across: float, up: float) -> tuple[float, float]:
        return _EDGE + across * side, 10 + (1 - up) * side

    (left, bottom), (right, top) = place(0, 0), place(1, 1)
    dots = []
    for confidence, hit, rows in bins.itertuples(index=False):
        x, y = place(confidence, hit)
        size = 2.5 + 4.5 * math.sqrt(rows / most)
        title = f"{rows:,} rows at {confidence:.2f}: {hit:.0%} are right"
        dots.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{_BLUE}">'
            f"<title>{title}</title></circle>"
        )
    line = 'stroke="currentColor" stroke-opacity="0.4" fill="none"'
    ticks = "".join(
        _text(place(at, 0)[0], bottom + 14, f"{at:g}", "middle")
        + _text(left - 5, place(0, at)[1] + 4, f"{at:g}", "end")
        for at in (0, 0.5, 1)
    )
    return (
        f'<svg width="{_SIZE}" height="{_SIZE}" role="img" font-size="11" '
        'font-family="system-ui,sans-serif" aria-label="reliability">'
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" {line}/>'
        f'<line x1="{left}" y1="{bottom}" x2="{right}" y2="{top}" {line} '
        f'stroke-dasharray="4 3"/>{"".join(dots)}{ticks}'
        + _text((left + right) / 2, _SIZE - 2, "confidence", "middle")
        + '<g transform="translate(11,'
        f'{(top + bottom) / 2}) rotate(-90)">{_text(0, 0, "share right", "middle")}</g>'
        "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">'
        f"{text}</text>"
    )


def _label(value: Any) -> str:
    """Return a label as people write it, cut where it is long: a year has no comma."""
    text = "NA" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)
    return clipped(text, _LONG)


def _short(index: pd.Index) -> pd.Index:
    names: list[Any] = [
        tuple(map(_label, one)) if isinstance(one, tuple) else _label(one)
        for one in index
    ]
    if isinstance(index, pd.MultiIndex):
        return pd.MultiIndex.from_tuples(names, names=index.names)
    short: pd.Index = pd.Index(names, name=index.name, tupleize_cols=False)
    return short.astype(object)


def title_of(predicted: Any, gold: Any, by: Any = None) -> str:
    """Return the heading of a card.

    >>> title_of("label", {1: "good"}, ["year", "shop"])
    "'label' against a mapping, by 'year', 'shop'"
    """
    keys = [] if by is None else by if isinstance(by, list) else [by]
    groups = f", by {', '.join(map(_name, keys))}" if keys else ""
    return f"{_name(predicted)} against {_name(gold)}{groups}"


def _name(column: Any) -> str:
    """Return what an argument is called."""
    if isinstance(column, pd.Series) and column.name is not None:
        column = column.name
    if pd.api.types.is_hashable(column):
        return repr(column)
    kind = "mapping" if isinstance(column, dict) else type(column).__name__
    return f"{'an' if kind[0] in 'AEIO' else 'a'} {kind}"
