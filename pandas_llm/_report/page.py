"""The report of a run: one page without network, script or library."""

from __future__ import annotations

import html
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pandas_llm._display import Usage, as_html, as_text, page, page_path
from pandas_llm._report import plots
from pandas_llm._report.timeline import FASTEST, FINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

_PERCENTILES = (50, 90, 95, 99)
_CELL = "padding:.2em .8em .2em 0;vertical-align:top;text-align:"
_FAILED = ("reason", "rows", "row", "label", "tries", "the first of them")
_SLOWEST = ("row", "label", "time in all", "tries", "tokens in", "tokens out")
_WORDS = ("reason", "label", "the first of them")
"""Columns of a table that hold no numbers."""


class Report:
    """The report of the run, or the chain of runs, that made a frame.

    A notebook shows it as it is; `save` writes a page of its own; printed, it is
    the totals.
    """

    def __init__(
        self,
        usage: Usage,
        runs: Sequence[Mapping[str, Any]],
        links: Mapping[int, str] | None = None,
    ) -> None:
        """Take the usage of a chain, the logs of its last runs, and links to rows."""
        self._usage, self._runs = usage, runs
        self._links = {str(at): url for at, url in (links or {}).items()}

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, which ends in .html or .htm."""
        title = "<h1 style='font-size:1.5em'>Report</h1>"
        text = page("pandas_llm: report of a run", title + self._repr_html_())
        page_path(path).write_text(text, encoding="utf-8")

    def _repr_html_(self) -> str:
        several = len(self._runs) > 1
        parts = [self._usage._repr_html_()] if several else []
        for number, run in enumerate(self._runs, 1):
            head = f"Run {number} of {len(self._runs)}: " if several else ""
            last = number == len(self._runs)
            parts.append(_run(run, head, self._links if last else {}))
        return f'<div style="text-align:left">{"".join(parts)}</div>'

    def __repr__(self) -> str:
        lines = [str(self._usage)]
        for run in self._runs:
            if bins := run["latency"]:
                within = [(f"answered within, {n}", v) for n, v in _percentiles(bins)]
                lines.append(as_text([("run", _what(run)), *within]))
            if cascade := _cascade(run):
                lines.append(as_text(cascade))
        return "\n\n".join(lines)


def _what(run: Mapping[str, Any]) -> str:
    return f"{run['verb']}, {run.get('model') or 'no model'}"


def _run(run: Mapping[str, Any], number: str, links: Mapping[str, str]) -> str:
    usage = Usage(**run["usage"])
    simulated = " (answers invented by the simulator)" * bool(run.get("simulated"))
    title = html.escape(f"{number}{_what(run)}{simulated}")
    ended = html.escape(_moment(run.get("ended")))
    head = f"<h2 style='font-size:1.2em'>{title}</h2><p>Ended {ended}.</p>"
    cascade = _cascade(run)
    first = as_html("A cheap model first", cascade) if cascade else ""
    failures = run["failures"]
    sections = {
        "Rows over time": _throughput(run),
        "Time to answer": _latency(run["latency"]),
        "Retries, by the reason": _retries(run["retried"]),
        "Failed rows": _failures(failures, links, remarks=False),
        "Answered, with a remark": _failures(failures, links, remarks=True),
        "Slowest rows": _slowest(run["slowest"], links),
    }
    return f"{head}{usage._repr_html_()}{first}" + "".join(
        f"<h3 style='font-size:1.05em'>{title}</h3>{body}"
        for title, body in sections.items()
        if body
    )


def _moment(text: str | None) -> str:
    """Return a moment as this machine's clock shows it."""
    try:
        moment = datetime.fromisoformat(text or "").astimezone()
    except ValueError:
        return text or "at an unknown time"
    return f"{moment.day} {moment:%B %Y, %H:%M:%S %Z}"


def _cascade(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a cheap model decided, under which target."""
    facts = run.get("cascade")
    if not facts:
        return []
    low = facts.get("cascade_low")
    high = facts.get("cascade_above", facts.get("cascade_high"))
    shares = [n for n in ("accuracy", "recall", "precision") if n in facts]
    target = ", ".join(f"{name} {facts[name]:.0%}" for name in shares)
    odds = 1 - (facts["cascade_delta"] or 0)
    saved = facts.get("cascade_saved")
    lines = {
        "kept of the cheap model": f"{facts['cascade_kept']:,}",
        "asked of the better one": f"{facts['cascade_dear']:,}",
        "of these a sample for both": f"{facts['cascade_sample']:,}",
        "kept as no, up to": None if low is None else f"{low:.3g}",
        "kept, from": None if high is None else f"{high:.3g}",
        "target": f"{target}, with probability {odds:.0%}" if target else None,
        "bound": facts["cascade_bound"],
        "saved": None if saved is None else f"${saved:,.4g}",
    }
    return [(name, text) for name, text in lines.items() if text is not None]


# -- over time ------------------------------------------------------------------


def _throughput(run: Mapping[str, Any]) -> str:
    series, width = _joined(run)
    done = series.get("done", [])
    if len(done) < 3:  # noqa: PLR2004 - too few for a plot
        return ""
    spans = [width] * (len(done) - 1) + [max(width / 10, run["seconds"] % width)]
    rates = [rows / span for rows, span in zip(done, spans, strict=True)]
    kinds = (
        ("waiting: rate limit", plots.AMBER, "limited", width),
        ("waiting: server", plots.VIOLET, "outage", width),
        ("retries", plots.RED, "retries", 0.0),
    )
    marks = [
        plots.Marks(name, colour, [v / (span or 1.0) for v in series[key]], span > 0)
        for name, colour, key, span in kinds
        if any(series.get(key, ()))
    ]
    titles = [f"{at * width:.4g} s: {rate:.4g} rows/s" for at, rate in enumerate(rates)]
    plot = plots.bars(
        rates,
        _times(run["seconds"], width),
        across="seconds",
        up="rows a second",
        titles=titles,
        marks=marks,
    )
    names = plots.legend(
        [("rows done", plots.BLUE)] + [(mark.name, mark.colour) for mark in marks]
    )
    return f"{plot}<p>{names}</p>"


def _joined(run: Mapping[str, Any]) -> tuple[dict[str, list[float]], float]:
    """Return the series in as many stretches as suit the rows, and their width."""
    done = run["series"].get("done", [])
    by = max(1, math.ceil(len(done) / _bins(sum(done))))
    series = {
        name: [sum(values[at : at + by]) for at in range(0, len(values), by)]
        for name, values in run["series"].items()
    }
    return series, run["width"] * by


def _bins(count: float) -> int:
    """Return the number of bars for a count of things, at most 120."""
    return max(1, min(120, math.ceil(3 * math.sqrt(count))))


def _times(seconds: float, width: float) -> list[tuple[float, str]]:
    top, rows = plots.scale(seconds)
    times = [top / rows * row for row in range(rows + 1)]
    return [(time / width, f"{time:.4g}") for time in times if time <= seconds]


# -- latency --------------------------------------------------------------------


def percentile(bins: Sequence[tuple[int, int]], share: float) -> float:
    """Return the seconds below which a share of the answers lies, within 5 %.

    >>> round(percentile([(53, 99), (80, 1)], 0.5), 2)
    0.1
    """
    left = share * sum(count for _, count in bins)
    for at, count in bins:
        if count >= left:
            return float(FASTEST * 2.0 ** ((at + left / count) / FINE))
        left -= count
    return 0.0


def _percentiles(bins: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(f"{p} %", _seconds(percentile(bins, p / 100))) for p in _PERCENTILES]


def _latency(bins: Sequence[tuple[int, int]]) -> str:
    if not bins:
        return ""
    counts = dict(bins)
    first, last = min(counts), max(counts)
    by = max(2, math.ceil((last + 1 - first) / _bins(sum(counts.values()))))
    first, last = first - first % by, last + by
    span = range(first, last, by)
    heights = [float(sum(counts.get(at + k, 0) for k in range(by))) for at in span]
    edges = [FASTEST * 2.0 ** (at / FINE) for at in (*span, span[-1] + by)]
    titles = [
        f"{_seconds(low)} to {_seconds(high)}: {count:.0f}"
        for low, high, count in zip(edges, edges[1:], heights, strict=False)
    ]
    every = max(1, -(-len(edges) // 8))
    ticks = [(float(k), _seconds(edges[k])) for k in range(0, len(edges), every)]
    plot = plots.bars(
        heights, ticks, across="time to answer", up="answers", titles=titles, whole=True
    )
    words = ", ".join(f"{name} within {value}" for name, value in _percentiles(bins))
    return f"<p>{html.escape(words)}.</p>{plot}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


# -- tables ---------------------------------------------------------------------


def _retries(retried: Mapping[str, int]) -> str:
    rows = [(kind.replace("_", " "), f"{count:,}") for kind, count in retried.items()]
    return _table(("reason", "retries"), rows)


def _failures(
    failures: Sequence[Mapping[str, Any]], links: Mapping[str, str], *, remarks: bool
) -> str:
    rows = []
    for group in failures:
        head = (group["kind"].replace("_", " "), f"{group['rows']:,}")
        for example in group["examples"] if group["remark"] is remarks else ():
            rows.append((*head, *map(str, example)))
            head = ("", "")
    return _table(_FAILED, rows, links)


def _slowest(slowest: Sequence[Sequence[Any]], links: Mapping[str, str]) -> str:
    if not slowest:
        return ""
    rows = [
        (str(at), str(label), _seconds(s), f"{tries}", f"{i:,}", f"{o:,}")
        for s, at, label, tries, i, o in slowest
    ]
    words = "<p><code>out.llm.view([label])</code> shows a row beside its prompt.</p>"
    return _table(_SLOWEST, rows, links) + words


def _table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    links: Mapping[str, str] | None = None,
) -> str:
    """Return a table, if it has rows; the numbers of rows may be links."""
    if not rows:
        return ""

    def cell(tag: str, name: str, text: str) -> str:
        inner, side = html.escape(text), "left" if name in _WORDS else "right"
        if links and name == "row" and text in links:
            inner = f'<a href="{html.escape(links[text])}">{inner}</a>'
        return f'<{tag} style="{_CELL}{side}">{inner}</{tag}>'

    head = "".join(cell("th", name, name) for name in names)
    body = "".join(
        f"<tr>{''.join(cell('td', *one) for one in zip(names, row, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
