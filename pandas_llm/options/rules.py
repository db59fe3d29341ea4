"""Rules: what a value may be, in words and as a test; and types with their rules."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pandas_llm._display import Progress

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value may be; None is allowed beside it where it is the default."""

    words: str
    """They follow "must be" in errors."""
    holds: Callable[[Any], bool]
    plain: Callable[[Any], Any] = lambda value: value
    """Makes of a value that holds the one that the package works with."""

    def read(self, text: str) -> Any:
        """Return the value that a text of the environment or a command means.

        That is the text itself where it is allowed, else what it is as JSON.

        >>> COUNT.read("3"), TEXT.read("3"), COUNT.read("three")
        (3, '3', 'three')
        """
        import orjson  # for those who set variables

        words = {"True": "true", "False": "false", "None": "null"}
        try:
            value = orjson.loads(words.get(text, text))
        except orjson.JSONDecodeError:
            return text
        is_value = self.holds(value) and not isinstance(value, str)
        return text if self.holds(text) and not is_value else value


def rule_of(kind: Any) -> Rule | None:
    """Return the rule of a type that lists its values; None for another type.

    >>> rule_of(Literal["left", "inner"] | None).words
    "'left', 'inner' or None"
    """
    values: list[Any] = []
    for arm in arms(kind):
        if arm is bool:
            values += (True, False)
        elif typing.get_origin(arm) is Literal:
            values += typing.get_args(arm)
        elif arm is type(None):
            values.append(None)
        else:
            return None
    return one_of(*values)


def one_of(*values: Any) -> Rule:
    """Build the rule of a choice."""
    words = f"{', '.join(map(repr, values[:-1]))} or {values[-1]!r}"
    return Rule(words, lambda value: any(value is v or value == v for v in values))


def arms(kind: Any) -> tuple[Any, ...]:
    """Return the types that a union is made of; of another type itself."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def whole(low: float, words: str = "a whole number of at least {}") -> Rule:
    """Build the rule of whole numbers from `low` on."""

    def holds(value: Any) -> bool:
        return isinstance(value, Integral) and _is_number(value) and int(value) >= low

    return Rule(words.format(low), holds, _number)


def _numbers(words: str, holds: Callable[[Any], bool]) -> Rule:
    """Build the rule of numbers for which another rule holds."""
    return Rule(words, lambda v: _is_number(v) and holds(v), _number)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return "timedelta" not in type(value).__name__  # numpy's is an integer to it


def _number(value: Any) -> Any:
    """Return a number, of numpy's too, as Python's own."""
    if type(value) in (int, float) or not _is_number(value):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _is_several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_texts(value: Any) -> bool:
    return _is_several(value) and all(isinstance(item, str) for item in value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_texts([*value, *value.values()])


def _is_function(value: Any) -> bool:
    """Return whether a value can be called without being awaited."""
    called = (value, getattr(value, "__call__", None))  # noqa: B004 - its own method
    return callable(value) and not any(map(inspect.iscoroutinefunction, called))


def _is_pair(value: Any) -> bool:
    return _is_several(value) and len(value) == 2  # noqa: PLR2004


def _is_examples(value: Any) -> bool:
    pairs = _is_several(value) and all(map(_is_pair, value))
    return pairs and all(isinstance(prompt, str) for prompt, _ in value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_prices(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_pair(pair) and all(_is_number(price) and price >= 0 for price in pair)
        for pair in value.values()
    )


def _is_path(value: Any) -> bool:
    """Return whether it is a path of this machine, and no address."""
    return isinstance(value, PathLike) or (
        isinstance(value, str) and "://" not in value
    )


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


TEXT = Rule("a str", lambda v: isinstance(v, str))
COUNT = whole(1)
CHANCE = _numbers("between 0 and 1", lambda v: 0 < v < 1)
BOUND = _numbers("between 0 and 1", lambda v: 0 < v <= 1)
SECONDS = Rule("a number above 0 (seconds) or a Timedelta", _is_seconds, _seconds)

# -- types of options, with their rules ----------------------------------------------

Text = Annotated[str | None, TEXT]
Texts = Annotated[Sequence[str], Rule("a list of str", _is_texts)]
TextOrTexts = Annotated[
    str | Sequence[str] | None,
    Rule(
        "a str or a list of str",
        lambda v: TEXT.holds(_plain(v)) or _is_texts(_plain(v)),
        _plain,
    ),
]
CountOrZero = Annotated[int, whole(0)]
AutoOrCount = Annotated[
    int | Literal["auto"],
    Rule(f"'auto' or {COUNT.words}", lambda v: v == "auto" or COUNT.holds(v), _number),
]
Seed = Annotated[int | None, whole(-inf, "a whole number")]
Number = Annotated[float | None, _numbers("a number of at least 0", lambda v: v >= 0)]
Part = Annotated[
    float, _numbers("a number from 0 to 0.99", lambda v: 0 <= v <= 0.99)  # noqa: PLR2004
]
Positive = Annotated[float | None, _numbers("a number above 0", lambda v: v > 0)]
Seconds = Annotated[float | timedelta, SECONDS]
Key = Annotated[
    str | Callable[[], str] | None,
    Rule("a str or a callable", lambda v: isinstance(v, str) or callable(v)),
]
Headers = Annotated[
    Mapping[str, str] | None, Rule("a mapping of str to str", _is_headers)
]
Examples = Annotated[
    str | Sequence[tuple[str, Any]],
    Rule(
        "a list of (prompt, reply) pairs or the name of a column of such lists",
        lambda v: _is_name(v) or _is_examples(v),
    ),
]
Turns = Annotated[
    str | None,
    Rule(
        "the name of a column of lists [{'role': …, 'content': …}] (one question for "
        "all rows is the template)",
        _is_name,
    ),
]
Body = Annotated[
    Mapping[str, Any] | None,
    Rule(
        f"a mapping without {', '.join(map(repr, _OF_EACH_ROW))}, which the prompt and "
        "model= fill",
        _is_extra,
        _plain,
    ),
]
Constants = Annotated[
    Mapping[str, Any] | None, Rule("a mapping", lambda v: isinstance(v, Mapping))
]
Prices = Annotated[
    Mapping[str, tuple[float, float]] | None,
    Rule("a mapping of models to (input, output) dollars", _is_prices),
]
FlagOrFile = Annotated[
    bool | str | PathLike[str],
    Rule("True, False or a path", lambda v: isinstance(v, bool) or _is_path(v)),
]
File = Annotated[str | PathLike[str] | None, Rule("a path", _is_path)]
Certificate = Annotated[
    str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None,
    Rule(
        "a path or a (certificate, key) pair of paths",
        lambda v: _is_path(v) or (_is_pair(v) and all(map(_is_path, v))),
    ),
]
Listener = Annotated[
    Callable[[int, Any, list[dict[str, Any]], str | None], None] | None,
    Rule("a function (not async)", _is_function),
]
Bar = Annotated[
    bool | Callable[[Progress], None] | None,
    Rule(
        "True, False, None or a function (not async)",
        lambda v: v is None or v in (True, False) or _is_function(v),
    ),
]
Session = Annotated[
    "aiohttp.ClientSession | None",
    Rule("an aiohttp.ClientSession", lambda v: hasattr(v, "post")),
]
