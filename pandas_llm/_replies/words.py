"""A closed question in words: how a chat model is asked, and its tokens are read.

The answer is one of the labels, or a letter that stands for it. Its probability is
read where the labels part: at the first token that not all of them begin with.
"""

from __future__ import annotations

import json
import math
import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pandas_llm.types import Question

    Place = Sequence[tuple[str, float]]

_AHEAD = " \t\r\n\"'`*_#>-(["
"""Characters that may stand before an answer and are not part of it."""
_PART = re.compile(r"[\s_/-]+")
_LISTED = re.compile(r"""[,\r\n"]|\bor\b""")
"""What a label in a list must be quoted for."""
_LEAST = 2
"""Letters of a word's beginning that mean it; one alone may be the word "a"."""
_OTHER = re.compile(
    r"\W*(?:(?:not|neither|nor|none|no|never)\b|\S+\s*\Z)", re.IGNORECASE
)
"""An answer that denies a label, or is a single word, and so another one."""
_UNSPACED = "\u2e80"
"""Scripts above it have a sign where others have a word."""


def clashing(labels: Sequence[str]) -> tuple[str, str] | None:
    """Return two labels whose first tokens are the same with any tokenizer.

    Examples
    --------
    >>> clashing(["positive", "negative"]) is None
    True
    >>> clashing(["very good", "very bad"])
    ('very good', 'very bad')
    """
    heads: list[tuple[str, str]] = []
    for label in labels:
        text = _plain(label)
        first = _PART.split(text, maxsplit=1)[0]
        for other, head in heads:
            one, two = _plain(other), text
            if first == head or one.startswith(two) or two.startswith(one):
                return other, label
        heads.append((label, first))
    return None


class Words:
    """One closed question, and the words or letters that answer it.

    Without `codes`, letters stand for the labels where their first tokens clash.
    """

    def __init__(self, question: Question, *, codes: bool | None = None) -> None:
        labels = question.labels
        letters = tuple(string.ascii_uppercase[: len(labels)])
        if codes is None:
            codes = clashing(labels) is not None and len(letters) == len(labels)
        self._codes = codes
        self.words = letters if codes else labels  # what is answered for each label
        self._plain = tuple(map(_plain, self.words))
        means = dict(zip(labels, question.descriptions, strict=False))
        if codes:
            choices = [
                f"{code} for {_with(label, means)}"
                for code, label in zip(self.words, labels, strict=True)
            ]
            self.note = f"Answer with one letter: {_listed(choices)}."
        else:
            one = "word" if not any(map(_PART.search, labels)) else "of these"
            self.note = f"Answer with one {one}: {_listed([*map(_shown, labels)])}."
            meanings = [_with(label, means) for label in labels if means.get(label)]
            if meanings:
                self.note += f"\n{'; '.join(meanings)}"
        # tokens that an answer may have
        self.most = 8 + max(len(word.encode()) for word in self.words) // 2

    def read(self, places: Sequence[Place]) -> tuple[float, ...] | None:
        """Read the labels' probabilities from an answer's tokens; None without any.

        A label that no token speaks for has less than the smallest probability that is
        told, or what the told ones leave, if that is less. They are divided by their
        sum. An answer that is no less likely than all labels and denies one, or is
        another word, tells nothing of them; one that begins as a sentence does.
        """
        whole = "".join(place[0][0] for place in places)
        meant = self._meant(whole)
        if self._names_another(whole):
            return None
        chances, floors = [0.0] * len(self.words), [0.0] * len(self.words)
        alive, text, share = set(range(len(self.words))), "", 1.0
        for place in places:
            likely = {token: math.exp(logprob) for token, logprob in reversed(place)}
            first = place[0][0]
            for label, chance in self._heard(likely, first, (text, whole), alive):
                chances[label] += share * chance
            on = self._meant(text + first) & alive
            other = not meant & on and (bool(on) or self._codes or _OTHER.match(whole))
            if other and share * likely[first] >= math.fsum(chances):
                return None
            least = share * self._left(likely, first, text, alive)
            for label in alive - on if len(on) > 1 else alive:
                floors[label] = least
            alive, text = on, text + first
            if len(on) <= 1:
                break
            share *= likely[first]
        if len(alive) > 1:  # it ended before they part
            exact = {one for one in alive if self._plain[one] == _plain(_ahead(text))}
            for label in exact if _ahead(text) else ():
                chances[label] += share / len(exact)
        if not any(chances):
            return None
        weights = [one or floor for one, floor in zip(chances, floors, strict=True)]
        total = math.fsum(weights)
        return tuple(weight / total for weight in weights)

    def _left(
        self, likely: Mapping[str, float], first: str, before: str, alive: set[int]
    ) -> float:
        """Return the most that a label may have that no token of a place speaks for."""
        covered = math.fsum(
            chance
            for token, chance in likely.items()
            # a first letter may be that of the label
            if token == first or self._is_clear(before + token, alive)
        )
        least, left = min(likely.values()), 1 - covered
        if left <= 0 and len(likely) > 1:
            left = least  # they are rounded
        return max(0.0, math.nextafter(min(least, left), 0.0))

    def _is_clear(self, text: str, alive: set[int]) -> bool:
        """Return whether a text is long enough to mean a label that it begins."""
        heard = _ahead(text).rstrip()
        lengths = [len(self._plain[at]) for at in self._meant(text) & alive]
        return len(heard) >= min([_LEAST, *lengths]) or heard > _UNSPACED

    def _heard(
        self,
        likely: Mapping[str, float],
        first: str,
        texts: tuple[str, str],
        alive: set[int],
    ) -> Iterator[tuple[int, float]]:
        """Yield the labels that the tokens of one place speak for, and how likely."""
        before, whole = texts
        for token, chance in likely.items():
            meant = self._meant(before + token) & alive
            blank = not _ahead(before + token)
            if not meant or blank or (token == first and len(meant) > 1):
                continue  # what is said is told apart by the next token
            heard = whole if token == first else before + token
            if self._is_clear(heard, meant) and meant & self._meant(heard):
                for label in meant:
                    yield label, chance / len(meant)

    def _names_another(self, text: str) -> bool:
        """Return whether the line with a label names another one, as in "yes or no"."""
        line = _ahead(text).partition("\n")[0]
        named = [word for word in self._plain if line.casefold().startswith(word)]
        first = max(named, key=len, default="")
        rest = line[len(first) :]
        return bool(first) and any(
            plain not in ("", first)
            # a letter alone may be the word "a"
            and re.search(
                rf"(?<!\w){re.escape(word)}(?!\w)",
                rest,
                re.IGNORECASE if len(word) >= _LEAST else 0,
            )
            for word, plain in zip(self.words, self._plain, strict=True)
        )

    def _meant(self, text: str) -> set[int]:
        """Return the labels that a text begins with, or is a beginning of."""
        text = _ahead(text).casefold()
        return {
            at
            for at, word in enumerate(self._plain)
            if word.startswith(text)
            or (text.startswith(word) and not text[len(word) :][:1].isalnum())
        }


def _plain(label: str) -> str:
    """Return a label as it is compared: without what answers may have in front."""
    return _ahead(label).strip().casefold()


def _ahead(text: str) -> str:
    return text.lstrip(_AHEAD)


def _with(label: str, means: Mapping[str, str]) -> str:
    meaning = means.get(label)
    return f"{_shown(label)} ({meaning})" if meaning else _shown(label)


def _shown(label: str) -> str:
    """Return a label as a list names it; in quotes where it could end there."""
    return json.dumps(label, ensure_ascii=False) if _LISTED.search(label) else label


def _listed(words: Sequence[str]) -> str:
    """Return words as a sentence lists them."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
