"""The rows that are nearest in meaning: ``search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from pandas_llm._table_verbs.vectors import has_vectors, stacked
from pandas_llm._verbs import Program, verb
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.redaction import brief

if TYPE_CHECKING:
    from pandas_llm._rows import Source
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
    from pandas_llm._rows import check_new, source_of
    from pandas_llm.plan import Plan

    if not str(query).strip() or not isinstance(query, str):
        raise InvalidTypeError(f"query must be a text, not {brief(query)}")
    source = source_of(data)
    check_new(source, [_SCORE], "rename it")
    places = source.find(column) and source.find_all(column, "column")
    cells: Any = source.column(places[0]) if places else None
    known = cells is not None and has_vectors(cells)
    if known:
        stacked(cells.dropna(), cells.name)  # raises before a call, not after it
    own: dict[str, Any] = {"dimensions": dimensions, **options}
    asked = Plan("query", verb="embed", **own)
    template = f"${{{source.name(places[0])}}}" if places else column
    texts = asked if known else Plan(template, verb="embed", **own)

    def steps(data: Any) -> Steps[pd.DataFrame]:
        vectors = cells if known else (yield texts, data)
        if vectors.isna().all():
            return _nearest(source, vectors, None, k)
        question = pd.DataFrame({"query": [query]}, dtype=object)
        goal = yield asked, question
        return _nearest(source, vectors, goal.iloc[0], k)

    return Program("search", steps, [asked], failed="those rows are not found")


def _nearest(source: Source, vectors: Any, goal: Any, k: int) -> pd.DataFrame:
    """Return the rows with the largest cosine; none where the query has no vector."""
    from pandas_llm._rows import put_columns

    there = np.flatnonzero(vectors.notna().to_numpy(bool))
    best, scores = there[:0], np.empty(0, np.float64)
    if goal is not None and len(there):
        matrix = stacked(vectors.iloc[there], vectors.name)
        if matrix.shape[1] != len(goal):
            raise InvalidValueError(
                f"the column's vectors have {matrix.shape[1]} numbers and the query's "
                f"{len(goal)}: pass the model and dimensions that they were made with"
            )
        lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(goal)
        scores = matrix @ goal / np.where(lengths, lengths, 1.0)
        best = np.argsort(-scores, kind="stable")[:k]
        best = best[~np.isnan(scores[best])]  # of a vector with NaN in it
        best, scores = there[best], scores[best]
    return put_columns(source.frame.take(best), {_SCORE: scores})
