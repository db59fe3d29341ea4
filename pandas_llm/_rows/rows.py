"""The rows of frames, Series and lists as templates see them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from pandas_llm._rows.kinds import as_pandas
from pandas_llm.errors import InvalidTypeError, InvalidValueError, MissingColumnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pandas_llm._rows.kinds import Passed

Order: TypeAlias = "range | NDArray[np.int64]"
"""Positions of rows in the order of sending."""
T = TypeVar("T", pd.DataFrame, pd.Series, "pd.DataFrame | pd.Series")

_FEW = 32
"""Letters of a number or a date."""
_NAN_BESIDE_NA = (pd.ArrowDtype, pd.Float64Dtype, pd.Float32Dtype)
_MANY = 50
"""New columns that fit into a frame without a copy; pandas warns of 100 blocks."""
_PLAIN = frozenset((str, int, float, bool))
_EXACT = 2.0**53
"""Where floats stop to tell whole numbers apart."""


class Source(NamedTuple):
    """A frame as templates see it."""

    frame: pd.DataFrame
    fields: tuple[str, ...]
    """The names that templates may use."""
    places: tuple[int, ...]
    """The column that each name stands for, by position."""
    passed: Passed
    """The data as pandas has it, and how to turn a result into its kind."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.frame)

    def column(self, place: int) -> pd.Series:
        """Return a column by its place, which no label makes ambiguous."""
        # a frame without attrs, of which pandas would make a deep copy, and flags
        column = pd.DataFrame(self.frame).iloc[:, place]
        if isinstance(column.dtype, _NAN_BESIDE_NA) and column.dtype.kind == "f":
            # there NaN is a value of its own, which no prompt should hold
            column = column.mask(np.isnan(column.to_numpy(float, na_value=np.nan)))
        return column

    def name(self, place: int) -> str:
        """Return how templates call a column; a Series by its own name."""
        both = zip(self.fields, self.places, strict=True)
        return [field for field, at in both if at == place][-1]

    def find(self, name: Any) -> list[int]:
        """Return the places of the columns of a name; a Series is ``value`` too."""
        if not pd.api.types.is_hashable(name):
            return []
        labels = list(self.frame.columns)
        if name == "value" and isinstance(self.passed.table, pd.Series):
            return [0]
        return [
            at
            for at, label in enumerate(labels)
            if label is name or (not is_na(label) and label == name)
        ]

    def find_all(self, names: Any, what: str = "subset") -> list[int]:
        """Return the places of one or several columns, each to be there once."""
        one = pd.api.types.is_hashable(names)
        if isinstance(names, tuple):  # a label, or several
            one = bool(self.find(names))
        listed = [names] if one else list(names)
        if not listed:
            raise InvalidValueError(f"{what} names no column")
        places, labels = [], self.frame.columns
        for name in listed:
            there = self.find(name)
            if len(there) != 1:
                problem = "is not a column"
                if there:
                    problem = f"is the name of {len(there)} columns"
                elif name in self.frame.index.names:
                    problem = "is a level of the index: reset_index() makes a column"
                msg = f"{what} names {name!r}, which {problem}; there are "
                raise InvalidValueError(msg + (", ".join(map(repr, labels)) or "none"))
            places += there
        return places


def source_of(data: Any) -> Source:
    """Read a table, or one column of it (``${value}`` or its name)."""
    passed = as_pandas(data)
    frame = passed.table
    if isinstance(frame, pd.Series):
        name = "value" if frame.name is None else frame.name
        fields = ("value",) if str(name) == "value" else ("value", str(name))
        return Source(frame.to_frame(name), fields, (0,) * len(fields), passed)
    names = tuple(map(str, frame.columns))
    return Source(frame, names, tuple(range(frame.shape[1])), passed)


def iter_rows(
    source: Source, columns: Sequence[str], order: NDArray[np.int64] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Return the values of the named columns, row by row, or of rows in some order."""
    if not columns:
        return iter([()] * (source.rows if order is None else len(order)))
    # a zip of lists takes 0.26 µs a row, to_dict("records") 2.8, iterrows 11
    each = (cells(source, name) for name in columns)
    lists = [(c if order is None else c.iloc[order]).tolist() for c in each]
    return zip(*lists, strict=True)


def numbered(
    source: Source, name: str, rows: Order
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return numbers of a column's values by first appearance, and their lengths."""
    column = cells(source, name)
    if isinstance(rows, np.ndarray):
        column = column.iloc[rows]
    try:
        codes, values = pd.factorize(column)
    except (TypeError, NotImplementedError):  # lists and dicts, as objects or Arrow's
        codes, values = pd.factorize(column.astype(object).map(text_of, "ignore"))
    lengths = np.fromiter((len(str(value)) for value in values), np.int64, len(values))
    return codes.astype(np.int64, copy=False), np.append(lengths, 0)[codes]


def longest_cell(source: Source, name: str) -> int:
    """Return the letters of a column's longest text; a number has few."""
    column = cells(source, name)
    if (values := getattr(column.array, "categories", None)) is not None:
        column = pd.Series(values)
    if column.dtype.kind not in "OSUV":
        return _FEW
    return max((len(str(value)) for value in column.tolist()), default=0)


def row_at(source: Source, columns: Sequence[str], position: int) -> tuple[Any, ...]:
    """Return the values of one row."""
    return tuple(cells(source, name).iloc[position] for name in columns)


def missing_rows(source: Source, columns: Sequence[str]) -> np.ndarray | None:
    """Return which rows have NA in a named column; None if all have values."""
    mask = np.zeros(source.rows, dtype=bool)
    for name in columns:
        mask |= np.asarray(cells(source, name).isna(), dtype=bool)
    return mask if mask.any() else None


def cells(source: Source, name: str) -> pd.Series:
    """Return the column that a name of a template stands for."""
    return source.column(source.places[source.fields.index(name)])


def with_integers(data: T) -> T:
    """Return rows whose integers are integers, also where NA has made them floats.

    Prompts write them so; of some of the rows alone one could not tell.
    """
    if isinstance(data, pd.Series):
        if not whole_with_na(data):
            return data
        whole, gone = data.fillna(0).to_numpy(np.int64), data.isna().to_numpy(bool)
        array = pd.arrays.IntegerArray(whole, gone)  # whatever NaN counts as
        return pd.Series(array, data.index, name=data.name)
    bare = data.copy(deep=False)
    for at in range(data.shape[1]):
        if whole_with_na(column := bare.iloc[:, at]):
            bare.isetitem(at, with_integers(column).array)
    return bare


def whole_with_na(column: pd.Series) -> bool:
    """Return whether a column holds integers that only NA has made floats."""
    if column.dtype != np.float64:
        return False
    values = column.to_numpy()
    known = values[~np.isnan(values)]
    if not 0 < len(known) < len(values):
        return False
    return bool(np.all((np.abs(known) < _EXACT) & (known == np.floor(known))))


def put_columns(frame: pd.DataFrame, new: Mapping[str, Any]) -> pd.DataFrame:
    """Put new columns into a frame of our own, in place of those of their names."""
    for count, (name, values) in enumerate(new.items()):
        if len(new) > _MANY and count % _MANY == 0:
            frame = frame.copy()
        frame[new_label(frame, name)] = values
    return frame


def new_label(frame: pd.DataFrame, name: str) -> Any:
    """Return a new column's label, which has as many levels as the others."""
    levels = frame.columns.nlevels
    return name if levels == 1 else (name, *[""] * (levels - 1))


def name_of(label: Any) -> str:
    """Return what a column is called; of a new one without its empty levels."""
    new = isinstance(label, tuple) and len(label) > 1 and not any(label[1:])
    return str(label[0] if new else label)


def check_new(
    source: Source, names: Iterable[str], way: str = "pass another name="
) -> None:
    """Raise for a new column that is there already; `way` is a way out."""
    taken = [name for name in names if name in source.frame.columns]
    if taken:
        raise InvalidValueError(
            f"the frame has a column {taken[0]!r} already: {way}, or drop the column "
            "first"
        )


def check_once(source: Source, names: Iterable[str]) -> None:
    """Raise for a column to replace that the frame has more than once."""
    columns = list(source.frame.columns)
    for name in names:
        if (count := columns.count(new_label(source.frame, name))) > 1:
            raise InvalidValueError(
                f"{count} columns are named {name!r}, so it is not clear which to fill"
            )


def all_na(source: Source, name: str) -> bool:
    """Return whether a column has no value in any row."""
    column = cells(source, name)
    return is_na(column.iloc[0]) and bool(column.isna().all())


def without_na(row: Sequence[Any]) -> tuple[Any, ...]:
    """Put empty text where a row has NA."""
    return tuple("" if is_na(value) else value for value in row)


def text_of(cell: Any) -> str:
    """Return a cell as a text: an array as the list that a file may have made it of."""
    return str(with_lists(cell))


def with_lists(cell: Any) -> Any:
    """Return a cell with lists for its arrays, at any depth.

    The text of an array is short of what it holds, and files make arrays of lists.
    """
    if type(cell) in _PLAIN:
        return cell
    if isinstance(cell, np.ndarray):
        listed = cell.tolist()
        return with_lists(listed) if cell.dtype == object else listed
    if isinstance(cell, (np.number, np.bool_, np.str_)):
        return cell.item()
    if type(cell) is dict:
        return {with_lists(k): with_lists(value) for k, value in cell.items()}
    return type(cell)(map(with_lists, cell)) if type(cell) in (list, tuple) else cell


def is_na(value: Any) -> bool:
    """Return whether a cell is NA; a list never is."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def gold_codes(gold: Any, source: Source, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each row's known label, -1 where it is not known."""
    frame = source.frame
    if isinstance(gold, str):
        if list(frame.columns).count(gold) != 1:
            msg = f"gold names {gold!r}, which is not a column of the frame"
            raise MissingColumnError(msg)
        gold = frame[gold]
    if hasattr(gold, "to_pandas"):  # as Polars and Arrow have it
        gold = gold.to_pandas()
    if not isinstance(gold, pd.Series):
        kind = type(gold).__name__
        msg = f"gold must be a Series or the name of a column, not {kind}"
        raise InvalidTypeError(msg)
    if len(gold) != len(frame) or not gold.index.equals(frame.index):
        raise InvalidValueError(
            f"gold has {len(gold)} rows and the frame {len(frame)}, or their indexes "
            "differ: pass gold.reindex(df.index), with NA where nothing is known"
        )
    known = gold.notna().to_numpy()
    texts = gold.astype(object).map(_label_text, na_action="ignore")
    other = sorted(set(texts[known]) - set(labels))
    if other:
        msg = f"gold has labels that were not declared: {', '.join(other[:5])}"
        raise InvalidValueError(msg)
    if not known.any():
        raise InvalidValueError("gold is NA in every row: label some, or leave it out")
    codes = {label: at for at, label in enumerate(labels)}
    return np.array([codes.get(text, -1) for text in texts])


def _label_text(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)
