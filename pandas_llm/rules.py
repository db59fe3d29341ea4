"""What the value of each option may be, in words and as a test."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _number(low: float, *, strict: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return value > low if strict else value >= low

    return holds


def _whole(low: int) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= low

    return holds


def _one_of(*words: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is word or value == word for word in words)


def _pairs(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str)  # noqa: PLR2004
        for pair in value
    )


def _prices(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(pair, Sequence) and len(pair) == 2 and all(map(_number(0), pair))  # noqa: PLR2004
        for pair in value.values()
    )


def _path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _certificate(value: Any) -> bool:
    pair = isinstance(value, Sequence) and len(value) == 2  # noqa: PLR2004
    return _path(value) or (pair and all(map(_path, value)))


def _texts(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(item, str) for item in value)
    )


_BOOLEANS = (True, False)
_POSITIVE = ("a number above 0", _number(0, strict=True))
_FLAG = ("True or False", _one_of(*_BOOLEANS))
TEXT = ("a str", lambda value: isinstance(value, str))
_MAPPING = ("a mapping", lambda value: isinstance(value, Mapping))
RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "model": TEXT,
    "base_url": TEXT,
    "system": TEXT,
    "headers": _MAPPING,
    "extra": _MAPPING,
    "values": _MAPPING,
    "images": ("column names", lambda v: isinstance(v, str) or _texts(v)),
    "api_key": ("a str or a callable", lambda v: isinstance(v, str) or callable(v)),
    "examples": ("a list of (prompt, reply) pairs", _pairs),
    "n": ("a whole number of at least 1", _whole(1)),
    "max_tokens": ("a whole number of at least 1", _whole(1)),
    "seed": ("a whole number", lambda value: isinstance(value, int)),
    "temperature": ("a number of at least 0", _number(0)),
    "top_p": ("a number of at least 0", _number(0)),
    "concurrency": (
        "'auto' or a whole number of at least 1",
        lambda value: value == "auto" or _whole(1)(value),
    ),
    "requests_per_minute": _POSITIVE,
    "tokens_per_minute": _POSITIVE,
    "request_timeout": _POSITIVE,
    "deadline": _POSITIVE,
    "max_wait": _POSITIVE,
    "max_retries": ("a whole number of at least 0", _whole(0)),
    "output_retries": ("a whole number of at least 0", _whole(0)),
    "cache": (
        "True, False or a path",
        lambda v: isinstance(v, (bool, str, os.PathLike)),
    ),
    "refresh": _FLAG,
    "replay": _FLAG,
    "dedupe": _FLAG,
    "max_cost": _POSITIVE,
    "prices": ("a mapping of models to (input, output) dollars", _prices),
    "truncate": TEXT,
    "fallback": ("a list of models", _texts),
    "details": _FLAG,
    "batch": _FLAG,
    "progress": (
        "True, False, None or a function",
        lambda v: _FLAG[1](v) or callable(v),
    ),
    "na_action": ("'ignore' or None", _one_of("ignore", None)),
    "ca": ("a path", _path),
    "cert": ("a path or a (certificate, key) pair of paths", _certificate),
    "files_root": ("a path", _path),
    "loop": ("'auto', 'thread' or 'nested'", _one_of("auto", "thread", "nested")),
}
