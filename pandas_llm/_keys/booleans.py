"""Refuse a boolean that pydantic has read as a number, at any depth.

Most fields have a check of their own (`fields`). This one is for types that pydantic
needs unchanged: a model within itself, a dataclass, a union with a discriminator.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, RootModel

from pandas_llm._keys.fields import has_validators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def check_booleans(reply: Any, value: Any, where: str = "") -> None:
    """Raise ValueError where a boolean of the reply became a number in the value.

    Fields with a person's own validator are not checked.
    """
    if isinstance(reply, (dict, list)):
        for name, reply_part, part in _parts(reply, value):
            check_booleans(reply_part, part, f"{where}.{name}" if where else name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(reply, bool) and is_number:
        raise ValueError(f"{where}: must be a number, not {reply}")


def _parts(reply: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Pair the parts of a reply with those of the value."""
    if isinstance(value, RootModel):
        yield from _parts(reply, value.root)
    elif isinstance(value, (set, frozenset)):  # only 1 or 0 can have been a boolean
        booleans = [item for item in reply if isinstance(item, bool)]
        yield from (("0", booleans[0], n) for n in value if booleans and n in (0, 1))
    elif isinstance(reply, list):
        items = value if isinstance(value, (list, tuple)) else ()
        yield from zip(map(str, range(len(reply))), reply, items, strict=False)
    elif isinstance(value, BaseModel):
        yield from _fields(reply, value)
    else:
        for key, part in _named(value).items():
            if key in reply:
                yield str(key), reply[key], part


def _named(value: Any) -> Mapping[Any, Any]:
    """Return the parts of a dict, dataclass or named tuple."""
    if isinstance(value, dict):
        return value
    names = getattr(value, "_fields", ())
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    return {name: getattr(value, name) for name in names}


def _fields(
    reply: Mapping[str, Any], value: BaseModel
) -> Iterator[tuple[str, Any, Any]]:
    """Pair the fields without a validator, by any of their names."""
    methods = type(value).__pydantic_decorators__.field_validators.values()
    decorated = {name for method in methods for name in method.info.fields}
    for name, field in type(value).model_fields.items():
        names = (field.alias, field.validation_alias, name)
        key = next((n for n in names if isinstance(n, str) and n in reply), None)
        if key is not None and name not in decorated and not has_validators(field):
            yield key, reply[key], getattr(value, name)
