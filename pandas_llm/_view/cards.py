"""Texts of rows as cards: for a notebook, and for a terminal of 80 columns."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from pandas_llm.redaction import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 80
_INDENT = " " * 4
_BOX = (
    "border:1px solid rgba(127,127,127,.45);border-radius:.5em;"
    "padding:.5em .9em .8em;margin:.6em 0;max-width:52em"
)
_LABEL = "font-size:.8em;opacity:.75;margin:.6em 0 .1em"
_TEXT = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0;padding:0;"
    "background:none;color:inherit;text-align:left"
)
_THUMBNAIL = "max-height:6em;max-width:100%;margin:.3em .5em 0 0;border-radius:.2em"


class Card(NamedTuple):
    """What is shown of one row, or of all."""

    title: str
    parts: tuple[tuple[str, str], ...]
    """Names and texts."""
    pictures: tuple[str, ...] = ()
    """As data URLs; a terminal does without."""


def as_text(head: str, cards: Iterable[Card]) -> str:
    """Return cards for a terminal."""
    blocks = [textwrap.fill(head, WIDTH)]
    for card in cards:
        title = textwrap.shorten(visible(card.title), WIDTH - 8, placeholder="…")
        lines = [f"── {title} ".ljust(WIDTH, "─")]
        for name, text in card.parts:
            lines += [name, _wrapped(text)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_html(head: str, cards: Iterable[Card]) -> str:
    """Return cards for a notebook; all that is shown is escaped."""
    boxes = "".join(map(_box, cards))
    return f'<div style="text-align:left"><p>{plain(head)}</p>{boxes}</div>'


def _box(card: Card) -> str:
    parts = "".join(
        f'<div style="{_LABEL}">{plain(name)}</div>'
        f'<pre style="{_TEXT}">{plain(text)}</pre>'
        for name, text in card.parts
    )
    pictures = "".join(
        f'<img alt="" style="{_THUMBNAIL}" src="{html.escape(url)}">'
        for url in card.pictures
    )
    title = f"<b>{plain(card.title)}</b>"
    return f'<div style="{_BOX}">{title}{parts}{pictures}</div>'


def plain(text: str) -> str:
    """Return a text for a page: escaped, its control characters shown."""
    return html.escape(visible(text))


def _wrapped(text: str) -> str:
    """Wrap a text line by line; each keeps its own indentation."""
    lines = []
    for line in visible(text).expandtabs(4).split("\n"):
        start = _INDENT + line[: len(line) - len(line.lstrip())][: WIDTH // 2]
        wrapped = textwrap.fill(
            line.strip(),
            WIDTH,
            initial_indent=start,
            subsequent_indent=start,
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        lines.append(wrapped.rstrip())
    return "\n".join(lines)
