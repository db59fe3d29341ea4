"""A guess of how long an answer will be, by its schema."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._pacing import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm._run.task import Task

_PROSE = 50.0
"""Tokens of an answer without a schema: two sentences."""
_TEXT = 7.0
"""Tokens of a text in a record: a name or half a sentence."""
_OTHER = 8.0
"""Tokens of a value of any type."""
_VALUES: Mapping[str, float] = {
    "integer": 1.5,
    "number": 2.5,
    "boolean": 1.0,
    "null": 1.0,
    "string": _TEXT,
}
_FORMATS: Mapping[str, float] = {"date": 6.0, "date-time": 12.0, "time": 6.0}
_MARKS = 2.0
"""Quotes, colon and comma around a name and its value; many are one token."""
_ITEMS = 2.0
"""Items of a list without a length."""
_DEEP = 6


def likely_tokens(task: Task) -> float:
    """Return how many tokens a row's answer may have, with all its choices."""
    schema, settings = task.output.schema, task.settings
    each = _PROSE if schema is None else _value(schema, schema)
    if settings.max_tokens is not None:
        each = min(each, settings.max_tokens)
    return settings.n * each


def _value(  # noqa: PLR0911 - a form a line
    schema: Any, root: Mapping[str, Any], depth: int = 0
) -> float:
    """Return the likely tokens of a value."""
    if not isinstance(schema, dict) or depth > _DEEP:
        return _OTHER
    if (name := schema.get("$ref")) is not None:
        definition = root.get("$defs", {}).get(str(name).rpartition("/")[2])
        return _value(definition, root, depth + 1)
    if values := [schema["const"]] if "const" in schema else schema.get("enum"):
        return statistics.fmean(map(_known, values))
    if kinds := schema.get("anyOf"):
        return max(_value(kind, root, depth + 1) for kind in kinds)
    fields = schema.get("properties")
    if fields is not None:
        inside = (
            estimate_tokens(name) + _MARKS + _value(field, root, depth + 1)
            for name, field in fields.items()
        )
        return sum(inside, 2.0)
    kind = schema.get("type")
    if kind == "array":
        items = max(_ITEMS, float(schema.get("minItems", 0)))
        items = min(items, float(schema.get("maxItems", items)))
        return 2.0 + items * _value(schema.get("items"), root, depth + 1)
    usual = _VALUES.get(str(kind), _OTHER)
    return _FORMATS.get(str(schema.get("format")), usual)


def _known(value: object) -> float:
    """Return the tokens of a given value."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return max(1.0, estimate_tokens(text))
