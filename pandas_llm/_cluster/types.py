"""The types of new columns for engines that are strict, as Arrow names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_llm.plan import Plan

_KINDS: Mapping[str, pa.DataType] = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "category": pa.string(),
    "datetime": pa.timestamp("us"),
    "vector": pa.list_(pa.float32()),
}
_PLAIN: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
_DEPTH = 8
"""Records within records; one that holds itself has no end."""


def types_of(plan: Any, data: Any) -> dict[str, pa.DataType]:
    """Return the type of each new column for data; text in JSON where there is none."""
    return {
        name: _type_of(plan, name, kind) or pa.string()
        for name, kind in plan.columns_for(data).items()
    }


def nested_types(plan: Plan, data: Any) -> dict[str, pa.DataType]:
    """Return the types of lists and records among the new columns for data."""
    columns = plan.columns_for(data).items()
    types = {n: _nested(plan, n) for n, kind in columns if kind == "object"}
    return {name: type_ for name, type_ in types.items() if type_ is not None}


def _type_of(plan: Plan, name: str, kind: str) -> pa.DataType | None:
    if kind == "datetime" and (day := _nested(plan, name)) == pa.date32():
        return day
    return _KINDS.get(kind) or _nested(plan, name)


def _nested(plan: Plan, name: str) -> pa.DataType | None:
    """Return the type of a key by its schema; None where no type is its."""
    root = plan.schema or {}
    fields = root["properties"]
    if plan.verb == "generate":
        fields = _resolved(fields["records"]["items"], root)["properties"]
    field = fields.get(name, {})
    if (one := _quoted(field, root)) is not None:
        return _type(one, root)
    if (item := _quoted_items(field, root)) is not None:
        return _type({"type": "array", "items": item}, root)
    key, _, part = name.rpartition("_")
    if _quoted_items(fields.get(key, {}), root) is not None:
        return pa.list_(pa.int64() if part in ("start", "end") else pa.string())
    return _type(field, root)


def _quoted(field: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the schema of a quoted value; None for other keys."""
    for choice in field.get("anyOf", [field]):
        held = _resolved(choice, root).get("properties", {})
        if held.keys() == {"quote", "value"}:
            return held["value"]
    return None


def _quoted_items(field: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the schema of each quoted value of a list; None for other keys."""
    choices = (choice.get("items", {}) for choice in field.get("anyOf", [field]))
    values = (_quoted(items, root) for items in choices)
    return next((value for value in values if value is not None), None)


def _type(
    field: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0
) -> pa.DataType | None:
    field = _resolved(field, root)
    choices = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) == 1:
        return _type(choices[0], root, depth)
    if depth > _DEPTH:
        return None
    if field.get("type") == "array":
        items = _type(field.get("items", {}), root, depth + 1)
        return items and pa.list_(items)
    if field.get("type") == "object":
        held = field.get("properties", {}).items()
        types = {name: _type(inner, root, depth + 1) for name, inner in held}
        return pa.struct(types) if types and all(types.values()) else None
    if field.get("format") == "date":
        return pa.date32()
    kind = field.get("type")  # several where labels are of several types
    return _PLAIN.get(kind) if isinstance(kind, str) and "format" not in field else None


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within the schema."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    return cast("Mapping[str, Any]", root["$defs"][name])
