"""The rules of OpenAI's strict schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BANNED = (
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
)
_MAPPINGS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "prefixItems")


def strict_problem(schema: Mapping[str, Any]) -> str | None:
    """Return why a schema may not be used with ``strict``, None if it may."""
    if schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"'."
    return next(_problems(schema, ()), None)


def _problems(schema: Any, at: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for word in _BANNED:
        if word in schema:
            yield f"In context={at}, '{word}' is not permitted."
    if schema.get("type") == "object":
        yield from _object_problems(schema, at)
    for word in _MAPPINGS:
        for name, part in schema.get(word, {}).items():
            yield from _problems(part, (*at, word, name))
    for word in _LISTS:
        for position, part in enumerate(schema.get(word, ())):
            yield from _problems(part, (*at, word, str(position)))
    yield from _problems(schema.get("items"), (*at, "items"))


def _object_problems(schema: dict[str, Any], at: tuple[str, ...]) -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        yield (
            f"In context={at}, 'additionalProperties' is required to be supplied and "
            "to be false."
        )
    missing = set(schema.get("properties", {})) - set(schema.get("required", ()))
    if missing:
        yield (
            f"In context={at}, 'required' is required to be supplied and to be an "
            f"array including every key in properties. Missing '{min(missing)}'."
        )
