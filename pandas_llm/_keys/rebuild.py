"""From a JSON schema back to a model that reads replies; runs nothing it names."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    create_model,
)
from pydantic_core import SchemaError

from pandas_llm._keys.columns import Column, RecordModel, converter, is_optional, reader
from pandas_llm._keys.fields import annotated, resolve
from pandas_llm._keys.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEYWORDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}
_FORMATS = {"date": dt.date, "date-time": dt.datetime}


class Place(NamedTuple):
    """A column, and the way from a record to its value."""

    column: Column
    path: str
    """By the attributes of the models that were given."""
    numbers: str
    """By those of the models that are made here."""


class _Plain(RecordModel):
    """Base of models that stand for a person's own, which take no number for text."""

    model_config = ConfigDict(coerce_numbers_to_str=False)


def keys_of(
    schema: Mapping[str, Any],
    places: Sequence[Place],
    models: Mapping[str, type[BaseModel]],
    *,
    coerce: bool,
) -> Keys:
    """Build keys that read what a schema describes.

    Parameters
    ----------
    schema : mapping
        Of one record, as pydantic writes it.
    places : sequence of Place
        The columns.
    models : mapping
        What stands for definitions of the schema; without any, models are made.
    coerce : bool
        Whether a number may stand for a text.
    """
    model = _Builder(schema, models).record(RecordModel if coerce else _Plain)
    steps = [
        (place.path if models else place.numbers, converter(place.column))
        for place in places
    ]
    fields = model.model_fields.values()
    lenient = [f for f in fields if is_optional(f.annotation) or not f.is_required()]
    names = frozenset(str(f.alias) for f in fields)
    return Keys(
        model,
        tuple(place.column for place in places),
        reader(model, steps),
        names,
        frozenset(str(f.alias) for f in fields if is_optional(f.annotation)),
        names - {str(f.alias) for f in lenient},
    )


class _Builder:
    """Builds the models of one schema."""

    def __init__(
        self, schema: Mapping[str, Any], models: Mapping[str, type[BaseModel]]
    ) -> None:
        self._root = schema
        self._definitions = schema.get("$defs", {})
        self._made: dict[str, Any] = dict(models)
        self._open: set[str] = set()

    def record(self, base: type[RecordModel]) -> type[BaseModel]:
        """Build the model of a record."""
        node = self._root
        if "properties" not in node:  # a recursive model is a reference to itself
            reference = node.get("$ref") or node["allOf"][0]["$ref"]
            node = self._definitions[_name(reference)]
        return self._object(node, base)

    def _object(
        self, node: Mapping[str, Any], base: type[RecordModel]
    ) -> type[BaseModel]:
        needed = node.get("required", ())
        fields: dict[str, Any] = {}
        for at, (name, part) in enumerate(node["properties"].items()):
            more: dict[str, Any] = {}
            if name not in needed:
                default = part.get("default")
                more = {"default": default, "validate_default": default is not None}
            fields[f"f{at}"] = (self._annotation(part), Field(alias=name, **more))
        return create_model("Record", __base__=base, **fields)

    def _annotation(self, node: Mapping[str, Any]) -> Any:
        if "$ref" in node:
            return self._named(_name(node["$ref"]))
        if len(node.get("allOf", ())) == 1:  # pydantic 2.8 and before
            return self._annotation(node["allOf"][0])
        if "const" in node or "enum" in node:
            labels = node["enum"] if "enum" in node else [node["const"]]
            return resolve(Literal[tuple(labels)], "keys", {})
        for key in ("anyOf", "oneOf"):
            if key in node:
                return Union[tuple(map(self._annotation, node[key]))]  # noqa: UP007
        return self._typed(node)

    def _typed(self, node: Mapping[str, Any]) -> Any:
        kind = node["type"]
        if kind == "object":
            return self._object(node, _Plain)
        if kind == "null":
            return type(None)
        if kind == "array":
            inner = self._annotation(node["items"])
            whole: Any = set if node.get("uniqueItems") else list
            plain: Any = whole[inner]
        else:
            plain = _FORMATS.get(node.get("format", ""), _TYPES[kind])
        limits = {to: node[key] for key, to in _KEYWORDS.items() if key in node}
        if "pattern" in limits and not _is_known(limits["pattern"]):
            del limits["pattern"]
        return annotated(plain, plain, [Field(**limits)] if limits else ())

    def _named(self, name: str) -> Any:
        """Build what a definition describes; within itself, look it up when read."""
        if name in self._open:
            return Annotated[Any, PlainValidator(self._later(name))]
        if name not in self._made:
            self._open.add(name)
            self._made[name] = self._annotation(self._definitions[name])
            self._open.remove(name)
        found = self._made[name]
        given = isinstance(found, type) and not issubclass(found, RecordModel)
        return resolve(found, "keys", {}) if given else found

    def _later(self, name: str) -> Any:
        adapters: list[TypeAdapter[Any]] = []

        def validate(value: Any) -> Any:
            if not adapters:
                adapters.append(TypeAdapter(self._made[name]))
            return adapters[0].validate_python(value)

        return validate


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _is_known(pattern: str) -> bool:
    """Return whether pydantic knows a pattern; a model may ask Python to read it."""
    try:
        TypeAdapter(Annotated[str, Field(pattern=pattern)])
    except SchemaError:
        return False
    return True
