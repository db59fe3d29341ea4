"""Simulated embeddings: texts that share words lie near each other.

A hashed bag of words, no more: it knows no meaning, but "near" is real, so that
searching and grouping by these vectors can be tried out.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from functools import lru_cache

from pandas_llm.simulator.answers.prompt import STOP_WORDS, words_of
from pandas_llm.simulator.answers.values import stable_hash

_STOP_WORD_WEIGHT = 0.2


def embed(text: str, dimensions: int, model: str = "sim") -> list[float]:
    """Return the unit vector of a text.

    Parameters
    ----------
    text
        Only its words count, not their order, number or case.
    dimensions
        The length of the vector.
    model
        Another model has other vectors.

    Examples
    --------
    >>> embed("Cats purr", 4) == embed("purr, CATS!", 4)
    True
    """
    vector = [0.0] * dimensions
    for word in sorted(words_of(text)) or [text]:  # sorted: sums repeat to the bit
        place = _hash(model, word)
        weight = _STOP_WORD_WEIGHT if word in STOP_WORDS else 1.0
        vector[(place >> 1) % dimensions] += weight if place & 1 else -weight
    length = math.hypot(*(part for part in vector if part))
    if not length:  # words that cancel each other out
        vector[_hash(model, text) % dimensions] = length = 1.0
    return [part / length if part else 0.0 for part in vector]


def packed(vector: list[float]) -> str:
    """Return a vector as OpenAI packs it: base64 of little-endian float32."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


@lru_cache(maxsize=65536)
def _hash(model: str, word: str) -> int:
    return stable_hash("embedding", model, word)
