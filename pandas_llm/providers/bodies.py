"""Bodies: what every dialect reads alike in an answer, however odd it is.

A whole answer counts, whatever stands beside it: NaN, half a character, odd counts.
One that broke off does not count, whatever stands in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._replies import ending
from pandas_llm.errors import OverloadedError, ProviderError, ServerError
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas_llm.types import Choice, HTTPResponse

_LONG = 19
"""Digits that may be beyond 64 bits."""
_WORD = 40
"""Letters that a word of a vendor's may have."""
_OVERLOADED = "insufficient_system_resource"
"""DeepSeek's word for an answer that it broke off for others."""


def parsed(body: bytes) -> Any:
    """Parse JSON, with the NaN, half characters and large numbers that vendors send.

    Raises
    ------
    ValueError
        When it is not JSON.

    Examples
    --------
    >>> parsed(b'{"a": NaN, "b": 1}')["b"]
    1
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", "replace")
    try:
        return _whole(json.loads(text, strict=False, parse_int=_int))
    except RecursionError:
        msg = "the JSON is nested too deeply"
        raise ValueError(msg) from None


def _int(digits: str) -> int | float:
    """Read a number as orjson does: what 64 bits do not hold is a float."""
    return int(digits) if len(digits) < _LONG else float(digits)


def _whole(value: Any) -> Any:
    """Put a mark in place of each half of a character, which no file could hold."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


_MOST_TOKENS = 1e12
"""No exchange has so many; a sum over all rows of a run fits where it is kept."""


def amount(value: Any) -> int | None:
    """Read a count of tokens; None for anything else.

    Examples
    --------
    >>> amount(3.0), amount("12"), amount(-1), amount(True), amount("many")
    (3, 12, None, None, None)
    >>> amount(1e308) is None
    True
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < _MOST_TOKENS else None


def word(fields: Any, name: str) -> str | None:
    """Read a short word of a vendor's, such as a tier; None for anything else.

    Examples
    --------
    >>> word({"service_tier": "flex"}, "service_tier"), word({}, "service_tier")
    ('flex', None)
    """
    value = fields.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= _WORD else None


def tokens(usage: Any, read: str, written: str, *apart: tuple[str, str]) -> Tokens:
    """Read the tokens of an exchange, in the order of `Tokens`.

    Parameters
    ----------
    usage : mapping
        What the answer says it used.
    read, written : str
        The names of the first two.
    *apart : (str, str)
        For each of the others the name of its group, if any, and its own.

    Raises
    ------
    ValueError
        When neither of the first two is a count.
    """
    values = [usage.get(read), usage.get(written)]
    for group, name in apart:
        inside = usage.get(group) if group else usage
        values.append((inside.get(name) or 0) if isinstance(inside, dict) else 0)
    counts: list[Any] = []
    for value in values:
        plain = value is None or (type(value) is int and value >= 0)  # nearly always
        counts.append(value if plain else amount(value))
    if counts[0] is counts[1] is None:
        msg = "no tokens are counted"
        raise ValueError(msg)
    if None in counts:
        counts = [count or 0 for count in counts]
    return Tokens(*counts)


def finished(text: str, reason: Any, response: HTTPResponse) -> str | None:
    """Return why a choice ended, in OpenAI's words; one of nobody's stays as it is.

    Raises
    ------
    ServerError
        When the server broke it off, or says nothing, for a reason nobody knows.
    """
    end = ending(reason)
    if end == "error" or (end == "unknown" and not text.strip()):
        broken = OverloadedError if reason == _OVERLOADED else ServerError
        msg = f"the server broke the answer off ({reason})"
        raise broken(msg, status=response.status, code=str(reason))
    if end == "unknown":
        return str(reason)
    return None if reason is None else end


def choices(items: Iterable[Any], read: Callable[[Any], Choice]) -> tuple[Choice, ...]:
    """Read the choices of an answer; one that broke off takes no other with it.

    Raises
    ------
    ProviderError
        The first one's, where none is whole.
    """
    whole: list[Choice] = []
    broken: ProviderError | None = None
    for each in items:
        try:
            whole.append(read(each))
        except ProviderError as error:
            broken = broken or error
    if broken is not None and not whole:
        raise broken
    return tuple(whole)
