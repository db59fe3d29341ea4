"""Where a cheap judge's answers are kept, with a bound that holds for a finite table.

Some rows are drawn uniformly without replacement and answered by both judges. The
bound is exact (hypergeometric), a fixed-sequence form of Learn-then-Test (Angelopoulos
et al. 2021): no normal approximation, and nothing is assumed about the cheap judge.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_SAMPLE = 200
"""Rows in the sample of a table of up to `_LARGE` rows."""
_LARGE = 10_000
_LARGE_SAMPLE = 400
_SMALL_SHARE = 5
"""Of a small table, one row in five is sampled."""
_EVEN = 0.5
"""What decides where both cutoffs allow it."""
_ROUNDING = 1e-9
"""Added before a product is rounded down: 0.05 * 1000 is 50."""


def sample_size(rows: int) -> int:
    """Return how many rows both judges answer."""
    if rows > _LARGE:
        return _LARGE_SAMPLE
    return min(rows, _SAMPLE, max(1, rows // _SMALL_SHARE))


def accuracy_cutoff(
    confidence: Floats, sample: Ints, wrong: Bools, *, accuracy: float, delta: float
) -> Bools:
    """Return the rows whose cheap label is kept.

    With probability 1 - `delta` at least a share `accuracy` of all rows then has the
    label of the better judge. No two rows may have the same confidence. Both judges
    have answered a `sample`, drawn uniformly without replacement; `wrong` says of each
    of it whether the cheap label is not the better one.

    >>> sure = np.linspace(0, 1, 1000)
    >>> rows = np.arange(0, 1000, 5)
    >>> kept = accuracy_cutoff(sure, rows, rows < 500, accuracy=0.9, delta=0.05)
    >>> bool(kept[700:].all()), bool(kept[:400].any())
    (True, False)
    """
    allowed = _share(1 - accuracy, len(confidence))
    return _outside(confidence, sample[wrong], len(sample), allowed, delta)


def decision_cutoffs(  # noqa: PLR0913 - all by name but the first three
    probability: Floats,
    sample: Ints,
    yes: Bools,
    *,
    recall: float,
    precision: float,
    delta: float,
) -> tuple[Bools, Bools]:
    """Return which rows the cheap judge decides: those of yes, and those of no.

    With probability 1 - `delta` the share `recall` of the better judge's yes rows is
    found, and the share `precision` of the rows found is its yes. `probability` is that
    of yes by the cheap judge, in no two rows the same; `yes` the better judge's answers
    for the `sample`, drawn uniformly without replacement.
    """
    rows, size = len(probability), len(sample)
    least = least_count(rows, size, int(yes.sum()), delta / 3)
    missed = _share(1 - recall, least)
    false = _share(recall * (1 - precision) / precision, least)
    no = _outside(-probability, sample[yes], size, missed, delta / 3)
    sure = _outside(probability, sample[~yes], size, false, delta / 3)
    likely = probability >= _EVEN
    return sure & (likely | ~no), no & ~(likely & sure)


def _share(share: float, rows: int) -> int:
    return int(np.floor(share * rows + _ROUNDING))


def _outside(
    order: Floats, errors: Ints, size: int, allowed: int, delta: float
) -> Bools:
    """Return the rows above the sampled error that is one too many, walking down."""
    spare = spared_errors(len(order), size, allowed, delta)
    if spare is None:
        return np.zeros(len(order), np.bool_)
    worst = np.sort(order[errors])[::-1]
    return order > (worst[spare] if len(worst) > spare else -np.inf)


def spared_errors(rows: int, size: int, allowed: int, delta: float) -> int | None:
    """Return how many sampled errors may be passed; None when the sample is too small.

    The largest w with P(X <= w) <= delta, where X of the allowed + w + 1 surest errors
    are in the sample: more than w of them are, except with probability delta.
    """
    best = None
    for spare in range(size):
        errors = allowed + spare + 1
        if errors > rows or _tail(rows, errors, size, spare) > delta:
            break
        best = spare
    return best


def least_count(rows: int, size: int, hits: int, delta: float) -> int:
    """Return the lower bound for how many rows are yes, of which `hits` were drawn."""

    def no_surprise(marked: int) -> bool:
        return not hits or 1 - _tail(rows, marked, size, hits - 1) > delta

    return hits + bisect_left(range(hits, rows), x=True, key=no_surprise)


def _tail(rows: int, marked: int, size: int, most: int) -> float:
    """Return P(X <= most) for the marked rows in a sample (hypergeometric)."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, rows + 1)))])

    def choose(n: int, k: Ints) -> Floats:
        return np.asarray(logs[n] - logs[k] - logs[n - k])

    drawn = np.arange(max(0, size - (rows - marked)), min(most, marked, size) + 1)
    ways = choose(marked, drawn) + choose(rows - marked, size - drawn)
    return float(np.exp(ways - choose(rows, np.array(size))).sum())
