"""Pairs of rows that may belong together: the nearest by character n-grams or vectors.

Similarity is the cosine of TF-IDF weights of character trigrams, hashed to 2**18 places
(Salton & Buckley 1988). Nothing is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
"""Above so many rows, grams in more than `_COMMON` of them are left out."""
_COMMON = 0.1
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class Pairs(NamedTuple):
    """Pairs of positions, the most similar first.

    Attributes
    ----------
    left, right : array of int
        Positions; within one table `left` is the smaller of the two.
    similarity : array of float
        Cosine of each pair, from 0 to 1.
    """

    left: Ints
    right: Ints
    similarity: Floats


def near_pairs(
    texts: Sequence[str], others: Sequence[str] | None = None, *, k: int
) -> Pairs:
    """Return the `k` nearest others of every text; of both sides, where there are two.

    Parameters
    ----------
    texts : list of str
        One text a row.
    others : list of str, optional
        The texts of the other side; without it pairs are within `texts`.
    k : int
        How many neighbours of each text are taken.

    Examples
    --------
    >>> pairs = near_pairs(["Jon Smith", "Ann Lee", "John Smith"], k=1)
    >>> int(pairs.left[0]), int(pairs.right[0])
    (0, 2)
    """
    index = _Index([*texts, *(others or ())])
    split = len(texts)
    if others is None:
        return _nearest(split, None, index.scores(0, split), k)
    there = _nearest(split, len(others), index.scores(split, split + len(others)), k)
    on_left = index.scores(0, split)
    back = _nearest(len(others), split, lambda a, b: on_left(a + split, b + split), k)
    return _both_ways(there, back)


def near_vectors(vectors: Floats, others: Floats | None = None, *, k: int) -> Pairs:
    """Return the `k` nearest others of every vector by cosine; of both sides.

    Parameters
    ----------
    vectors, others : array of float, one row a vector
        As `texts` and `others` of `near_pairs`.
    k : int
        How many neighbours of each vector are taken.
    """
    unit = _unit(vectors)
    if others is None:
        return _nearest(len(unit), None, lambda a, b: unit[a:b] @ unit.T, k)
    right = _unit(others)
    there = _nearest(len(unit), len(right), lambda a, b: unit[a:b] @ right.T, k)
    back = _nearest(len(right), len(unit), lambda a, b: right[a:b] @ unit.T, k)
    return _both_ways(there, back)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths, lengths, 1.0), dtype=np.float64)


def _nearest(rows: int, columns: int | None, scores: Scores, k: int) -> Pairs:
    """Return the k best columns of each row; without `columns`, other rows."""
    width = rows if columns is None else columns
    most = min(k, width - (columns is None))
    if rows == 0 or most < 1:
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, np.empty(0))
    lefts, rights, values = [], [], []
    for start in range(0, rows, _CHUNK):
        stop = min(start + _CHUNK, rows)
        table = scores(start, stop)
        if columns is None:
            table[np.arange(stop - start), np.arange(start, stop)] = -1.0
        best = np.argpartition(-table, most - 1, axis=1)[:, :most]
        lefts.append(np.repeat(np.arange(start, stop), most))
        rights.append(best.ravel())
        values.append(np.take_along_axis(table, best, axis=1).ravel())
    left, right = np.concatenate(lefts), np.concatenate(rights)
    if columns is None:
        left, right = np.minimum(left, right), np.maximum(left, right)
    return _united(left, right, np.concatenate(values))


def _both_ways(there: Pairs, back: Pairs) -> Pairs:
    """Unite what each side has found; `back` has the sides the other way round."""
    return _united(
        np.concatenate([there.left, back.right]),
        np.concatenate([there.right, back.left]),
        np.concatenate([there.similarity, back.similarity]),
    )


def _united(left: Ints, right: Ints, similarity: Floats) -> Pairs:
    """Drop repeated pairs and those with nothing in common; sort by similarity."""
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
        begin, end = self.starts[first], self.starts[last]
        order = np.argsort(self.grams[begin:end], kind="stable") + begin
        row = np.repeat(
            np.arange(last - first), np.diff(self.starts[first : last + 1])
        )[order - begin]
        weight = self.weights[order]
        ends = np.cumsum(np.bincount(self.grams[order], minlength=_PLACES))
        begins = np.concatenate([[0], ends[:-1]])
        width = last - first

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

        def similar(start: int, stop: int) -> Floats:
            return np.stack([of_row(asked) for asked in range(start, stop)])

        return similar


def _grams(texts: Sequence[str]) -> tuple[Ints, Ints, Ints]:
    """Return row, place and count of every gram that a text has, by row and place."""
    padded = [f" {' '.join(text.casefold().split())} " for text in texts]
    joined = "".join(padded).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, np.uint32).astype(np.uint64)
    rows = np.repeat(np.arange(len(padded)), [len(text) for text in padded])
    last = len(codes) - _GRAM + 1
    if last < 1:
        empty = np.empty(0, np.int64)
        return empty, empty, empty
    mixed = np.zeros(last, np.uint64)
    for shift in range(_GRAM):
        mixed = (mixed + codes[shift : shift + last]) * _MIXER
        mixed ^= mixed >> np.uint64(29)
    place = (mixed * _MIXER >> np.uint64(64 - _BITS)).astype(np.int64)
    whole = rows[:last] == rows[_GRAM - 1 :]
    keys = rows[:last][whole] * _PLACES + place[whole]
    grams, counts = np.unique(keys, return_counts=True)
    return grams // _PLACES, grams % _PLACES, counts.astype(np.int64)
