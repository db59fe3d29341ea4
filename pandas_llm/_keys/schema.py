"""JSON schemas that every provider's strict mode takes.

The common subset (OpenAI's and Anthropic's strict modes, Gemini, llama.cpp): an
object at the root, every property required, ``additionalProperties: false``,
optional means nullable, no keyword that restricts a value but ``enum``, ``const``
and the two date formats. What is taken out is said in the description, and
validated on this side. Beside it there is a form with the keywords, for servers that
take them: cache keys come of the first, so they stay whatever is sent.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CONSTRAINTS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matching the regular expression {}",
    "uniqueItems": "without repeated items",
}
_FORMATS = {"date", "date-time"}
_CHECKED_FORMATS = _FORMATS | {
    *("time", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
}
"""Those that some strict mode holds to; pydantic has more, such as ``path``."""
_SENT = _CONSTRAINTS.keys() - {"uniqueItems"}
_BEYOND_GRAMMARS = re.compile(r"\(\?[^:]|\\[bBAzZ1-9]|\(\?$")
"""Looking around, edges of words, groups again: no grammar holds such a pattern."""
_KEPT = {"$ref", "type", "description", "properties", "items", "anyOf", "enum"}
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def portable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema in the subset that all strict modes take.

    Parameters
    ----------
    schema : mapping
        A JSON schema as pydantic makes it.

    Examples
    --------
    >>> portable({"type": "object", "properties": {"n": {"type": "integer",
    ...     "minimum": 1, "default": 2, "title": "N"}}})["properties"]
    {'n': {'type': 'integer', 'description': 'at least 1'}}
    """
    return _portable(schema, sent=False)


def constrained(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `portable` gives, with the keywords that restrict values; or None.

    Parameters
    ----------
    schema : mapping
        A JSON schema as pydantic makes it.

    Returns
    -------
    dict or None
        None where there is no such keyword.

    Examples
    --------
    >>> constrained({"type": "object", "properties": {"n": {"type": "integer",
    ...     "minimum": 1, "title": "N"}}})["properties"]
    {'n': {'type': 'integer', 'description': 'at least 1', 'minimum': 1}}
    """
    found = _portable(schema, sent=True)
    return found if found != portable(schema) else None


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
        elif (key not in _SENT and (key != "format" or value in _FORMATS)) or takes(
            key, value
        ):
            result[key] = value
    return result


def _everywhere(keyword: str, value: Any) -> bool:
    """Return whether every server takes a part of a schema."""
    return keyword not in _SENT and (keyword != "format" or value in _FORMATS)


def _portable(schema: Mapping[str, Any], *, sent: bool) -> dict[str, Any]:
    """Make the portable form, with the keywords that are `sent` if so told."""
    definitions = dict(schema.get("$defs", {}))
    recursive = {name for name in definitions if _reaches(name, definitions)}
    root = {key: value for key, value in schema.items() if key != "$defs"}
    if "properties" not in root:  # a recursive model: the root may be no reference
        root = _target(root, definitions)
    result = _convert(root, definitions, recursive, sent=sent)
    kept = {
        name: _convert(definitions[name], definitions, recursive, sent=sent)
        for name in sorted(recursive)
        if _mentions(result, name) or len(recursive) > 1
    }
    return {**result, "$defs": kept} if kept else result


def unportable(schema: Mapping[str, Any]) -> str | None:
    """Return why a schema cannot be asked for everywhere; None when it can.

    Examples
    --------
    >>> unportable({"type": "object", "additionalProperties": {"type": "integer"}})
    'a mapping with free keys: use a list of models with a name and a value'
    """
    if schema.get("type") == "object" and "properties" not in schema:
        return "a mapping with free keys: use a list of models with a name and a value"
    if "prefixItems" in schema:
        return "a tuple of several types: use a model with a field for each"
    known = ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf")
    if not any(key in schema for key in known):
        return "any value at all: say which type"
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [
        part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, ())
    ]
    if schema.get("type") == "array":
        parts.append(schema.get("items", {}))
    return next(filter(None, map(unportable, parts)), None)


def _target(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node refers to, with what stands beside the reference."""
    while "$ref" in node or len(node.get("allOf", ())) == 1:
        if "$ref" in node:
            found = definitions[node["$ref"].rsplit("/", 1)[-1]]
            node = {**found, **{k: v for k, v in node.items() if k != "$ref"}}
        else:
            (found,) = node["allOf"]
            node = {**found, **{k: v for k, v in node.items() if k != "allOf"}}
    return dict(node)


def _convert(
    node: Mapping[str, Any],
    definitions: Mapping[str, Any],
    recursive: set[str],
    *,
    sent: bool,
) -> dict[str, Any]:
    """Convert one schema and all within it."""

    def within(part: Mapping[str, Any]) -> dict[str, Any]:
        return _convert(part, definitions, recursive, sent=sent)

    if len(node.get("allOf", ())) == 1:  # pydantic 2.8 and before
        rest = {key: value for key, value in node.items() if key != "allOf"}
        return within({**node["allOf"][0], **rest})
    if "$ref" in node:
        if node["$ref"].rsplit("/", 1)[-1] in recursive:
            return {"$ref": node["$ref"]}  # a reference may have no sibling
        node = _target(node, definitions)
    result = _value_part(node)
    for key in ("anyOf", "oneOf"):
        if key in node:
            result["anyOf"] = [within(option) for option in node[key]]
    if "items" in result:
        result["items"] = within(result["items"])
    if result.get("type") == "object":
        properties = {
            name: within(value) for name, value in result.get("properties", {}).items()
        }
        result |= {
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    described = _described(result, node)
    return described | _keywords(node) if sent else described


def _keywords(node: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the keywords that some server takes, where JSON and a grammar hold them."""
    kept = {
        key: _whole(node[key])
        for key in _CONSTRAINTS
        if key in _SENT and key in node and _holds(node[key])
    }
    if node.get("format") in _CHECKED_FORMATS:
        kept["format"] = node["format"]
    return kept


def _holds(value: Any) -> bool:
    """Return whether a keyword's value can be sent."""
    if isinstance(value, str):
        return not _BEYOND_GRAMMARS.search(value)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _value_part(node: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what strict modes know of a value; an enum says its type."""
    result = {key: value for key, value in node.items() if key in _KEPT}
    if node.get("format") in _FORMATS:
        result["format"] = node["format"]
    if "const" in node:
        result["enum"] = [node["const"]]
    if "enum" in result and "type" not in result:
        result["type"] = _types(result["enum"])
    return result


def _types(values: Sequence[Any]) -> str | list[str]:
    """Name the types of labels; strict modes refuse an enum without."""
    names = list(dict.fromkeys(_NAMES.get(type(v), "null") for v in values))
    return names[0] if len(names) == 1 else names


def _described(result: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Write in the description what the keywords would have said."""
    said = [
        text.format(_whole(node[key]))
        for key, text in _CONSTRAINTS.items()
        if key in node and node[key] is not False
    ]
    if (kind := node.get("format")) and kind not in _FORMATS:
        said.append(f"in the format {kind}")
    if said:
        words = "; ".join(said)
        given = result.get("description")
        result["description"] = f"{given} ({words})" if given else words
    return result


def _whole(number: Any) -> Any:
    """Write 1.0 as 1."""
    is_whole = isinstance(number, float) and number.is_integer()
    return int(number) if is_whole else number


def _reaches(goal: str, definitions: Mapping[str, Any]) -> bool:
    """Return whether a definition refers, directly or not, to itself."""
    seen: set[str] = set()
    todo = [goal]
    while todo:
        current = definitions[todo.pop()]
        found = {name for name in definitions if _mentions(current, name)} - seen
        if goal in found:
            return True
        seen |= found
        todo += found
    return False


def _mentions(node: Any, name: str) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == f"#/$defs/{name}" or any(
            _mentions(value, name) for value in node.values()
        )
    return isinstance(node, list) and any(_mentions(value, name) for value in node)
