"""Pairs of rows that may belong together: the nearest by character n-grams or vectors.

Similarity is the cosine of TF-IDF weights of character trigrams, hashed to 2**18 places
(Salton & Buckley 1988). Nothing is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Scores = Callable[[int, int], Floats]

_GRAM = 3
"""Characters in a gram: finds true pairs as two do, three times as fast."""
_BITS = 18
_PLACES = 1 << _BITS
"""Places that grams are hashed to."""
_CHUNK = 32
"""Rows whose similarities to all others are held at a time."""
_MANY = 50_000
"""Above this number of rows, grams in more than `_COMMON` of them are left out."""
_COMMON = 0.1
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class Pairs(NamedTuple):
    """Pairs of positions, the most similar first."""

    left: Ints
    """Within one table the smaller of the two."""
    right: Ints
    similarity: Floats
    """The cosine of each pair, from 0 to 1."""


_NONE = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def near_pairs(
    texts: Sequence[str], others: Sequence[str] | None = None, *, k: int
) -> Pairs:
    """Return the `k` nearest of each text: other `texts`, or of both sides the other.

    >>> pairs = near_pairs(["Jon Smith", "Ann Lee", "John Smith"], k=1)
    >>> int(pairs.left[0]), int(pairs.right[0])
    (0, 2)
    """
    index, split = _Index([*texts, *(others or ())]), len(texts)
    on_left = index.scores(0, split)
    if others is None:
        return _united(_nearest(split, on_left, k, within=True))
    there = _nearest(split, index.scores(split, index.rows), k)
    back = _nearest(len(others), lambda a, b: on_left(a + split, b + split), k)
    return _united([*there, *map(_turned, back)])


def near_vectors(vectors: Floats, others: Floats | None = None, *, k: int) -> Pairs:
    """Return the `k` nearest of each vector by cosine, as `near_pairs` does."""
    left = _unit(vectors)
    if others is None:
        return _united(
            _nearest(len(left), lambda a, b: left[a:b] @ left.T, k, within=True)
        )
    right = _unit(others)
    if not len(left) or not len(right):
        return _NONE  # vectors of no rows have no length
    there = _nearest(len(left), lambda a, b: left[a:b] @ right.T, k)
    back = _nearest(len(right), lambda a, b: right[a:b] @ left.T, k)
    return _united([*there, *map(_turned, back)])


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths, lengths, 1.0), dtype=np.float64)


def _nearest(
    rows: int, scores: Scores, k: int, *, within: bool = False
) -> Iterator[Pairs]:
    """Yield the k best columns of some rows; `within` one table of its other rows."""
    for start in range(0, rows, _CHUNK):
        table = scores(start, min(start + _CHUNK, rows))
        most = min(k, table.shape[1] - within)
        if most < 1:
            return
        if within:
            np.fill_diagonal(table[:, start:], -1.0)
        best = np.argpartition(-table, most - 1, axis=1)[:, :most]
        similarity = np.take_along_axis(table, best, axis=1).ravel()
        left, right = np.repeat(np.arange(len(table)) + start, most), best.ravel()
        if within:
            left, right = np.minimum(left, right), np.maximum(left, right)
        yield Pairs(left, right, similarity)


def _turned(pairs: Pairs) -> Pairs:
    return Pairs(pairs.right, pairs.left, pairs.similarity)


def _united(parts: Iterable[Pairs]) -> Pairs:
    """Drop repeated pairs and those with nothing in common; sort by similarity."""
    left, right, similarity = map(np.concatenate, zip(_NONE, *parts, strict=True))
    order = np.lexsort((right, left, -similarity.round(12)))
    left, right, similarity = left[order], right[order], similarity[order]
    _, first = np.unique(np.stack([left, right]), axis=1, return_index=True)
    kept = np.sort(first)
    kept = kept[similarity[kept] > 0]
    return Pairs(left[kept], right[kept], similarity[kept])


class _Index:
    """An inverted index of weighted grams."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.rows = len(texts)
        row, gram, count = _grams(texts)
        document = np.bincount(gram, minlength=_PLACES)
        weight = (1 + np.log(count)) * (
            np.log((1 + self.rows) / (1 + document[gram])) + 1
        )
        if self.rows > _MANY:
            rare = document[gram] <= _COMMON * self.rows
            row, gram, weight = row[rare], gram[rare], weight[rare]
        length = np.sqrt(np.bincount(row, weight**2, minlength=self.rows))
        weight /= length[row]
        self.starts = np.searchsorted(row, np.arange(self.rows + 1))
        self.grams, self.weights = gram, weight

    def scores(self, first: int, last: int) -> Scores:
        """Return a function of a range of rows: their similarity to rows of a range."""
        width, postings = last - first, slice(self.starts[first], self.starts[last])
        order = np.argsort(self.grams[postings], kind="stable")
        counts = np.diff(self.starts[first : last + 1])
        row = np.repeat(np.arange(width), counts)[order]
        weight = self.weights[postings][order]
        ends = np.cumsum(np.bincount(self.grams[postings], minlength=_PLACES))
        begins = np.concatenate([[0], ends[:-1]])

        def of_row(asked: int) -> Floats:
            own = slice(self.starts[asked], self.starts[asked + 1])
            gram = self.grams[own]
            # whole slices: one by one the same numbers take four times as long
            spans = list(zip(begins[gram].tolist(), ends[gram].tolist(), strict=True))
            if not spans:
                return np.zeros(width)
            rows = np.concatenate([row[begin:end] for begin, end in spans])
            product = np.concatenate([weight[begin:end] for begin, end in spans])
            product *= np.repeat(self.weights[own], ends[gram] - begins[gram])
            return np.bincount(rows, product, minlength=width).astype(np.float64)

        return lambda start, stop: np.stack([*map(of_row, range(start, stop))])


def _grams(texts: Sequence[str]) -> tuple[Ints, Ints, Ints]:
    """Return row, place and count of every gram that a text has, by row and place."""
    padded = [f" {' '.join(text.casefold().split())} " for text in texts]
    joined = "".join(padded).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, np.uint32).astype(np.uint64)
    rows = np.repeat(np.arange(len(padded)), [len(text) for text in padded])
    last = len(codes) - _GRAM + 1
    if last < 1:
        return _NONE.left, _NONE.left, _NONE.left
    mixed = np.zeros(last, np.uint64)
    for shift in range(_GRAM):
        mixed = (mixed + codes[shift : shift + last]) * _MIXER
        mixed ^= mixed >> np.uint64(29)
    place = (mixed * _MIXER >> np.uint64(64 - _BITS)).astype(np.int64)
    whole = rows[:last] == rows[_GRAM - 1 :]
    keys = rows[:last][whole] * _PLACES + place[whole]
    grams, counts = np.unique(keys, return_counts=True)
    return grams // _PLACES, grams % _PLACES, counts.astype(np.int64)
