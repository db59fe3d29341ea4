"""How likely the simulated model finds each answer, where only some are allowed."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from pandas_llm.simulator.answers.prompt import message_text
from pandas_llm.simulator.answers.values import unit_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ALLOWED = re.compile(r"^Answer with one (word|letter|of these): (.+)\.$", re.MULTILINE)
_WORD = re.compile(r'(?:^|, | or )("(?:[^"\\]|\\.)*"|.+?)(?=, | or |$)')
_CODE = re.compile(r"(?:^|, | or )([A-Z]) for ")
_LETTERS = 4
"""In a token."""
_SURE = -1e-6
_LEAST = -12.0


def allowed_words(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the answers that messages allow; none where they leave it open.

    Examples
    --------
    >>> note = "Answer with one word: good, fair or bad."
    >>> allowed_words([{"role": "system", "content": note}])
    ['good', 'fair', 'bad']
    """
    for message in reversed(messages):
        if match := _ALLOWED.search(message_text(message)):
            kind, listed = match.groups()
            if kind == "letter":
                return _CODE.findall(listed)
            words = _WORD.findall(listed)
            return [json.loads(w) if w.startswith('"') else w for w in words]
    return []


def shares(words: Sequence[str], about: str) -> list[float]:
    """Return the probability of each answer: always the same for the same question."""
    weights = [-math.log(unit_hash(about, word)) for word in words]
    total = sum(weights)
    return [weight / total for weight in weights]


def as_tokens(text: str, odds: Mapping[str, float], most: int) -> list[dict[str, Any]]:
    """Write a text as OpenAI writes its tokens, with others that could stand there.

    Parameters
    ----------
    text
        What is said.
    odds
        The probability of each text that could be said.
    most
        How many tokens are told at each place.
    """
    pieces = [text[at : at + _LETTERS] for at in range(0, len(text), _LETTERS)]
    places, before = [], ""
    for piece in pieces:
        heads: dict[str, float] = {}
        for word, chance in odds.items():
            if word.startswith(before):
                head = word[len(before) : len(before) + _LETTERS]
                heads[head] = heads.get(head, 0.0) + chance
        total = sum(heads.values())
        logprobs = {
            head: max(_LEAST, math.log(c / total)) for head, c in heads.items() if c
        }
        logprobs.setdefault(piece, _SURE)
        top = sorted(logprobs.items(), key=lambda pair: -pair[1])[:most]
        places.append(
            {
                **_token(piece, logprobs[piece]),
                "top_logprobs": [_token(token, logprob) for token, logprob in top],
            }
        )
        before += piece
    return places


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
