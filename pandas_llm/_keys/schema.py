"""JSON schemas that every provider's strict mode takes.

They share: an object at the root, all properties required and no others, optional as
nullable, and of the keywords that restrict a value only ``enum``, ``const`` and two
date formats. The rest goes into descriptions; servers that take keywords get them too.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from pandas_llm.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONSTRAINTS = {
    "minimum": ("ge", "at least {}"),
    "maximum": ("le", "at most {}"),
    "exclusiveMinimum": ("gt", "more than {}"),
    "exclusiveMaximum": ("lt", "less than {}"),
    "multipleOf": ("multiple_of", "a multiple of {}"),
    "minLength": ("min_length", "at least {} characters"),
    "maxLength": ("max_length", "at most {} characters"),
    "minItems": ("min_length", "at least {} items"),
    "maxItems": ("max_length", "at most {} items"),
    "pattern": ("pattern", "matching the regular expression {}"),
    "uniqueItems": ("", "without repeated items"),
}
"""The keywords that restrict a value: pydantic's names for them, and in words."""
FORMATS = {"date": dt.date, "date-time": dt.datetime}
_CHECKED_FORMATS = FORMATS.keys() | {
    *("time", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
}
"""Formats that some strict mode checks; pydantic has more, such as ``path``."""
_SENT = CONSTRAINTS.keys() - {"uniqueItems"}
_BEYOND_GRAMMARS = re.compile(r"\(\?[^:]|\\[bBAzZ1-9]|\(\?$")
"""Patterns that grammars cannot hold: lookarounds, word edges, back-references."""
_KEPT = {"$ref", "type", "description", "properties", "items", "anyOf", "enum"}
TYPES = {"string": str, "boolean": bool, "integer": int, "number": float}
_NAMES = {kind: name for name, kind in TYPES.items()}


def portable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of pydantic in the subset that all strict modes take.

    Examples
    --------
    >>> portable({"type": "object", "properties": {"n": {"type": "integer",
    ...     "minimum": 1, "default": 2, "title": "N"}}})["properties"]
    {'n': {'type': 'integer', 'description': 'at least 1'}}
    """
    return narrowed(_with_keywords(schema), _takes_none)


def constrained(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the portable form with restricting keywords; None if it has none."""
    whole = _with_keywords(schema)
    return whole if whole != narrowed(whole, _takes_none) else None


def _takes_none(_keyword: str, _value: Any) -> bool:
    return False


def narrowed(
    schema: Mapping[str, Any], takes: Callable[[str, Any], bool]
) -> dict[str, Any]:
    """Return a schema without the keywords that a server does not take.

    Examples
    --------
    >>> narrowed({"type": "integer", "minimum": 1, "maximum": 5},
    ...     lambda keyword, value: keyword == "minimum")
    {'type': 'integer', 'minimum': 1}
    """
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            result[key] = {n: narrowed(part, takes) for n, part in value.items()}
        elif key == "anyOf":
            result[key] = [narrowed(part, takes) for part in value]
        elif key == "items":
            result[key] = narrowed(value, takes)
        else:
            all_take = value in FORMATS if key == "format" else key not in _SENT
            if all_take or takes(key, value):
                result[key] = value
    return result


def _with_keywords(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the portable form, with all keywords that some server takes."""
    definitions = dict(schema.get("$defs", {}))
    recursive = {name for name in definitions if name in _reached(name, definitions)}
    root = {key: value for key, value in schema.items() if key != "$defs"}

    def converted(node: Mapping[str, Any]) -> dict[str, Any]:
        if len(node.get("allOf", ())) == 1:  # pydantic 2.8 and before
            return converted(_merged(node, "allOf", node["allOf"][0]))
        if "$ref" in node:
            if name_of(node["$ref"]) in recursive:
                return {"$ref": node["$ref"]}  # strict modes take nothing beside it
            node = target(node, definitions)
        result = _value_part(node)
        for key in ("anyOf", "oneOf"):
            if key in node:
                result["anyOf"] = [converted(option) for option in node[key]]
        if "items" in result:
            result["items"] = converted(result["items"])
        if result.get("type") == "object":
            parts = node.get("properties", {})
            result["properties"] = {n: converted(part) for n, part in parts.items()}
            result["required"] = list(parts)
            result["additionalProperties"] = False
        return _described(result, node) | _keywords(node)

    # the root of a recursive model is a reference, which strict modes refuse there
    result = converted(target(root, definitions))
    used = {
        name: converted(definitions[name])
        for name in sorted(recursive)
        if len(recursive) > 1 or name in _referred(result)
    }
    return {**result, "$defs": used} if used else result


def unportable(schema: Mapping[str, Any]) -> str | None:
    """Return why strict modes cannot take a schema; None if they can."""
    if schema.get("type") == "object" and "properties" not in schema:
        return "a mapping with free keys: use a list of models with a name and a value"
    if "prefixItems" in schema:
        return "a tuple of several types: use a model with a field for each"
    unions = ("anyOf", "oneOf", "allOf")
    if not any(key in schema for key in ("type", "enum", "const", "$ref", *unions)):
        return "any value at all: say which type"
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [part for key in unions for part in schema.get(key, ())]
    if schema.get("type") == "array":
        parts.append(schema.get("items", {}))
    return next(filter(None, map(unportable, parts)), None)


def name_of(reference: str) -> str:
    """Return the name of the definition that a ``$ref`` points to."""
    return reference.rsplit("/", 1)[-1]


def target(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node refers to, with what stands beside the reference."""
    passed: set[str] = set()
    while "$ref" in node or len(node.get("allOf", ())) == 1:
        if "$ref" in node:
            name = name_of(node["$ref"])
            if name in passed:  # only a damaged saved schema has this
                what = "refers to nothing but itself"
                raise InvalidValueError(f"the definition {name!r} {what}")
            passed.add(name)
            node = _merged(node, "$ref", definitions[name])
        else:
            node = _merged(node, "allOf", node["allOf"][0])
    return dict(node)


def _merged(node: Mapping[str, Any], key: str, into: Any) -> dict[str, Any]:
    """Merge all of a node but one key into another."""
    return {**into, **{k: v for k, v in node.items() if k != key}}


def _keywords(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that some server takes, if JSON and a grammar hold them."""
    keywords = {
        key: _whole(node[key])
        for key in CONSTRAINTS
        if key in _SENT and key in node and _holds(node[key])
    }
    if node.get("format") in _CHECKED_FORMATS:
        keywords["format"] = node["format"]
    return keywords


def _holds(value: Any) -> bool:
    """Return whether a keyword's value can be sent."""
    if isinstance(value, str):
        return not _BEYOND_GRAMMARS.search(value)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _value_part(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that strict modes know; an enum states its type."""
    result = {key: value for key, value in node.items() if key in _KEPT}
    if node.get("format") in FORMATS:
        result["format"] = node["format"]
    if "const" in node:
        result["enum"] = [node["const"]]
    if "enum" in result and "type" not in result:
        kinds = (_NAMES.get(type(label), "null") for label in result["enum"])
        names = list(dict.fromkeys(kinds))
        result["type"] = names[0] if len(names) == 1 else names
    return result


def _described(result: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keywords to the description in words."""
    words = [
        text.format(_whole(node[key]))
        for key, (_, text) in CONSTRAINTS.items()
        if key in node and node[key] is not False
    ]
    if (kind := node.get("format")) and kind not in FORMATS:
        words.append(f"in the format {kind}")
    if words:
        limits, own = "; ".join(words), result.get("description")
        result["description"] = f"{own} ({limits})" if own else limits
    return result


def _whole(number: Any) -> Any:
    """Write 1.0 as 1."""
    is_whole = isinstance(number, float) and number.is_integer()
    return int(number) if is_whole else number


def _reached(name: str, definitions: Mapping[str, Any]) -> set[str]:
    """Return the definitions that one refers to, directly or not."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        new = _referred(definitions[todo.pop()]) & definitions.keys() - seen
        seen |= new
        todo += new
    return seen


def _referred(node: Any) -> set[str]:
    """Return the definitions that a node names."""
    if isinstance(node, list):
        return set().union(*map(_referred, node))
    if not isinstance(node, dict):
        return set()
    reference = node.get("$ref")
    own = {name_of(reference)} if isinstance(reference, str) else set()
    return own.union(*map(_referred, node.values()))
