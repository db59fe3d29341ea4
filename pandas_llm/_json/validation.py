"""From the JSON of a reply to the validated values of its records."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError, create_model

from pandas_llm._json.mending import Number
from pandas_llm._json.parsing import Twice, as_json
from pandas_llm._keys import RecordModel, check_booleans, mentions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_llm._keys import Keys

_LONG = re.compile(r"\d[\d.]{15}|\d[eE]-\d{3}")


class Reader:
    """Reads records of some keys; with `single` a reply is one record."""

    def __init__(self, keys: Keys, *, single: bool) -> None:
        self._keys = keys
        self._single = single
        self._model = keys.model
        self.reply = keys.model
        """The model of a reply: a record, or an object with a list of them."""
        if not single:
            records: Any = list[keys.model]  # type: ignore[name-defined]
            self.reply = create_model("Records", records=(records, ...))
        self._exact = mentions(keys.model, Decimal)
        self._numbers = mentions(keys.model, float) or mentions(keys.model, int)
        flattened = keys.names != {column.name for column in keys.columns}
        self._deep = flattened or any(one.kind == "object" for one in keys.columns)
        self._quoted = tuple(json.dumps(name) for name in sorted(keys.names))

    def clean(self, text: str) -> list[tuple[Any, ...]]:
        """Read a reply that is exactly the JSON asked for; raise for any other."""
        if self._exact:
            raise ValueError("all digits of decimals are read the slow way")
        if self._numbers and _LONG.search(text):
            raise ValueError("a number may have more digits than a float holds")
        reply = self.reply.model_validate_json(text)
        rows: Sequence[BaseModel] = [reply] if self._single else reply.records  # type: ignore[attr-defined]
        for name in self._quoted:  # as hot as it gets
            if text.count(name) > len(rows):
                raise ValueError("a key may stand twice")
        objects = len(rows) + (not self._single)
        if self._deep and (
            text.count("{") > objects or "true" in text or "false" in text
        ):
            data = json.loads(text, object_pairs_hook=_once)
            items = [data] if self._single else data["records"]
            for item, row in zip(items, rows, strict=True):
                check_booleans(item, row)
        return list(map(self._keys.values, rows))

    def record(self, item: Any) -> tuple[Any, ...]:
        """Read one record from data; pydantic or a person's validator may raise."""
        has_twice = isinstance(item, dict) and any(
            isinstance(value, Twice) for value in item.values()
        )
        if has_twice and issubclass(self._model, RecordModel):
            item = {name: item[name] for name in item if name in self._keys.names}
        record = self._validated(item)
        if self._deep:
            check_booleans(item, record)
        return self._keys.values(record)

    def _validated(self, item: Any) -> BaseModel:
        """Validate data as JSON: data from Python may not have texts for dates."""
        if self._exact:
            with suppress(ValidationError):  # a strict model takes no text for a float
                return self._model.model_validate_json(as_json(item, exact=True))
        try:
            return self._model.model_validate_json(as_json(item))
        except ValidationError as error:
            if not (issubclass(self._model, RecordModel) and self._model.takes_numbers):
                raise
            for problem in error.errors(include_url=False, include_context=False):
                if problem["type"] == "string_type":
                    _write_digits(item, problem["loc"])
        return self._model.model_validate_json(as_json(item))


def _write_digits(item: Any, path: Sequence[Any]) -> None:
    """Replace the number on a path, where a text is asked for, by its digits."""
    for part in path:
        with suppress(LookupError, TypeError):  # the name of a form of a union
            if isinstance(item[part], Number):
                item[part] = str(item[part])
                break
            item = item[part]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; raise where a key stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values
