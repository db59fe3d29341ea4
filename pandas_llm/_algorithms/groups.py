"""Groups of rows that are one thing, by few questions about pairs of rows.

Correlation clustering by rounds: each asks a spanning forest over the present groups,
the most similar pairs first, so that no answer of a round makes another of it
needless (after Wang et al., CrowdER 2012, and Vesdapunt et al. 2014). Then a second
witness is asked for each join inside a group of three or more, so that one wrong yes
does not chain two groups.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    Pair = tuple[int, int]
    Answers = Sequence[bool | None]

_GIVEN_UP = -2
"""Two groups are not asked about again once there are two more noes than yeses."""
_WITNESSES = 2
"""Yeses that hold a join inside a group of three or more; as many noes cut it."""


def group_pairs(
    rows: int, pairs: Iterable[Pair]
) -> Generator[list[Pair], Answers, NDArray[np.int64]]:
    """Put rows into groups by asking whether pairs of them are one thing.

    Of `pairs`, the most similar first, those to ask at once are yielded. Sent back are
    their answers: True, False, or None for one that could not be answered. Returned is
    the number of each row's group, by first appearance.

    >>> asking = group_pairs(3, [(0, 2), (0, 1)])
    >>> next(asking)
    [(0, 2), (0, 1)]
    >>> try:
    ...     asking.send([True, False])
    ... except StopIteration as end:
    ...     end.value.tolist()
    [0, 1, 0]
    """
    groups = _Groups(rows)
    candidates = left = list(pairs)
    while left:
        asked, left = groups.forest(left)
        if asked:
            groups.hear(asked, (yield asked))
    joins = _Joins(groups, candidates)
    while asked := joins.doubtful():
        joins.hear(asked, (yield asked))
    return joins.numbers()


def questions_at_most(pairs: Sequence[Pair]) -> int:
    """Return how many questions `group_pairs` takes, but for odd answers.

    Witnesses may be others than `pairs`: half as many as the rows that these connect.
    Of 240 runs over near names, with judges that err in up to half of their answers,
    one took more.

    >>> questions_at_most([(0, 1), (1, 2), (3, 4)])
    4
    """
    root: dict[int, int] = {}

    def find(row: int) -> int:
        while (up := root.setdefault(row, row)) != row:
            root[row] = row = root[up]
        return row

    for one, other in pairs:
        root[find(one)] = find(other)
    rows = Counter(map(find, [*root]))
    inside = Counter(find(one) for one, _ in pairs)
    return sum(
        min(math.comb(count, 2), inside[top] + count // 2)
        for top, count in rows.items()
    )


def _vote(answer: bool | None) -> int:  # noqa: FBT001 - what is counted
    return 0 if answer is None else 1 if answer else -1


class _Groups:
    """Groups so far, with the yeses less the noes between each two of them."""

    def __init__(self, rows: int) -> None:
        self.group = list(range(rows))
        self.members = {at: [at] for at in range(rows)}
        self.tally: dict[int, Counter[int]] = defaultdict(Counter)
        self.votes: dict[Pair, int] = {}
        self.joined: list[Pair] = []

    def forest(self, pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
        """Return pairs that no other of them can answer, and those left for later."""
        root: dict[int, int] = {}
        asked, later = [], []

        def find(group: int) -> int:
            while (up := root.get(group, group)) != group:
                root[group] = root.get(up, up)
                group = up
            return group

        for pair in pairs:
            one, other = self.group[pair[0]], self.group[pair[1]]
            if one == other or self.tally[one][other] <= _GIVEN_UP:
                continue
            left, right = find(one), find(other)
            if left == right:
                later.append(pair)
            else:
                root[left] = right
                asked.append(pair)
        return asked, later

    def hear(self, asked: list[Pair], answers: Answers) -> None:
        """Count the answers, and join what they say is one."""
        for pair, answer in zip(asked, answers, strict=True):
            self.votes[pair] = _vote(answer)
            one, other = self.group[pair[0]], self.group[pair[1]]
            self.tally[one][other] += self.votes[pair]
            self.tally[other][one] += self.votes[pair]
            if self.tally[one][other] > 0:
                self.joined.append(pair)
                self._join(one, other)

    def _join(self, one: int, other: int) -> None:
        if len(self.members[one]) < len(self.members[other]):
            one, other = other, one
        for row in self.members[other]:
            self.group[row] = one
        self.members[one] += self.members.pop(other)
        del self.tally[other][one], self.tally[one][other]
        for third, count in self.tally.pop(other).items():
            del self.tally[third][other]
            self.tally[one][third] += count
            self.tally[third][one] += count


class _Joins:
    """The joins inside each group, and how well they are witnessed."""

    def __init__(self, groups: _Groups, candidates: list[Pair]) -> None:
        self.group = groups.group
        self.links: dict[int, set[int]] = {row: set() for row in range(len(self.group))}
        self.open: dict[int, list[Pair]] = defaultdict(list)
        """Of each group the joins that are not settled, the least similar first."""
        for one, other in reversed(groups.joined):
            self.links[one].add(other)
            self.links[other].add(one)
            self.open[self.group[one]].append((one, other))
        self.votes: dict[int, dict[Pair, int | None]] = defaultdict(dict)
        """Of each group the pairs in it, the most similar first; None if not asked."""
        for one, other in candidates:
            if self.group[one] == self.group[other]:
                pair = one, other
                self.votes[self.group[one]][pair] = groups.votes.get(pair)

    def doubtful(self) -> list[Pair]:
        """Return pairs to ask, across every join that lacks a witness."""
        asked: dict[Pair, None] = {}  # with an order
        for group, joins in self.open.items():
            left: list[Pair] = []
            for join in joins:
                if self._is_open(group, join, asked, first=not left):
                    left.append(join)
            self.open[group] = left
        return list(asked)

    def hear(self, asked: list[Pair], answers: Answers) -> None:
        """Count the answers of witnesses."""
        for pair, answer in zip(asked, answers, strict=True):
            self.votes[self.group[pair[0]]][pair] = _vote(answer)

    def _is_open(
        self, group: int, join: Pair, asked: dict[Pair, None], *, first: bool
    ) -> bool:
        """Cut a join, or return whether it is in doubt; add to `asked` what decides.

        One that is not the first in doubt is not cut: its noes may be due to that one.
        """
        one, other = join
        self.links[one].discard(other)
        self.links[other].discard(one)
        left, right = self._side(one), self._side(other)
        across = {
            (a, b): vote
            for (a, b), vote in self.votes[group].items()
            if (a in left and b in right) or (a in right and b in left)
        }
        count, alone = Counter(across.values()), len(left) == len(right) == 1
        witnessed = count[1] >= _WITNESSES or alone
        if not witnessed and count[-1] >= _WITNESSES and first:
            return False  # it stays cut
        self.links[one].add(other)
        self.links[other].add(one)
        if witnessed or count[-1] >= _WITNESSES:
            return not witnessed
        if not across.keys().isdisjoint(asked):
            return True  # what is asked for another join is a witness of this one too
        fresh = (pair for pair, vote in across.items() if vote is None)
        others = ((min(a, b), max(a, b)) for a in sorted(left) for b in sorted(right))
        unknown = (pair for pair in others if pair not in across)
        pair = next(chain(fresh, unknown), None)
        if pair is not None:
            asked[pair] = self.votes[group][pair] = None
        return pair is not None

    def _side(self, row: int) -> set[int]:
        """Return the rows that are still linked with a row."""
        seen, todo = {row}, [row]
        while todo:
            fresh = self.links[todo.pop()] - seen
            seen |= fresh
            todo += fresh
        return seen

    def numbers(self) -> NDArray[np.int64]:
        """Return the number of each row's group, by first appearance."""
        number, count = np.full(len(self.group), -1, np.int64), 0
        for row in range(len(number)):
            if number[row] < 0:
                number[list(self._side(row))] = count
                count += 1
        return number
