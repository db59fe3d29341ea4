"""Bodies: what every dialect reads alike in an answer.

A whole answer counts in spite of NaN, half a character or odd counts beside it. One
that broke off does not count.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from pandas_llm._replies import ending
from pandas_llm.errors import OverloadedError, ProviderError, ServerError
from pandas_llm.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from pandas_llm.types import Choice, HTTPResponse

ODD = (AttributeError, LookupError, TypeError, ValueError)
"""Errors of reading an answer that is not of the form it is read for."""
TEXTS = ("text", "output_text")
"""Types of the parts of a content that are its text."""
_LONG = 19
"""Digits that may be beyond 64 bits."""
_WORD = 40
"""Letters that a word of a vendor's may have."""
_OVERLOADED = "insufficient_system_resource"
"""DeepSeek's word for an answer that it broke off for others."""


def parsed(body: bytes) -> Any:
    """Parse JSON with NaN, half characters, large numbers; raise ValueError if none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", "replace")
    try:
        return _whole(json.loads(text, strict=False, parse_int=_int))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _int(digits: str) -> int | float:
    """Read a number as orjson does: what 64 bits do not hold is a float."""
    return int(digits) if len(digits) < _LONG else float(digits)


def _whole(value: Any) -> Any:
    """Replace each half of a character, which files cannot hold, by a mark."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


_COSTS = {"cost": 1, "cost_in_usd_ticks": 10**10}
"""Where servers state the cost, and how many of it are a dollar."""
_MOST_TOKENS = 1e12
"""No exchange has so many; a sum over all rows of a run fits where it is kept."""


def amount(value: Any) -> int | None:
    """Read a count of tokens; None for anything else.

    >>> amount(3.0), amount("12"), amount(-1), amount(True), amount(1e308)
    (3, 12, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < _MOST_TOKENS else None


def cost(usage: Any) -> float | None:
    """Read the dollars that a server charges itself: OpenRouter's, or xAI's in ticks.

    >>> cost({"cost": 0.5}), cost({"cost_in_usd_ticks": 158_500}), cost({"cost": "few"})
    (0.5, 1.585e-05, None)
    """
    if isinstance(usage, dict):
        for name, unit in _COSTS.items():
            if name in usage and _is_money(value := usage[name]):
                return float(value / unit)
    return None


def _is_money(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < math.inf


def word(fields: Any, name: str) -> str | None:
    """Read a short word of a vendor's, such as a tier; None for anything else."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) and 0 < len(value) <= _WORD else None


def objects(listed: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; none of anything else."""
    items = listed if isinstance(listed, list) else ()
    return [item for item in items if isinstance(item, dict)]


INPUT_OUTPUT = (
    "input_tokens",
    "output_tokens",
    "input_tokens_details.cached_tokens",
    "output_tokens_details.reasoning_tokens",
    "input_tokens_details.cache_write_tokens",
)
"""As OpenAI's Responses and Decisions name them."""


def tokens(usage: Any, names: tuple[str, ...]) -> Tokens:
    """Read tokens; raise ValueError where neither input nor output is counted.

    `names` are in the order of `Tokens`, such as "details.cached"; "" is for none.
    """
    counts: list[int | None] = []
    for group, name in _places(names):
        inside = usage.get(group) if group else usage
        value = inside.get(name) if isinstance(inside, dict) else None
        # without a call where it is a plain count or lacks, as nearly always
        plain = value is None or (type(value) is int and 0 <= value < _MOST_TOKENS)
        counts.append(value if plain else amount(value))
    if counts[0] is counts[1] is None:
        raise ValueError("no tokens are counted")
    return Tokens(*[count or 0 for count in counts])


@cache
def _places(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Split names into the object that holds each, "" for usage itself, and its own."""
    split = (name.rpartition(".") for name in names)
    return [(group, own) for group, _, own in split]


def beside(
    response: HTTPResponse,
    told: Container[str],
    *parts: Mapping[str, Any],
    **contents: Any,
) -> str | None:
    """Write as JSON what an answer holds beside its text; None where nobody asked.

    Fields of the `parts` that are `told` are left out, and the texts of the `contents`.
    """
    if response.asked is None or not response.asked.spec.raw:
        return None
    fields = {
        name: value
        for part in parts
        for name, value in part.items()
        if name not in told and value not in _EMPTY
    }
    for name, content in contents.items():
        fields.pop(name, None)
        if others := beside_texts(content):
            fields[name] = others
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # nested too deeply: the answer counts all the same
        return None


_EMPTY: tuple[Any, ...] = (None, "", [], {})
_PLAIN = {"type", "text"}


def beside_texts(parts: Any) -> list[Any]:
    """Return the parts of a content that are more than text, such as with citations.

    >>> text = {"type": "text", "text": "Yes."}
    >>> beside_texts([text, {**text, "citations": [1]}, {"type": "thinking"}])
    [{'type': 'text', 'text': 'Yes.', 'citations': [1]}, {'type': 'thinking'}]
    """
    if not isinstance(parts, list):
        return []
    return [part for part in parts if not _is_text(part)]


def _is_text(part: Any) -> bool:
    if not isinstance(part, dict):
        return isinstance(part, str)
    if part.get("type", "text") not in TEXTS:
        return False
    return {name for name, value in part.items() if value not in _EMPTY} <= _PLAIN


def finished(text: str, reason: Any, response: HTTPResponse) -> str | None:
    """Return why a choice ended, in OpenAI's words; raise if it was broken off."""
    end = ending(reason)
    if end == "error" or (end == "unknown" and not text.strip()):
        broken = OverloadedError if reason == _OVERLOADED else ServerError
        raise broken(
            f"the server broke the answer off ({reason})",
            status=response.status,
            code=str(reason),
        )
    if end == "unknown":
        return str(reason)
    return None if reason is None else end


def choices(items: Iterable[Any], read: Callable[[Any], Choice]) -> tuple[Choice, ...]:
    """Read the choices that are whole; where none is, raise the first one's error."""
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
