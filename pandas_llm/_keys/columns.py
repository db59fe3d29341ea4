"""The columns of a record's model, and how their values are read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    get_args,
    get_origin,
)

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FutureDate,
    FutureDatetime,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    RootModel,
)

from pandas_llm._keys.fields import UNIONS, has_validators, int64, naive_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic.fields import FieldInfo

Kind = Literal[
    "str", "int", "float", "bool", "datetime", "category", "object", "vector"
]

Exact: TypeAlias = "str | list[Exact] | dict[str, Exact]"


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

    model_config = ConfigDict(coerce_numbers_to_str=True)


Step = tuple[str, "Callable[[Any], Any]"]
"""The attribute path of a column, and the function that converts its value."""

_DATES = (dt.date, PastDate, FutureDate)
_KINDS: Mapping[Any, Kind] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    **dict.fromkeys(_DATES, "datetime"),
    **dict.fromkeys((dt.datetime, AwareDatetime, NaiveDatetime), "datetime"),
    **dict.fromkeys((PastDatetime, FutureDatetime), "datetime"),
}


def columns_of(
    model: type[BaseModel], *, flatten: bool, within: tuple[type[BaseModel], ...] = ()
) -> tuple[list[Step], list[Column]]:
    """Return the attribute path and the column of every field."""
    steps: list[Step] = []
    columns: list[Column] = []
    for attribute, field in model.model_fields.items():
        name = str(field.alias) if issubclass(model, RecordModel) else attribute
        if (quoted := _quoted(name, field.annotation)) is not None:
            columns.append(quoted)
            steps.append((attribute, converter(quoted)))
            continue
        nested = _nested(field.annotation)
        if flatten and nested is not None and nested not in (*within, model):
            inner = columns_of(nested, flatten=True, within=(*within, model))
            steps += [(f"{attribute}.{path}", convert) for path, convert in inner[0]]
            columns += [c._replace(name=f"{name}.{c.name}") for c in inner[1]]
        else:
            kind, labels = _kind(field.annotation)
            exact = _exact(field.annotation)
            columns.append(Column(name, kind, labels, exact=exact))
            steps.append((attribute, converter(columns[-1])))
    return steps, columns


def numbered(model: type[BaseModel], path: str) -> str:
    """Return an attribute path in terms of numbered fields."""
    numbers = []
    for attribute in path.split("."):
        fields = model.model_fields
        numbers.append(f"f{list(fields).index(attribute)}")
        model = _nested(fields[attribute].annotation) or model
    return ".".join(numbers)


def is_optional(annotation: Any) -> bool:
    """Return whether a value may be null."""
    options = _options(annotation)
    return type(None) in options or None in options


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return the parts of a union, or the labels of a Literal."""
    bare = _bare(annotation)
    if get_origin(bare) is Literal or get_origin(bare) in UNIONS:
        return tuple(map(_bare, get_args(bare)))
    return (bare,)


def _bare(annotation: Any) -> Any:
    return (
        get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    )


def _plain(annotation: Any) -> Any:
    """Remove `Annotated` and a single `Optional`."""
    bare = _bare(annotation)
    if get_origin(bare) not in UNIONS:
        return bare
    rest = [part for part in _options(bare) if part is not type(None)]
    return rest[0] if len(rest) == 1 else bare


def _nested(annotation: Any) -> type[BaseModel] | None:
    plain = _plain(annotation)
    is_model = isinstance(plain, type) and issubclass(plain, BaseModel)
    return plain if is_model and not issubclass(plain, RootModel) else None


def _quoted(name: str, annotation: Any) -> Column | None:
    """Return the column of a quoted key; None for any other."""
    plain = _plain(annotation)
    many = get_origin(plain) is list
    asked = _nested(get_args(plain)[0] if many else plain)
    if asked is None or not issubclass(asked, Quotation):
        return None
    if many:
        inner = _typed(asked.model_fields["value"].annotation)
        return Column(name, "object", (), "many", [inner] if inner else "")
    value = asked.model_fields["value"].annotation
    return Column(name, *_kind(value), "one", _exact(value))


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    plain = _plain(annotation)
    if get_origin(plain) is Literal:
        return "category", tuple(v for v in get_args(plain) if v is not None)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return "category", tuple(member.value for member in plain)
    return (_KINDS.get(plain, "object") if isinstance(plain, type) else "object"), ()


def _exact(annotation: Any) -> Exact:
    """Return what other tables have a type for and pandas has not."""
    found = _typed(annotation)
    scalar = isinstance(found, str) and found not in ("date", "json")
    return "" if scalar or found is None else found


def _typed(annotation: Any, within: tuple[Any, ...] = ()) -> Exact | None:
    """Return the type of a value by its name; None where only the values say it."""
    plain = _plain(annotation)
    if (model := _nested(plain)) is not None and model not in within:
        fields = {
            name: _typed(field.annotation, (*within, model))
            for name, field in model.model_fields.items()
        }
        known = {
            name: kind for name, kind in fields.items() if kind not in (None, _JSON)
        }
        return known if known and len(known) == len(fields) else None
    if get_origin(plain) is list:
        item = _typed(get_args(plain)[0], within)
        return None if item in (None, _JSON) else [item]
    if get_origin(plain) in UNIONS:
        return _JSON
    if labels := _kind(plain)[1]:
        kinds = {_KINDS.get(type(label)) for label in labels}
        return kinds.pop() if len(kinds) == 1 else _JSON
    return "date" if _hashable(plain) in _DATES else _KINDS.get(_hashable(plain))


_JSON = "json"


def _hashable(plain: Any) -> type | None:
    return plain if isinstance(plain, type) else None


# -- values ---------------------------------------------------------------------


def reader(
    model: type[BaseModel], steps: Sequence[Step]
) -> Callable[[BaseModel], tuple[Any, ...]]:
    """Build the function from a record to its values; the plain case is C code."""
    paths = [path for path, _ in steps]
    fields = model.model_fields.values()
    # where every field has a default, {"anything": 1} is a valid record
    lenient = not any(field.is_required() for field in fields)
    if issubclass(model, RecordModel) and not lenient and all(map(_is_safe, fields)):
        if len(paths) > 1:
            return attrgetter(*paths)
        get = attrgetter(paths[0])
        return lambda record: (get(record),)
    parts = [(path.split("."), convert) for path, convert in steps]

    def values(record: BaseModel) -> tuple[Any, ...]:
        if lenient and not record.model_fields_set:
            msg = "holds none of the keys"
            raise ValueError(msg)
        return tuple(_value(record, path, convert) for path, convert in parts)

    return values


def _is_safe(field: FieldInfo) -> bool:
    """Return whether pydantic lets only values pass that the column holds."""
    plain = _plain(field.annotation)
    checked = plain in _KINDS if isinstance(plain, type) else False
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
        msg = f"{'.'.join(path)}: {error}"
        raise ValueError(msg) from None


def converter(column: Column) -> Callable[[Any], Any]:
    """Build the function that checks a value against the column's kind."""
    if column.quoted:
        return _plain_value

    def label(value: Any) -> Any:
        value = value.value if isinstance(value, enum.Enum) else value
        if value not in column.labels:
            msg = f"{value!r} is not one of the labels"
            raise ValueError(msg)
        return value

    return label if column.kind == "category" else _CONVERTERS[column.kind]


def _only(value: Any, *types: type) -> Any:
    if not isinstance(value, types) or (bool not in types and isinstance(value, bool)):
        msg = f"{value!r} is not of type {types[0].__name__}"
        raise ValueError(msg)
    return value


def _finite(value: Any) -> float:
    number = float(_only(value, float, int))
    if not math.isfinite(number):
        msg = f"{value!r} is not a finite number"
        raise ValueError(msg)
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
