"""A column that a model wrote, what is known of it, and how sure the model was."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pandas_llm._evaluation.probabilities import (
    NEAR,
    column_of,
    confidence_column,
    few,
    floats,
    label_columns,
    odds_of,
    sort_labels,
)
from pandas_llm._rows import source_of
from pandas_llm.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEW = 30
"""Known rows below which an interval is mostly a guess at its own width."""
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}


class Judged(NamedTuple):
    """A column told by a model beside the truth, where it is known."""

    told: NDArray[Any]
    """Places among the labels, -1 for NA; or numbers, NaN for NA."""
    truth: NDArray[Any]
    labels: list[Any] | None
    """None for numbers."""
    sure: Floats | None
    """The probability of each told label."""
    odds: Floats | None
    """That of every label, a column each."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows have a truth."""
        return _present(self.truth)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which rows the model has told something about."""
        return _present(self.told)

    def rows(self, places: NDArray[np.intp]) -> Judged:
        """Return some of the rows."""
        return Judged(
            self.told[places],
            self.truth[places],
            self.labels,
            None if self.sure is None else self.sure[places],
            None if self.odds is None else self.odds[places],
        )


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where there is a value, or a label's place."""
    there = values >= 0 if values.dtype.kind == "i" else ~np.isnan(values)
    return np.asarray(there, bool)


def judge(
    data: Any, told: Any, gold: Any, probability: Any, probabilities: Any
) -> Judged:
    """Read a told column and its truth, and find its columns of probabilities.

    Raises
    ------
    InvalidTypeError, InvalidValueError, MissingColumnError
        For columns that are not there, of unlike length, kind or labels.
    """
    if probability is not None and probabilities is not None:
        raise InvalidValueError("pass probability= or probabilities=, not both")
    frame = source_of(data).frame
    values = column_of(frame, told, "the predicted column")
    truth = column_of(frame, gold, "gold")
    for one, name in ((values, "the predicted column"), (truth, "gold")):
        if not one.notna().any():
            msg = f"{name} is NA in every row: there is nothing to compare"
            raise InvalidValueError(msg)
    if are_numbers(values, truth):
        if probability is not None or probabilities is not None:
            raise InvalidValueError("numbers have no probabilities: leave them out")
        numbers = floats(values), floats(truth)
        if np.isinf(numbers).any():
            raise InvalidValueError("inf cannot be measured: put NA in its place")
        return Judged(*numbers, None, None, None)
    told_labels, true = plain(values), plain(truth)
    labels = _labels(values, told_labels, true)
    found = probability is None
    named = label_columns(frame, labels, probabilities) if found else {}
    labels += [label for label in named if label not in labels]
    codes = {label: place for place, label in enumerate(labels)}
    places, gold_places = (
        np.array([-1 if v is None else codes[v] for v in one], np.int64)
        for one in (told_labels, true)
    )
    odds = odds_of(frame, [named[label] for label in labels]) if named else None
    if odds is not None and (probabilities is not None or _fits(odds, places)):
        sure = np.where(places >= 0, odds[np.arange(len(odds)), places], np.nan)
        return Judged(places, gold_places, labels, sure, odds)
    told_by = (
        confidence_column(frame, values.name) if probability is None else probability
    )
    if told_by is None:
        return Judged(places, gold_places, labels, None, None)
    sure = odds_of(frame, [told_by])[:, 0]
    return Judged(places, gold_places, labels, sure, _of_two(sure, places, labels))


def are_numbers(*columns: pd.Series) -> bool:
    """Return whether all columns hold numbers; booleans and categories are none."""
    return all(pd.api.types.infer_dtype(one) in _NUMBERS for one in columns)


def _of_two(sure: Floats, told: NDArray[np.int64], labels: list[Any]) -> Floats | None:
    """Return the probabilities of two labels: what one does not have the other has."""
    if len(labels) != 2:  # noqa: PLR2004 - as it says
        return None
    odds = np.where(told[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    return np.where(told[:, None] >= 0, odds, np.nan)


def _fits(odds: Floats, told: NDArray[np.int64]) -> bool:
    """Return whether told labels are the most probable, as those of a run are."""
    rows = (told >= 0) & ~np.isnan(odds).any(axis=1)
    chosen = odds[rows, told[rows]]
    others = chosen < odds[rows].max(axis=1) - NEAR
    return bool(rows.any() and others.mean() <= NEAR)


def groups_of(data: Any, by: Any) -> tuple[pd.Index, list[NDArray[np.intp]]]:
    """Return the names of groups in order, and the rows of each; one without `by`."""
    frame = source_of(data).frame
    if by is None:
        return pd.Index(["all"]), [np.arange(len(frame))]
    keys = by if isinstance(by, list) else [by]
    columns = [column_of(frame, key, "by").reset_index(drop=True) for key in keys]
    places = pd.Series(range(len(frame)))
    # a key of one in a list makes tuples of the names, which later pandas all do
    try:
        groups = dict(iter(places.groupby(columns, dropna=False, observed=True)))
    except TypeError as error:
        msg = f"by= has values that make no groups ({error}): pass .astype(str) of it"
        raise InvalidTypeError(msg) from None
    rows = [np.asarray(group, np.intp) for group in groups.values()]
    titles = [column.name for column in columns]
    names = pd.MultiIndex.from_tuples(groups, names=titles)
    return (names if len(keys) > 1 else names.get_level_values(0)), rows


def bare(cell: Any) -> Any:
    """Return the value of an Enum's member; other cells as they are."""
    return cell.value if isinstance(cell, Enum) else cell


def plain(values: pd.Series) -> list[Any]:
    """Return a column's values, None for NA, and those of an Enum for its members."""
    cells = values.astype(object).where(values.notna(), None).tolist()
    found = [bare(cell) for cell in cells]
    try:
        set(found)
    except TypeError:
        msg = (
            f"{values.name!r} holds lists or dicts, which are no labels: compare one "
            "label at a time, as by df['tags'].map(lambda tags: 'x' in tags)"
        )
        raise InvalidTypeError(msg) from None
    return found


def _labels(values: pd.Series, told: list[Any], truth: list[Any]) -> list[Any]:
    """Return the labels in order; raise where truth and told have no common ones."""
    seen, true = set(told) - {None}, set(truth) - {None}
    declared: list[Any] = []
    if isinstance(values.dtype, pd.CategoricalDtype):
        declared = plain(values.cat.categories.to_series())
    elif {type(label) for label in seen} == {bool}:
        declared = [False, True]
    other = true - set(declared) if declared else true
    if (declared and other) or not (declared or seen & true):
        msg = (
            f"gold has labels that {values.name!r} cannot have: {few(other)}; it has "
            f"{few(declared or seen)}. Write them alike, or declare them by "
            "df[column].cat.add_categories([…])"
        )
        raise InvalidValueError(msg)
    return declared or sort_labels(seen | true)


def label_index(labels: list[Any], name: str) -> pd.Index:
    """Return labels of any kind as an index."""
    index: pd.Index = pd.Index(labels, name=name, tupleize_cols=False)
    return index


def nested(names: pd.Index, sizes: list[int], inner: pd.Index) -> pd.Index:
    """Return an index with the name of its group before each of `inner`."""
    groups = names.repeat(sizes)
    levels = [groups.get_level_values(at) for at in range(groups.nlevels)]
    index: pd.Index = pd.MultiIndex.from_arrays(
        [*levels, inner], names=[*groups.names, inner.name]
    )
    return index


def few_rows(rows: pd.Series, *, grouped: bool) -> list[str]:
    """Return remarks on groups with few rows of a known truth."""
    none, few = int((rows == 0).sum()), int(((rows > 0) & (rows < FEW)).sum())
    if not grouped and none + few:
        count = rows.iloc[0]
        why = f"below {FEW} the figures are mostly chance"
        return [f"only {count} rows have a known truth to compare with: {why}"]
    remarks = []
    if none:
        remarks.append(
            f"{none} of {len(rows)} groups have no row to compare: they are NA"
        )
    if few:
        remarks.append(
            f"{few} of {len(rows)} groups have fewer than {FEW} rows to compare: "
            "their figures are mostly chance"
        )
    return remarks
