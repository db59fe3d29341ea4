"""JSON schemas that every provider's strict mode takes.

The common subset (OpenAI's and Anthropic's strict modes, Gemini, llama.cpp): an
object at the root, every property required, ``additionalProperties: false``,
optional means nullable, no keyword that restricts a value but ``enum``, ``const``
and the two date formats. What is taken out is said in the description, and
validated on this side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_KEPT = {"$ref", "type", "description", "properties", "items", "anyOf", "enum"}
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}


def portable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give the schema in the subset that all strict modes take.

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
    definitions = dict(schema.get("$defs", {}))
    recursive = {name for name in definitions if _reaches(name, definitions)}
    root = {key: value for key, value in schema.items() if key != "$defs"}
    if "properties" not in root:  # a recursive model: the root may be no reference
        root = _target(root, definitions)
    result = _convert(root, definitions, recursive)
    kept = {
        name: _convert(definitions[name], definitions, recursive)
        for name in sorted(recursive)
        if _mentions(result, name) or len(recursive) > 1
    }
    return {**result, "$defs": kept} if kept else result


def unportable(schema: Mapping[str, Any]) -> str | None:
    """Say why a schema cannot be asked for everywhere; None when it can.

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
    """Give what a node refers to, with what stands beside the reference."""
    while "$ref" in node or len(node.get("allOf", ())) == 1:
        if "$ref" in node:
            found = definitions[node["$ref"].rsplit("/", 1)[-1]]
            node = {**found, **{k: v for k, v in node.items() if k != "$ref"}}
        else:
            (found,) = node["allOf"]
            node = {**found, **{k: v for k, v in node.items() if k != "allOf"}}
    return dict(node)


def _convert(
    node: Mapping[str, Any], definitions: Mapping[str, Any], recursive: set[str]
) -> dict[str, Any]:
    """Convert one schema and all within it."""
    if len(node.get("allOf", ())) == 1:  # pydantic 2.8 and before
        rest = {key: value for key, value in node.items() if key != "allOf"}
        return _convert({**node["allOf"][0], **rest}, definitions, recursive)
    if "$ref" in node:
        if node["$ref"].rsplit("/", 1)[-1] in recursive:
            return {"$ref": node["$ref"]}  # a reference may have no sibling
        node = _target(node, definitions)
    result = _value_part(node)
    for key in ("anyOf", "oneOf"):
        if key in node:
            options = [_convert(o, definitions, recursive) for o in node[key]]
            result["anyOf"] = options
    if "items" in result:
        result["items"] = _convert(result["items"], definitions, recursive)
    if result.get("type") == "object":
        properties = {
            name: _convert(value, definitions, recursive)
            for name, value in result.get("properties", {}).items()
        }
        result |= {
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    return _described(result, node)


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
    """Say in the description what the keywords would have said."""
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
    """Tell whether a definition refers, directly or not, to itself."""
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
