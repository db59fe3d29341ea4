"""Answers beside their prompts: a page with a search, a cell, or a terminal's text."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from pandas_llm._display import page, page_path
from pandas_llm._report import Report
from pandas_llm._run import runs, usage
from pandas_llm._view.answers import MOST, as_frame, chosen, columns_of, describe
from pandas_llm._view.asked import asked_of
from pandas_llm._view.cards import Card, as_text, plain
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from pandas_llm._run import Task
    from pandas_llm._view.answers import Answered

_STYLE = """
h1 { font-size: 1.4em } .note { opacity: .8; margin: .2em 0 }
input { font: inherit; width: 100%; max-width: 30em; box-sizing: border-box; \
padding: .3em .5em; margin: .6em 0 }
.row { display: grid; grid-template-columns: 5fr 4fr 10em; gap: 0 1.4em; \
border: 1px solid #8886; border-radius: .5em; padding: .6em .9em .8em; margin: .7em 0 }
.row > div { min-width: 0 } .row > b { grid-column: 1 / -1 }
.name { font-size: .8em; opacity: .75; margin: .5em 0 .1em }
pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
mark { background: #ffd54a; color: #000; border-radius: .2em; padding: 0 .1em }
.error { color: #c22f43 }
@media (prefers-color-scheme: dark) { .error { color: #ff8a98 } }
img { max-height: 6em; max-width: 100%; margin: .3em .5em 0 0 }
.facts { overflow-wrap: anywhere }
@media (max-width: 700px) { .row { grid-template-columns: 1fr } }
"""
_SCRIPT = """
const rows = [...document.querySelectorAll(".row")];
const texts = rows.map(row => row.textContent.toLowerCase());
const field = document.querySelector("input");
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  rows.forEach((row, at) => {
    const found = words.every(word => texts[at].includes(word));
    row.style.display = found ? "" : "none";
    shown += found;
  });
  document.getElementById("count").textContent = `${shown} of ${rows.length} shown`;
});
"""


class View:
    """Answers beside their prompts; a notebook shows the page, a terminal its text."""

    def __init__(
        self,
        head: str,
        notes: Sequence[str],
        rows: list[Answered],
        anchors: Mapping[str, str] | None = None,
    ) -> None:
        self._head = head
        self._notes = list(dict.fromkeys(notes))
        self._rows = rows
        self._anchors = anchors or {}

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, which ends in .html or .htm."""
        page_path(path).write_text(self._page(), encoding="utf-8")

    def _page(self) -> str:
        notes = "".join(f'<p class="note">{plain(note)}</p>' for note in self._notes)
        search = '<input type="search" placeholder="search these rows" aria-label='
        body = (
            f"<h1>Answers beside prompts</h1><p>{plain(self._head)}</p>{notes}"
            f'{search}"search"> <span id="count" class="note"></span>'
            + "".join(row_html(row, self._anchors.get(row.label)) for row in self._rows)
        )
        title = "pandas_llm: answers beside prompts"
        return page(title, body, style=_STYLE, script=_SCRIPT, width="80em")

    def _repr_html_(self) -> str:
        # a frame of its own: its style and script touch nothing of the notebook
        height = min(40, 14 + 12 * len(self._rows))
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(self._page())}" '
            f'title="answers beside prompts" style="width:100%;height:{height}em;'
            'border:1px solid rgba(127,127,127,.45);border-radius:.5em"></iframe>'
        )

    def __repr__(self) -> str:
        """Show the rows one below the other."""
        return as_text(" ".join([self._head, *self._notes]), map(_card, self._rows))


def view_of(
    result: pd.DataFrame | pd.Series,
    rows: int | Sequence[Any] | None = None,
    only: str | None = None,
    *,
    data: Any = None,
    task: Task | None = None,
) -> View:
    """Return a view of a result's rows; see ``df.llm.view``."""
    logs = runs(result)
    asked = asked_of(result, data, task)
    frame = as_frame(result)
    names = columns_of(frame, asked)
    places = chosen(frame, names, asked, only)
    total = len(places)
    if rows is None or pd.api.types.is_integer(rows):
        places = places[: MOST if rows is None else max(0, int(rows))]
    else:
        wanted = _located(frame.index, rows)
        places = [at for at in places if at in wanted]
    shown = describe(frame, places, names, asked)
    if "llm_attempts" not in frame.columns:
        asked.notes.append("Tries of answered rows are known with details=True.")
    return View(_head(logs, len(places), total, only), asked.notes, shown)


def _located(index: pd.Index, rows: Any) -> set[int]:
    """Return the positions of what `rows` means to ``loc``."""
    flat = index.nlevels == 1
    if isinstance(rows, (set, range, tuple) if flat else (set, range)):
        rows = list(rows)
    try:
        places = pd.Series(range(len(index)), index).loc[rows]
    except (LookupError, TypeError, ValueError) as error:
        msg = f"rows= names what is not a label of the frame: {error}"
        raise InvalidValueError(msg) from error
    return {*np.atleast_1d(places).tolist()}


def report_of(
    result: pd.DataFrame | pd.Series,
    path: str | PathLike[str] | None = None,
    view: str | PathLike[str] | None = None,
) -> Report:
    """Return the report of a run, with links to a view; see ``df.llm.report``."""
    links: dict[int, str] = {}
    path, view = (one if one is None else page_path(one) for one in (path, view))
    if view is not None:
        shown, positions = _view_for_report(result)
        shown.save(view)
        links = {at: f"{_link_to(view, path)}#row-{at}" for at in positions}
    report = Report(usage(result), runs(result), links)
    if path is not None:
        report.save(path)
    return report


def _view_for_report(result: pd.DataFrame | pd.Series) -> tuple[View, list[int]]:
    """Return a view of the rows that the report of the last run names.

    And their positions in what was asked: row N has the id ``row-N`` in the page.
    """
    last = (runs(result) or [{}])[-1]
    groups = last.get("failures", ())
    named = {at: label for group in groups for at, label, *_ in group["examples"]}
    named |= {at: label for _, at, label, *_ in last.get("slowest", ())}
    frame, asked = as_frame(result), asked_of(result)
    if not named or frame.index.nunique() != last["usage"]["rows"]:
        # rows are known by their labels, which are not all there, or not of one row
        return View("The report's rows cannot be found by their labels.", [], []), []
    places = [at for at, one in enumerate(frame.index) if str(one) in named.values()]
    rows = describe(frame, places, columns_of(frame, asked), asked)
    anchors = {label: f"row-{at}" for at, label in named.items()}
    there = {row.label for row in rows}
    head = f"The rows that the report names. {_head([last], len(rows), len(rows))}"
    shown = sorted(at for at, label in named.items() if label in there)
    return View(head, asked.notes, rows, anchors), shown


def _link_to(file: str | PathLike[str], page: str | PathLike[str] | None) -> str:
    """Return the way from a page to a file, as a link has it."""
    folder = Path(page).parent if page is not None else Path()
    try:
        relative = Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # on another drive
        return Path(file).absolute().as_uri()
    return quote(relative)


def _card(row: Answered) -> Card:
    """Return a row as a card, all of it one below the other."""
    parts = [*_asked(row), *row.answers]
    parts += [("failed", row.error)] if row.error else []
    facts = ", ".join(f"{name} {value}" for name, value in row.facts)
    parts += [("what is known of it", facts)] if facts else []
    return Card(f"Row {row.label}", tuple(parts), row.known.pictures)


def _head(
    logs: Sequence[dict[str, Any]], shown: int, total: int, only: str | None = None
) -> str:
    """Return what is shown of which run."""
    last = logs[-1] if logs else {}
    what = f" {only}" if only else ""
    run = f"{last.get('verb', 'a run')}, {last.get('model') or 'no model'}"
    if last.get("simulated"):
        run += "; its answers are invented by the simulator"
    return f"{shown:,} of {total:,}{what} rows of {run}."


def row_html(row: Answered, anchor: str | None = None) -> str:
    """Return one row: prompt, answers, and what is known of it; all is escaped."""
    marks = {"prompt": sorted(row.marks)}
    left = "".join(_part(*one, marks.get(one[0], ())) for one in _asked(row))
    left += "".join(
        f'<img alt="" src="{html.escape(url)}">' for url in row.known.pictures
    )
    middle = "".join(_part(*one) for one in row.answers)
    if row.error:
        middle += f'<div class="error">{_part("failed", row.error)}</div>'
    facts = "".join(_part(*one) for one in row.facts)
    place = f' id="{html.escape(anchor)}"' if anchor else ""
    return (
        f'<div class="row"{place}><b>Row {plain(row.label)}</b><div>{left}</div>'
        f'<div>{middle}</div><div class="facts">{facts}</div></div>'
    )


def _asked(row: Answered) -> list[tuple[str, str]]:
    parts = [(name, text) for name, text in row.known.parts.items() if text]
    return parts or [("prompt", row.known.unsent or "not known")]


def _part(name: str, text: str, marks: Sequence[tuple[int, int]] = ()) -> str:
    return f'<div class="name">{plain(name)}</div><pre>{_marked(text, marks)}</pre>'


def _marked(text: str, marks: Sequence[tuple[int, int]]) -> str:
    """Escape a text, and mark places of it, which may overlap."""
    parts, upto = [], 0
    for start, end in marks:
        begin = max(start, upto)
        if begin < end:
            parts.append(plain(text[upto:begin]))
            parts.append(f"<mark>{plain(text[begin:end])}</mark>")
            upto = end
    return "".join([*parts, plain(text[upto:])])
