"""The k largest by comparing two rows at a time, in rounds that can be asked at once.

A judge that does not err: selection by a sampled pivot (Floyd & Rivest 1975). One that
errs: rows fall out after losing to two different pivots, and those left play a
round-robin ordered by wins (Copeland).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    Pair = tuple[int, int]
    Answers = Sequence[bool | None]
    Asking = Generator[list[Pair], Answers, list[int]]

_SMALL = 24
"""So few rows are sorted, not sampled."""
_SAMPLE = 1.6
"""Rows in a sample, in square roots of all."""
_MARGIN = 1.5
"""How far below the k-th the pivot is taken, in square roots of its rank."""
_PANEL = 21
"""Rows of the round-robin that pivots are taken from."""
_STAGES = (0.3, 0.25, 0.4)
"""Where each stage's pivots stand in their panel, from the best."""
_FINAL = 30
"""Rows that play the last round-robin, at least."""
_DRAW = 0.5
_GAMES = 4
"""Opponents ahead of each row in a random circle, so games with twice as many."""


def select_largest(rows: int, k: int, seed: int = 0) -> Asking:
    """Find the `k` largest of `rows`, best first, by a judge that does not err.

    Yielded are pairs to ask at once: is the first more than the second? Sent back are
    answers: True, False, or None where nobody can say (the earlier row stands first).

    >>> asking = select_largest(2, 1)
    >>> pairs = next(asking)
    >>> try:
    ...     asking.send([first > second for first, second in pairs])
    ... except StopIteration as end:
    ...     end.value
    [1]
    """
    judge = _Judge(random.Random(seed))  # noqa: S311 - samples, not secrets
    left = judge.shuffled(range(rows))
    best: list[int] = []
    k = min(k, rows)
    while len(best) < k:
        wanted = k - len(best)
        if len(left) <= max(_SMALL, 2 * wanted):  # parting takes more from there on
            best += (yield from judge.sort(left))[:wanted]
            break
        pivot, above, below = yield from judge.split(left, wanted)
        if len(above) >= wanted:
            left = above
        else:
            best += [*(yield from judge.sort(above)), pivot]
            left = below
    return best


def select_largest_by_votes(rows: int, k: int, seed: int = 0) -> Asking:
    """Find the `k` largest as `select_largest`, by a judge that errs now and then.

    A pair of which nobody can say is a draw: no defeat, and half a win for both.
    """
    judge = _Judge(random.Random(seed))  # noqa: S311 - samples, not secrets
    left = judge.shuffled(range(rows))
    k = min(k, rows)
    final = max(_FINAL, math.ceil(1.6 * k))
    for place in _STAGES:
        if len(left) * place < final:
            continue
        kept = yield from judge.two_strikes(left, place)
        left = kept if len(kept) >= k else left  # a judge that says no to all
    while len(left) > final:
        left = yield from judge.games(left, max(final, math.ceil(len(left) / 2)))
    return (yield from judge.round_robin(sorted(left)))[:k]


def questions_asked(select: Callable[..., Asking], rows: int, k: int) -> list[int]:
    """Return how many questions a selection takes, in five random orders of the rows.

    Examples
    --------
    >>> questions_asked(select_largest, 2, 1)
    [1, 1, 1, 1, 1]
    """
    counts = []
    for seed in range(5):
        rank = list(range(rows))
        random.Random(seed).shuffle(rank)  # noqa: S311 - a guess, not a secret
        asking, count = select(rows, k, seed), 0
        try:
            asked = next(asking)
            while True:
                count += len(asked)
                asked = asking.send([rank[a] > rank[b] for a, b in asked])
        except StopIteration:
            counts.append(count)
    return counts


class _Judge:
    """The comparisons so far, and ways to make more."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.points: dict[Pair, float] = {}
        """Of the first of each pair: 1, 0, or a half where nobody can say."""

    def shuffled(self, rows: Iterable[int]) -> list[int]:
        """Return rows in random order."""
        order = list(rows)
        self.chance.shuffle(order)
        return order

    def ask(self, pairs: Iterable[Pair]) -> Generator[list[Pair], Answers, None]:
        """Ask about pairs that have not been asked."""
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self.points]
        if fresh:
            for (one, other), answer in zip(fresh, (yield fresh), strict=True):
                points = _DRAW if answer is None else float(answer)
                self.points[one, other], self.points[other, one] = points, 1 - points

    def more(self, one: int, other: int) -> bool:
        """Return whether a row is more than another, the earlier one in a draw."""
        points = self.points[one, other]
        return one < other if points == _DRAW else points > _DRAW

    def sort(self, rows: Sequence[int]) -> Asking:
        """Sort rows, best first: all parts of a quicksort in the same rounds."""
        parts = [list(rows)]
        while any(len(part) > 1 for part in parts):
            yield from self.ask((row, part[0]) for part in parts for row in part[1:])
            parts = [piece for part in parts for piece in self._parted(part)]
        return [row for part in parts for row in part]

    def _parted(self, part: list[int]) -> list[list[int]]:
        pivot, *others = part
        above = [row for row in others if self.more(row, pivot)]
        below = [row for row in others if self.more(pivot, row)]
        return [piece for piece in (above, [pivot], below) if piece]

    def split(
        self, rows: list[int], k: int
    ) -> Generator[list[Pair], Answers, tuple[int, list[int], list[int]]]:
        """Part rows at a sampled pivot, a little below the k-th of them."""
        size = min(len(rows), round(_SAMPLE * math.sqrt(len(rows))))
        sample = yield from self.sort(rows[:size])
        rank = k * size / len(rows)
        at = min(size - 1, round(rank + _MARGIN * math.sqrt(rank)) + 1)
        pivot = sample[at]
        yield from self.ask((row, pivot) for row in rows[size:])
        above = sample[:at] + [row for row in rows[size:] if self.more(row, pivot)]
        below = sample[at + 1 :]
        below += [row for row in rows[size:] if not self.more(row, pivot)]
        return pivot, self.shuffled(above), self.shuffled(below)

    def two_strikes(self, rows: list[int], place: float) -> Asking:
        """Drop the rows that lose to two pivots, or to one with a draw to the other.

        The pivots are of a panel's best part.
        """
        panel = yield from self.round_robin(rows[:_PANEL])
        at = max(1, round(place * len(panel)))
        pivots = panel[at - 1 : at + 1]
        left = [row for row in rows if row not in pivots]
        for pivot in pivots:
            yield from self.ask((row, pivot) for row in left)
            left = [row for row in left if self.points[row, pivot] < 1]
        struck = {
            row for row in left if sum(self.points[row, one] for one in pivots) < 1
        }
        return self.shuffled(row for row in rows if row not in struck)

    def games(self, rows: list[int], keep: int) -> Asking:
        """Keep those that win most of a few random games."""
        order = self.shuffled(rows)
        count = len(order)
        pairs = [
            (order[i], order[(i + gap) % count])
            for gap in range(1, _GAMES + 1)
            for i in range(count)
        ]
        return (yield from self._by_wins(rows, pairs))[:keep]

    def round_robin(self, rows: Sequence[int]) -> Asking:
        """Order rows by wins against all others, then by position."""
        return (yield from self._by_wins(rows, list(combinations(rows, 2))))

    def _by_wins(self, rows: Sequence[int], pairs: list[Pair]) -> Asking:
        yield from self.ask(pairs)
        wins: dict[int, float] = defaultdict(float)
        for one, other in pairs:
            wins[one] += self.points[one, other]
            wins[other] += self.points[other, one]
        return sorted(rows, key=lambda row: (-wins[row], row))
