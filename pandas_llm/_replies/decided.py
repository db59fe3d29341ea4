"""Closed keys: answers with their probabilities, for ``classify`` and ``extract``."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pandas_llm._keys import Column, Keys
from pandas_llm._replies.outputs import Record, Records, check_ending
from pandas_llm._replies.words import Words
from pandas_llm.errors import DeclinedError, RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_llm._replies.outputs import Reading
    from pandas_llm.types import Choice, Odds, Question

Weights = tuple[float, ...]
"""The probability of each label, in the order declared."""


class LabelOdds(NamedTuple):
    """Where the probabilities of one record's label come from, and what they are."""

    source: str
    """Of tokens, of a decision endpoint, or of votes; empty once calibrated."""
    weights: Weights


def weights_of(
    odds: Odds, questions: Sequence[Question], *, codes: bool | None = None
) -> list[Weights | None]:
    """Return the probabilities that a choice tells of each question.

    None stands for a question that was declined, or whose tokens speak of no label.
    """
    if odds.source == "decisions":
        pairs = zip(odds.answers, questions, strict=True)
        return [
            _shares(dict(told), question) if told else None for told, question in pairs
        ]
    parts: list[list[tuple[tuple[str, float], ...]]] = [[]]
    for place in odds.answers:  # an empty one stands between those of two questions
        if place:
            parts[-1].append(place)
        else:
            parts.append([])
    asked = [Words(question, codes=codes) for question in questions]
    return [words.read(part) for words, part in zip(asked, parts, strict=True)]


def _shares(chance_of: Mapping[str, float], question: Question) -> Weights:
    chances = [chance_of.get(label, 0.0) for label in question.labels]
    total = math.fsum(chances)
    return tuple(one / total for one in chances)


def likeliest(weights: Weights) -> int:
    """Return the label of the highest probability; of equal ones the first."""
    return weights.index(max(weights))


class _Closed(Records):
    """One record with closed keys, which probabilities may answer.

    With `weighed` they are told as well. With `needed` a server that tells none is of
    no use.
    """

    def __init__(  # noqa: PLR0913 - all by name but the first two
        self,
        keys: Keys,
        questions: tuple[Question, ...] = (),
        *,
        weighed: bool = False,
        needed: bool = False,
        codes: bool | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self.questions = questions
        self.needed = needed
        self._weighed = weighed
        self._codes = codes
        super().__init__(keys, single=True, schema=schema)
        closed = [question.name for question in questions]
        self.open = tuple(name for name in self.open if name not in closed)

    def _weights(self, odds: Odds) -> list[Weights | None]:
        return weights_of(odds, self.questions, codes=self._codes)


class Label(_Closed):
    """One label, for ``classify``: choices vote, ties go to the label listed first.

    With `weighed` a record holds, behind the label, its `LabelOdds` or None.
    """

    votes = True

    @property
    def width(self) -> int:
        """How many values a record has: the label, and what is told of it."""
        return 1 + self._weighed

    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Read the likeliest label, or the text where nothing tells one."""
        if choice.odds is not None:
            check_ending(choice)
            (question,) = self.questions
            (weights,) = self._weights(choice.odds)
            if weights is None and choice.odds.source == "decisions":
                raise RefusalError("the model declined to answer", choice.text)
            if weights is not None:
                label = question.values[likeliest(weights)]
                odds = LabelOdds(choice.odds.source, weights)
                return [self._record(label, odds)], None
        records, cut = super().read(choice, cells)
        return [self._record(label) for (label,) in records], cut

    def combine(self, choices: Sequence[list[Record]], unread: int = 0) -> list[Record]:
        """Count the votes; the share is of those that could not be read as well."""
        if len(choices) == 1 and not unread:
            return choices[0]
        votes = Counter(records[0][0] for records in choices)
        labels = self._keys.columns[0].labels
        label = max(labels, key=lambda label: votes[label])
        total = votes.total() + unread
        shares = tuple(votes[label] / total for label in labels)
        return [self._record(label, LabelOdds("votes", shares))]

    def _record(self, label: Any, odds: LabelOdds | None = None) -> Record:
        return (label, odds) if self._weighed else (label,)


class Decided(_Closed):
    """One record whose closed keys may be answered by probabilities.

    With `weighed` each closed key has a column more, ``<key>_confidence``.
    """

    def _lay_out(self, columns: tuple[Column, ...]) -> None:
        """Set the columns, those of the probabilities behind the others."""
        names = [column.name for column in columns]
        closed = [question.name for question in self.questions]
        self._places = [names.index(name) for name in closed]
        sure = [Column(f"{name}_confidence", "float") for name in closed]
        super()._lay_out((*columns, *sure) if self._weighed else columns)

    def read(self, choice: Choice, cells: Sequence[str] = ()) -> Reading:
        """Read open keys from the text, closed ones from their probabilities."""
        count = len(self.questions) if self._weighed else 0
        sure: list[float | None] = [None] * count
        if choice.odds is None:
            records, cut = super().read(choice, cells)
            return [(*record, *sure) for record in records], cut
        check_ending(choice)
        answers = self._weights(choice.odds)
        if not any(answers) and not self.open:
            raise RefusalError("the model declined to answer", choice.text)
        values: list[Any] = [None] * (self.width - len(sure))
        cut = None
        if self.open:
            ((*values,),), cut = super().read(choice, cells)
        declined = []
        for at, weights in enumerate(answers):
            question = self.questions[at]
            if weights is None:
                declined.append(question.name)
                continue
            best = likeliest(weights)
            values[self._places[at]] = question.values[best]
            if self._weighed:
                sure[at] = weights[best]
        if declined and choice.odds.source == "decisions":
            names = ", ".join(declined)
            cut = cut or DeclinedError(f"the model declined to answer: {names}")
        return [(*values, *sure)], cut
