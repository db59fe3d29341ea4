"""Rules: what a value may be, in words and as a test."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from numbers import Integral, Real
from typing import Any


def _as_it_is(value: Any) -> Any:
    """Return what was passed."""
    return value


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value may be; None is allowed beside it where it is the default."""

    words: str
    """They follow "must be" in errors."""
    holds: Callable[[Any], bool]
    plain: Callable[[Any], Any] = _as_it_is
    """Makes of a value that holds the one that the package works with."""

    def read(self, text: str) -> Any:
        """Return the value that a text of the environment or a command means.

        That is the text itself where it is allowed, else what it is as JSON.

        >>> COUNT.read("3"), TEXT.read("3"), FLAG.read("False"), COUNT.read("three")
        (3, '3', False, 'three')
        """
        import orjson  # for those who set variables

        words = {"True": "true", "False": "false", "None": "null"}
        try:
            value = orjson.loads(words.get(text, text))
        except orjson.JSONDecodeError:
            return text
        is_value = self.holds(value) and not isinstance(value, str)
        return text if self.holds(text) and not is_value else value


def one_of(*values: Any) -> Rule:
    """Build the rule that a value is one of several.

    >>> one_of("left", "inner", None).words
    "'left', 'inner' or None"
    """
    *first, last = map(repr, values)
    words = f"{', '.join(first)} or {last}" if first else last
    return Rule(words, lambda value: any(value is v or value == v for v in values))


def whole(low: int) -> Rule:
    """Build the rule that a value is a whole number, not below another."""
    words = f"a whole number of at least {low}"
    return Rule(words, lambda v: _is_whole(v) and v >= low, _number)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and _is_number(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return "timedelta" not in type(value).__name__  # numpy's is an integer to it


def _number(value: Any) -> Any:
    """Return a number, of numpy's too, as Python's own."""
    if type(value) in (int, float) or not _is_number(value):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _is_texts(value: Any) -> bool:
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return several and all(isinstance(item, str) for item in value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def _is_function(value: Any) -> bool:
    """Return whether a value can be called without being awaited."""
    called = (value, getattr(value, "__call__", None))  # noqa: B004 - its own method
    return callable(value) and not any(map(inspect.iscoroutinefunction, called))


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2  # noqa: PLR2004


def _is_examples(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        _is_pair(pair) and isinstance(pair[0], str) for pair in value
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_prices(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_pair(pair) and all(_is_number(price) and price >= 0 for price in pair)
        for pair in value.values()
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _seconds(value: Any) -> Any:
    """Return a span of time as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else _number(value)


def _is_seconds(value: Any) -> bool:
    seconds = _seconds(value)
    return _is_number(seconds) and seconds > 0


_OF_EACH_ROW = ("messages", "model", "input", "contents")
"""Fields of a body that hold the row's prompt, or say who answers it."""


def _is_extra(value: Any) -> bool:
    return isinstance(value, Mapping) and not value.keys() & set(_OF_EACH_ROW)


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays as Python's own."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


_BOOLEANS = (True, False)
TEXT = Rule("a str", lambda value: isinstance(value, str))
TEXTS = Rule("a list of str", _is_texts)
TEXT_OR_TEXTS = Rule(
    "a str or a list of str",
    lambda v: TEXT.holds(_plain(v)) or _is_texts(_plain(v)),
    _plain,
)
FLAG = one_of(*_BOOLEANS)
FLAG_OR_RAW = one_of(*_BOOLEANS, "raw")
FLAG_OR_CONTENT = one_of(*_BOOLEANS, "content")
COUNT, COUNT_OR_ZERO = whole(1), whole(0)
NUMBER = Rule("a number of at least 0", lambda v: _is_number(v) and v >= 0, _number)
PART = Rule(
    "a number from 0 to 0.99",  # with less than a hundredth a run would seem to hang
    lambda v: NUMBER.holds(v) and v <= 0.99,  # noqa: PLR2004
    _number,
)
CHANCE = Rule("between 0 and 1", lambda v: _is_number(v) and 0 < v < 1, _number)
POSITIVE = Rule("a number above 0", lambda v: _is_number(v) and v > 0, _number)
SECONDS = Rule("a number above 0 (seconds) or a Timedelta", _is_seconds, _seconds)
SESSION = Rule("an aiohttp.ClientSession", lambda value: hasattr(value, "post"))
MAPPING = Rule("a mapping", lambda value: isinstance(value, Mapping))
EXTRA = Rule(
    "a mapping without "
    + ", ".join(map(repr, _OF_EACH_ROW))
    + ", which the prompt and model= fill",
    _is_extra,
    _plain,
)
KEY = Rule("a str or a callable", lambda v: isinstance(v, str) or callable(v))
HEADERS = Rule("a mapping of str to str", _is_headers)
SEED = Rule("a whole number", _is_whole, _number)
EXAMPLES = Rule(
    "a list of (prompt, reply) pairs or the name of a column of such lists",
    lambda v: _is_name(v) or (not isinstance(v, str) and _is_examples(v)),
)
TURNS = Rule(
    "the name of a column of lists [{'role': …, 'content': …}] (one question for all "
    "rows is the template)",
    _is_name,
)
PRICES = Rule("a mapping of models to (input, output) dollars", _is_prices)
AUTO_OR_COUNT = Rule(
    f"'auto' or {COUNT.words}", lambda v: v == "auto" or COUNT.holds(v), _number
)
FLAG_OR_FILE = Rule(
    "True, False or a path", lambda v: isinstance(v, (bool, str, os.PathLike))
)
PATH = Rule("a path", _is_path)
CERTIFICATE = Rule(
    "a path or a (certificate, key) pair of paths",
    lambda v: _is_path(v) or (_is_pair(v) and all(map(_is_path, v))),
)
FUNCTION = Rule("a function (not async)", _is_function)
BAR = Rule(
    "True, False, None or a function (not async)",
    lambda v: v is None or FLAG.holds(v) or _is_function(v),
)
