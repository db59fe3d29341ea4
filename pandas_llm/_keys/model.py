"""`keys`: from what a person writes to one pydantic model and the result's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_origin

from pydantic import BaseModel, Field, RootModel, TypeAdapter, create_model
from pydantic.errors import PydanticUserError

from pandas_llm._keys.columns import RecordModel, is_optional, places_of, reader
from pandas_llm._keys.dtypes import listed_labels
from pandas_llm._keys.fields import strict_model
from pandas_llm._keys.quoted import check_own, refuse_quoted, resolve_key
from pandas_llm._keys.schema import target, unportable
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_llm._keys.columns import Column, Place
    from pandas_llm._keys.fields import Models


class Keys(NamedTuple):
    """The model of one record, its columns and its names in JSON."""

    model: type[BaseModel]
    columns: tuple[Column, ...]
    values: Callable[[BaseModel], tuple[Any, ...]]
    """From a validated record to the columns' values."""
    names: frozenset[str]
    """All names in JSON."""
    optional: frozenset[str]
    """Names whose value may be null."""
    required: frozenset[str]
    """Names that every record has, not null."""

    @property
    def is_bare(self) -> bool:
        """Whether a record may be written as its only value, without the name."""
        first = self.columns[0]
        return len(self.names) == 1 and first.kind != "object" and not first.quoted


def parse_keys(keys: Any, *, flatten: bool = False) -> Keys:
    """Turn `keys` (names, a mapping of names to types, or a model) into one model.

    With `flatten`, the fields of a nested model are columns, ``name.field``.
    """
    models: Models = {}
    if isinstance(keys, type) and issubclass(keys, BaseModel):
        if issubclass(keys, RootModel) or keys is BaseModel:
            which = f"{keys.__name__} has no named fields"
            raise InvalidTypeError(f"keys: {which}; use a model that has")
        model = strict_model(keys, "keys", models)
    else:
        model = _model(_annotations(keys), models)
    names = _json_names(model)
    places = places_of(model, flatten=flatten)
    columns = [place.column for place in places]
    if repeated := _repeated([column.name for column in columns]):
        raise InvalidValueError(f"keys give two columns the name {repeated!r}")
    check_own(columns)
    return make_keys(model, names, places)


def make_keys(
    model: type[BaseModel], names: Sequence[str], places: Sequence[Place]
) -> Keys:
    """Put keys together; `names` are those of the model's fields in JSON."""
    fields = dict(zip(names, model.model_fields.values(), strict=True))
    optional = {name for name, f in fields.items() if is_optional(f.annotation)}
    required = {name for name, f in fields.items() if f.is_required()} - optional
    return Keys(
        model,
        tuple(place.column for place in places),
        reader(model, places),
        frozenset(names),
        frozenset(optional),
        frozenset(required),
    )


def parse_labels(name: str, labels: Any) -> Keys:
    """Turn the labels of ``classify`` into keys; a mapping's values describe them.

    Examples
    --------
    >>> parse_labels("mood", {"good": "smiles", "bad": "frowns"}).columns[0].labels
    ('good', 'bad')
    """
    labels = listed_labels(labels)
    is_type = isinstance(labels, type) or get_origin(labels) is Literal
    refuse_quoted(labels, "classify", "a label")
    if isinstance(labels, str) or not (is_type or hasattr(labels, "__iter__")):
        what = "a list of texts or a mapping label → description"
        raise InvalidValueError(
            f"labels must be {what}, not {brief(labels)}"
            + f": write [{labels!r}, …]" * isinstance(labels, str)
        )
    if isinstance(labels, (set, frozenset)):
        msg = "labels is a set, which has no order: write a list, or sorted(…)"
        raise InvalidTypeError(msg)
    options = labels if is_type else list(labels)
    if options == []:
        raise InvalidValueError(
            "labels is empty: name at least one label, such as ['good', 'bad']"
        )
    if not is_type and all(isinstance(label, bool) for label in options):
        way = "use matches, or write ['yes', 'no']"
        raise InvalidTypeError(f"True and False cannot be labels: {way}")
    keys = parse_keys({name: options})
    if keys.columns[0].kind != "category":
        raise InvalidTypeError(
            f"labels must be texts to choose from, not {brief(labels)}"
        )
    if not all(str(label).strip() for label in keys.columns[0].labels):
        raise InvalidValueError(
            "a label is empty, and an empty reply does not count as an answer: write "
            "'none', for example"
        )
    if not isinstance(labels, Mapping):
        return keys
    described = Field(description="; ".join(f"{k}: {v}" for k, v in labels.items()))
    return parse_keys({name: Annotated[Literal[tuple(options)], described]})


def _annotations(keys: Any) -> dict[str, Any]:
    """Return name → annotation for a list or a mapping."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (Mapping, Sequence)):
        way = ""
        if isinstance(keys, str):
            swapped = "${" in keys
            way = ": the template goes first" if swapped else f": write [{keys!r}]"
        elif isinstance(keys, (set, frozenset)):
            way = ", for a set has no order: write a list"
        raise InvalidTypeError(
            "keys must be a list of names, a mapping of names to types or a pydantic "
            f"model, not {brief(keys)}{way}"
        )
    if not keys:
        raise InvalidValueError(
            "keys is empty: name at least one column, such as keys=['answer']"
        )
    for name in keys:
        _check_name(name)
    if isinstance(keys, Mapping) and isinstance(keys.get("properties"), Mapping):
        raise InvalidTypeError(
            "keys is a JSON schema: write names and types, such as {'year': int}, or "
            "a pydantic model"
        )
    if isinstance(keys, Mapping):
        return dict(keys)
    if repeated := _repeated(keys):
        raise InvalidValueError(f"keys names {repeated!r} more than once")
    return dict.fromkeys(keys, str)


def _repeated(names: Sequence[str]) -> str | None:
    """Return the first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise InvalidTypeError(f"a key must be a str, not {name!r}")
    if not name.strip():
        raise InvalidValueError("a key is an empty name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidValueError(
            f"keys[{name!a}]: the name holds half a character and cannot be sent"
        ) from None


def _model(annotations: Mapping[str, Any], models: Models) -> type[BaseModel]:
    """Build the model of one record; a key may be any text, so fields are numbered."""
    fields: dict[str, Any] = {}
    for at, (name, annotation) in enumerate(annotations.items()):
        where = f"keys[{name!r}]"
        try:
            resolved = resolve_key(annotation, where, models)
            if resolved is NoneType:
                raise InvalidTypeError(f"{where}: None alone is not a type")
            TypeAdapter(resolved)
        except PydanticUserError as error:
            raise InvalidTypeError(
                f"{where}: {annotation!r} cannot be asked for in JSON"
            ) from error
        fields[f"f{at}"] = (resolved, Field(alias=name))
    return create_model("Record", __base__=RecordModel, **fields)


def _json_names(model: type[BaseModel]) -> list[str]:
    """Return the names in JSON; raise for a type that strict schemas cannot hold."""
    for attribute, field in model.model_fields.items():
        name = field.alias if issubclass(model, RecordModel) else attribute
        fields: dict[str, Any] = {"f": (field.annotation, field)}
        try:
            schema = create_model("Alone", **fields).model_json_schema()
        except PydanticUserError as error:
            raise InvalidTypeError(
                f"keys[{name!r}]: {field.annotation!r} cannot be in JSON"
            ) from error
        if problem := unportable(schema):
            raise InvalidTypeError(f"keys[{name!r}]: {problem}")
    schema = model.model_json_schema()
    return list(target(schema, schema.get("$defs", {}))["properties"])
