"""The columns of a record's model, and how their values are read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from collections import abc
from operator import attrgetter
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

import pydantic
from pydantic import BaseModel, Field, RootModel

from pandas_llm._keys.fields import UNIONS, has_validators, int64, naive_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic.fields import FieldInfo

Kind = Literal[
    "str", "int", "float", "bool", "datetime", "category", "object", "vector"
]

Exact: TypeAlias = "str | list[Exact] | dict[str, Exact]"
_JSON = "json"


class Column(NamedTuple):
    """One column of the result."""

    name: str
    kind: Kind
    labels: tuple[Any, ...] = ()
    """The categories, for kind ``"category"``, in the order declared."""
    quoted: Literal["", "one", "many"] = ""
    """Whether its values come with the words that they stand on: one, or a list."""
    exact: Exact = ""
    """What other tables have a type for and pandas has not: "date", ["str"] for a list
    of texts, {"name": "str"} for a model, "json" for values of several types, "vector3"
    for vectors of three numbers; empty where the dtype or the values say it."""


class Quotation(BaseModel):
    """Base of what is asked for a quoted key."""

    # written first, so that the value follows from the words and not they from it
    quote: str = Field(
        description="the words of the text that the value stands on, copied exactly"
    )
    value: Any


class RecordModel(BaseModel):
    """Base of the models built here: fields are numbered, names are aliases."""

    takes_numbers: ClassVar[bool] = True
    """Whether a number may stand for a text, with all its digits."""


class Place(NamedTuple):
    """A column, and where a record holds its value: attributes with dots between."""

    column: Column
    path: str


_LISTS = (list, set, frozenset, tuple, abc.Sequence)
_DATES = (dt.date, pydantic.PastDate, pydantic.FutureDate)
_KINDS: Mapping[Any, Kind] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    **dict.fromkeys((*_DATES, dt.datetime, pydantic.AwareDatetime), "datetime"),
    **dict.fromkeys((pydantic.NaiveDatetime, pydantic.PastDatetime), "datetime"),
    pydantic.FutureDatetime: "datetime",
}


def places_of(
    model: type[BaseModel], *, flatten: bool, within: tuple[type[BaseModel], ...] = ()
) -> list[Place]:
    """Return the columns of a model's fields and where they are."""
    places: list[Place] = []
    for attribute, field in model.model_fields.items():
        name = str(field.alias) if issubclass(model, RecordModel) else attribute
        nested = nested_model(field.annotation)
        if (
            not flatten
            or nested is None
            or issubclass(nested, Quotation)
            or nested in (*within, model)
        ):
            places.append(Place(_column(name, field.annotation), attribute))
            continue
        for column, path in places_of(nested, flatten=True, within=(*within, model)):
            inner = column._replace(name=f"{name}.{column.name}")
            places.append(Place(inner, f"{attribute}.{path}"))
    return places


def is_optional(annotation: Any) -> bool:
    """Return whether a value may be null."""
    return any(part is None or part is NoneType for part in _options(annotation))


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return the parts of a union, or the labels of a Literal."""
    bare = _bare(annotation)
    if get_origin(bare) in (Literal, *UNIONS):
        return tuple(map(_bare, get_args(bare)))
    return (bare,)


def _bare(annotation: Any) -> Any:
    is_annotated = get_origin(annotation) is Annotated
    return get_args(annotation)[0] if is_annotated else annotation


def _plain(annotation: Any) -> Any:
    """Remove `Annotated` and a single `Optional`."""
    bare = _bare(annotation)
    rest = [part for part in _options(bare) if part is not NoneType]
    return rest[0] if get_origin(bare) in UNIONS and len(rest) == 1 else bare


def _is_root(plain: Any) -> bool:
    return isinstance(plain, type) and issubclass(plain, RootModel)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    plain = _plain(annotation)
    is_model = isinstance(plain, type) and issubclass(plain, BaseModel)
    return plain if is_model and not _is_root(plain) else None


def _column(name: str, annotation: Any) -> Column:
    """Return the column of a key."""
    plain = _plain(annotation)
    is_list = get_origin(plain) is list
    asked = nested_model(get_args(plain)[0] if is_list else plain)
    if asked is None or not issubclass(asked, Quotation):
        return Column(name, *_kind(plain), exact=_exact(plain))
    value = asked.model_fields["value"].annotation
    if not is_list:
        return Column(name, *_kind(value), "one", _exact(value))
    return Column(name, "object", (), "many", _exact(list[value]))  # type: ignore[valid-type]


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    """Return the kind of a column and its labels."""
    plain = _plain(annotation)
    if get_origin(plain) is Literal:
        return "category", tuple(v for v in get_args(plain) if v is not None)
    if not isinstance(plain, type):
        return "object", ()
    if issubclass(plain, enum.Enum):
        return "category", tuple(member.value for member in plain)
    return _KINDS.get(plain, "object"), ()


def _exact(annotation: Any) -> Exact:
    """Return what other tables have a type for and pandas has not."""
    kind = _typed(annotation)
    scalar = isinstance(kind, str) and kind not in ("date", _JSON)
    return "" if scalar or kind is None else kind


def _typed(annotation: Any, within: tuple[Any, ...] = ()) -> Exact | None:
    """Return the type of a value by its name; None where only the values say it."""
    plain = _plain(annotation)
    while _is_root(plain) and plain not in within:
        within = (*within, plain)
        plain = _plain(plain.model_fields["root"].annotation)
    if plain not in within and (parts := parts_of(plain)):
        fields = {name: _typed(part, (*within, plain)) for name, part in parts.items()}
        known = {n: kind for n, kind in fields.items() if kind not in (None, _JSON)}
        return known if len(known) == len(fields) else None
    if get_origin(plain) in _LISTS:
        item = _typed(get_args(plain)[0], within)
        return None if item in (None, _JSON) else [item]
    if get_origin(plain) in UNIONS:
        return _JSON
    kind, labels = _kind(plain)
    if labels:
        kinds = {_KINDS.get(type(label)) for label in labels}
        return kinds.pop() if len(kinds) == 1 else _JSON
    if kind == "datetime" and plain in _DATES:
        return "date"
    return None if kind == "object" else kind


def parts_of(plain: Any) -> Mapping[str, Any]:
    """Return the names and types of a record's parts; nothing for another type."""
    if not isinstance(plain, type):
        return {}
    if issubclass(plain, BaseModel):
        return {name: field.annotation for name, field in plain.model_fields.items()}
    is_dict = hasattr(plain, "__required_keys__")  # a TypedDict of any origin
    if not (is_dict or dataclasses.is_dataclass(plain)):
        return {}
    try:
        return get_type_hints(plain)
    except (NameError, AttributeError, SyntaxError, TypeError):
        return {}  # it names types that only the function around it knows


def mentions(annotation: Any, wanted: type) -> bool:
    """Return whether a type holds the wanted one at any depth."""
    todo, seen = [annotation], dict[int, Any]()  # which keeps what has the id
    while todo:
        part = todo.pop()
        if part is wanted or get_origin(part) is wanted:
            return True
        if id(part) not in seen:
            seen[id(part)] = part
            todo += [*get_args(part), *parts_of(part).values()]
    return False


# -- values ---------------------------------------------------------------------


def reader(
    model: type[BaseModel], places: Sequence[Place]
) -> Callable[[BaseModel], tuple[Any, ...]]:
    """Build the function from a record to its values; the plain case is C code."""
    fields = model.model_fields.values()
    # where every field has a default, {"anything": 1} is a valid record
    lenient = not any(field.is_required() for field in fields)
    if issubclass(model, RecordModel) and not lenient and all(map(_is_safe, fields)):
        get = attrgetter(*(place.path for place in places))
        return get if len(places) > 1 else lambda record: (get(record),)
    parts = [(place.path.split("."), _converter(place.column)) for place in places]

    def values(record: BaseModel) -> tuple[Any, ...]:
        if lenient and not record.model_fields_set:
            raise ValueError("holds none of the keys")
        return tuple(_value(record, path, convert) for path, convert in parts)

    return values


def _is_safe(field: FieldInfo) -> bool:
    """Return whether pydantic lets only values pass that the column holds."""
    plain = _plain(field.annotation)
    checked = isinstance(plain, type) and plain in _KINDS
    return (checked or get_origin(plain) is Literal) and not has_validators(field)


def _value(record: Any, path: Sequence[str], convert: Callable[[Any], Any]) -> Any:
    """Read one column's value; raise ValueError if the column cannot hold it."""
    for attribute in path:
        if record is None:  # an optional nested model, flattened
            return None
        record = getattr(record, attribute)
    if record is None:
        return None
    try:
        return convert(record)
    except ValueError as error:
        raise ValueError(f"{'.'.join(path)}: {error}") from None


def _converter(column: Column) -> Callable[[Any], Any]:
    """Build the function that checks a value against the column's kind."""
    if column.quoted:
        return _plain_value

    def label(value: Any) -> Any:
        value = value.value if isinstance(value, enum.Enum) else value
        if value not in column.labels:
            raise ValueError(f"{value!r} is not one of the labels")
        return value

    return label if column.kind == "category" else _CONVERTERS[column.kind]


def _only(value: Any, *types: type) -> Any:
    if not isinstance(value, types) or (bool not in types and isinstance(value, bool)):
        raise ValueError(f"{value!r} is not of type {types[0].__name__}")
    return value


def _finite(value: Any) -> float:
    number = float(_only(value, float, int))
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _moment(value: Any) -> Any:
    value = _only(value, dt.date)
    return naive_utc(value) if isinstance(value, dt.datetime) else value


def _plain_value(value: Any) -> Any:  # noqa: PLR0911 - one a form
    """Return plain data, which any file format takes, for models and enums."""
    if isinstance(value, BaseModel):
        return _plain_value(value.model_dump(by_alias=isinstance(value, RecordModel)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_value(dataclasses.asdict(value))
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain_value(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int64(value)
    return _finite(value) if isinstance(value, float) else value


_CONVERTERS: Mapping[Kind, Callable[[Any], Any]] = {
    "str": lambda value: _only(value, str),
    "int": lambda value: int64(_only(value, int)),
    "float": _finite,
    "bool": lambda value: _only(value, bool),
    "datetime": _moment,
    "object": _plain_value,
}
