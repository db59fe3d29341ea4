"""`keys`: from what a person writes to one pydantic model and the result's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    get_origin,
)

from pydantic import BaseModel, Field, RootModel, TypeAdapter, create_model
from pydantic.errors import PydanticUserError

from pandas_llm._keys.columns import (
    Column,
    RecordModel,
    columns_of,
    is_optional,
    reader,
)
from pandas_llm._keys.fields import resolve, strict_model
from pandas_llm._keys.schema import unportable
from pandas_llm.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._keys.fields import Models

__all__ = ["Column", "Keys", "parse_keys", "parse_labels"]


class Keys(NamedTuple):
    """What one record is."""

    model: type[BaseModel]
    columns: tuple[Column, ...]
    values: Callable[[BaseModel], tuple[Any, ...]]
    """From a validated record to the columns' values."""
    names: frozenset[str]
    """The record's names in JSON."""
    optional: frozenset[str]
    """Those of them that may be null."""
    required: frozenset[str]
    """Those that no record lacks."""

    @property
    def is_bare(self) -> bool:
        """Whether a record may be its only value, without the name."""
        return len(self.names) == 1 and self.columns[0].kind != "object"


def parse_keys(keys: Any, *, flatten: bool = False) -> Keys:
    """Turn `keys` into one pydantic model.

    Parameters
    ----------
    keys : list of str, mapping of str to type, or pydantic model class
        A list means text columns. Types are str, int, float, bool, date, datetime,
        ``list[...]``, ``Literal[...]``, ``Optional[...]``, an Enum, a list of
        allowed labels, a pydantic model, or any of them in ``Annotated``.
    flatten : bool, default False
        Give the fields of a nested model columns of their own, ``name.field``.

    Raises
    ------
    TypeError
        For a type that JSON or a column cannot hold; the message names the key.
    ValueError
        For empty or repeated names, or no label to choose from.

    Examples
    --------
    >>> [c.kind for c in parse_keys({"name": str, "born": int}).columns]
    ['str', 'int']
    """
    models: Models = {}
    if isinstance(keys, type) and issubclass(keys, BaseModel):
        _check_root(keys)
        model = strict_model(keys, "keys", models)
    else:
        model = _model(_annotations(keys), models)
    names = _json_names(model)
    steps, columns = columns_of(model, flatten=flatten)
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            msg = f"keys give two columns the name {column.name!r}"
            raise InvalidValueError(msg)
        seen.add(column.name)
    nullable = [is_optional(f.annotation) for f in model.model_fields.values()]
    optional = frozenset(n for n, null in zip(names, nullable, strict=True) if null)
    has_default = [not f.is_required() for f in model.model_fields.values()]
    lenient = {n for n, may in zip(names, has_default, strict=True) if may} | optional
    values = reader(model, steps)
    wanted = frozenset(names)
    return Keys(model, tuple(columns), values, wanted, optional, wanted - lenient)


def parse_labels(name: str, labels: Any) -> Keys:
    """Turn the labels of ``classify`` into keys with one column.

    Parameters
    ----------
    name : str
        The column.
    labels : iterable of str, mapping of str to str, Enum or Literal
        What to choose from; the values of a mapping describe the labels.

    Examples
    --------
    >>> parse_labels("mood", {"good": "smiles", "bad": "frowns"}).columns[0].labels
    ('good', 'bad')
    """
    is_type = isinstance(labels, type) or get_origin(labels) is Literal
    if isinstance(labels, str) or not (is_type or hasattr(labels, "__iter__")):
        msg = "labels must be a list of texts or a mapping label → description"
        raise InvalidValueError(msg)
    given = labels if is_type else list(labels)
    if given == []:
        msg = "labels is empty: name at least one label, such as ['good', 'bad']"
        raise InvalidValueError(msg)
    keys = parse_keys({name: given})
    if keys.columns[0].kind != "category":
        msg = f"labels must be texts to choose from, not {labels!r}"
        raise InvalidTypeError(msg)
    if not isinstance(labels, Mapping):
        return keys
    said = "; ".join(f"{label}: {text}" for label, text in labels.items())
    return parse_keys({name: Annotated[Literal[tuple(given)], Field(description=said)]})


def _annotations(keys: Any) -> dict[str, Any]:
    """Return name → annotation for a list or a mapping."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (Mapping, Sequence)):
        msg = (
            "keys must be a list of names, a mapping of names to types or a pydantic "
            f"model, not {keys!r}" + (f": write [{keys!r}]" * isinstance(keys, str))
        )
        raise InvalidTypeError(msg)
    if not keys:
        msg = "keys is empty: name at least one column, such as keys=['answer']"
        raise InvalidValueError(msg)
    for name in keys:
        _check_name(name)
    if isinstance(keys, Mapping):
        return dict(keys)
    repeated = sorted({name for name in keys if list(keys).count(name) > 1})
    if repeated:
        msg = f"keys names {repeated[0]!r} more than once"
        raise InvalidValueError(msg)
    return dict.fromkeys(keys, str)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        msg = f"a key must be a str, not {name!r}"
        raise InvalidTypeError(msg)
    if not name.strip():
        msg = "a key is an empty name"
        raise InvalidValueError(msg)
    try:
        name.encode()
    except UnicodeEncodeError:
        msg = f"keys[{name!a}]: the name holds half a character and cannot be sent"
        raise InvalidValueError(msg) from None


def _model(annotations: Mapping[str, Any], models: Models) -> type[BaseModel]:
    """Make the model of one record.

    A key may be any text: with a space, a leading underscore, or the name of a
    method of BaseModel. Hence numbered fields with aliases. A key that may be null
    has to be there all the same: a reply without any key is no record.
    """
    fields: dict[str, Any] = {}
    for at, (name, annotation) in enumerate(annotations.items()):
        where = f"keys[{name!r}]"
        try:
            resolved = resolve(annotation, where, models)
            if resolved is not type(None):
                TypeAdapter(resolved)
        except PydanticUserError as error:
            msg = f"{where}: {annotation!r} cannot be asked for in JSON"
            raise InvalidTypeError(msg) from error
        if resolved is type(None):
            msg = f"{where}: None alone is no type"
            raise InvalidTypeError(msg)
        fields[f"f{at}"] = (resolved, Field(alias=name))
    return create_model("Record", __base__=RecordModel, **fields)


def _check_root(model: type[BaseModel]) -> None:
    if issubclass(model, RootModel) or model is BaseModel:
        msg = f"keys: {model.__name__} has no named fields; use a model that has"
        raise InvalidTypeError(msg)


def _json_names(model: type[BaseModel]) -> list[str]:
    """Return the names in JSON; raise for what strict schemas cannot ask for."""
    for attribute, field in model.model_fields.items():
        own = issubclass(model, RecordModel)
        name = field.alias if own else attribute
        try:
            fields: dict[str, Any] = {"f": (field.annotation, field)}
            alone = create_model("Alone", **fields)
            schema = alone.model_json_schema()
        except PydanticUserError as error:
            msg = f"keys[{name!r}]: {field.annotation!r} cannot be in JSON"
            raise InvalidTypeError(msg) from error
        if problem := unportable(schema):
            msg = f"keys[{name!r}]: {problem}"
            raise InvalidTypeError(msg)
    schema = model.model_json_schema()
    while "properties" not in schema:  # a recursive model is a reference to itself
        reference = schema.get("$ref") or schema["allOf"][0]["$ref"]
        schema = {**schema, **schema["$defs"][reference.rsplit("/", 1)[-1]]}
    return list(schema["properties"])
