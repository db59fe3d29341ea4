"""How many tokens a request will be."""

from __future__ import annotations

import math

_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n\t\r"
_CONTINUED = bytes(range(0x80, 0xC0))
_DENSE = bytes([*range(0xE3, 0xEE), *range(0xF0, 0xF5)])
_OTHER = bytes([*range(0xC0, 0xE3), 0xEE, 0xEF])


def estimate_tokens(text: str) -> float:
    """Guess the tokens of a text from its kinds of characters, in 1 to 3 µs.

    ASCII letters and blanks count 1/4.4 token each, other ASCII 1/1.8, Chinese,
    Japanese, Korean and emoji 0.75, all else 1/3.5. Most languages come within 20 %;
    `Calibration` corrects the rest.
    """
    if text.isascii():
        marks = len(text.encode().translate(None, _PLAIN))
        return (len(text) - marks) / 4.4 + marks / 1.8
    data = text.encode("utf-8", "surrogatepass").translate(None, _CONTINUED)
    sparse = data.translate(None, _DENSE)
    ascii_only = sparse.translate(None, _OTHER)
    marks = len(ascii_only.translate(None, _PLAIN))
    return (
        (len(data) - len(sparse)) * 0.75
        + (len(sparse) - len(ascii_only)) / 3.5
        + (len(ascii_only) - marks) / 4.4
        + marks / 1.8
    )


_KEEP = 0.95
"""The weight that older answers keep with each new one: the last 20 count most."""


class Calibration:
    """Tokens of a request before it is sent, learned from those already answered."""

    def __init__(self) -> None:
        self.output_counts = 1.0
        """Tokens that one of the output takes from the limit."""
        self._estimated = self._input = self._output = self._weight = 0.0

    def amounts(
        self, characters_estimate: float, max_tokens: int | None, n: int
    ) -> tuple[float, float, float]:
        """Return the tokens that the provider will book; those of input, of output."""
        ratio = self._input / self._estimated if self._estimated else 1.0
        output = 50.0
        if self._weight:  # 1.95 times the mean after one answer, 1.17 after five
            margin = 1 + max(0.0, 1 / self._weight - (1 - _KEEP))
            output = self._output / self._weight * margin
        if max_tokens is not None:
            output = min(output, max_tokens)
        into, out = characters_estimate * ratio, n * output
        # OpenAI books `max_tokens` on arrival; others book what is used, which is less
        counted = into + out * self.output_counts
        return max(counted, float(n * (max_tokens or 0))), into, out

    def worst(self, max_tokens: int | None, n: int) -> int:
        """Return the output tokens to set money aside for."""
        output = self._output / self._weight if self._weight else 250.0
        allowed = 4 * output if max_tokens is None else max_tokens
        return math.ceil(n * allowed)

    def learn(
        self,
        characters_estimate: float,
        tokens_input: int,
        tokens_output: int,
        n: int = 1,
    ) -> None:
        """Record the usage of an answer of `n` choices; the last 20 count most."""
        if characters_estimate > 0 and tokens_input > 0:
            self._estimated = self._estimated * _KEEP + characters_estimate
            self._input = self._input * _KEEP + tokens_input
        if tokens_output > 0:
            self._output = self._output * _KEEP + tokens_output / n
            self._weight = self._weight * _KEEP + 1.0
