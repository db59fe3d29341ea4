"""The kinds of data that people pass, as pandas has them, and results in each kind.

Lists of dicts and of texts, and the tables that narwhals knows: Polars, Arrow and more.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pandas as pd

from pandas_llm.errors import ConfigurationError, InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pandas_llm._keys import Exact


class Type(NamedTuple):
    """What a column of another package is there, and in pandas and Arrow."""

    own: Any
    pandas: Any
    arrow: Any


class Passed(NamedTuple):
    """Data as pandas has it, and the function that turns a result into its kind."""

    table: pd.DataFrame | pd.Series
    restore: Callable[..., Any]
    """Takes the result, and what `Column.exact`, or a `Type`, says of its columns."""
    types: Mapping[str, Type] = MappingProxyType({})


def as_pandas(data: Any) -> Passed:
    """Read data of any kind; raise for what holds no rows."""
    if isinstance(data, (pd.DataFrame, pd.Series)):
        return Passed(data, lambda result, *_: result)
    if isinstance(data, (list, tuple)):
        restore = partial(_into, _as_list)
        if data and all(isinstance(row, dict) for row in data):
            return Passed(pd.DataFrame(list(data), dtype=object), restore)
        if all(row is None or isinstance(row, str) for row in data):
            return Passed(pd.Series(list(data), dtype=object), restore)
        kinds = dict.fromkeys(type(row).__name__ for row in data)
        raise _unknown(f"a {type(data).__name__} of {', '.join(kinds)}")
    return _from_narwhals(data)


def as_objects(data: Any) -> Any:
    """Return cells as Python's objects, with None for NA."""
    return data.astype(object).where(data.notna(), None)


def _into(
    make: Callable[[Any, Mapping[str, Exact]], Any],
    result: Any,
    exact: Mapping[str, Exact] | None = None,
) -> Any:
    """Return a table in another kind, groups as columns, and a record as a dict.

    A result that is not a table stays as it is.
    """
    if not isinstance(result, (pd.DataFrame, pd.Series)):
        return result
    if any(name is not None for name in result.index.names):
        result = result.reset_index()
    elif isinstance(result, pd.Series) and result.index.dtype.kind not in "iu":
        cells, kinds = as_objects(result), exact or {}
        return {str(at): _moment(one, kinds.get(str(at))) for at, one in cells.items()}
    return make(result, exact or {})


def _as_list(result: Any, exact: Mapping[str, Exact]) -> list[Any]:
    """Return a list of dicts, or of values, with None for NA."""
    plain = as_objects(result)
    if isinstance(plain, pd.Series):
        return list(plain)
    names, lists = list(plain.columns), []
    for at, name in enumerate(map(str, names)):
        cells = plain.iloc[:, at].tolist()
        if name in exact and result.dtypes.iloc[at].kind == "M":
            cells = [_moment(cell, exact[name]) for cell in cells]
        lists.append(cells)
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def _moment(cell: Any, exact: Exact | None) -> Any:
    """Return a date or a moment, for which pandas has one type, as Python's own."""
    if not isinstance(cell, pd.Timestamp):
        return cell
    return cell.date() if exact == "date" else cell.to_pydatetime()


# -- tables of other packages ------------------------------------------------------


_PARTED = {
    "dask": "import pandas_llm.dask, and call data.llm.generate(…)",
    "pyspark": "import pandas_llm.spark, and call pandas_llm.spark.generate(data, …)",
}
"""Packages whose tables lie in partitions, and what asks about those."""


def _from_narwhals(data: Any) -> Passed:
    """Read a table of another package, column by column as Arrow has it."""
    kind = type(data).__name__
    package = type(data).__module__.partition(".")[0]
    if package in _PARTED:
        msg = f"a {kind} of {package} has no rows here: {_PARTED[package]}"
        raise InvalidTypeError(msg)
    try:
        import narwhals as nw
        import pyarrow as pa  # noqa: F401 - those below need it
    except ImportError as error:
        if not hasattr(data, "to_pandas") and not hasattr(data, "collect"):
            raise _unknown(kind) from None
        raise ConfigurationError(
            f"a {kind} needs narwhals and pyarrow: "
            "pip install 'pandas-llm-accessor[tables]'"
        ) from error
    try:
        own = nw.from_native(data, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError as error:
        why = " ".join(str(error).split())
        raise InvalidTypeError(f"the {kind} cannot be read: {why}") from None
    if isinstance(own, nw.LazyFrame):
        raise InvalidTypeError(
            f"a {kind} has no rows yet: pass data.collect(), and .lazy() the result"
        )
    if not isinstance(own, (nw.DataFrame, nw.Series)):
        raise _unknown(kind)
    frame = own.to_frame() if isinstance(own, nw.Series) else own
    arrow = _to_arrow(frame)
    table = arrow.to_pandas(types_mapper=_dtype)
    three = zip(frame.schema.values(), table.dtypes, arrow.schema.types, strict=True)
    types = dict(zip(frame.columns, map(Type._make, three), strict=True))
    restore = partial(_into, partial(_to_narwhals, own.implementation, types))
    if isinstance(own, nw.Series):
        return Passed(table.iloc[:, 0].rename(own.name or None), restore, types)
    return Passed(table, restore, types)


def _to_arrow(frame: Any) -> Any:
    """Return a table as Arrow has it; raise for a column of a type it does not have."""
    import narwhals as nw
    import pyarrow as pa

    objects = [name for name, dtype in frame.schema.items() if dtype == nw.Object]
    if objects:
        raise InvalidTypeError(
            f"column {objects[0]!r} holds Python objects, which Arrow cannot: drop it"
        )
    try:
        return frame.to_arrow()
    except pa.ArrowException:
        for name, kind in frame.schema.items():
            try:
                frame.get_column(name).to_arrow()
            except pa.ArrowException as error:
                raise InvalidTypeError(
                    f"column {name!r} is of type {kind}, which Arrow does not have: "
                    "cast or drop it"
                ) from error
        raise


def _unknown(kind: str) -> InvalidTypeError:
    return InvalidTypeError(
        "data must be a DataFrame, a Series, a list of dicts or of texts, or a Polars "
        f"or Arrow table, not {kind}"
    )


def _to_narwhals(
    backend: Any,
    types: Mapping[str, Type],
    result: Any,
    exact: Mapping[str, Exact | Type],
) -> Any:
    """Return a result as a table of another package."""
    import narwhals as nw
    import pyarrow as pa

    series = isinstance(result, pd.Series)
    named = "" if not series or result.name is None else result.name
    frame = result.to_frame(named) if series else result
    columns, unchanged = {}, {}
    for at, name in enumerate(map(str, frame.columns)):
        values = frame.iloc[:, at]
        wanted, had = exact.get(name), types.get(name)
        if isinstance(wanted, Type):
            wanted, had = None, wanted
        # a column that stayed what it was has the type that it had
        if had is not None and had.pandas == values.dtype:
            unchanged[name] = had.own
            columns[name] = _arrow(values, had.arrow)
        elif wanted == "json":
            columns[name] = _texts(values)
        else:
            columns[name] = _arrow(values, arrow_type(wanted))
    table = nw.DataFrame.from_arrow(pa.table(columns), backend=backend)
    has = table.schema
    casts = [nw.col(n).cast(own) for n, own in unchanged.items() if has[n] != own]
    if casts:  # Enum of Polars, which Arrow knows as a dictionary
        table = table.with_columns(*casts)
    if series:
        return table.get_column(table.columns[0]).rename(str(named)).to_native()
    return table.to_native()


def arrow_type(exact: Exact | None) -> Any:
    """Return the type of Arrow for what `Column.exact` says; None if it is silent."""
    import pyarrow as pa

    if not exact:
        return None
    if isinstance(exact, list):
        return pa.list_(arrow_type(exact[0]))
    if isinstance(exact, dict):
        return pa.struct([(name, arrow_type(one)) for name, one in exact.items()])
    if exact.startswith("vector"):
        return pa.list_(pa.float32(), int(exact.removeprefix("vector") or -1))
    kinds = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us"),
    }
    return kinds[exact]


def _arrow(values: pd.Series, kind: Any) -> Any:
    """Return a column as Arrow has it; JSON where its values are of several types."""
    import pyarrow as pa

    if values.dtype != object:
        array = pa.array(values, from_pandas=True)
        if pa.types.is_fixed_size_list(array.type):  # Polars cannot read part of one
            array = pa.concat_arrays(getattr(array, "chunks", [array]))
        as_it_is = kind is None or pa.types.is_string(kind)  # pandas' own is larger
        return array if as_it_is else array.cast(kind)
    cells = [revealed(cell) for cell in as_objects(values)]
    sizes = {len(cell) for cell in cells if isinstance(cell, np.ndarray)}
    vectors = all(cell is None or isinstance(cell, np.ndarray) for cell in cells)
    if kind is None and sizes and vectors:
        kind = pa.list_(pa.float32(), sizes.pop() if len(sizes) == 1 else -1)
    try:
        return pa.array(cells, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _texts(values)


def _texts(values: pd.Series) -> Any:
    """Return a column of values of several types as JSON."""
    import pyarrow as pa

    texts = [None if cell is None else as_json(cell) for cell in as_objects(values)]
    return pa.array(texts, pa.string())


def as_json(cell: Any) -> str:
    """Write a cell as JSON; what that has no form for is a text."""
    flags = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(cell, default=_as_text, option=flags).decode()


def _as_text(value: Any) -> str:
    return str(revealed(value))


def revealed(value: Any) -> Any:
    """Return what a secret of pydantic's holds, for tables that have no such type."""
    return getattr(value, "get_secret_value", lambda: value)()


def _dtype(kind: Any) -> pd.ArrowDtype | None:
    """Return the dtype for a type of Arrow; None for categories and embeddings."""
    import pyarrow as pa

    lists = (pa.FixedSizeListType, pa.ListType, pa.LargeListType)
    is_vector = isinstance(kind, lists) and pa.types.is_float32(kind.value_type)
    return None if is_vector or pa.types.is_dictionary(kind) else pd.ArrowDtype(kind)
