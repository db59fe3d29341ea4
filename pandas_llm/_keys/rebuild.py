"""From a saved JSON schema back to a model; runs nothing that the schema names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, PlainValidator, TypeAdapter, create_model
from pydantic_core import SchemaError

from pandas_llm._keys.columns import Column, Place, RecordModel, nested_model, places_of
from pandas_llm._keys.fields import annotated, resolve
from pandas_llm._keys.model import Keys, make_keys
from pandas_llm._keys.schema import CONSTRAINTS, FORMATS, TYPES, name_of, target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class _Plain(RecordModel):
    """Base of models that stand for a person's own: a number is not a text."""

    takes_numbers = False


def kept_columns(keys: Keys, *, flatten: bool) -> list[dict[str, Any]]:
    """Return the columns of keys, and where they are, as JSON holds them."""
    return [
        {**column._asdict(), "path": path, "numbers": _numbered(keys.model, path)}
        for column, path in places_of(keys.model, flatten=flatten)
    ]


def _numbered(model: type[BaseModel], path: str) -> str:
    """Return an attribute path in terms of the numbered fields of models built here."""
    numbers = []
    for attribute in path.split("."):
        fields = model.model_fields
        numbers.append(f"f{list(fields).index(attribute)}")
        model = nested_model(fields[attribute].annotation) or model
    return ".".join(numbers)


def keys_of(
    schema: Mapping[str, Any],
    columns: Sequence[Mapping[str, Any]],
    models: Mapping[str, type[BaseModel]],
    *,
    coerce: bool,
) -> Keys:
    """Build keys for the records that a schema describes, from `kept_columns`.

    `models` are a person's own for its definitions; without any, models are built.
    `coerce` lets a number stand for a text.
    """
    places = []
    for saved in columns:
        column = Column(*(saved[name] for name in Column._fields))
        column = column._replace(labels=tuple(column.labels))
        places.append(Place(column, saved["path" if models else "numbers"]))
    model = _Builder(schema, models).record(RecordModel if coerce else _Plain)
    names = [str(field.alias) for field in model.model_fields.values()]
    return make_keys(model, names, places)


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
        return self._object(target(self._root, self._definitions), base)

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
            return self._named(name_of(node["$ref"]))
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
            container: Any = set if node.get("uniqueItems") else list
            plain: Any = container[inner]
        else:
            plain = FORMATS.get(node.get("format", ""), TYPES[kind])
        names = {key: to for key, (to, _) in CONSTRAINTS.items() if to}
        limits = {to: node[key] for key, to in names.items() if key in node}
        if "pattern" in limits and not _is_known(limits["pattern"]):
            del limits["pattern"]
        return annotated(plain, plain, [Field(**limits)] if limits else ())

    def _named(self, name: str) -> Any:
        """Build a definition's type; within itself, look it up when a reply is read."""
        if name in self._open:
            adapter = cache(lambda: TypeAdapter(self._made[name]))
            later = PlainValidator(lambda value: adapter().validate_python(value))
            return Annotated[Any, later]
        if name not in self._made:
            self._open.add(name)
            self._made[name] = self._annotation(self._definitions[name])
            self._open.remove(name)
        built = self._made[name]
        is_own = isinstance(built, type) and not issubclass(built, RecordModel)
        return resolve(built, "keys", {}) if is_own else built


def _is_known(pattern: str) -> bool:
    """Return whether pydantic reads a pattern; some are for Python's `re` only."""
    try:
        TypeAdapter(Annotated[str, Field(pattern=pattern)])
    except SchemaError:
        return False
    return True
