"""Types by the names that pandas, numpy and JSON schema have for them."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import InvalidTypeError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("str", "string", "text", "str_", "stringdtype"), str),
    **dict.fromkeys(("int", "integer", "uint", "long"), int),
    **dict.fromkeys(("float", "double", "number", "numeric"), float),
    **dict.fromkeys(("bool", "boolean", "bool_"), bool),
    **dict.fromkeys(("datetime", "timestamp"), dt.datetime),
    "date": dt.date,
}
_OTHERS = {
    "category categorical enum": "write the labels: ['good', 'bad']",
    "timedelta duration": "ask for float, in seconds",
    "object any dict json": "write a pydantic model, or list[str]",
    "list array set tuple": "write list[str] or list[float]",
    "complex decimal": "write float",
    "period": "write date",
}
_WAYS_OUT = {name: way for names, way in _OTHERS.items() for name in names.split()}
_TYPE_OR_WORDS = (
    "write a type such as int, or for words about the key pydantic's "
    "Annotated[str, Field(description=…)]"
)
_SUBSCRIPTED = re.compile(r"(?i)^(?:list|dict|set|tuple|optional|literal|union)\[|\|")


def understood(annotation: Any, where: str) -> Any:
    """Return the type that a name, or a dtype of pandas or numpy, means.

    Anything else comes back as it is.

    Raises
    ------
    InvalidTypeError
        For a text that does not name a type, and for dtypes that no reply can fill.

    Examples
    --------
    >>> understood("Int64", "keys['n']"), understood("float32", "keys['x']")
    (<class 'int'>, <class 'float'>)
    """
    annotation = listed_labels(annotation)
    if (name := _name(annotation)) is None:
        return annotation
    plain = name.casefold().removeprefix("u")
    base = re.sub(r"(\[.*\]|\d+|dtype)+$", "", plain).strip()
    if (known := _TYPES.get(base)) is not None:
        return known
    quoted = isinstance(annotation, str) and _SUBSCRIPTED.search(annotation)
    if isinstance(annotation, str) and (quoted or base not in _WAYS_OUT):
        way = "write it without quotes" if quoted else _TYPE_OR_WORDS
        raise InvalidTypeError(f"{where}: {annotation!r} does not name a type: {way}")
    way = _WAYS_OUT.get(base, "write str, int, float, bool, date or datetime")
    raise InvalidTypeError(f"{where}: a column cannot have the type {name}: {way}")


def listed_labels(labels: Any) -> Any:
    """Return labels in an array, a Series or a categorical dtype as a list."""
    within = getattr(getattr(labels, "dtype", labels), "categories", labels)
    is_array = getattr(within, "ndim", None) == 1 and hasattr(within, "tolist")
    return within.tolist() if is_array else labels


def is_ordered(labels: Any) -> bool:
    """Return whether labels are of an ordered categorical dtype."""
    return bool(getattr(getattr(labels, "dtype", labels), "ordered", False))


def _name(annotation: Any) -> str | None:
    """Return the name of a dtype; None for anything else."""
    if isinstance(annotation, str):
        return annotation
    if not isinstance(annotation, type):
        is_dtype = hasattr(annotation, "kind") and hasattr(annotation, "name")
        return str(annotation) if is_dtype else None
    library = annotation.__module__.partition(".")[0]
    if library in ("numpy", "pandas", "datetime"):
        return annotation.__name__
    bare = annotation in (list, dict, set, tuple, object, complex)
    return annotation.__name__ if bare or library == "decimal" else None
