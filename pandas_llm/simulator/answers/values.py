"""Single values of the simulator's answers: numbers, lengths of text, stable hashes."""

from __future__ import annotations

import hashlib
import math
import re
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers.prompt import clip

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "[simulated] "
"""What every free text of the simulator begins with."""

FORMATS = {
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""A value for each string format that needs no prompt."""

_SHORTEST_MARKED = len(MARK) + 12
_SMALL = 9  # numbers made up run over so many steps
_FINE_SPAN = 2.0  # a span so narrow is a score: fractions say more than its ends


_IN_WORDS = {
    "at least": "minimum",
    "at most": "maximum",
    "more than": "exclusiveMinimum",
    "less than": "exclusiveMaximum",
    "a multiple of": "multipleOf",
}
_BOUND = re.compile(rf"\b({'|'.join(_IN_WORDS)}) (-?\d+(?:\.\d+)?)")


def stable_hash(*parts: str) -> int:
    """Return a number of 64 bits that depends on the texts alone."""
    data = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def unit_hash(*parts: str) -> float:
    """Return a number between 0 and 1 that depends on the texts alone."""
    return (stable_hash(*parts) + 0.5) / 2**64


def bounded(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the bounds that a description says in words, as a model would read them.

    Strict modes of providers refuse such keywords, so clients put them there.

    Examples
    --------
    >>> bounded({"type": "integer", "description": "stars (at least 1; at most 5)"})
    {'minimum': 1.0, 'maximum': 5.0, 'type': 'integer', 'description': 'stars (at \
least 1; at most 5)'}
    """
    bounds = {
        _IN_WORDS[words]: float(number)
        for words, number in _BOUND.findall(str(schema.get("description", "")))
    }
    return {**bounds, **schema} if bounds else schema


def fits(number: float, schema: Mapping[str, Any], *, whole: bool) -> bool:
    """Return whether a number obeys the bounds of a schema."""
    step = schema.get("multipleOf")
    return (
        (not whole or float(number).is_integer())
        and number >= schema.get("minimum", -math.inf)
        and number <= schema.get("maximum", math.inf)
        and number > schema.get("exclusiveMinimum", -math.inf)
        and number < schema.get("exclusiveMaximum", math.inf)
        and (not step or float(number / step).is_integer())
    )


def small_number(schema: Mapping[str, Any], pick: int, *, whole: bool) -> float:
    """Return a number within the bounds of a schema, chosen by ``pick``."""
    get = schema.get
    low: float = max(get("minimum", -math.inf), get("exclusiveMinimum", -math.inf))
    high: float = min(get("maximum", math.inf), get("exclusiveMaximum", math.inf))
    step: float = get("multipleOf", 1)
    if not whole and "multipleOf" not in schema and high - low <= _FINE_SPAN:
        return float(low + (high - low) * (1 + pick % _SMALL) / (_SMALL + 1))
    if low == -math.inf:
        low = min(0, high if high == math.inf else high - _SMALL * step)
    first = math.ceil(low / step)
    grid: list[float] = [n * step for n in range(first, first + _SMALL + 2)]
    allowed = [n for n in grid if fits(n, schema, whole=whole)]
    if not allowed:  # bounds without a value between them: nothing obeys them
        return low
    number = allowed[pick % len(allowed)]
    return int(number) if whole else number


def fit_length(text: str, least: int, most: int | None) -> str:
    """Mark a text as simulated where there is room, and make it long enough."""
    fitted = MARK + text
    if most is not None and len(fitted) > most:
        fitted = clip(fitted if most >= _SHORTEST_MARKED else text, most)
    if len(fitted) < least:
        fitted = (fitted + f" {text}" * (1 + least // (1 + len(text))))[:least]
    return fitted


def distinct(values: list[Any], least: int) -> list[Any]:
    """Drop repeated values as long as ``least`` values are left."""
    result: list[Any] = []
    for position, value in enumerate(values):
        still_to_come = len(values) - position
        if value not in result or len(result) + still_to_come <= least:
            result.append(value)
    return result
