"""Columns by name or as they are, and those that say how sure a model was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_llm.errors import InvalidValueError, MissingColumnError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEAR = 0.01
"""How far probabilities of a row may sum beside 1, and how many labels may be others
than the most probable, in columns that are found by their names."""
_SHOWN = 5


def column_of(frame: pd.DataFrame, given: Any, what: str) -> pd.Series:
    """Return a column by its name; or a Series, an array or a mapping as one."""
    if isinstance(given, Mapping):
        unknown = [label for label in given if label not in frame.index]
        if unknown or not frame.index.is_unique:
            why = f"{unknown[0]!r} is none" if unknown else "they are not unique"
            msg = f"{what} is a mapping of the index' labels, of which {why}"
            raise InvalidValueError(msg)
        found = [given.get(label) for label in frame.index]
        return pd.Series(found, frame.index, dtype=object)
    if isinstance(
        given, (pd.Series, np.ndarray, list, pd.api.extensions.ExtensionArray)
    ):
        if len(given) != len(frame):
            msg = (
                f"{what} has {len(given)} rows and the frame {len(frame)}: pass "
                "gold.reindex(df.index), with NA where nothing is known"
            )
            raise InvalidValueError(msg)
        if isinstance(given, pd.Series) and not given.index.equals(frame.index):
            msg = (
                f"{what} has another index than the frame: pass gold.reindex(df.index)"
            )
            raise InvalidValueError(msg)
        return pd.Series(given, frame.index)
    try:
        count = list(frame.columns).count(given)
    except TypeError:
        count = 0
    if count != 1:
        there = "is there more than once" if count else "is no column of the frame"
        known = ", ".join(map(repr, list(frame.columns)[:20]))
        raise MissingColumnError(f"{what}: {given!r} {there}; it has {known}")
    column: pd.Series = frame[given]
    return column


def floats(column: pd.Series) -> Floats:
    """Return a column as numbers, NaN for NA."""
    return np.asarray(column.astype("Float64").to_numpy(float, na_value=np.nan))


def confidence_column(frame: pd.DataFrame, name: Hashable) -> str | None:
    """Return the column with the probability of what a column tells, if there is one.

    Their names are those that the verbs give: ``topic_confidence`` beside ``topic``,
    ``confidence`` beside ``label``.
    """
    usual = [f"{name}_confidence", *["confidence"] * (name == "label")]
    return next((one for one in usual if one in frame.columns), None)


def label_columns(
    frame: pd.DataFrame, labels: list[Any], given: Any = None
) -> dict[Any, Any]:
    """Return the column of each label's probability; nothing where there are none."""
    if given is not None:
        if not isinstance(given, Mapping) or not set(labels) <= set(given):
            msg = (
                "probabilities= takes a mapping of each label to its column: "
                f"{{{labels[0]!r}: 'p_{labels[0]}', …}}, for {few(labels)}; "
                f"got {given!r}"
            )
            raise InvalidValueError(msg)
        return dict(given)
    every = {
        str(column)[2:]: column
        for column, dtype in frame.dtypes.items()
        if str(column)[:2] == "p_" and pd.api.types.is_numeric_dtype(dtype)
    }
    own = {label: every.get(str(label)) for label in labels}
    if not all(own.values()):
        return {}
    for found in (own, {**own, **every}):  # labels that no row has been told, too
        table = frame[list(found.values())]
        sums = table.sum(axis=1)[table.notna().all(axis=1)]
        if len(sums) and (abs(sums - 1) < NEAR).all():
            return found
    return {}


def odds_of(frame: pd.DataFrame, columns: Sequence[Any]) -> Floats:
    """Return columns of probabilities side by side, NaN for NA."""
    table = np.empty((len(frame), len(columns)))
    for place, given in enumerate(columns):
        column = column_of(frame, given, "probabilities")
        try:
            table[:, place] = floats(column)
        except (TypeError, ValueError):
            table[:, place] = -1
        if (table[:, place] < 0).any() or (table[:, place] > 1 + NEAR).any():
            msg = f"{column.name!r} does not hold probabilities: numbers from 0 to 1"
            raise InvalidValueError(msg)
    return np.minimum(table, 1.0)


def sort_labels(labels: set[Any]) -> list[Any]:
    """Return labels in their own order, or that of their texts."""
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=str)


def few(labels: Any) -> str:
    """Return the first of some labels."""
    shown = sort_labels(set(labels))
    return ", ".join(map(repr, shown[:_SHOWN])) + ", …" * (len(shown) > _SHOWN)
