"""A column that a model wrote, what is known of it, and how sure the model was."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pandas_llm._rows import as_objects, source_of
from pandas_llm.errors import (
    InvalidTypeError,
    InvalidValueError,
    LLMWarning,
    MissingColumnError,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEAR = 0.01
"""How far probabilities of a row may sum beside 1, and how many labels may be others
than the most probable, in columns that are found by their names."""
_SHOWN = 5
FEW = 30
"""Known rows below which an interval is mostly a guess at its own width."""
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}


class Answers(NamedTuple):
    """What a model predicts of rows, beside the truth where it is known."""

    predicted: NDArray[Any]
    """Places among the labels, -1 for NA; or numbers, NaN for NA."""
    truth: NDArray[Any]
    labels: list[Any] | None
    """None for numbers."""
    sure: Floats | None
    """The probability of each predicted label."""
    odds: Floats | None
    """That of every label, a column each."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows have a truth."""
        return _present(self.truth)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which rows the model has told something about."""
        return _present(self.predicted)

    def rows(self, places: NDArray[np.intp]) -> Answers:
        """Return some of the rows."""
        sure, odds = (
            None if one is None else one[places] for one in (self.sure, self.odds)
        )
        return Answers(
            self.predicted[places], self.truth[places], self.labels, sure, odds
        )


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where there is a value, or a label's place."""
    there = values >= 0 if values.dtype.kind == "i" else ~np.isnan(values)
    return np.asarray(there, bool)


def read_answers(
    data: Any, predicted: Any, gold: Any, probability: Any, probabilities: Any
) -> Answers:
    """Read a told column and its truth, and find its columns of probabilities.

    Raises
    ------
    InvalidTypeError, InvalidValueError, MissingColumnError
        For columns that are not there, or differ in length, kind or labels.
    """
    if probability is not None and probabilities is not None:
        raise InvalidValueError("pass probability= or probabilities=, not both")
    frame = source_of(data).frame
    values = column_of(frame, predicted, "the predicted column")
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
        return Answers(*numbers, None, None, None)
    return _read_labels(frame, values, truth, probability, probabilities)


def _read_labels(
    frame: pd.DataFrame,
    values: pd.Series,
    truth: pd.Series,
    probability: Any,
    probabilities: Any,
) -> Answers:
    """Read labels as their places among all, with what is told of how sure they are."""
    told_labels, true = plain(values), plain(truth)
    labels = _labels(values, told_labels, true)
    named = label_columns(frame, labels, probabilities) if probability is None else {}
    labels += [label for label in named if label not in labels]
    codes = {label: place for place, label in enumerate(labels)}
    places, gold_places = (
        np.array([-1 if v is None else codes[v] for v in one], np.int64)
        for one in (told_labels, true)
    )
    odds = odds_of(frame, [named[label] for label in labels]) if named else None
    if odds is not None and (probabilities is not None or _fits(odds, places)):
        sure = np.where(places >= 0, odds[np.arange(len(odds)), places], np.nan)
        return Answers(places, gold_places, labels, sure, odds)
    if probability is None:
        probability = confidence_column(frame, values.name)
    if probability is None:
        return Answers(places, gold_places, labels, None, None)
    sure = odds_of(frame, [probability])[:, 0]
    of_two = even_odds(sure, places, 2) if len(labels) == 2 else None  # noqa: PLR2004
    return Answers(places, gold_places, labels, sure, of_two)


def are_numbers(*columns: pd.Series) -> bool:
    """Return whether all columns hold numbers; booleans and categories do not count."""
    return all(pd.api.types.infer_dtype(one) in _NUMBERS for one in columns)


def even_odds(sure: Floats, predicted: NDArray[Any], count: int) -> Floats:
    """Return probabilities of all labels: others share what the predicted leaves."""
    predicted, sure = predicted[:, None], sure[:, None]
    odds = np.where(predicted == np.arange(count), sure, (1 - sure) / (count - 1))
    return np.where(predicted >= 0, odds, np.nan)


def _fits(odds: Floats, predicted: NDArray[np.int64]) -> bool:
    """Return whether told labels are the most probable, as those of a run are."""
    rows = (predicted >= 0) & ~np.isnan(odds).any(axis=1)
    chosen = odds[rows, predicted[rows]]
    others = chosen < odds[rows].max(axis=1) - NEAR
    return bool(rows.any() and others.mean() <= NEAR)


def groups_of(data: Any, by: Any) -> tuple[pd.Index | None, list[NDArray[np.intp]]]:
    """Return the names of groups in order, None without `by`, and the rows of each."""
    frame = source_of(data).frame
    if by is None:
        return None, [np.arange(len(frame))]
    keys = by if isinstance(by, list) else [by]
    columns = [column_of(frame, key, "by").reset_index(drop=True) for key in keys]
    places = pd.Series(range(len(frame)))
    # a key of one in a list makes tuples of the names, which later pandas all do
    try:
        groups = dict(iter(places.groupby(columns, dropna=False, observed=True)))
    except (TypeError, NotImplementedError) as error:
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
    plain_cells = [bare(cell) for cell in as_objects(values)]
    try:
        set(plain_cells)
    except TypeError:
        raise InvalidTypeError(
            f"{values.name!r} holds lists or dicts, which cannot be labels: compare "
            "one label at a time, as by df['tags'].map(lambda tags: 'x' in tags)"
        ) from None
    return plain_cells


def _labels(values: pd.Series, predicted: list[Any], truth: list[Any]) -> list[Any]:
    """Return the labels in order; raise where truth and told have no common ones."""
    seen, true = set(predicted) - {None}, set(truth) - {None}
    declared: list[Any] = []
    if isinstance(values.dtype, pd.CategoricalDtype):
        declared = plain(values.cat.categories.to_series())
    elif {type(label) for label in seen} == {bool}:
        declared = [False, True]
    other = true - set(declared) if declared else true
    if (declared and other) or not (declared or seen & true):
        raise InvalidValueError(
            f"gold has labels that {values.name!r} cannot have: {few(other)}; it has "
            f"{few(declared or seen)}. Write them alike, or declare them by "
            "df[column].cat.add_categories([…])"
        )
    return declared or sort_labels(seen | true)


def label_index(labels: list[Any], name: str) -> pd.Index:
    """Return labels of any kind as an index."""
    index: pd.Index = pd.Index(labels, name=name, tupleize_cols=False)
    return index


def joined(names: pd.Index | None, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of groups as one, with their names before its index."""
    tables = list(frames)
    if names is None:
        return tables[0]
    whole = pd.concat(tables)  # whose keys= takes no NA
    groups = names.repeat([len(table) for table in tables])
    levels = [groups.get_level_values(at) for at in range(groups.nlevels)]
    whole.index = pd.MultiIndex.from_arrays(
        [*levels, whole.index], names=[*groups.names, whole.index.name]
    )
    return whole


def few_rows(counts: Sequence[int], *, grouped: bool) -> list[str]:
    """Warn of groups with few rows of a known truth; return the warnings."""
    rows = np.asarray(counts)
    none, few = int((rows == 0).sum()), int(((rows > 0) & (rows < FEW)).sum())
    remarks = []
    if not grouped and none + few:
        remarks.append(
            f"only {rows[0]} rows have a known truth to compare with: below {FEW} the "
            "figures are mostly chance"
        )
    if grouped and none:
        remarks.append(
            f"{none} of {len(rows)} groups have no row to compare: they are NA"
        )
    if grouped and few:
        remarks.append(
            f"{few} of {len(rows)} groups have fewer than {FEW} rows to compare: "
            "their figures are mostly chance"
        )
    for remark in remarks:
        warn(remark, LLMWarning)
    return remarks


# -- columns, and those of probabilities -----------------------------------------


def column_of(frame: pd.DataFrame, wanted: Any, what: str) -> pd.Series:
    """Return a column by its name; or a Series, an array or a mapping as one."""
    if isinstance(wanted, Mapping):
        unknown = [label for label in wanted if label not in frame.index]
        if unknown or not frame.index.is_unique:
            why = f"{unknown[0]!r} is not one" if unknown else "they are not unique"
            msg = f"{what} is a mapping of the index's labels, of which {why}"
            raise InvalidValueError(msg)
        matched = [wanted.get(label) for label in frame.index]
        return pd.Series(matched, frame.index, dtype=object)
    if hasattr(wanted, "to_pandas"):  # as Polars and Arrow have it
        wanted = wanted.to_pandas()
    arrays = (pd.Series, pd.Index, np.ndarray, list, pd.api.extensions.ExtensionArray)
    if isinstance(wanted, arrays):
        if len(wanted) != len(frame):
            raise InvalidValueError(
                f"{what} has {len(wanted)} rows and the frame {len(frame)}: pass "
                "gold.reindex(df.index), with NA where nothing is known"
            )
        if isinstance(wanted, pd.Series) and not wanted.index.equals(frame.index):
            raise InvalidValueError(
                f"{what} has another index than the frame: pass gold.reindex(df.index)"
            )
        values = wanted.array if isinstance(wanted, pd.Index) else wanted
        return pd.Series(values, frame.index)
    try:
        count = list(frame.columns).count(wanted)
    except TypeError:
        count = 0
    if count != 1:
        there = "is there more than once" if count else "is not a column of the frame"
        known = ", ".join(map(repr, list(frame.columns)[:20]))
        raise MissingColumnError(f"{what}: {wanted!r} {there}; it has {known}")
    column: pd.Series = frame[wanted]
    return column


def floats(column: pd.Series) -> Floats:
    """Return a column as numbers, NaN for NA."""
    return np.asarray(column.astype("Float64").to_numpy(float, na_value=np.nan))


def confidence_column(frame: pd.DataFrame, name: Hashable) -> str | None:
    """Return the column with the probability of what a column tells, if there is one.

    Their names are those that the verbs give: ``topic_confidence`` beside ``topic``,
    ``confidence`` beside ``label``.
    """
    usual = [f"{name}_confidence", *["confidence"] * bool(name == "label")]
    return next((one for one in usual if one in frame.columns), None)


def label_columns(
    frame: pd.DataFrame, labels: list[Any], passed: Any = None
) -> dict[Any, Any]:
    """Return the column of each label's probability; nothing where there are none."""
    if passed is not None:
        if not isinstance(passed, Mapping) or not set(labels) <= set(passed):
            raise InvalidValueError(
                "probabilities= takes a mapping of each label to its column: "
                f"{{{labels[0]!r}: 'p_{labels[0]}', …}}, for {few(labels)}; "
                f"got {passed!r}"
            )
        return dict(passed)
    every = {
        str(column)[2:]: column
        for column, dtype in frame.dtypes.items()
        if str(column)[:2] == "p_" and pd.api.types.is_numeric_dtype(dtype)
    }
    own = {label: every.get(str(label)) for label in labels}
    if not all(own.values()):
        return {}
    for columns in (own, {**own, **every}):  # labels that no row has been told, too
        table = frame[list(columns.values())]
        sums = table.sum(axis=1)[table.notna().all(axis=1)]
        if len(sums) and (abs(sums - 1) < NEAR).all():
            return columns
    return {}


def odds_of(frame: pd.DataFrame, columns: Sequence[Any]) -> Floats:
    """Return columns of probabilities side by side, NaN for NA."""
    table = np.empty((len(frame), len(columns)))
    for place, name in enumerate(columns):
        column = column_of(frame, name, "probabilities")
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
