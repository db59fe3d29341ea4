"""Which schemas vendors refuse: the rules of their structured outputs."""

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
_LISTS = ("anyOf", "allOf", "prefixItems")
_ANTHROPIC_BANNED = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "maxItems", "uniqueItems", "oneOf", "not"),
)
_ANTHROPIC_MOST_OPTIONAL = 24


def strict_problem(schema: Mapping[str, Any]) -> str | None:
    """Return why OpenAI refuses a schema with ``strict``, None if it does not."""
    if schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"'."
    return next(_openai_problems(schema), None)


def anthropic_problem(schema: Mapping[str, Any]) -> str | None:
    """Return why Anthropic refuses a schema, None if it does not."""
    return next(_anthropic_problems(schema), None)


def _openai_problems(schema: Any) -> Iterator[str]:
    for at, part in _parts(schema, ()):
        for word in _BANNED:
            if word in part:
                yield f"In context={at}, '{word}' is not permitted."
        if part.get("type") == "object":
            yield from _object_problems(part, at)


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


def _anthropic_problems(schema: Any) -> Iterator[str]:
    if name := _recursive(schema):
        yield f"Circular reference detected in schema definitions: {name}"
    optional = 0
    for _, part in _parts(schema, ()):
        kind = part.get("type")
        if kind == "object" and part.get("additionalProperties") is not False:
            yield (
                "For 'object' type, 'additionalProperties' must be explicitly set to "
                "false"
            )
        if banned := [word for word in _ANTHROPIC_BANNED if word in part]:
            yield f"For '{kind}' type, properties {', '.join(banned)} are not supported"
        if part.get("minItems", 0) > 1:
            yield "For 'array' type, 'minItems' must be 0 or 1"
        names = set(part.get("properties", {}))
        optional += len(names - set(part.get("required", ())))
    if optional > _ANTHROPIC_MOST_OPTIONAL:
        yield (
            f"Schemas contains too many optional parameters ({optional}), which would "
            f"make grammar compilation inefficient."
        )


def _recursive(schema: dict[str, Any]) -> str | None:
    """Return a definition that holds itself."""
    definitions = {
        f"#/{word}/{name}": part
        for word in ("$defs", "definitions")
        for name, part in schema.get(word, {}).items()
    }
    refers = {
        ref: {str(inner["$ref"]) for _, inner in _parts(part, ()) if "$ref" in inner}
        for ref, part in definitions.items()
    }
    for _ in refers:  # as many steps as there are definitions reach everything
        for targets in refers.values():
            targets.update(*(refers.get(ref, ()) for ref in tuple(targets)))
    return next((ref for ref, targets in refers.items() if ref in targets), None)


def _parts(
    schema: Any, at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return a schema and all schemas in it, with their places."""
    if not isinstance(schema, dict):
        return
    yield at, schema
    for word in _MAPPINGS:
        for name, part in schema.get(word, {}).items():
            yield from _parts(part, (*at, word, name))
    for word in _LISTS:
        for position, part in enumerate(schema.get(word, ())):
            yield from _parts(part, (*at, word, str(position)))
    yield from _parts(schema.get("items"), (*at, "items"))
