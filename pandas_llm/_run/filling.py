"""Columns of an earlier run: replaced (`overwrite`), or filled where they are NA."""

from __future__ import annotations

import datetime as dt
import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_llm._keys import naive_utc
from pandas_llm._rows import check_new, check_once, is_na, name_of, new_label
from pandas_llm._run.arrays import typed
from pandas_llm._run.task import dimension
from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from pandas_llm._keys import Column
    from pandas_llm._rows import Source
    from pandas_llm._run.task import Task


class Filling(NamedTuple):
    """What `only_missing` finds in a frame."""

    asked: NDArray[np.bool_]
    """Rows whose new columns are all NA."""
    kept: Mapping[str, Any]
    """The columns of the earlier run, with the dtypes of this one."""


def check_columns(source: Source, task: Task, used: Sequence[str]) -> None:
    """Refuse new columns that are there already, unless they are to be filled.

    One that the prompts use is never filled: a second run would ask about answers.
    """
    names = [*task.kinds]
    if not task.joins:
        return
    for name in names:
        if name in used:
            msg = f"the prompt uses {name!r}, which no key may replace: rename the key"
            raise InvalidValueError(msg)
    if task.shape.refills:
        check_once(source, names)
    elif task.verb == "extract":
        way = "pass overwrite=True to replace it, rename the key"
        check_new(source, names, way)
    else:
        check_new(source, names, "call it on the original frame, rename the key")


def asked_rows(
    source: Source, task: Task, at: Sequence[int] | None
) -> NDArray[np.bool_] | None:
    """Return which rows are asked, of those at some positions; None for all."""
    filling = filling_of(source, task)
    asked = None if filling is None else filling.asked
    if at is None:
        return asked
    chosen = np.isin(np.arange(source.rows), at)
    return chosen if asked is None else asked & chosen


def filling_of(source: Source, task: Task) -> Filling | None:
    """Return which rows are asked, and what the others have; None for all rows."""
    if not task.shape.only_missing:
        return None
    frame = source.frame
    if task.shape.expand:
        present = {
            name: frame[new_label(frame, name)].to_numpy(
                dtype=np.float32, na_value=np.nan, copy=True
            )
            for name in vector_columns(source, task)
        }
        to_fill = list(present)
    else:
        present = {
            one.name: _retyped(frame[label], one)
            for one in task.columns
            if (label := new_label(frame, one.name)) in frame.columns
        }
        to_fill = [name for name in task.names if name in present]
    asked = np.ones(source.rows, dtype=bool)
    for name in to_fill:
        asked &= frame[new_label(frame, name)].isna().to_numpy(dtype=bool)
    return Filling(asked, present)


def filled(new: Mapping[str, Any], filling: Filling) -> dict[str, Any]:
    """Return the new columns, with what other rows had before."""
    whole = dict(new)
    for name, old in filling.kept.items():
        values = old.copy()
        if name in new:
            values[filling.asked] = new[name][filling.asked]
        whole[name] = values
    return whole


def vector_columns(source: Source, task: Task) -> list[str]:
    """Return the columns of a frame that hold the dimensions of vectors, in order."""
    names = map(name_of, source.frame.columns)
    vectors = [name for name in names if dimension(task, name) < math.inf]
    return sorted(vectors, key=partial(dimension, task))


def _retyped(column: pd.Series, declared: Column) -> Any:
    """Return an earlier run's column with the dtype of its key."""
    kind, labels = declared.kind, declared.labels
    plain = [None if is_na(value) else value for value in column.tolist()]
    if kind == "datetime":  # those of replies are in UTC
        plain = [naive_utc(v) if isinstance(v, dt.datetime) else v for v in plain]
    if odd := {repr(v) for v in plain if labels and v not in (None, *labels)}:
        why = f"{min(odd)} is not one of the labels"
    else:
        try:
            return typed(plain, kind, labels)
        except (TypeError, ValueError) as error:
            why = str(error)
    raise InvalidValueError(
        f"column {declared.name!r} is not what its key asks for now ({why}): pass "
        "overwrite=True to ask for all rows again, or drop the column"
    )
