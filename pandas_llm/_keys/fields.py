"""From what a person writes for one key to a type that checks replies strictly."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import math
import re
import types
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    PlainValidator,
    RootModel,
    WrapValidator,
    create_model,
)

from pandas_llm._keys.dtypes import understood
from pandas_llm.errors import InvalidTypeError, InvalidValueError
from pandas_llm.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic.fields import FieldInfo

Models = dict[type[BaseModel], type[BaseModel]]
"""The models seen so far, each with its strict form."""

_INT64 = 2**63
_SHOWN_LABELS = 20
_VALIDATORS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)
UNIONS = (Union, types.UnionType)
_ISO = re.compile(
    r"(?:\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d)"
    r"(?:(?:[Tt]\d\d| \d\d(?=:))(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?"
    r"(?:[Zz]|[+-]\d\d[\d:.]*)?)?"
)
"""A date, and a time behind T or a blank: Python takes any character between them, and
reads 2026-01-31/02 as two o'clock, T10,5 as half a second after ten, a week as its
Monday."""


def resolve(  # noqa: C901, PLR0911 - one branch a form
    annotation: Any, where: str, models: Models, *, ours: bool = True
) -> Any:
    """Replace plain types by stricter ones; raise for a type that no column holds.

    `ours` is False within a person's own model, where any type may stand.
    """
    if isinstance(get_origin(annotation), type) and not get_args(annotation):
        annotation = get_origin(annotation)  # typing.List is list
    if ours:
        annotation = understood(annotation, where)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if any(getattr(m, "discriminator", None) for m in annotation.__metadata__):
            return annotation  # pydantic wants its models as they are
        inner = resolve(args[0], where, models, ours=ours)
        return annotated(inner, args[0], annotation.__metadata__)
    plain = isinstance(annotation, type) and annotation in _CHECKS
    if plain and not (ours and annotation is Decimal):
        return annotated(annotation, annotation, ())
    if isinstance(annotation, (list, tuple)) and ours:
        return _labelled(Literal[_listed(annotation, where)], annotation)
    if origin in UNIONS:
        parts = [resolve(arg, where, models, ours=ours) for arg in args]
        return Union[tuple(parts)]  # noqa: UP007 - of parts known at run time only
    if origin is list:
        return list[resolve(args[0], where, models, ours=ours)]  # type: ignore[misc]
    if origin is Literal:
        return _labelled(annotation, _labels(args, where))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = _labels([member.value for member in annotation], where)
        return _labelled(annotation, members, annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return strict_model(annotation, where, models)
    if annotation is type(None) or not ours:
        return annotation
    nested = ", which has keys of its own" * isinstance(annotation, dict)
    raise InvalidTypeError(
        f"{where}: {brief(annotation)} is not one of str, int, float, bool, date, "
        "datetime, list[...], Literal[...], Optional[...], an Enum, a list of labels "
        f"or a pydantic model{nested}"
    )


def annotated(inner: Any, plain: Any, metadata: Sequence[Any]) -> Any:
    """Add a person's metadata and the checks of a plain type."""
    checks = _CHECKS.get(plain, ()) if isinstance(plain, type) else ()
    bare = plain if checks else inner
    # constraints reach the schema only beside the bare type, so the checks follow them;
    # a person's validators come last and therefore see the reply first
    validators = (i for i, m in enumerate(metadata) if isinstance(m, _VALIDATORS))
    at = next(validators, len(metadata))
    whole = (*metadata[:at], *checks, *metadata[at:])
    return Annotated[(bare, *whole)] if whole else bare


def strict_model(model: type[BaseModel], where: str, models: Models) -> type[BaseModel]:
    """Return a subclass with stricter fields, or the model itself if none differs."""
    if model in models or issubclass(model, RootModel):
        return models.get(model, model)
    if not model.model_fields:
        raise InvalidValueError(f"{where}: the model {model.__name__} has no field")
    models[model] = model  # a model within itself stays as it is there
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        plain = field.annotation
        strict = resolve(plain, f"{where}.{name}", models, ours=False)
        if strict == plain or field.discriminator is not None:
            continue
        whole = annotated(strict, plain, field.metadata)
        strict_field = copy.copy(field)
        if get_origin(whole) is Annotated:
            strict, strict_field.metadata = whole.__origin__, list(whole.__metadata__)
        fields[name] = (strict, strict_field)
    if fields:
        models[model] = create_model(
            model.__name__, __base__=model, __module__=model.__module__, **fields
        )
        models[model].__doc__ = model.__doc__
    return models[model]


def has_validators(field: FieldInfo) -> bool:
    """Return whether a field has a person's own validators."""
    metadata, todo = list(field.metadata), [field.annotation]
    while todo:
        part = todo.pop()
        metadata += getattr(part, "__metadata__", ())
        todo += [] if get_origin(part) is Literal else get_args(part)
    validators = [m for m in metadata if isinstance(m, _VALIDATORS)]
    # ours have the name of this module
    return any(getattr(m.func, "__module__", None) != __name__ for m in validators)


# -- labels ---------------------------------------------------------------------


def _listed(labels: Sequence[Any], where: str) -> tuple[Any, ...]:
    """Check a list of labels: texts, or whole numbers such as a scale's."""
    if labels and all(isinstance(label, bool) for label in labels):
        raise InvalidTypeError(
            f"{where}: True and False cannot be labels: write bool, or ['yes', 'no']"
        )
    inner = next((part for part in labels if isinstance(part, (type, list))), None)
    if isinstance(inner, list):
        several = f"list[Literal{inner!r}]"
        raise InvalidTypeError(f"{where}: for several labels a row write {several}")
    if inner is not None:
        name = inner.__name__
        raise InvalidTypeError(
            f"{where}: {brief(labels)} has a type among its labels: write list[{name}] "
            f"for a list, for words about the key Annotated[{name}, "
            "Field(description=…)]"
        )
    whole = all(type(label) is int for label in labels)
    if not labels or not (whole or all(isinstance(label, str) for label in labels)):
        raise InvalidValueError(
            f"{where}: labels must be one text or more, or whole numbers, not "
            f"{brief(list(labels))}"
        )
    return _labels(labels, where)


def _labels(options: Sequence[Any], where: str) -> tuple[Any, ...]:
    """Check labels; None among them means optional."""
    labels = tuple(label for label in options if label is not None)
    if not labels:
        raise InvalidValueError(f"{where}: there is no label to choose from")
    for label in labels:
        if not isinstance(label, (str, int, float)) or (
            isinstance(label, float) and not math.isfinite(label)
        ):
            raise InvalidTypeError(
                f"{where}: a label is text, a finite number or a boolean: {label!r}"
            )
    if len(set(labels)) < len(labels):
        raise InvalidValueError(
            f"{where}: a label appears twice in {brief(list(labels))}"
        )
    return labels


def _labelled(
    annotation: Any, labels: Sequence[Any], make: Callable[[Any], Any] | None = None
) -> Any:
    """Add the search for a label; `make` turns it into what a strict type takes."""
    optional = get_origin(annotation) is Literal and None in get_args(annotation)
    find = _finder((*labels, None) if optional else labels)
    check = find if make is None else lambda value: make(find(value))
    return Annotated[annotation, BeforeValidator(check)]


def _finder(labels: Sequence[Any]) -> Callable[[Any], Any]:
    """Build the function that finds a label, ignoring case, blanks and marks."""
    # 1 == True, but they are different labels
    exact = {(isinstance(label, bool), label): label for label in labels}
    folded: dict[str, list[Any]] = {}
    bare: dict[str, list[Any]] = {}
    for label in labels:
        if label is not None:
            folded.setdefault(_fold(str(label)), []).append(label)
            bare.setdefault(_bare(str(label)), []).append(label)
    shown = ", ".join(map(repr, labels[:_SHOWN_LABELS]))
    more = f" and {len(labels) - _SHOWN_LABELS} more" * (len(labels) > _SHOWN_LABELS)

    def find(value: Any) -> Any:
        try:
            return exact[isinstance(value, bool), value]
        except (KeyError, TypeError):
            text = str(value) if isinstance(value, (str, int)) else ""
            alike = folded.get(_fold(text)) or bare.get(_bare(text), [])
        if len(alike) != 1:
            raise ValueError(f"must be one of {shown}{more}")
        return alike[0]

    return find


_FULL_WIDTH = {at: at - 0xFEE0 for at in range(0xFF01, 0xFF5F)}
_AROUND = (
    " \t\r\n\"'`*.!。\u2018\u2019\u201a\u201c\u201d\u201e«»\u300c\u300d"
    "\u200b\u200e\u200f\u2060\ufeff"
)
"""Quotes, what ends a sentence, and what cannot be seen: no part of a label, where
nothing else differs."""


def _fold(label: str) -> str:
    words = re.split(r"[\s_]+", unicodedata.normalize("NFC", label).strip())
    return " ".join(words).casefold()


def _bare(label: str) -> str:
    """Return a label without the marks around it, and no wider than others."""
    text = label.translate(_FULL_WIDTH)
    return _fold(text.strip(_AROUND) or text)


# -- stricter scalars: what pydantic lets pass and a column must not ------------


def _truth(value: Any) -> Any:
    """Read true, false, yes or no with marks around it, as a label is."""
    return _bare(value) if isinstance(value, str) else value


_GROUPED = re.compile(r"\s*[+-]?[1-9]\d{0,2}(_\d{3})+(\.\d*)?\s*")
"""Text with thousands as code writes them; Python joins digits around any _."""


def _number(value: Any) -> Any:
    joins = isinstance(value, str) and "_" in value and not _GROUPED.fullmatch(value)
    if joins or isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _fraction(value: Any) -> Any:
    if isinstance(value, str) and _vanishes(value):
        raise ValueError("is too small for a number, which would be 0")
    return _number(value)


def _vanishes(number: str) -> bool:
    """Return whether a number is not 0, and is 0 as a float."""
    try:
        return float(number) == 0 and Decimal(number) != 0
    except (ValueError, ArithmeticError):
        return False


_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(\.000)+\s*")
"""Text that may be thousands, as most of Europe writes them, or a whole number."""


def _whole(value: Any) -> Any:
    if isinstance(value, str) and _THOUSANDS.fullmatch(value):
        msg = "may be thousands or a fraction: must be a number without a dot"
        raise ValueError(msg)
    return _number(value)


def int64(value: int) -> int:
    """Return the number if Int64 holds it; raise ValueError if not."""
    if not -_INT64 <= value < _INT64:
        raise ValueError("must fit into 64 bits")
    return value


def _date(value: Any) -> Any:
    """Read ISO text; pydantic would read 2026 as seconds since 1970."""
    # `date.fromisoformat` drops the last digit of 20260131-5
    return value if isinstance(value, dt.date) else _datetime(value).date()


def _datetime(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if "-" not in text or not _ISO.fullmatch(text):
        raise ValueError("must be an ISO 8601 date such as 2026-01-31")
    return dt.datetime.fromisoformat(text)


def naive_utc(value: dt.datetime) -> dt.datetime:
    """Return the time in UTC without a time zone; raise ValueError out of range."""
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise ValueError("is out of range in UTC") from error


_CHECKS: Mapping[type, tuple[Any, ...]] = types.MappingProxyType(
    {
        str: (),
        bool: (BeforeValidator(_truth),),
        int: (BeforeValidator(_whole), AfterValidator(int64)),
        float: (AllowInfNan(False), BeforeValidator(_fraction)),  # noqa: FBT003
        Decimal: (BeforeValidator(_number),),
        dt.date: (BeforeValidator(_date),),
        dt.datetime: (BeforeValidator(_datetime), AfterValidator(naive_utc)),
    }
)
