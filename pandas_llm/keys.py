"""`keys`: from what a person writes to one pydantic model and the result's columns."""

from __future__ import annotations

import datetime as dt
import enum
import types
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticInvalidForJsonSchema,
    PydanticSchemaGenerationError,
    TypeAdapter,
    create_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["str", "int", "float", "bool", "datetime", "category", "object"]

_INT64 = 2**63


class Column(NamedTuple):
    """One column of the result."""

    name: str
    kind: Kind
    labels: tuple[Any, ...] = ()
    """The categories, for kind ``"category"``, in the order declared."""


class Keys(NamedTuple):
    """What one record is."""

    model: type[BaseModel]
    columns: tuple[Column, ...]
    values: Callable[[BaseModel], tuple[Any, ...]]
    """From a validated record to the columns' values."""
    names: frozenset[str]
    """The record's names in JSON."""


class _Record(BaseModel):
    """Base of the models made here: fields are numbered, names are aliases."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


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
    if isinstance(keys, type) and issubclass(keys, BaseModel):
        model = keys
        _refuse_hidden_fields(model)
    else:
        model = _model(_annotations(keys))
    paths, columns = _columns(model, flatten=flatten)
    clashes = sorted({c.name for c in columns if _count(columns, c.name) > 1})
    if clashes:
        msg = f"keys give two columns the name {clashes[0]!r}"
        raise ValueError(msg)
    names = frozenset(_json_name(model, attribute) for attribute in model.model_fields)
    return Keys(model, columns, _reader(model, paths, columns), names)


def _count(columns: Sequence[Column], name: str) -> int:
    return sum(column.name == name for column in columns)


def _annotations(keys: Any) -> dict[str, Any]:
    """Give name → annotation for a list or a mapping."""
    if isinstance(keys, str) or not isinstance(keys, (Mapping, Sequence)):
        msg = (
            "keys must be a list of names, a mapping of names to types or a pydantic "
            f"model, not {keys!r}" + (f": write [{keys!r}]" * isinstance(keys, str))
        )
        raise TypeError(msg)
    if not keys:
        msg = "keys is empty: name at least one column, such as keys=['answer']"
        raise ValueError(msg)
    for name in keys:
        if not isinstance(name, str):
            msg = f"a key must be a str, not {name!r}"
            raise TypeError(msg)
        if not name.strip():
            msg = "a key is an empty name"
            raise ValueError(msg)
    if isinstance(keys, Mapping):
        return dict(keys)
    repeated = sorted({name for name in keys if list(keys).count(name) > 1})
    if repeated:
        msg = f"keys names {repeated[0]!r} more than once"
        raise ValueError(msg)
    return dict.fromkeys(keys, str)


def _model(annotations: Mapping[str, Any]) -> type[BaseModel]:
    """Make the model of one record.

    A key may be any text: with a space, a leading underscore, or the name of a
    method of BaseModel. Hence numbered fields with aliases.
    """
    fields: dict[str, Any] = {}
    for at, (name, annotation) in enumerate(annotations.items()):
        try:
            resolved = _resolve(annotation, name)
            default = None if _is_optional(resolved) else ...
            TypeAdapter(resolved).json_schema()
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema) as error:
            msg = f"keys[{name!r}]: {annotation!r} cannot be asked for in JSON"
            raise TypeError(msg) from error
        fields[f"f{at}"] = (resolved, Field(default, alias=name))
    return create_model("Record", __base__=_Record, **fields)


def _resolve(annotation: Any, name: str) -> Any:  # noqa: PLR0911 - one line a form
    """Put the package's stricter types in place of the plain ones."""
    if isinstance(annotation, type) and annotation in _TYPES:
        return _TYPES[annotation]
    if isinstance(annotation, (list, tuple)):
        labels = tuple(annotation)
        if not labels or not all(isinstance(label, str) for label in labels):
            msg = f"keys[{name!r}]: a list of labels needs one text or more"
            raise ValueError(msg)
        if len(set(labels)) < len(labels):
            msg = f"keys[{name!r}]: a label stands twice in {list(labels)!r}"
            raise ValueError(msg)
        return Literal[labels]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_resolve(args[0], name), *annotation.__metadata__)]
    if origin in (Union, types.UnionType):
        return Union[tuple(_resolve(arg, name) for arg in args)]  # noqa: UP007
    if origin is list:
        return list[_resolve(args[0], name)]  # type: ignore[misc]
    if origin is Literal or annotation is type(None):
        if not all(isinstance(v, (str, int, float, bool, type(None))) for v in args):
            msg = f"keys[{name!r}]: a Literal holds text, numbers or booleans"
            raise TypeError(msg)
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        _refuse_hidden_fields(annotation)
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        if not len(annotation):
            msg = f"keys[{name!r}]: {annotation.__name__} has no member"
            raise ValueError(msg)
        return annotation
    msg = (
        f"keys[{name!r}]: {annotation!r} is none of str, int, float, bool, date, "
        "datetime, list[...], Literal[...], Optional[...], an Enum, a list of labels "
        "or a pydantic model"
    )
    raise TypeError(msg)


def _refuse_hidden_fields(model: type[BaseModel]) -> None:
    """Refuse a model with a required field that JSON cannot hold."""
    if not model.model_fields:
        msg = f"the model {model.__name__} has no field"
        raise ValueError(msg)
    for name, field in model.model_fields.items():
        try:
            TypeAdapter(field.rebuild_annotation()).json_schema()
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema) as error:
            msg = (
                f"{model.__name__}.{name}: {field.annotation!r} cannot be in JSON; "
                "give it a type that can"
            )
            raise TypeError(msg) from error


# -- stricter scalars: what pydantic lets pass and a column must not ------------


def _int64(value: int) -> int:
    if not -_INT64 <= value < _INT64:
        msg = f"{value} does not fit into Int64"
        raise ValueError(msg)
    return value


def _date(value: Any) -> Any:
    """Read ISO text; pydantic would take 2026 for seconds since 1970."""
    if isinstance(value, dt.date):
        return value
    return dt.date.fromisoformat(_iso(value)[:10])


def _datetime(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value
    return dt.datetime.fromisoformat(_iso(value))


def _iso(value: Any) -> str:
    if not isinstance(value, str) or "-" not in value.strip()[1:]:
        msg = f"{value!r} is no ISO 8601 date such as 2026-01-31"
        raise ValueError(msg)
    return value.strip()


def _naive_utc(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    except OverflowError as error:
        msg = f"{value} is out of range in UTC"
        raise ValueError(msg) from error


_TYPES: Mapping[Any, Any] = types.MappingProxyType(
    {
        str: str,
        int: Annotated[int, AfterValidator(_int64)],
        float: Annotated[float, Field(allow_inf_nan=False)],
        bool: bool,
        dt.date: Annotated[dt.date, BeforeValidator(_date)],
        dt.datetime: Annotated[
            dt.datetime, BeforeValidator(_datetime), AfterValidator(_naive_utc)
        ],
    }
)
_KINDS: Mapping[Any, Kind] = types.MappingProxyType(
    {
        str: "str",
        int: "int",
        float: "float",
        bool: "bool",
        dt.date: "datetime",
        dt.datetime: "datetime",
    }
)


# -- columns --------------------------------------------------------------------


def _columns(
    model: type[BaseModel], *, flatten: bool, prefix: str = ""
) -> tuple[tuple[str, ...], tuple[Column, ...]]:
    """Give the attribute path and the column of every field."""
    paths: list[str] = []
    columns: list[Column] = []
    for attribute, field in model.model_fields.items():
        own = issubclass(model, _Record)
        name = prefix + (_json_name(model, attribute) if own else attribute)
        nested = _nested(field.annotation)
        if flatten and nested is not None:
            inner_paths, inner = _columns(nested, flatten=True, prefix=f"{name}.")
            paths += [f"{attribute}.{path}" for path in inner_paths]
            columns += inner
        else:
            kind, labels = _kind(field.annotation)
            paths.append(attribute)
            columns.append(Column(name, kind, labels))
    return tuple(paths), tuple(columns)


def _json_name(model: type[BaseModel], attribute: str) -> str:
    field = model.model_fields[attribute]
    return str(field.validation_alias or field.alias or attribute)


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _plain(annotation: Any) -> Any:
    """Take `Annotated` and a single `Optional` off."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _plain(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _nested(annotation: Any) -> type[BaseModel] | None:
    plain = _plain(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return plain
    return None


def _kind(annotation: Any) -> tuple[Kind, tuple[Any, ...]]:
    plain = _plain(annotation)
    if isinstance(plain, type) and plain in _KINDS:
        return _KINDS[plain], ()
    if get_origin(plain) is Literal:
        return "category", tuple(v for v in get_args(plain) if v is not None)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return "category", tuple(member.value for member in plain)
    return "object", ()


def _reader(
    model: type[BaseModel], paths: Sequence[str], columns: Sequence[Column]
) -> Callable[[BaseModel], tuple[Any, ...]]:
    """Make the function from a record to its values; the plain case is C code."""
    simple = all(c.kind not in ("object", "category") for c in columns)
    if issubclass(model, _Record) and simple and len(paths) > 1:
        return attrgetter(*paths)
    steps = [
        (path.split("."), column) for path, column in zip(paths, columns, strict=True)
    ]

    def values(record: BaseModel) -> tuple[Any, ...]:
        return tuple(_value(record, path, column) for path, column in steps)

    return values


def _value(record: Any, path: Sequence[str], column: Column) -> Any:
    """Read one column's value; raise ValueError when the column cannot hold it."""
    for attribute in path:
        if record is None:  # an optional nested model, flattened
            return None
        record = getattr(record, attribute)
    if column.kind == "int" and record is not None:
        return _int64(int(record))
    if column.kind == "datetime" and isinstance(record, dt.datetime):
        return _naive_utc(record)
    return _plain_value(record)


def _plain_value(value: Any) -> Any:
    """Give plain data for models and enums, so that any file format takes it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="python")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    return value
