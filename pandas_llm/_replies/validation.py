"""Validation: the JSON of a reply to the values of its records."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args, is_typeddict

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pandas_llm._keys import RecordModel, check_booleans
from pandas_llm._replies.mending import Number
from pandas_llm._replies.parsing import Twice, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._keys import Keys

_TRUTHS = ("true", "false")


class Reader:
    """Reads records of some keys.

    Parameters
    ----------
    keys : Keys
        What one record is.
    single : bool
        Whether a reply is one record, not an object with a list of them.
    """

    def __init__(self, keys: Keys, *, single: bool) -> None:
        self._keys = keys
        self._single = single
        self._model = keys.model
        if issubclass(keys.model, RecordModel):
            # 1.10 for a text is read by its digits, which only the slow way keeps
            self._model = create_model(keys.model.__name__, __base__=keys.model)
            self._model.model_config = ConfigDict(coerce_numbers_to_str=False)
            self._model.model_rebuild(force=True)
        many = create_model("Records", records=(list[self._model], ...))  # type: ignore[name-defined]
        self._whole: type[BaseModel] = self._model if single else many
        self._exact = mentions(keys.model, Decimal)
        self._deep = any(column.kind == "object" for column in keys.columns)
        self._quoted = tuple(json.dumps(name) for name in sorted(keys.names))

    def clean(self, text: str) -> list[tuple[Any, ...]]:
        """Read a reply that is nothing but the JSON asked for.

        Raises
        ------
        Exception
            When it is anything else, or has to be looked at more closely.
        """
        parsed = self._whole.model_validate_json(text)
        rows: Sequence[BaseModel] = [parsed] if self._single else parsed.records  # type: ignore[attr-defined]
        if self._exact or any(text.count(name) > len(rows) for name in self._quoted):
            msg = "decimals, or a key that stands twice"
            raise ValueError(msg)
        if self._deep and any(word in text for word in _TRUTHS):
            given = json.loads(text)
            given = [given] if self._single else given["records"]
            for one, row in zip(given, rows, strict=True):
                check_booleans(one, row)
        values = self._keys.values
        return [values(row) for row in rows]

    def record(self, item: Any) -> tuple[Any, ...]:
        """Read one record from data.

        Raises
        ------
        Exception
            Pydantic's or a person's validator's, when it is none.
        """
        twice = isinstance(item, dict) and any(
            isinstance(one, Twice) for one in item.values()
        )
        if twice and issubclass(self._model, RecordModel):
            item = {name: item[name] for name in item if name in self._keys.names}
        made = self._validated(item)
        if self._deep:
            check_booleans(item, made)
        return self._keys.values(made)

    def _validated(self, item: Any) -> BaseModel:
        """Validate data as JSON: from Python a strict model takes no text for a date.

        Raises
        ------
        ValidationError, ValueError
            When it does not fit.
        """
        if self._exact:
            try:
                return self._keys.model.model_validate_json(written(item, exact=True))
            except ValidationError:
                pass  # a strict model takes no text for a float
        text = written(item)
        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False)
        if issubclass(self._model, RecordModel):
            for one in wrong:
                if one["type"] == "string_type":
                    _to_text(item, one["loc"])
        return self._keys.model.model_validate_json(written(item))


def _to_text(item: Any, path: Sequence[int | str]) -> None:
    """Put the digits of a number in place of it, where a text is asked for."""
    for part in path[:-1]:
        if not _has(item, part):
            return
        item = item[part]
    if _has(item, path[-1]) and isinstance(item[path[-1]], Number):
        item[path[-1]] = str(item[path[-1]])


def _has(item: Any, part: int | str) -> bool:
    """Tell whether data has a part of a name or number."""
    return isinstance(item, list if isinstance(part, int) else dict) and (
        isinstance(part, int) or part in item
    )


def mentions(annotation: Any, wanted: type) -> bool:
    """Tell whether a type has a field of a type, however deep.

    Examples
    --------
    >>> mentions(list[Decimal], Decimal), mentions(list[int], Decimal)
    (True, False)
    """
    todo, seen = [annotation], Counter[int]()
    while todo:
        one = todo.pop()
        if one is wanted:
            return True
        seen[id(one)] += 1
        if seen[id(one)] > 1:
            continue
        todo += get_args(one)
        if not isinstance(one, type):
            continue
        if issubclass(one, BaseModel):
            todo += [field.annotation for field in one.model_fields.values()]
        elif dataclasses.is_dataclass(one):
            todo += [field.type for field in dataclasses.fields(one)]
        elif is_typeddict(one):
            todo += one.__annotations__.values()
    return False
