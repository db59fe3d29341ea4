"""A boolean is no number, however deep in a value it stands.

Fields of a record and of the models in it have a check of their own (`fields`). Where
pydantic wants types as they are (a model within itself, a dataclass, a union told apart
by a field) the reply is compared with what was made of it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, RootModel

from pandas_llm._keys.fields import has_validators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo


def check_booleans(given: Any, made: Any, where: str = "") -> None:
    """Raise ValueError where a boolean of the reply became a number.

    What a person's own validator makes of a field is left to it.

    Parameters
    ----------
    given
        The reply, as plain data.
    made
        What pydantic made of it.
    where : str
        The key, for the message.

    Examples
    --------
    >>> check_booleans({"n": [True]}, {"n": [1]})
    Traceback (most recent call last):
    ...
    ValueError: n.0: must be a number, not True
    """
    if isinstance(given, bool):
        if isinstance(made, (int, float)) and not isinstance(made, bool):
            msg = f"{where}: must be a number, not {given}"
            raise ValueError(msg)  # noqa: TRY004 - it is the reply that is wrong
        return
    if not isinstance(given, (dict, list)):
        return
    for part, one, other in _parts(given, made):
        check_booleans(one, other, f"{where}.{part}" if where else part)


def _parts(given: Any, made: Any) -> Iterator[tuple[str, Any, Any]]:
    """Pair what is within a value with what was made of it."""
    if isinstance(made, RootModel):
        yield from _parts(given, made.root)
    elif isinstance(given, list):
        yield from _items(given, made)
    elif isinstance(made, BaseModel):
        fields = type(made).model_fields
        decorated = _decorated(type(made))
        for name, field in fields.items():
            if name not in decorated and not has_validators(field):
                yield from _field(name, field, given, made)
    else:
        for key, value in _named(made).items():
            if key in given:
                yield str(key), given[key], value


def _items(given: list[Any], made: Any) -> Iterator[tuple[str, Any, Any]]:
    """Pair the items of a list; in a set only a one or a zero can have been one."""
    if isinstance(made, (list, tuple)):
        for at, (one, other) in enumerate(zip(given, made, strict=False)):
            yield str(at), one, other
    elif isinstance(made, (set, frozenset)):
        numbers = [one for one in made if one in (0, 1) and not isinstance(one, bool)]
        truths = [one for one in given if isinstance(one, bool)]
        if truths and numbers:
            yield "0", truths[0], numbers[0]


def _named(made: Any) -> Mapping[Any, Any]:
    """Return the parts of a value that have names."""
    if isinstance(made, dict):
        return made
    if dataclasses.is_dataclass(made):
        return {one.name: getattr(made, one.name) for one in dataclasses.fields(made)}
    fields = getattr(made, "_fields", ())
    return {name: getattr(made, name) for name in fields}


def _decorated(model: type[BaseModel]) -> set[str]:
    """Return the fields that have a validator of a model's own."""
    found = model.__pydantic_decorators__.field_validators.values()
    return {name for one in found for name in one.info.fields}


def _field(
    name: str, field: FieldInfo, given: Mapping[str, Any], made: BaseModel
) -> Iterator[tuple[str, Any, Any]]:
    """Pair a field's value, under whichever of its names it came."""
    for key in (field.alias, field.validation_alias, name):
        if isinstance(key, str) and key in given:
            yield key, given[key], getattr(made, name)
            return
