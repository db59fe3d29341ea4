"""Arrays of the result: how rows and records join, and columns of a kind's dtype."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm._engine import Outcomes

PANDAS_GE_30 = int(re.match(r"\d+", pd.__version__)[0]) >= 3  # type: ignore[index]  # noqa: PLR2004

_NULLABLE = {"int": "Int64", "float": "Float64", "bool": "boolean"}


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


def typed(values: Any, kind: str, labels: Sequence[Any] = ()) -> Any:
    """Build an array of a kind's dtype, whatever the values."""
    if kind == "str" and PANDAS_GE_30:
        return pd.array(values, dtype="str")
    if kind in _NULLABLE:
        return pd.array(values, dtype=_NULLABLE[kind])
    if kind == "category":
        return pd.Categorical(values, categories=list(labels))
    if kind == "datetime":
        return np.array(values, dtype="datetime64[us]")
    if kind == "str":  # pandas 2 means object by "str"
        values = [np.nan if value is None else value for value in values]
    if kind == "vector":  # each a copy, or equal rows would change together
        values = [None if one is None else one.astype(np.float32) for one in values]
    return np.fromiter(values, dtype=object, count=len(values))


def expanded(columns: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Return vectors as columns ``name_0``, ``name_1``, …, NaN where there is none."""
    ((name, vectors),) = columns.items()
    present = {i: vector for i, vector in enumerate(vectors) if vector is not None}
    width = max(map(len, present.values()), default=width)
    matrix = np.full((width, len(vectors)), np.nan, dtype=np.float32)
    if present:
        matrix[:, list(present)] = np.stack(list(present.values()), axis=1)
    return {f"{name}_{i}": column for i, column in enumerate(matrix)}
