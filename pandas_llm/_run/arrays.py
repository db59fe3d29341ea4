"""Arrays of the result: how rows and records join, and columns of a kind's dtype."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pandas_llm._engine import Outcomes

PANDAS_GE_30 = int(re.match(r"\d+", pd.__version__)[0]) >= 3  # type: ignore[index]  # noqa: PLR2004

_NULLABLE = {"int": "Int64", "float": "Float64", "bool": "boolean"}


def explode(outcomes: Outcomes, *, keep_empty: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the input's row and the record, or -1, of each row of the result.

    Records are numbered in the order in which they came.
    """
    positions = np.array(outcomes.positions, dtype=np.intp)
    order = np.argsort(positions, kind="stable")
    counts = np.bincount(positions, minlength=outcomes.rows)
    starts = np.cumsum(counts) - counts
    leading = outcomes.leading()
    counts, starts = counts[leading], starts[leading]
    width = np.maximum(counts, 1) if keep_empty else counts
    row = np.repeat(np.arange(outcomes.rows), width)
    within = np.arange(len(row)) - np.repeat(np.cumsum(width) - width, width)
    slot = np.repeat(starts, width) + within
    filled = np.repeat(counts, width) > 0
    record = np.full(len(row), -1, dtype=np.intp)
    record[filled] = order[slot[filled]]
    return row, record


def typed(values: Any, kind: str, labels: Sequence[Any] = ()) -> Any:
    """Build an array of a kind's dtype from any values."""
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
    own: Iterable[Any] = values
    if kind == "vector":  # each a copy, or equal rows would change together
        own = (None if one is None else one.astype(np.float32) for one in values)
    elif kind == "object":
        own = _each_own(values)
    return np.fromiter(own, dtype=object, count=len(values))


def _each_own(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values; one that comes again as a copy."""
    seen: set[int] = set()
    for value in values:
        yield copy.deepcopy(value) if id(value) in seen else value
        seen.add(id(value))


def expanded(name: str, vectors: Any, width: int) -> dict[str, Any]:
    """Return vectors as columns ``name_0``, ``name_1``, …, NaN where there is none."""
    present = {i: vector for i, vector in enumerate(vectors) if vector is not None}
    width = max(map(len, present.values()), default=width)
    matrix = np.full((width, len(vectors)), np.nan, dtype=np.float32)
    if present:
        matrix[:, list(present)] = np.stack(list(present.values()), axis=1)
    return {f"{name}_{i}": column for i, column in enumerate(matrix)}
