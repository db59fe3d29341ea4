"""How cells are written into a prompt, where ``str`` does not do: ``${price:.2f}``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_llm._run.rows import cells, is_na
from pandas_llm.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas_llm._run.rows import Source

_EXACT = 2.0**53
"""Where floats stop to tell whole numbers apart."""


def writers_of(
    source: Source, fields: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Callable[[Any], str]]:
    """Return how to write the cells of those fields that ``str`` does not do for.

    Raises
    ------
    TemplateError
        For a format that cells of the column do not take.
    """
    writers: dict[tuple[str, str], Callable[[Any], str]] = {}
    for name, spec in fields:
        whole = _whole_with_na(source, name)
        if not (whole or spec):
            continue
        write = partial(formatted, spec=spec, name=name, whole=whole)
        writers[name, spec] = write
        if spec:
            column = cells(source, name).dropna()
            few = column.head(1) if column.dtype != object else column
            for value in {type(value): value for value in few.tolist()}.values():
                write(value)
    return writers


def formatted(value: Any, spec: str, name: str, *, whole: bool = False) -> str:
    """Write a value by a format; nothing for the empty text in place of NA.

    Examples
    --------
    >>> formatted(2.5, ".2f", "price"), formatted(3.0, "", "count", whole=True)
    ('2.50', '3')
    """
    if not spec:
        return str(int(value)) if whole and value != "" else str(value)
    if isinstance(value, str) and (value == "" or is_na(value)):
        return ""
    if whole:
        value = int(value)
    try:
        if not hasattr(value, "strftime"):
            return format(value, spec)
        if "%" in spec:
            return str(value.strftime(spec))
        why = "a date takes one such as %d.%m.%Y"
    except (TypeError, ValueError) as error:
        why = str(error)
        if isinstance(value, str):
            why += "; pd.to_numeric or pd.to_datetime converts the column"
    msg = f"${{{name}:{spec}}} cannot write {value!r} ({type(value).__name__}): {why}"
    raise TemplateError(msg)


def _whole_with_na(source: Source, name: str) -> bool:
    """Return whether a column holds integers that are floats only for want of NA."""
    column = cells(source, name)
    if column.dtype != np.float64:
        return False
    values = column.to_numpy()
    known = values[~np.isnan(values)]
    if not 0 < len(known) < len(values):
        return False
    return bool(np.all((np.abs(known) < _EXACT) & (known == np.floor(known))))
