"""How rows and records join."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pandas_llm._engine import Outcomes


def explode(outcomes: Outcomes, *, keep_empty: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return how rows and records join.

    Returns
    -------
    row, record : ndarray of int
        For each row of the result: the input's row, and the record in the order in
        which they came, -1 where there is none.
    """
    positions = np.array(outcomes.positions, dtype=np.intp)
    order = np.argsort(positions, kind="stable")
    counts = np.bincount(positions, minlength=outcomes.rows)
    starts = np.cumsum(counts) - counts
    leader = np.arange(outcomes.rows)
    if outcomes.leaders:
        followers = np.fromiter(outcomes.leaders, dtype=np.intp)
        leader[followers] = np.fromiter(outcomes.leaders.values(), dtype=np.intp)
    counts, starts = counts[leader], starts[leader]
    width = np.maximum(counts, 1) if keep_empty else counts
    row = np.repeat(np.arange(outcomes.rows), width)
    within = np.arange(len(row)) - np.repeat(np.cumsum(width) - width, width)
    slot = np.repeat(starts, width) + within
    filled = np.repeat(counts, width) > 0
    record = np.full(len(row), -1, dtype=np.intp)
    record[filled] = order[slot[filled]]
    return row, record
