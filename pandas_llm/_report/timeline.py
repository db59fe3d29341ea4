"""What a run was like, for the report, in memory that does not grow with the rows."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_llm.redaction import clipped, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._display import Totals
    from pandas_llm.types import Outcome, Remark

BUCKETS = 120
"""Stretches of time; when they are used up, each two become one."""
FINE = 8
"""Bins of the latency histogram in a doubling, so a percentile is within 5 %."""
FASTEST = 0.001
_BINS = FINE * 20
_EDGES = [FASTEST * 2.0 ** (at / FINE) for at in range(1, _BINS)]
"""Where each bin ends; a search in it takes half the time of a logarithm."""
_SLOWEST = 20
_EXAMPLES = 3
_FIRST_WIDTH = 0.1
_NAME = 61
_WORDS = 301
"""Letters kept of a label and of an error's message, with the mark of a cut."""
_COUNTED = ("done", "cached", "failed", "retries", "input_tokens", "output_tokens")
SERIES = (*_COUNTED, "limited", "outage")


class RunLog:
    """Counts of a run over time, its latencies, its slowest rows, its retries.

    Rows cost nothing here except for their latency: `sample` reads the totals a few
    times a second.
    """

    def __init__(self) -> None:
        self.width = _FIRST_WIDTH
        """Seconds of a bucket."""
        self.retried: Counter[str] = Counter()
        """Attempts that failed and were made again, by the kind of error."""
        self._series = np.zeros((len(SERIES), BUCKETS))
        self._bins = [0] * _BINS
        self._slowest: list[tuple[float, int, int, int, int]] = []
        self._floor = 0.0
        self._now = 0.0
        self._counts = [0] * len(_COUNTED)

    # -- during the run ---------------------------------------------------------

    def answered(self, seconds: float) -> None:
        """Count the latency of one answer."""
        self._bins[bisect_right(_EDGES, seconds)] += 1

    def row(self, position: int, outcome: Outcome) -> None:
        """Keep a row that was sent if it is one of the slowest."""
        if outcome.seconds <= self._floor:
            return
        tokens = outcome.tokens
        one = (outcome.seconds, position, outcome.attempts, tokens.input, tokens.output)
        heapq.heappush(self._slowest, one)
        if len(self._slowest) > _SLOWEST:
            heapq.heappop(self._slowest)
            self._floor = self._slowest[0][0]

    def sample(
        self, now: float, totals: Totals, *, limited: bool = False, outage: bool = False
    ) -> None:
        """Add what was counted since the last time; the flags say why all rows wait."""
        while now >= BUCKETS * self.width:
            self.width *= 2
            pairs = self._series.reshape(len(SERIES), -1, 2).sum(axis=2)
            self._series = np.pad(pairs, ((0, 0), (0, BUCKETS // 2)))
        counts = [getattr(totals, name) for name in _COUNTED]
        amounts: list[float] = list(np.subtract(counts, self._counts))
        passed = max(0.0, now - self._now)
        amounts += [passed * limited, passed * outage]
        # a caller that was busy samples late: what was counted is spread evenly
        edges = np.clip(self.width * np.arange(BUCKETS + 1), self._now, now)
        shares = np.diff(edges) / passed if passed else np.zeros(BUCKETS)
        if not passed:
            shares[int(now / self.width)] = 1.0
        self._series += np.outer(amounts, shares)
        self._now, self._counts = now, counts

    # -- after the run ----------------------------------------------------------

    @property
    def series(self) -> dict[str, NDArray[np.float64]]:
        """Of each bucket: what was counted, and seconds in which all waited."""
        return dict(zip(SERIES, self._series, strict=True))

    @property
    def latency(self) -> dict[int, int]:
        """Answers by bin; bin `k` begins at ``FASTEST * 2 ** (k / FINE)`` seconds."""
        return {at: count for at, count in enumerate(self._bins) if count}

    def summary(
        self, remarks: Iterable[tuple[int, Remark, bool]], label: Callable[[int], Any]
    ) -> dict[str, Any]:
        """Return all as plain data; `remarks` are (position, remark, answered)."""
        used = min(BUCKETS, int(self._now / self.width) + 1)
        series = {
            name: [round(value, 3) for value in values[:used].tolist()]
            for name, values in self.series.items()
            if values.any()
        }
        slowest = [
            [round(seconds, 3), at, _name(label(at)), *rest]
            for seconds, at, *rest in sorted(self._slowest, reverse=True)
        ]
        return {
            "seconds": round(self._now, 3),
            "width": self.width,
            "series": series,
            "latency": [[at, count] for at, count in self.latency.items()],
            "slowest": slowest,
            "retried": dict(self.retried),
            "failures": _by_kind(remarks, label),
        }


def join_summaries(
    summaries: Sequence[Mapping[str, Any]], starts: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return the summaries of several runs, or of none, as one.

    `starts` are the seconds at which they began; without, each followed the last.
    """
    if starts is None:
        starts = [0.0, *accumulate(one["seconds"] for one in summaries)][:-1]
    spans = list(zip(starts, summaries, strict=True))
    seconds = max((start + one["seconds"] for start, one in spans), default=0.0)
    width = max((one["width"] for one in summaries), default=_FIRST_WIDTH)
    while seconds >= BUCKETS * width:
        width *= 2
    series: dict[str, Any] = {}
    latency, retried = Counter[int](), Counter[str]()
    for start, one in spans:
        for name, values in one["series"].items():
            total = series.setdefault(name, np.zeros(int(seconds / width) + 1))
            moments = start + (np.arange(len(values)) + 0.5) * one["width"]
            places = (np.minimum(moments, seconds) / width).astype(int)
            total += np.bincount(places, values, len(total))
        latency.update(dict(one["latency"]))
        retried.update(one["retried"])
    kinds: dict[tuple[str, bool], dict[str, Any]] = {}
    for group in chain.from_iterable(one["failures"] for one in summaries):
        new = {**group, "rows": 0}
        kinds.setdefault((group["kind"], group["remark"]), new)["rows"] += group["rows"]
    slowest = sorted((row for one in summaries for row in one["slowest"]), reverse=True)
    return {
        "seconds": round(seconds, 3),
        "width": width,
        "series": {name: values.tolist() for name, values in series.items()},
        "latency": [[at, latency[at]] for at in sorted(latency)],
        "slowest": slowest[:_SLOWEST],
        "retried": dict(retried),
        "failures": sorted(kinds.values(), key=lambda group: -group["rows"]),
    }


def _by_kind(
    remarks: Iterable[tuple[int, Remark, bool]], label: Callable[[int], Any]
) -> list[dict[str, Any]]:
    kinds: dict[tuple[str, bool], dict[str, Any]] = {}
    for at, (kind, message, attempts), answered in remarks:
        new = {"kind": kind, "remark": answered, "rows": 0, "examples": []}
        group = kinds.setdefault((kind, answered), new)
        group["rows"] += 1
        if len(group["examples"]) < _EXAMPLES:
            words = clipped(message, _WORDS)
            group["examples"].append([at, _name(label(at)), attempts, words])
    return sorted(kinds.values(), key=lambda group: -group["rows"])


def _name(label: Any) -> str:
    return clipped(visible(str(label)), _NAME)
