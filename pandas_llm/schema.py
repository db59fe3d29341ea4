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
    from collections.abc import Mapping

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
_DROPPED = {"title", "default", "examples", "format", *_CONSTRAINTS}


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
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    result = _convert(
        {key: value for key, value in schema.items() if key != "$defs"},
        definitions,
        recursive,
    )
    kept = {
        name: _convert(definitions[name], definitions, recursive)
        for name in sorted(recursive)
        if _mentions(result, name) or len(recursive) > 1
    }
    return {**result, "$defs": kept} if kept else result


def _convert(
    node: Mapping[str, Any], definitions: Mapping[str, Any], recursive: set[str]
) -> dict[str, Any]:
    """Convert one schema and all within it."""
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name in recursive:  # a reference may have no sibling
            return {"$ref": node["$ref"]}
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        node = {**definitions[name], **siblings}
    if len(node.get("allOf", ())) == 1:
        rest = {key: value for key, value in node.items() if key != "allOf"}
        return _convert({**node["allOf"][0], **rest}, definitions, recursive)
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if node.get("format") in _FORMATS:
        result["format"] = node["format"]
    for key in ("anyOf", "oneOf"):
        if key in result:
            options = [_convert(o, definitions, recursive) for o in result.pop(key)]
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


def _described(result: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Say in the description what the keywords would have said."""
    said = [
        text.format(node[key])
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


def _reaches(start: str, goal: str, definitions: Mapping[str, Any]) -> bool:
    """Tell whether a definition refers, directly or not, to another."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in definitions:
            if name not in seen and _mentions(definitions[todo[-1]], name):
                if name == goal:
                    return True
                seen.add(name)
                todo.insert(0, name)
        todo.pop()
    return False


def _mentions(node: Any, name: str) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == f"#/$defs/{name}" or any(
            _mentions(value, name) for value in node.values()
        )
    return isinstance(node, list) and any(_mentions(value, name) for value in node)
