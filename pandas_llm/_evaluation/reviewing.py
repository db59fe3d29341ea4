"""Which rows a person should label next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_llm._algorithms import review_chances, systematic
from pandas_llm._evaluation.probabilities import (
    column_of,
    confidence_column,
    label_columns,
    odds_of,
)
from pandas_llm._rows import check_new, source_of
from pandas_llm.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    import pandas as pd

_UNKNOWN = 0.5
"""How sure a model is of a row that it told no probability of."""


def to_review(
    data: Any, k: int, column: Any = None, name: str = "inclusion", seed: int = 0
) -> pd.DataFrame:
    """Return `k` rows to label; `LLMAccessor.to_review` describes it."""
    source = source_of(data)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise InvalidTypeError(f"k must be a whole number of rows, not {k!r}")
    if not 0 < k <= source.rows:
        raise InvalidValueError(f"k must be from 1 to the {source.rows} rows, not {k}")
    check_new(source, [name])
    sure = _sure(source.frame, column)
    chance = review_chances(np.sqrt(sure * (1 - sure)), int(k))
    places = systematic(chance, np.random.default_rng(seed))
    chosen = source.frame.iloc[places].copy()
    chosen[name] = chance[places]
    return chosen


def _sure(frame: pd.DataFrame, column: Any) -> Any:
    """Return how sure the model was of each row."""
    if column is None:
        odds = list(label_columns(frame, []).values())
        sources = [odds] if odds else _confidences(frame)
        if len(sources) > 1:
            names = ", ".join(repr(one) for (one,) in sources)
            msg = f"several columns say how sure the model was ({names}): pass column="
            raise InvalidValueError(msg)
    else:
        values = column_of(frame, column, "column")
        labels = list(values.dropna().unique())
        odds = list(label_columns(frame, labels).values()) if labels else []
        one = confidence_column(frame, values.name)
        sources = [odds] if odds else [[one]] * (one is not None)
    if not sources:
        msg = (
            "no column says how sure the model was: pass confidence=True or "
            "probabilities=True to the verb, or draw rows evenly by df.sample(k)"
        )
        raise InvalidValueError(msg)
    sure = odds_of(frame, sources[0]).max(axis=1)
    return np.where(np.isnan(sure), _UNKNOWN, sure)


def _confidences(frame: pd.DataFrame) -> list[list[str]]:
    """Return the columns with probabilities of what other columns tell."""
    columns = (confidence_column(frame, name) for name in frame.columns)
    return [[one] for one in dict.fromkeys(columns) if one is not None]
