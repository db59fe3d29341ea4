"""The rows that are nearest in meaning: ``search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from pandas_llm._table_verbs.pairs import has_vectors, stacked
from pandas_llm._verbs import Program, bare, column_names, table_of, verb
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.options import check_value, whole

if TYPE_CHECKING:
    from pandas_llm._verbs import Steps
    from pandas_llm.options import Options

_SCORE = "score"


@verb
def search(
    data: pd.DataFrame,
    query: str,
    column: Any,
    k: int = 10,
    *,
    dimensions: int | None = None,
    **options: Unpack[Options],
) -> Program:
    """Return the `k` rows that are nearest in meaning to a text, best first.

    One vector a row, once: they are kept in the cache, so the next query costs one.
    `model` is one for embeddings.

    Parameters
    ----------
    query : str
        What to look for.
    column : label or str
        The column of texts, or a template; or a column of vectors made by `embed`
        with the same model.
    k : int, default 10
        How many.
    dimensions : int, optional
        The length of the vectors, where the model lets one choose.
    data, **options
        As for `agg`.

    Returns
    -------
    DataFrame
        The rows with a column ``score``: the cosine, from -1 to 1.

    Examples
    --------
    >>> notes = pd.DataFrame({"text": ["It rained.", "The shop was shut."]})
    >>> notes.llm.search("weather", "text", k=1, model="sim").columns.tolist()
    ['text', 'score']
    """
    from pandas_llm.plan import Plan

    check_value("k", k, whole(1))
    if not str(query).strip() or not isinstance(query, str):
        raise InvalidTypeError(f"query must be a text, not {query!r}")
    frame = table_of(data)
    if _SCORE in frame.columns:
        msg = "the frame has a column 'score' already: rename it first"
        raise InvalidValueError(msg)
    known = column in frame.columns and has_vectors(frame[column])
    if column in frame.columns:
        column_names(frame, column, "column")
    own: dict[str, Any] = {"dimensions": dimensions, **options}
    asked = Plan("query", verb="embed", **own)
    template = column if isinstance(column, str) else f"${{{column}}}"
    texts = asked if known else Plan(template, verb="embed", **own)

    def steps(_: Any) -> Steps[pd.DataFrame]:
        vectors = frame[column] if known else (yield texts, bare(frame))
        if vectors.isna().all():
            return _nearest(frame, vectors, None, k)
        goal = yield asked, pd.DataFrame({"query": [query]})
        return _nearest(frame, vectors, goal.iloc[0], k)

    return Program("search", steps, [asked], failed="those rows are not found")


def _nearest(frame: pd.DataFrame, vectors: Any, goal: Any, k: int) -> pd.DataFrame:
    """Return the rows with the largest cosine; none where the query has no vector."""
    there = np.flatnonzero(vectors.notna().to_numpy())
    if goal is None or len(there) == 0:
        return frame.iloc[:0].assign(score=np.empty(0, np.float64))
    matrix = stacked(vectors.iloc[there], vectors.name)
    if matrix.shape[1] != len(goal):
        raise InvalidValueError(
            f"the column's vectors have {matrix.shape[1]} numbers and the query's "
            f"{len(goal)}: pass the model and dimensions that they were made with"
        )
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(goal)
    scores = matrix @ goal / np.where(lengths, lengths, 1.0)
    best = np.argsort(-scores, kind="stable")[:k]
    return frame.take(there[best]).assign(score=scores[best])
