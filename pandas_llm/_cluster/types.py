"""The types of new columns for engines that are strict, as Arrow names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from pandas_llm._rows import arrow_type

if TYPE_CHECKING:
    from pandas_llm._keys import Exact
    from pandas_llm._run import Task

_TEXT, _VECTOR = pa.string(), pa.list_(pa.float32())


def types_of(task: Task) -> dict[str, pa.DataType]:
    """Return the type of each new column; text in JSON where there is none."""
    exact = {column.name: column.exact for column in task.output.columns}
    return {name: _type(kind, exact.get(name, "")) for name, kind in task.columns}


def nested_types(task: Task) -> dict[str, pa.DataType]:
    """Return the types of lists and records among the new columns."""
    kinds = dict(task.columns)
    types = {n: one for n, one in types_of(task).items() if kinds[n] == "object"}
    return {name: type_ for name, type_ in types.items() if type_ != _TEXT}


def _type(kind: str, exact: Exact) -> pa.DataType:
    if kind in ("category", "vector"):
        return _TEXT if kind == "category" else _VECTOR
    if kind == "object":
        return arrow_type(exact) if _has_type(exact) else _TEXT
    return arrow_type(exact or kind)


def _has_type(exact: Exact) -> bool:
    """Return whether values have a type that all engines know; moments in lists not."""
    if isinstance(exact, list):
        return _has_type(exact[0])
    if isinstance(exact, dict):
        return all(map(_has_type, exact.values()))
    return exact not in ("", "json", "datetime")
